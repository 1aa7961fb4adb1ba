"""The landmark initialisation of a sequence: identity and focal length from key frames, then every frame's row."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import TrackConfig, Weights
from raytrack.fit.frames import CHIN, INNER_LIPS
from raytrack.fit.key_frames import choose_key_frames
from raytrack.fit.landmark_fit import LandmarkFitter, LandmarkSolution, LandmarkTargets, initial_rows
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.row_priors import RowPrior
from raytrack.head.model import HeadModel

_FOREHEAD = 10
_FRAMES_AT_ONCE = 256
LANDMARK_PRIOR = Weights(expression=1.7, expression_range=35.0, neck=0.1, jaw=0.5, eyes=0.5, eyes_apart=1.0)
"""Against landmark distances in percent of the face."""


def landmark_stage(
    observation: SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    landmark_weights: Float[np.ndarray, "frames landmarks"],
) -> LandmarkSolution:
    """Fit all frames with a face; rows of the others stay zero.

    Args:
        observation: Landmarks and scores.
        head: Carries the `facemesh` landmarks.
        config: Number of key frames, first guess of the focal length.
        landmark_weights: Trust per point.
    """
    fitter = LandmarkFitter(head, RowPrior.create(head, LANDMARK_PRIOR))
    focal_px = config.focal_ratio * max(observation.size_hw)
    numbers = np.flatnonzero(observation.detected)
    shape = torch.zeros(head.num_shapes)
    targets = _targets(observation, landmark_weights, numbers)
    first = initial_rows(fitter.head, shape, targets, focal_px)
    key = choose_key_frames(observation.scores[numbers], _pose_features(first.numpy(), targets), config.num_key_frames)
    joint = fitter.fit(targets.select(key), first[key], shape, focal_px)
    rows = torch.zeros(observation.num_frames, joint.rows.shape[1])
    for start in range(0, len(numbers), _FRAMES_AT_ONCE):
        block = np.arange(start, min(start + _FRAMES_AT_ONCE, len(numbers)))
        part = targets.select(block)
        begin = initial_rows(fitter.head, joint.shape, part, joint.focal_px)
        rows[torch.from_numpy(numbers[block])] = fitter.fit_rows(part, begin, joint.shape, joint.focal_px)
    rows[torch.from_numpy(numbers), :3] = unwrapped(rows[torch.from_numpy(numbers), :3])
    return replace(joint, rows=rows)


def unwrapped(vectors: Float[Tensor, "frames 3"]) -> Float[Tensor, "frames 3"]:
    """Axis-angle vectors of the same rotations, each the nearest to the one before: no jumps at half a turn."""
    result = vectors.clone()
    for frame in range(1, len(result)):
        angle = float(result[frame].norm())
        if angle < 1e-6:
            continue
        axis = result[frame] / angle
        turns = round((float(axis @ result[frame - 1]) - angle) / (2 * math.pi))
        result[frame] = axis * (angle + 2 * math.pi * turns)
    return result


def _targets(observation: SequenceObservation, weights: np.ndarray, numbers: np.ndarray) -> LandmarkTargets:
    return LandmarkTargets(
        positions_px=observation.landmarks_px[numbers], weights=weights[numbers], size_hw=observation.size_hw
    )


def _pose_features(rows: np.ndarray, targets: LandmarkTargets) -> np.ndarray:
    """Pitch and yaw in radians, and mouth opening over face height."""
    points = targets.positions_px
    height = np.linalg.norm(points[:, CHIN] - points[:, _FOREHEAD], axis=1)
    opening = np.linalg.norm(points[:, INNER_LIPS[1]] - points[:, INNER_LIPS[0]], axis=1) / np.maximum(height, 1)
    return np.column_stack([rows[:, 0], rows[:, 1], opening])
