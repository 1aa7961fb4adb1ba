"""The world of a dataset: where it lies in the tracker's, and the head's parameters in it.

head
    The head's mean translation is the origin; axes as in the tracker's world. The cameras move with it.
capture
    The world that the rig's calibration is of, origin and axes untouched; of a single view the tracker's own, in which
    the camera stands at (0, 0, 1) m and looks down −z.
head-centric
    The head's root joint keeps still: its rotation and translation are 0 in every frame, and the camera moves around it
    instead. Light that stands still in the room then moves with the camera.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import InputError
from raytrack.export.config import DatasetWorldName
from raytrack.fit.track import Track
from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A rigid motion from the tracker's world to a dataset's: ``p -> rotation @ p + translation``, metres."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Points of the tracker's world in the dataset's."""
        return points.astype(np.float64) @ self.rotation.T + self.translation


@dataclass(frozen=True, kw_only=True)
class DatasetWorld:
    """A world and the track's parameters in it."""

    placements: tuple[Placement, ...]
    """From the tracker's world, frame by frame; the same for all frames unless it is head-centric."""
    parameters: FrameParameters
    origin_m: tuple[float, float, float] | None
    """The point of the tracker's world that is this world's origin; None where it moves with the head."""


def dataset_world(track: Track, head: HeadModel, world: DatasetWorldName, *, head_centric: bool) -> DatasetWorld:
    """The world of a track's dataset.

    Raises:
        InputError: The capture's world is asked for, and the track of a rig does not know it.
    """
    if head_centric:
        return _head_centric_world(track, head)
    return _capture_world(track, head) if world == "capture" else _head_world(track)


def _head_world(track: Track) -> DatasetWorld:
    translations = track.parameters.translation.double()
    origin = translations[track.tracked].mean(dim=0)
    placement = Placement(rotation=np.eye(3), translation=-origin.numpy())
    return DatasetWorld(
        placements=(placement,) * track.num_frames,
        parameters=replace(track.parameters, translation=(translations - origin).float()),
        origin_m=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


def _capture_world(track: Track, head: HeadModel) -> DatasetWorld:
    origin_m = (0.0, 0.0, 0.0)
    if not track.rig:
        still = Placement(rotation=np.eye(3), translation=np.zeros(3))
        return DatasetWorld(placements=(still,) * track.num_frames, parameters=track.parameters, origin_m=origin_m)
    if track.capture_from_world is None:
        raise InputError("the track does not know the world of its capture: track the sequence again")
    turn = track.capture_from_world.double()
    rotations, translations, root = _head_motion(track, head)
    # The head turns about its root joint, not about the origin (equation 2 of the head model).
    parameters = replace(
        track.parameters,
        rotation=axis_angle_from_matrix(turn @ rotations).float(),
        translation=((root + translations) @ turn.mT - root).float(),
    )
    placement = Placement(rotation=turn.numpy(), translation=np.zeros(3))
    return DatasetWorld(placements=(placement,) * track.num_frames, parameters=parameters, origin_m=origin_m)


def _head_centric_world(track: Track, head: HeadModel) -> DatasetWorld:
    rotations, translations, root = _head_motion(track, head)
    placements = tuple(
        Placement(rotation=rotation.T, translation=root.numpy() - rotation.T @ (root.numpy() + translation))
        for rotation, translation in zip(rotations.numpy(), translations.numpy(), strict=True)
    )
    still = torch.zeros(track.num_frames, 3)
    parameters = replace(track.parameters, rotation=still, translation=still)
    return DatasetWorld(placements=placements, parameters=parameters, origin_m=None)


def _head_motion(
    track: Track, head: HeadModel
) -> tuple[Float[Tensor, "frames 3 3"], Float[Tensor, "frames 3"], Float[Tensor, "3"]]:
    """The head's rotation and translation in each frame, and the resting root joint that it turns about."""
    root = head.identity(track.shape)[1][0].double()
    return matrix_from_axis_angle(track.parameters.rotation.double()), track.parameters.translation.double(), root
