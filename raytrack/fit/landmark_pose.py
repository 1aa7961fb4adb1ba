"""Rigid head poses to start from: perspective-n-point in each view, and for a rig the pose that fits all views best."""

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.landmark_targets import Focals, LandmarkTargets, RigTargets
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE

Pose = tuple[np.ndarray, np.ndarray]
"""Rotation (3, 3) and translation (3,)."""


def initial_rows(
    head: HeadModel, shape: Float[Tensor, " shapes"], views: RigTargets, focal_px: Focals
) -> Float[Tensor, "frames columns"]:
    """Rigid pose of every frame from the resting head, the rest at zero.

    A single view's pose is that of its own points. Of several views, each proposes its own pose, and its turn at the
    place where the rays through all views' faces meet; the proposal that most views agree with wins, so that a view
    which took something else for the face does not count.

    Args:
        head: Carries the landmarks.
        shape: Identity whose resting landmarks are matched.
        views: Detections; at least one view sees the face in every frame.
        focal_px: Focal length in pixels of an uncalibrated camera.
    """
    neutral, joints = head.identity(shape)
    landmarks = landmark_set(views[0].landmark_set)
    points = head.landmarks_world(neutral, landmarks.embedding).double().numpy()[landmarks.fixed]
    root = joints[0].double().numpy()
    cameras = [_ViewCamera(view, focal_px, landmarks.fixed) for view in views]
    rows = torch.zeros(len(views[0].positions_px), NUM_POSE + head.num_expressions)
    for frame in range(len(rows)):
        seeing = [camera for camera in cameras if camera.targets.seen[frame]]
        if len(seeing) == 1:
            rotation, shift = seeing[0].world_pose(points, frame, refine=True)
        else:
            rotation, shift = _best_pose(points, seeing, frame)
        # x_world = rotation (x − root) + root + translation.
        rows[frame, 0:3] = torch.from_numpy(cv2.Rodrigues(rotation)[0][:, 0])
        rows[frame, 3:6] = torch.from_numpy(shift + rotation @ root - root)
    return rows


def _best_pose(points: np.ndarray, seeing: list["_ViewCamera"], frame: int) -> Pose:
    proposals = [camera.world_pose(points, frame, refine=False) for camera in seeing]
    meeting = _meeting_point(seeing, frame)
    if meeting is not None:
        proposals += [(rotation, meeting - rotation @ points.mean(axis=0)) for rotation, _ in proposals]
    errors = [np.median([camera.error(points, frame, pose) for camera in seeing]) for pose in proposals]
    return proposals[int(np.argmin(errors))]


def _meeting_point(seeing: list["_ViewCamera"], frame: int) -> np.ndarray | None:
    """The point nearest to the rays through the middle of every view's face; None if they are all but parallel."""
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    for camera in seeing:
        origin, direction = camera.ray(frame)
        across = np.eye(3) - np.outer(direction, direction)
        matrix += across
        right += across @ origin
    if np.linalg.eigvalsh(matrix)[0] < 1e-4 * len(seeing):
        return None
    return np.linalg.solve(matrix, right)


class _ViewCamera:
    """One view in double precision."""

    def __init__(self, targets: LandmarkTargets, focal_px: Focals, fixed: np.ndarray) -> None:
        camera = targets.camera(focal_px, torch.float64)
        self.targets = targets
        self.intrinsics = np.broadcast_to(camera.intrinsics.numpy(), (len(targets.positions_px), 3, 3))
        self.rotation, self.translation = np.split(camera.cam_from_world.numpy(), [3], axis=1)
        self.positions = targets.positions_px[:, fixed].astype(np.float64)
        self._trusted = targets.weights[:, fixed] > 0

    def world_pose(self, points: np.ndarray, frame: int, *, refine: bool) -> Pose:
        """World from head, by this view alone."""
        trusted, positions = self._trusted[frame], self.positions[frame]
        pose = _perspective_pose(points[trusted], positions[trusted], self.intrinsics[frame], refine=refine)
        if pose is None:
            pose = _frontal_pose(points[trusted], positions[trusted], self.intrinsics[frame])
        return self.rotation.T @ pose[0], self.rotation.T @ (pose[1] - self.translation[:, 0])

    def error(self, points: np.ndarray, frame: int, pose: Pose) -> float:
        """Mean landmark distance over the face's size; infinite behind the camera."""
        cam = (points @ pose[0].T + pose[1]) @ self.rotation.T + self.translation[:, 0]
        if (cam[:, 2] <= 0).any():
            return np.inf
        image = cam @ self.intrinsics[frame].T
        distance = np.linalg.norm(image[:, :2] / image[:, 2:] - self.positions[frame], axis=1)
        return float(distance[self._trusted[frame]].mean() / self.targets.face_size_px[frame])

    def ray(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Camera position, and unit direction to the middle of the face, in the world."""
        middle_px = self.positions[frame].mean(axis=0)
        direction = self.rotation.T @ np.linalg.solve(self.intrinsics[frame], np.append(middle_px, 1.0))
        return -self.rotation.T @ self.translation[:, 0], direction / np.linalg.norm(direction)


def _perspective_pose(
    points: np.ndarray, positions: np.ndarray, intrinsics: np.ndarray, *, refine: bool
) -> Pose | None:
    """Camera from head; None where OpenCV finds none."""
    try:
        found, vector, shift = cv2.solvePnP(points, positions, intrinsics, None, flags=cv2.SOLVEPNP_SQPNP)
        if not found:
            return None
        if refine:
            vector, shift = cv2.solvePnPRefineLM(points, positions, intrinsics, None, vector, shift)
    except cv2.error:  # a face of few pixels
        return None
    rotation = cv2.Rodrigues(vector)[0]
    in_front = bool((points @ rotation[2] + shift[2, 0] > 0).all())
    return (rotation, shift[:, 0]) if in_front and np.isfinite(rotation).all() else None


def _frontal_pose(points: np.ndarray, positions: np.ndarray, intrinsics: np.ndarray) -> Pose:
    """A head that faces the camera, as far away as its size in the picture says."""
    size = max(float(np.ptp(positions, axis=0).max()), 1e-3)
    depth = intrinsics[0, 0] * float(np.ptp(points[:, :2], axis=0).max()) / size
    centre = (positions.mean(axis=0) - intrinsics[:2, 2]) / intrinsics[0, 0] * depth
    rotation = np.diag([1.0, -1.0, -1.0])
    return rotation, np.array([*centre, depth]) - rotation @ points.mean(axis=0)
