"""The tracker on the 68 iBUG points in place of Face Mesh's 478."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.errors import AssetError, InputError
from raytrack.fit.alignment import trusted_landmarks
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.landmark_sets import LANDMARK_SETS, landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import RowStage, SharedStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.tracker import track_sequence
from raytrack.fit.vhap_landmarks import ibug_points, yaw_deg
from raytrack.fit.vhap_regions import with_ibug_points
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters

SIZE_HW = (200, 200)
FOCAL_PX = 1.7 * 200
NUM_FRAMES = 6


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture(scope="module")
def truth(head):
    """A head that turns ±26° and opens its mouth."""
    phase = torch.linspace(0, 1, NUM_FRAMES)
    zero = torch.zeros(NUM_FRAMES)
    return dataclasses.replace(
        FrameParameters.zeros(NUM_FRAMES, head.num_expressions),
        rotation=torch.stack([0.06 * torch.sin(6 * phase), 0.9 * (phase - 0.5), zero], dim=1),
        jaw_pose=torch.stack([0.3 * phase, zero, zero], dim=1),
        translation=torch.tensor([[0.01, -0.02, 0.2]]).repeat(NUM_FRAMES, 1),
    )


def project(vertices, points):
    return monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW).project(points).numpy()


def observed(head, parameters, *, wandering_outline: bool = True) -> SequenceObservation:
    """What a detector of the 68 points sees: its outline points lie where they should not count."""
    vertices = head.vertices(parameters, torch.zeros(head.num_shapes))
    points = project(vertices, head.landmarks_world(vertices, "ibug"))
    if wandering_outline:
        points[:, ~LANDMARK_SETS["ibug"].fixed] += 25
    picture = np.full((*SIZE_HW, 3), 128, np.uint8)
    return SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{k:06d}" for k in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda _: picture,
        load_alpha=None,
        landmarks_px=points,
        scores=np.ones(NUM_FRAMES, np.float32),
        landmark_set="ibug",
    )


def test_68_points_bring_the_head_back(head, truth):
    observation = observed(head, truth)
    track = track_sequence(observation, head, TrackConfig(landmarks_only=True, texture_size=64, final_texture_size=64))
    found = head.vertices(track.parameters, track.shape)
    error = track.camera.project(head.landmarks_world(found, "ibug")).numpy() - observation.landmarks_px
    fixed = LANDMARK_SETS["ibug"].fixed
    assert np.linalg.norm(error[:, fixed], axis=-1).mean() < 0.6
    turned = track.parameters.rotation[:, 1] + track.parameters.neck_pose[:, 1]
    assert float((turned - truth.rotation[:, 1]).abs().max()) < np.deg2rad(3)
    opened = track.parameters.jaw_pose[:, 0]
    assert float(opened[-1] - opened[0]) > 0.15


def test_rows_and_shape_follow_68_points(head, truth):
    """The photometric stages on pictures that say nothing: what moves is moved by the landmarks."""
    observation = observed(head, truth)
    config = TrackConfig(tracking_size_px=64, num_threads=1)
    runner = StageRunner(SequenceViews.of(observation), head, config)
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)

    def error_px(state):
        vertices = head.vertices(FrameParameters.unpack(state.rows), state.shared.shape)
        points = camera.project(head.landmarks_world(vertices, "ibug")).numpy() - observation.landmarks_px
        return np.linalg.norm(points[:, LANDMARK_SETS["ibug"].fixed], axis=-1).mean()

    rows = truth.pack()
    rows[:, 3:5] += torch.tensor([0.006, -0.006])
    shared = SharedParameters.start(head, torch.zeros(head.num_shapes), FOCAL_PX, 16)
    state = FitState(rows=rows, shared=shared, stages_done=1, photo_error=0.0, rows_error=float("inf"), converged=False)
    before = error_px(state)
    stage = RowStage(name="rows", blur_schedule_px=(4.0, 4.0), round_index=0)
    while state.stages_done == 1:
        state = runner.run_unit(stage, state, 1)
    assert error_px(state) < 0.5 * before
    moved = runner.run_unit(SharedStage(name="shared", optimise=("shape",), num_epochs=1), state, 2)
    assert float((moved.shared.shape - state.shared.shape).abs().max()) > 0
    assert bool(torch.isfinite(moved.shared.shape).all())


@pytest.mark.parametrize("name", sorted(LANDMARK_SETS))
def test_each_set_names_the_right_points(head, name):
    points = landmark_set(name)
    rest = head.landmarks_world(head.template, points.embedding).numpy()
    assert len(rest) == points.num_points == len(points.fixed)
    upper, lower = points.inner_lips
    assert rest[points.chin, 1] < rest[lower, 1] <= rest[upper, 1] + 1e-3 < rest[points.upper, 1]
    assert np.abs(rest[[points.chin, upper, lower, points.upper], 0]).max() < 0.002
    top, bottom = points.gaps.T
    assert (np.abs(rest[top, 0] - rest[bottom, 0]) < 0.006).all()
    opened = FrameParameters.zeros(1, head.num_expressions)
    wide = dataclasses.replace(opened, jaw_pose=torch.tensor([[0.3, 0.0, 0.0]]))
    vertices = head.vertices(wide, torch.zeros(head.num_shapes))[0]
    moved = head.landmarks_world(vertices, points.embedding).numpy()
    assert np.linalg.norm(moved[upper] - moved[lower]) > np.linalg.norm(rest[upper] - rest[lower]) + 0.008


def test_an_open_mouth_is_seen_by_either_set(head, truth):
    vertices = head.vertices(truth, torch.zeros(head.num_shapes))
    observation = observed(head, truth, wandering_outline=False)
    meshed = dataclasses.replace(
        observation, landmarks_px=project(vertices, head.landmarks_world(vertices)), landmark_set="facemesh"
    )
    ours, theirs = TrackingFrames.load(observation, 200), TrackingFrames.load(meshed, 200)
    np.testing.assert_array_equal(ours.mouth_open, theirs.mouth_open)
    assert ours.mouth_open.any()
    assert not ours.mouth_open.all()
    np.testing.assert_allclose(chin_px(ours), chin_px(theirs), atol=4)


def chin_px(frames):
    """The chin's row in pixels of the input: each set has its own crop."""
    _, top, _, bottom = frames.crop_xyxy
    return top + frames.chin_line[:, 2] * (bottom - top) / frames.size_hw[0]


def test_sliding_points_are_not_trusted(head):
    nothing = torch.zeros(head.num_vertices, dtype=torch.bool)
    weights = trusted_landmarks(head, np.array([True, False]), nothing, LANDMARK_SETS["ibug"])
    assert weights.shape == (2, 68)
    assert weights[1].max() == 0
    assert weights[0, 8] == weights[0, 36:].min() == 1
    assert weights[0, [0, 3, 13, 16]].max() == 0
    assert trusted_landmarks(head, np.array([True]), nothing).min() == 1
    assert trusted_landmarks(head, np.array([True]), nothing, LANDMARK_SETS["ibug-3d"]).min() == 1


def test_unknown_sets_are_refused(head):
    with pytest.raises(InputError, match="no landmark set 'wflw'; it knows facemesh, ibug, ibug-3d"):
        landmark_set("wflw")
    bare = dataclasses.replace(head, landmarks={"facemesh": head.landmarks["facemesh"]})
    nothing = torch.zeros(head.num_vertices, dtype=torch.bool)
    with pytest.raises(AssetError, match="no 'ibug' landmarks"):
        trusted_landmarks(bare, np.array([True]), nothing, LANDMARK_SETS["ibug"])
    with pytest.raises(AssetError, match="no iBUG landmarks"):
        with_ibug_points(bare, "ibug")


def test_jawline_follows_the_turned_head(head, truth):
    vertices = head.vertices(truth, torch.zeros(head.num_shapes))
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    yaw = yaw_deg(vertices, truth, camera)
    assert (yaw.diff() > 5).all()
    facing_camera = truth.rotation[:, 1].abs().argmin()
    assert abs(float(yaw[facing_camera])) < 10
    picked, picks = with_ibug_points(head, "ibug")
    assert picks.tolist() == list(range(68))
    points = ibug_points(picked, vertices, truth, camera)
    fixed = head.landmarks_world(vertices, "ibug")
    torch.testing.assert_close(points[:, 17:], fixed[:, 17:])
    # Turned to the subject's left, the subject's right cheek is the near one: the far jawline runs further in front.
    moved = (points[:, :17] - fixed[:, :17]).norm(dim=-1)
    assert float(moved[[0, -1]].max()) > 0.01
    assert float(moved[facing_camera].max()) < float(moved[-1].max())
    assert with_ibug_points(head, "ibug-3d")[0].contour is None
    meshed, _ = with_ibug_points(head)
    torch.testing.assert_close(ibug_points(meshed, vertices, truth, camera), meshed.landmarks_world(vertices, "ibug"))
