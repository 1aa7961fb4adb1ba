"""The landmark initialisation of a sequence: identity and focal length from key frames, then every frame's row."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import TrackConfig, Weights
from raytrack.fit.key_frames import choose_key_frames
from raytrack.fit.landmark_check import check_calibration
from raytrack.fit.landmark_fit import LandmarkFitter, LandmarkSolution
from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.landmark_targets import LandmarkTargets, RigTargets, select
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.views import SequenceViews
from raytrack.fit.visibility import LandmarkVisibility
from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE

_FRAMES_AT_ONCE = 256
LANDMARK_PRIOR = Weights(expression=1.7, expression_range=35.0, neck=0.1, jaw=0.5, eyes=0.5, eyes_apart=1.0)
"""Against landmark distances in percent of the face."""
_OTHER_FACE_PERCENT = 25.0
"""A view whose landmarks are further off than this from the head that all views agree on saw something else."""


def landmark_stage(
    views: SequenceViews,
    head: HeadModel,
    config: TrackConfig,
    landmark_weights: Float[np.ndarray, "views frames landmarks"],
) -> LandmarkSolution:
    """Fit all frames with a face; rows of the others stay zero.

    Args:
        views: Landmarks and scores.
        head: Carries the landmarks of the observation's set.
        config: Number of key frames, first guess of the focal length.
        landmark_weights: Trust per point.

    Raises:
        InputError: No head can be where all cameras of a rig see one: their calibration is wrong.
    """
    embedding = landmark_set(views.first.landmark_set).embedding
    fitter = LandmarkFitter(head, RowPrior.create(head, LANDMARK_PRIOR), embedding)
    focal_px = config.focal_ratio * max(views.first.size_hw)
    numbers = np.flatnonzero(views.detected)
    shape = torch.zeros(head.num_shapes)
    targets = select(_targets(views, landmark_weights), numbers)
    first = initial_rows(fitter.head, shape, targets, focal_px)
    key = choose_key_frames(views.scores[numbers], _pose_features(first, targets, views), config.num_key_frames)
    visibility = LandmarkVisibility.create(fitter.head, embedding)
    key_targets = _visible(select(targets, key), first[key], visibility, focal_px)
    joint = fitter.fit(key_targets, first[key], shape, focal_px)
    if views.is_rig:
        names = [views.name(view) for view in range(views.num_views)]
        check_calibration(fitter, key_targets, joint, names)
        agreeing = _agreeing(fitter, key_targets, joint.rows, joint.shape)
        if agreeing is not key_targets:
            joint = fitter.fit(agreeing, joint.rows, joint.shape, focal_px)
    rows = torch.zeros(views.num_frames, joint.rows.shape[1])
    for start in range(0, len(numbers), _FRAMES_AT_ONCE):
        block = np.arange(start, min(start + _FRAMES_AT_ONCE, len(numbers)))
        part = select(targets, block)
        begin = initial_rows(fitter.head, joint.shape, part, joint.focal_px)
        part = _visible(part, begin, visibility, joint.focal_px)
        found = fitter.fit_rows(part, begin, joint.shape, joint.focal_px)
        agreeing = _agreeing(fitter, part, found, joint.shape)
        if agreeing is not part:
            found = fitter.fit_rows(agreeing, found, joint.shape, joint.focal_px)
        rows[torch.from_numpy(numbers[block])] = found
    rows[torch.from_numpy(numbers), :3] = unwrapped(rows[torch.from_numpy(numbers), :3])
    return replace(joint, rows=rows)


def starting_rows(views: SequenceViews, head: HeadModel) -> Float[Tensor, "frames columns"]:
    """Rigid poses of a rig's resting head at the timesteps with a face, zeros elsewhere.

    Args:
        views: The rig.
        head: Carries the landmarks of the observations' set.
    """
    fixed = landmark_set(views.first.landmark_set).fixed
    trust = (views.detected_by_view[..., None] & fixed).astype(np.float32)
    numbers = np.flatnonzero(views.detected)
    targets = select(_targets(views, trust), numbers)
    rows = torch.zeros(views.num_frames, NUM_POSE + head.num_expressions)
    found = initial_rows(head, torch.zeros(head.num_shapes), targets, 1.0)
    rows[torch.from_numpy(numbers)] = found
    rows[torch.from_numpy(numbers), :3] = unwrapped(found[:, :3])
    return rows


def trust_in_views(
    views: SequenceViews,
    head: HeadModel,
    landmark_weights: Float[np.ndarray, "views frames landmarks"],
    rows: Float[Tensor, "frames columns"],
    shape: Float[Tensor, " shapes"],
) -> Float[np.ndarray, "views frames landmarks"]:
    """Of a rig: the trust that is left in points when those on the far side of the fitted head are left out.

    A view that is off everywhere took something else for the face: it counts nothing.
    """
    embedding = landmark_set(views.first.landmark_set).embedding
    fitter = LandmarkFitter(head, RowPrior.create(head, LANDMARK_PRIOR), embedding)
    visibility = LandmarkVisibility.create(fitter.head, embedding)
    targets = _visible(_targets(views, landmark_weights), rows, visibility, 1.0)
    return np.stack([view.weights for view in _agreeing(fitter, targets, rows, shape)])


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


def _targets(views: SequenceViews, weights: np.ndarray) -> RigTargets:
    return tuple(
        LandmarkTargets(
            positions_px=views.landmarks_px(number),
            weights=weights[number],
            size_hw=view.size_hw,
            landmark_set=view.landmark_set,
            calibrated=None if view.calibrated is None else view.calibrated.camera,
        )
        for number, view in enumerate(views.observations)
    )


def _visible(targets: RigTargets, rows: Tensor, visibility: LandmarkVisibility, focal_px: float) -> RigTargets:
    """A rig's targets without what a camera cannot see; a single camera of unknown focal length has nothing better."""
    if targets[0].calibrated is None:
        return targets
    return tuple(
        view.with_weights(view.weights * visibility.weights(rows, view.camera(focal_px)).numpy()) for view in targets
    )


def _agreeing(fitter: LandmarkFitter, targets: RigTargets, rows: Tensor, shape: Tensor) -> RigTargets:
    """A rig's targets without the views that saw something else; the same object if there are none, or nothing else."""
    if targets[0].calibrated is None:
        return targets
    errors = np.nan_to_num(fitter.errors_percent(targets, rows, shape, 1.0))
    agreeing = errors < _OTHER_FACE_PERCENT
    left = np.any([view.seen & own for view, own in zip(targets, agreeing, strict=True)], axis=0)
    agreeing |= ~left
    if agreeing.all():
        return targets
    return tuple(view.with_weights(view.weights * own[:, None]) for view, own in zip(targets, agreeing, strict=True))


def _pose_features(rows: Tensor, targets: RigTargets, views: SequenceViews) -> np.ndarray:
    """Pitch and yaw in radians, and mouth opening over face height in the view that sees the face best."""
    numbers = np.flatnonzero(views.detected)
    scores = np.stack([np.where(view.detected, view.scores, -1) for view in views.observations])[:, numbers]
    every = np.arange(len(numbers))
    points = np.stack([view.positions_px for view in targets])[scores.argmax(axis=0), every]
    names = landmark_set(targets[0].landmark_set)
    upper_lip, lower_lip = names.inner_lips
    height = np.linalg.norm(points[:, names.chin] - points[:, names.upper], axis=1)
    opening = np.linalg.norm(points[:, lower_lip] - points[:, upper_lip], axis=1) / np.maximum(height, 1)
    turns = rows[:, :3]
    if views.is_rig:  # The rig's world may lie in any way: turns count against the first frame's.
        turned = matrix_from_axis_angle(turns)
        turns = axis_angle_from_matrix(turned @ turned[0].T)
    return np.column_stack([turns.numpy()[:, :2], opening])
