"""The focal length of a head that turns, and of the shots of a clip with a cut, from its landmarks."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.errors import ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.fit.focal import FaceCentre
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import JointStage, default_schedule
from raytrack.fit.tracker import track_sequence
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

SIZE_HW = (400, 400)
CONFIG = TrackConfig(landmarks_only=True, num_key_frames=6, num_threads=1)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("default")


def turning_head(head: HeadModel, focal_px: float) -> tuple[FrameParameters, torch.Tensor]:
    """Six frames as large as one another whatever the focal length, turned by up to 35 degrees, and an identity."""
    parameters = FrameParameters.zeros(6, head.num_expressions)
    rotation, translation = parameters.rotation.clone(), parameters.translation.clone()
    rotation[:, 1] = torch.deg2rad(torch.tensor([-35.0, -20.0, 0.0, 15.0, 30.0, 10.0]))
    rotation[:, 0] = torch.deg2rad(torch.tensor([0.0, 12.0, -10.0, 8.0, 0.0, -15.0]))
    translation[:, 2] = 1.0 - focal_px / 800
    shape = 0.5 * torch.randn(head.num_shapes, generator=torch.Generator().manual_seed(1))
    return dataclasses.replace(parameters, rotation=rotation, translation=translation), shape


def landmarks_px(head: HeadModel, focal_px: float) -> np.ndarray:
    parameters, shape = turning_head(head, focal_px)
    vertices = head.vertices(parameters, shape)
    camera = monocular_camera(torch.tensor(focal_px), SIZE_HW)
    return camera.project(head.landmarks_world(vertices)).numpy()


def observed(points: np.ndarray, group: np.ndarray | None = None) -> SequenceObservation:
    blank = np.zeros((*SIZE_HW, 3), np.uint8)
    return SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{frame:06d}" for frame in range(len(points))),
        timestamps_s=np.arange(len(points)) / 25,
        load_image=lambda frame: blank,
        load_alpha=None,
        landmarks_px=points,
        scores=np.ones(len(points), np.float32),
        group=group,
    )


def test_a_turning_head_tells_the_focal_length_far_from_the_first_guess(head):
    track = track_sequence(observed(landmarks_px(head, 1100.0)), head, CONFIG)
    assert track.focal_px == pytest.approx(1100, rel=0.1)
    assert track.group is None


def test_a_focal_length_that_is_given_is_held(head):
    points = landmarks_px(head, 600.0)
    given = dataclasses.replace(CONFIG, focal_px=1100.0)
    track = track_sequence(observed(points), head, given)
    assert track.focal_px == pytest.approx(1100, rel=1e-5)
    vertices = head.vertices(track.parameters, track.shape)
    error = track.frame_cameras().project(head.landmarks_world(vertices)).numpy() - points
    assert np.linalg.norm(error, axis=-1).mean() < 4, "distance and identity make up for it"
    for config, is_given in ((given, True), (CONFIG, False)):
        stages = default_schedule(config, 90)
        assert [stage.hold_focal for stage in stages if isinstance(stage, JointStage)] == [is_given]
        assert not any("log_focal" in getattr(stage, "optimise", ()) for stage in stages)


@pytest.mark.parametrize("focal_px", [0.0, -3.0, float("nan"), float("inf")])
def test_focal_lengths_without_sense_are_refused(focal_px):
    with pytest.raises(ValueError, match="focal_px must be positive"):
        TrackConfig(focal_px=focal_px)


def test_a_focal_length_is_refused_where_it_would_not_be_held(head):
    with pytest.raises(ValueError, match="default preset"):
        TrackConfig(focal_px=900.0, preset="vhap")
    view = observed(landmarks_px(head, 600.0))
    with pytest.raises(ConfigError, match="one camera"):
        track_sequence((view, view), head, dataclasses.replace(CONFIG, focal_px=900.0))


def test_every_shot_has_its_own_focal_length(head):
    points = np.concatenate([landmarks_px(head, 450.0), landmarks_px(head, 1100.0)])
    group = np.repeat([0, 1], 6)
    track = track_sequence(observed(points, group), head, dataclasses.replace(CONFIG, num_key_frames=12))
    assert track.focal_px_per_frame is not None
    assert float(track.focal_px_per_frame[0]) == pytest.approx(450, rel=0.12)
    assert float(track.focal_px_per_frame[-1]) == pytest.approx(1100, rel=0.12)
    vertices = head.vertices(track.parameters, track.shape)
    error = track.frame_cameras().project(head.landmarks_world(vertices)).numpy() - points
    assert np.linalg.norm(error, axis=-1).mean() < 1.5


def test_a_head_that_moves_with_the_focal_length_keeps_its_place_and_size(head):
    parameters, shape = turning_head(head, 600.0)
    rows = parameters.pack()
    moved = FaceCentre.of(head, "facemesh").moved(rows, torch.full((6,), 0.2))
    before = landmarks_px(head, 600.0)
    vertices = head.vertices(FrameParameters.unpack(moved), shape)
    camera = monocular_camera(torch.tensor(600 * float(np.exp(0.2))), SIZE_HW)
    after = camera.project(head.landmarks_world(vertices)).numpy()
    np.testing.assert_allclose(after.mean(axis=1), before.mean(axis=1), atol=1.5)
    np.testing.assert_allclose(np.ptp(after, axis=1), np.ptp(before, axis=1), rtol=0.04)
    assert np.abs(after - before).max() > 0.3
