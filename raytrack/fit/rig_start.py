"""First poses of the cameras of a rig of which nothing is known: from where each of them sees the head.

Each camera on its own tells where the head is in its axes; two that see it at the same time are so placed to each
other. Every timestep says that once, and robust averages over timesteps make the relative poses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_targets import RigTargets
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

_ENOUGH = 0.5
"""A camera may be the world's when it sees the face at least this share as often as the one that sees it most."""
_AVERAGING_STEPS = 30
_LEAST_ANGLE_RAD, _LEAST_DISTANCE_M = 1e-3, 1e-3


@dataclass(frozen=True, kw_only=True)
class HeadPoses:
    """Where each camera on its own sees the head, in its own axes."""

    rotations: Float[np.ndarray, "views frames 3 3"]
    centres_m: Float[np.ndarray, "views frames 3"]
    """The middle of the face."""
    seen: Bool[np.ndarray, "views frames"]
    """Where the other fields say something."""

    @property
    def frontality(self) -> Float[np.ndarray, " views"]:
        """Median cosine of the angle at which a camera sees the face; −1 where it never does."""
        towards = -self.rotations[..., 2, 2]
        return np.array(
            [np.median(row[seen]) if seen.any() else -1.0 for row, seen in zip(towards, self.seen, strict=True)]
        )

    def most_frontal(self) -> int:
        """The camera that sees the face from the front and often enough."""
        counts = self.seen.sum(axis=1)
        often = counts >= _ENOUGH * counts.max()
        return int(np.where(often, self.frontality, -2.0).argmax())


def head_poses(head: HeadModel, views: RigTargets, focals_px: Sequence[float]) -> HeadPoses:
    """Perspective-n-point with the resting head, view by view.

    Args:
        head: Carries the landmarks.
        views: Detections; their cameras are not asked.
        focals_px: First guess of each camera's focal length.
    """
    shape, num_frames = torch.zeros(head.num_shapes), len(views[0].positions_px)
    rest = head.landmarks_world(head.template, _embedding(head)).mean(dim=0) - head.joints[0]
    rotations = np.tile(np.eye(3), (len(views), num_frames, 1, 1))
    centres = np.zeros((len(views), num_frames, 3))
    for number, (view, focal_px) in enumerate(zip(views, focals_px, strict=True)):
        frames = np.flatnonzero(view.seen)
        if not len(frames):
            continue
        rows = initial_rows(head, shape, (view.select(frames).uncalibrated(),), focal_px)
        parameters = FrameParameters.unpack(rows)
        turned = matrix_from_axis_angle(parameters.rotation)
        middle = turned @ rest + head.joints[0] + parameters.translation
        camera = monocular_camera(torch.tensor(float(focal_px)), view.size_hw)
        rotations[number, frames] = (camera.cam_from_world[:, :3] @ turned).double().numpy()
        centres[number, frames] = camera.cam_points(middle).double().numpy()
    return HeadPoses(rotations=rotations, centres_m=centres, seen=np.stack([view.seen for view in views]))


def _embedding(head: HeadModel) -> str:
    """The only landmarks of a head that has been cut down to them, else Face Mesh's."""
    return "facemesh" if "facemesh" in head.landmarks else next(iter(head.landmarks))


def relative_cameras(poses: HeadPoses, reference: int) -> dict[int, Float[np.ndarray, "3 4"]]:
    """Camera from reference camera, for every camera that can be reached over shared timesteps.

    The camera that shares most timesteps with those already placed comes next.

    Args:
        poses: Of all cameras.
        reference: The camera whose axes are the world.
    """
    placed = {reference: np.eye(3, 4)}
    while True:
        shared = {
            (view, other): int((poses.seen[view] & poses.seen[other]).sum())
            for view in range(len(poses.seen))
            for other in placed
            if view not in placed
        }
        best = max(shared, key=lambda pair: shared[pair], default=None)
        if best is None or shared[best] == 0:
            return placed
        view, other = best
        both = poses.seen[view] & poses.seen[other]
        turn = mean_rotation(poses.rotations[view, both] @ poses.rotations[other, both].transpose(0, 2, 1))
        shift = mean_position(poses.centres_m[view, both] - poses.centres_m[other, both] @ turn.T)
        before = placed[other]
        placed[view] = np.column_stack([turn @ before[:, :3], turn @ before[:, 3] + shift])


def mean_rotation(rotations: Float[np.ndarray, "samples 3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation with the least sum of angles to the samples, about; outliers hardly move it."""
    mean = _nearest_rotation(np.median(rotations, axis=0))
    for _ in range(_AVERAGING_STEPS):
        cosine = (np.einsum("ab,nab->n", mean, rotations) - 1) / 2
        weights = 1 / np.maximum(np.arccos(np.clip(cosine, -1, 1)), _LEAST_ANGLE_RAD)
        mean = _nearest_rotation(np.einsum("n,nab->ab", weights, rotations))
    return mean


def mean_position(positions: Float[np.ndarray, "samples 3"]) -> Float[np.ndarray, "3"]:
    """The point with the least sum of distances to the samples (Weiszfeld's algorithm)."""
    mean = np.median(positions, axis=0)
    for _ in range(_AVERAGING_STEPS):
        weights = 1 / np.maximum(np.linalg.norm(positions - mean, axis=1), _LEAST_DISTANCE_M)
        mean = weights @ positions / weights.sum()
    return mean


def _nearest_rotation(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
