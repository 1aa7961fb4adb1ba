"""Identity and focal length of a head whose landmarks mislead, from how its pictures differ from each other."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.fit.config import TrackConfig
from raytrack.fit.joint_stage import compared_frames, turning_groups
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import JointStage
from raytrack.fit.stage_loop import landmark_state
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SIZE_HW, FOCAL_PX, NUM_FRAMES = (192, 192), 2.4 * 192, 10
CONFIG = TrackConfig(tracking_size_px=192, texture_size=256, num_threads=1)


@pytest.fixture(scope="module")
def clip():
    """A turning head with spots on its skin, and detections that drift as it turns."""
    head = load_head("default")
    parameters = FrameParameters.zeros(NUM_FRAMES, head.num_expressions)
    phase = torch.linspace(-1, 1, NUM_FRAMES)
    rotation, translation = parameters.rotation.clone(), parameters.translation.clone()
    rotation[:, 1], rotation[:, 0] = 0.5 * phase, 0.15 * torch.sin(5 * phase)
    translation[:, 2] = 1.0 - FOCAL_PX / 420
    parameters = dataclasses.replace(parameters, rotation=rotation, translation=translation)
    shape = torch.zeros(head.num_shapes)
    shape[:8] = torch.tensor([0.8, -0.6, 0.5, 0.7, -0.4, 0.3, 0.6, -0.5])
    vertices, camera = head.vertices(parameters, shape), monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    topology = head.topology()
    renderer = make_renderer(
        "numba",
        Topology(faces=topology.faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=topology.num_vertices),
        num_threads=1,
    )
    generator = torch.Generator().manual_seed(0)
    spots = torch.nn.functional.interpolate(torch.rand(1, 1, 96, 96, generator=generator), size=(256, 256))[0, 0]
    skin = head.albedo[:: len(head.albedo) // 256, :: len(head.albedo) // 256] * (0.7 + 0.3 * spots[..., None])
    clip_space = camera.clip(vertices)
    room = torch.full((NUM_FRAMES, *SIZE_HW, 3), 0.3)
    image, fragments = renderer.shade(
        clip_space, renderer.vertex_normals(vertices), skin.contiguous(), white_light()[None], room
    )
    images = (renderer.antialias(image, clip_space, fragments).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    points = camera.project(head.landmarks_world(vertices)).numpy()
    middle = points.mean(axis=1, keepdims=True)
    # Faces that turn look narrower to detectors than they are.
    narrower = 1 - 0.06 * phase.abs().numpy()[:, None, None] * np.array([1.0, 0.0])
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{k:06d}" for k in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda k: images[k],
        load_alpha=None,
        landmarks_px=((points - middle) * narrower + middle).astype(np.float32),
        scores=np.ones(NUM_FRAMES, np.float32),
    )
    return head, vertices, observation


def face_mm(head, rows, shape, truth):
    """Mean distance of the face's vertices after the best similarity."""
    face, errors = head.region("face") & ~head.region("mouth_interior"), []
    found = head.vertices(FrameParameters.unpack(rows), shape)
    for a, b in zip(found[:, face].double(), truth[:, face].double(), strict=True):
        a0, b0 = a - a.mean(dim=0), b - b.mean(dim=0)
        u, s, vt = torch.linalg.svd(b0.T @ a0)
        errors.append((s.sum() / a0.square().sum() * a0 @ (u @ vt).T - b0).norm(dim=1).mean())
    return 1000 * float(torch.stack(errors).mean())


@pytest.fixture(scope="module")
def started(clip):
    """Landmarks fitted at a focal length that is far too long, which they hardly mind."""
    head, _, observation = clip
    runner = StageRunner(SequenceViews.of(observation), head, dataclasses.replace(CONFIG, focal_px=1.35 * FOCAL_PX))
    return runner, landmark_state(runner)


def test_pictures_know_the_focal_length(clip, started):
    head, truth, _ = clip
    runner, start = started
    end = runner.run_unit(JointStage(name="joint", blur_schedule_px=(3, 2, 1, 1, 0)), start, 1)
    assert float(end.shared.log_focal.exp()[0]) == pytest.approx(FOCAL_PX, rel=0.05)
    assert face_mm(head, end.rows, end.shared.shape, truth) < 0.75 * face_mm(
        head, start.rows, start.shared.shape, truth
    )
    assert end.stages_done == start.stages_done + 1


def test_a_known_focal_length_is_held(started):
    runner, start = started
    end = runner.run_unit(JointStage(name="joint", blur_schedule_px=(1,), hold_focal=True), start, 1)
    torch.testing.assert_close(end.shared.log_focal, start.shared.log_focal)
    assert float((end.shared.shape - start.shared.shape).norm()) > 0.1, "the identity is found all the same"


def test_the_most_turned_frames_are_compared(clip, started):
    _, _, observation = clip
    _, start = started
    seen = np.ones(NUM_FRAMES, bool)
    seen[3] = False
    chosen = compared_frames(start, SequenceViews.of(observation), seen, 4)
    assert {0, 9} <= set(chosen.tolist())
    assert 3 not in chosen
    assert 3 <= len(chosen) <= 4


def test_only_shots_in_which_the_head_turns_tell_a_focal_length():
    rows = torch.zeros(6, 18)
    rows[:, 1] = torch.tensor([-0.4, 0.4, 0.0, 0.1, -0.1, 0.9])
    group, seen = np.array([0, 0, 0, 1, 1, 1]), np.array([True] * 5 + [False])
    assert turning_groups(rows, seen, group) == {0}
    assert turning_groups(rows, np.ones(6, bool), group) == {0, 1}
