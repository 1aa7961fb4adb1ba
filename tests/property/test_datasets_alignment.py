"""The tracker's world: pictures do not change with it, and it does not depend on the dataset's own."""

import cv2
import numpy as np
import pytest

from raytrack.datasets.alignment import in_tracker_world, tracker_from_capture
from raytrack.datasets.calibration import Calibration

MATRIX = np.array([[900.0, 0, 270], [0, 905.0, 410], [0, 0, 1]])


def rotation(vector) -> np.ndarray:
    return cv2.Rodrigues(np.asarray(vector, np.float64))[0]


def rig(world: np.ndarray, angles=(-40, -15, 0, 20, 35)) -> list[Calibration]:
    """Cameras round the y axis at one metre, in a world that is turned by `world`."""
    return [
        Calibration(
            intrinsics=MATRIX,
            cam_from_world=np.concatenate(
                [rotation([0.1, np.deg2rad(angle), 0.0]) @ world.T, [[0.01], [0.02], [1.0]]], axis=1
            ),
            size_hw=(802, 550),
        )
        for angle in angles
    ]


def projected(camera: Calibration, points: np.ndarray) -> np.ndarray:
    seen = (points @ camera.cam_from_world[:, :3].T + camera.cam_from_world[:, 3]) @ camera.intrinsics.T
    return seen[:, :2] / seen[:, 2:]


@pytest.mark.parametrize("vector", [(0, 0, 0), (0.3, -0.2, 0.5), (2.0, 1.0, -1.5), (3.1, 0, 0)])
def test_points_are_seen_where_they_were(vector):
    cameras = rig(rotation(vector))
    turn = tracker_from_capture(cameras)
    points = np.random.default_rng(0).normal(0, 0.1, (20, 3))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    for camera in cameras:
        moved = in_tracker_world(camera, turn)
        np.testing.assert_allclose(projected(moved, points @ turn.T), projected(camera, points), atol=1e-9)
        np.testing.assert_allclose(moved.position, turn @ camera.position, atol=1e-12)


@pytest.mark.parametrize("vector", [(0.3, -0.2, 0.5), (2.0, 1.0, -1.5)])
def test_the_world_does_not_depend_on_that_of_the_dataset(vector):
    plain, turned = rig(np.eye(3)), rig(rotation(vector))
    for one, other in zip(plain, turned, strict=True):
        moved_one = in_tracker_world(one, tracker_from_capture(plain))
        moved_other = in_tracker_world(other, tracker_from_capture(turned))
        np.testing.assert_allclose(moved_one.cam_from_world, moved_other.cam_from_world, atol=1e-12)


def test_cameras_look_down_minus_z_with_y_up():
    cameras = [in_tracker_world(camera, tracker_from_capture(rig(np.eye(3)))) for camera in rig(np.eye(3))]
    for camera in cameras:
        right, down, forward = camera.cam_from_world[:, :3]
        assert forward[2] < -0.7
        assert down[1] < -0.9
        assert right[0] > 0.7
        assert camera.position[2] > 0.7
    mean = np.mean([camera.cam_from_world[:, :3] for camera in cameras], axis=0)
    np.testing.assert_allclose(mean @ np.diag([1.0, -1.0, -1.0]), (mean @ np.diag([1.0, -1.0, -1.0])).T, atol=1e-9)


def test_rigs_without_a_mean():
    with pytest.raises(ValueError, match="at least one"):
        tracker_from_capture([])
    with pytest.raises(ValueError, match="opposite ways"):
        tracker_from_capture(opposite())


def opposite() -> list[Calibration]:
    turns = [np.diag(signs) for signs in ([1.0, 1, 1], [1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])]
    poses = [np.concatenate([turn, [[0.0], [0.0], [1.0]]], axis=1) for turn in turns]
    return [Calibration(intrinsics=MATRIX, cam_from_world=pose, size_hw=(802, 550)) for pose in poses]
