"""The landmark initialisation of a sequence: identity and focal length from key frames, then every frame's row."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from raytrack.fit.config import TrackConfig, Weights
from raytrack.fit.key_frames import choose_key_frames
from raytrack.fit.landmark_fit import LandmarkFitter, LandmarkSolution, LandmarkTargets, initial_rows
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.row_priors import RowPrior
from raytrack.head.model import HeadModel

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
        head: Carries the landmarks of the observation's set.
        config: Number of key frames, first guess of the focal length.
        landmark_weights: Trust per point.
    """
    fitter = LandmarkFitter(
        head, RowPrior.create(head, LANDMARK_PRIOR), landmark_set(observation.landmark_set).embedding
    )
    focal_px = config.focal_ratio * max(observation.size_hw)
    numbers = np.flatnonzero(observation.detected)
    targets = _targets(observation, landmark_weights, numbers)
    shape = torch.zeros(head.num_shapes)
    first = initial_rows(fitter.head, shape, targets, focal_px)
    key = choose_key_frames(observation.scores[numbers], _pose_features(first.numpy(), targets), config.num_key_frames)
    joint = fitter.fit(_targets(observation, landmark_weights, numbers[key]), first[key], shape, focal_px, shared=True)
    start = initial_rows(fitter.head, joint.shape, targets, joint.focal_px)
    every = fitter.fit(targets, start, joint.shape, joint.focal_px, shared=False, max_iterations=12, tolerance=1e-3)
    rows = torch.zeros(observation.num_frames, every.rows.shape[1])
    rows[torch.from_numpy(numbers)] = every.rows
    return replace(every, rows=rows)


def _targets(observation: SequenceObservation, weights: np.ndarray, numbers: np.ndarray) -> LandmarkTargets:
    return LandmarkTargets(
        positions_px=observation.landmarks_px[numbers],
        weights=weights[numbers],
        size_hw=observation.size_hw,
        landmark_set=observation.landmark_set,
    )


def _pose_features(rows: np.ndarray, targets: LandmarkTargets) -> np.ndarray:
    """Pitch and yaw in radians, and mouth opening over face height."""
    points, names = targets.positions_px, landmark_set(targets.landmark_set)
    upper_lip, lower_lip = names.inner_lips
    height = np.linalg.norm(points[:, names.chin] - points[:, names.upper], axis=1)
    opening = np.linalg.norm(points[:, lower_lip] - points[:, upper_lip], axis=1) / np.maximum(height, 1)
    return np.column_stack([rows[:, 0], rows[:, 1], opening])
