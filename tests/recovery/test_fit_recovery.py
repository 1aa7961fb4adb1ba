"""Render a head with known parameters, fit it, and find the parameters again."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.errors import NoFaceError
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig, Weights
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import RowStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.shared_problem import PictureBatch
from raytrack.fit.shared_stage import LEARNING_RATES
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.tracker import track_sequence
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SIZE_HW = (160, 160)
FOCAL_PX = 1.8 * 160
NUM_FRAMES = 8


def true_parameters(head):
    """A head that turns ±20°, opens its mouth and blinks."""
    phase = torch.linspace(0, 1, NUM_FRAMES)
    parameters = FrameParameters.zeros(NUM_FRAMES, head.num_expressions)
    expression = parameters.expression.clone()
    for side in ("Left", "Right"):
        expression[:, head.expression_names.index(f"eyeBlink{side}")] = (phase > 0.8).float()
        expression[:, head.expression_names.index(f"mouthSmile{side}")] = 0.5 * (1 - phase)
    turn = torch.stack([0.05 * torch.sin(6 * phase), 0.7 * (phase - 0.5), torch.zeros(NUM_FRAMES)], dim=1)
    jaw = torch.stack([0.25 * phase, torch.zeros(NUM_FRAMES), torch.zeros(NUM_FRAMES)], dim=1)
    shift = torch.tensor([[0.01, -0.02, 0.25]]).repeat(NUM_FRAMES, 1)
    return dataclasses.replace(parameters, expression=expression, rotation=turn, jaw_pose=jaw, translation=shift)


def true_identity(head):
    shape = torch.zeros(head.num_shapes)
    shape[:6] = torch.tensor([0.8, -0.6, 0.5, 0.7, -0.4, 0.3])
    return shape


def true_light():
    light = white_light()
    light[3] = torch.tensor([0.6, 0.5, 0.4])
    light[1] = 0.4
    return light


@pytest.fixture(scope="module")
def scene():
    """True vertices, and what a perfect observer sees of them: pictures, mattes, landmarks."""
    head = load_head("default")
    vertices = head.vertices(true_parameters(head), true_identity(head))
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    topology = head.topology()
    renderer = make_renderer(
        "numba",
        Topology(faces=topology.faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=topology.num_vertices),
        num_threads=2,
    )
    light = true_light()
    clip = camera.clip(vertices)
    room = torch.rand(1, *SIZE_HW, 3, generator=torch.Generator().manual_seed(0)).repeat(NUM_FRAMES, 1, 1, 1)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), head.albedo, light[None], room)
    image = renderer.antialias(image, clip, fragments)
    alpha = renderer.antialias(fragments.coverage.float()[..., None], clip, fragments)[..., 0]
    images = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    alphas = (alpha.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{k:06d}" for k in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda k: images[k],
        load_alpha=lambda k: alphas[k],
        landmarks_px=camera.project(head.landmarks_world(vertices)).numpy(),
        scores=np.ones(NUM_FRAMES, np.float32),
    )
    return head, vertices, observation


def face_error_mm(head, track, truth):
    """Mean distance of face vertices after the best similarity transform, over all frames."""
    face = head.region("face") & ~head.region("mouth_interior")
    offset = None if track.static_offset is None else track.static_offset[0]
    found = head.vertices(track.parameters, track.shape, offset)
    errors = []
    for a, b in zip(found[:, face].double(), truth[:, face].double(), strict=True):
        a0, b0 = a - a.mean(dim=0), b - b.mean(dim=0)
        u, s, vt = torch.linalg.svd(b0.T @ a0)
        sign = torch.tensor([1.0, 1.0, float(torch.sign(torch.linalg.det(u @ vt)))], dtype=torch.float64)
        rotation = u @ torch.diag(sign) @ vt
        scale = (s * sign).sum() / a0.square().sum()
        errors.append((scale * a0 @ rotation.T - b0).norm(dim=1).mean())
    return 1000 * float(torch.stack(errors).mean())


def fast(**changes):
    return TrackConfig(
        tracking_size_px=160, texture_image_size_px=160, texture_size=128, final_texture_size=128, rounds=1, **changes
    )


def test_landmarks_alone_recover_the_face(scene):
    head, truth, observation = scene
    track = track_sequence(observation, head, fast(landmarks_only=True))
    assert face_error_mm(head, track, truth) < 1.5
    assert abs(track.focal_px / FOCAL_PX - 1) < 0.25
    assert track.static_offset is None
    projected = track.camera.project(head.landmarks_world(head.vertices(track.parameters, track.shape)))
    assert np.linalg.norm(projected.numpy() - observation.landmarks_px, axis=-1).mean() < 0.6


@pytest.mark.parametrize(("landmark_trust", "limit_px"), [(0.0, 0.9), (1.0, 0.3)])
def test_gauss_newton_finds_pose_and_expression_again(scene, landmark_trust, limit_px):
    """Shared parameters known, rows badly off: colours and outlines alone bring the face back, landmarks help."""
    head, truth, observation = scene
    runner = StageRunner(SequenceViews.of(observation), head, fast())
    runner.landmark_weights *= landmark_trust
    shape, light = true_identity(head), true_light()
    shared = SharedParameters(
        shape=shape,
        offset=torch.zeros(head.num_vertices, 3),
        texture=head.albedo,
        light=light[None],
        log_focal=torch.tensor([FOCAL_PX]).log(),
    )
    generator = torch.Generator().manual_seed(0)
    rows = true_parameters(head).pack()
    rows[:, :3] += 0.06 * torch.randn(NUM_FRAMES, 3, generator=generator)
    rows[:, 3:6] += 0.008 * torch.randn(NUM_FRAMES, 3, generator=generator)
    rows[:, 18:] *= 0.5
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    face = head.region("face")

    def error_px(values):
        vertices = head.vertices(FrameParameters.unpack(values), shape)
        return float((camera.project(vertices) - camera.project(truth))[:, face].norm(dim=-1).mean())

    assert error_px(rows) > 3
    for blur in ((3.75, 3.1, 2.5, 1.9), (1.2, 0.6, 0, 0)):
        stage = RowStage(name="rows", blur_schedule_px=tuple(1.6 * px for px in blur), round_index=0)
        state = FitState(
            rows=rows, shared=shared, stages_done=1, photo_error=0.0, rows_error=float("inf"), converged=False
        )
        while state.stages_done == 1:
            state = runner.run_unit(stage, state, 1)
        rows = state.rows
    assert error_px(rows) < limit_px


def test_a_whole_fit_from_noisy_landmarks(scene):
    head, truth, observation = scene
    noise = np.random.default_rng(0).normal(0, 1.0, observation.landmarks_px.shape).astype(np.float32)
    shaken = dataclasses.replace(observation, landmarks_px=observation.landmarks_px + noise)
    progress = []
    track = track_sequence(shaken, head, fast(), on_progress=progress.append)
    assert face_error_mm(head, track, truth) < 1.6
    assert progress[-1].photo_error < 0.02
    assert progress[-1].done == progress[-1].total


def test_resuming_gives_the_same_bits(scene, tmp_path, monkeypatch):
    head, _, observation = scene
    monkeypatch.setattr("raytrack.fit.stage_loop.CHECKPOINT_INTERVAL_S", 0.0)
    undisturbed = track_sequence(observation, head, fast())

    class Killed(Exception):
        pass

    for stop_after in (2, 4, 1, 3):
        calls = []

        def interrupt(progress, calls=calls, stop_after=stop_after):
            calls.append(progress)
            if len(calls) == stop_after:
                raise Killed

        with pytest.raises(Killed):
            track_sequence(observation, head, fast(), checkpoint_folder=tmp_path, on_progress=interrupt)
    resumed = track_sequence(observation, head, fast(), checkpoint_folder=tmp_path)
    assert torch.equal(resumed.parameters.pack(), undisturbed.parameters.pack())
    assert torch.equal(resumed.texture, undisturbed.texture)
    assert torch.equal(resumed.static_offset, undisturbed.static_offset)
    assert resumed.focal_px == undisturbed.focal_px


def test_threads_do_not_change_the_result(scene):
    head, _, observation = scene
    one = track_sequence(observation, head, fast(num_threads=1))
    two = track_sequence(observation, head, fast(num_threads=2))
    assert torch.equal(one.parameters.pack(), two.parameters.pack())
    assert torch.equal(one.texture, two.texture)


def test_the_seed_decides(scene):
    head, _, observation = scene
    first, second = (track_sequence(observation, head, fast(seed=seed)) for seed in (0, 1))
    assert not torch.equal(first.parameters.pack(), second.parameters.pack())


def test_frames_without_a_face_are_interpolated(scene):
    head, _, observation = scene
    scores = observation.scores.copy()
    scores[[0, 3]] = 0
    landmarks = observation.landmarks_px.copy()
    landmarks[[0, 3]] = 0
    track = track_sequence(dataclasses.replace(observation, scores=scores, landmarks_px=landmarks), head, fast())
    assert track.tracked.tolist() == [False, True, True, False, True, True, True, True]
    rotation = track.parameters.rotation
    torch.testing.assert_close(rotation[3], (rotation[2] + rotation[4]) / 2)
    torch.testing.assert_close(rotation[0], rotation[1])


def test_one_frame_is_enough(scene):
    head, truth, observation = scene
    single = dataclasses.replace(
        observation,
        timestep_ids=observation.timestep_ids[:1],
        timestamps_s=observation.timestamps_s[:1],
        landmarks_px=observation.landmarks_px[:1],
        scores=observation.scores[:1],
    )
    track = track_sequence(single, head, fast())
    assert track.num_frames == 1
    assert face_error_mm(head, track, truth[:1]) < 3.0


def test_without_mattes_perturbation_keeps_the_outline(scene):
    head, truth, observation = scene
    track = track_sequence(dataclasses.replace(observation, load_alpha=None), head, fast())
    assert face_error_mm(head, track, truth) < 2.0


def test_static_offset_off_leaves_none(scene):
    head, _, observation = scene
    track = track_sequence(observation, head, fast(static_offset=False))
    assert track.static_offset is None


def test_no_face_at_all_is_an_input_error(scene):
    head, _, observation = scene
    with pytest.raises(NoFaceError, match="no face"):
        track_sequence(dataclasses.replace(observation, scores=np.zeros(NUM_FRAMES, np.float32)), head, fast())


@pytest.mark.parametrize("occluded", [(), ("hair",)])
def test_colours_of_occluded_parts_move_nothing(scene, occluded):
    """Under light from the side: shading would move hair by its normals, too."""
    head, _, observation = scene
    runner = StageRunner(SequenceViews.of(observation), head, fast(occluded=occluded))
    shared = SharedParameters(
        shape=true_identity(head),
        offset=torch.zeros(head.num_vertices, 3),
        texture=0.8 * head.albedo,
        light=true_light()[None],
        log_focal=torch.tensor([FOCAL_PX]).log(),
    )
    state = FitState(
        rows=true_parameters(head).pack(),
        shared=shared,
        stages_done=1,
        photo_error=0.0,
        rows_error=float("inf"),
        converged=False,
    )
    weights = Weights(landmark=0, matte=0, offset_laplacian=0, offset_size=0, texture_variation=0)
    (view,) = runner.pictures.of(state).row_views
    chosen = np.arange(4)
    batch = PictureBatch(
        frames=view.frames, numbers=chosen, rows=chosen, landmark_weights=view.landmark_weights[chosen]
    )
    _, moved, _ = runner.adam.optimiser(LEARNING_RATES, state).step(
        state.rows,
        shared,
        [batch],
        ("offset", "texture"),
        scale=1.0,
        generator=np.random.default_rng(0),
        weights=weights,
    )
    inner = ~head.region("hair")
    for _ in range(2):  # vertices that share no face with other parts
        touching = head.faces[inner[head.faces].any(dim=1)].flatten().unique()
        inner[touching] = True
    hair_moves = float(moved.offset[~inner].abs().max())
    assert (hair_moves == 0) == bool(occluded)
    texels = (moved.texture - shared.texture).abs().amax(dim=2)
    rows = (head.uv[head.uv_faces[head.face_region("hair")].flatten()] * len(texels)).long().clamp_max(len(texels) - 1)
    assert float(texels[rows[:, 1], rows[:, 0]].max()) > 0
