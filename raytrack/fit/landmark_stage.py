"""The landmark initialisation of a sequence: identity and focal length from key frames, then every frame's row."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import TrackConfig
from raytrack.fit.joint_fit import JointFit, JointFitter
from raytrack.fit.key_frames import key_frames_of_groups
from raytrack.fit.landmark_check import check_calibration
from raytrack.fit.landmark_fit import LandmarkFitter, LandmarkSolution
from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.landmark_targets import LandmarkTargets, RigTargets, select
from raytrack.fit.views import SequenceViews
from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE

_FRAMES_AT_ONCE = 256
_HIDDEN_TRUST_OF_SOLVED_RIG = 0.3
"""In points on the far side of the head: what detectors guess of them still says where the head is, and few cameras
that stand far apart have little else in common."""
_OTHER_FACE_PERCENT = 25.0
"""A view whose landmarks are further off than this from the head that all views agree on saw something else."""


def landmark_stage(
    views: SequenceViews,
    head: HeadModel,
    config: TrackConfig,
    landmark_weights: Float[np.ndarray, "views frames landmarks"],
    shape: Float[Tensor, " shapes"] | None = None,
) -> LandmarkSolution:
    """Fit all frames with a face; rows of the others stay zero.

    Args:
        views: Landmarks and scores.
        head: Carries the landmarks of the observation's set.
        config: Number of key frames, first guess of the focal length.
        landmark_weights: Trust per point.
        shape: Identity, where it is known.

    Raises:
        InputError: No head can be where all cameras of a rig see one: their calibration is wrong.
    """
    fitter = _joint_fitter(views, head, config, shape)
    landmarks = fitter.landmarks
    numbers = np.flatnonzero(views.detected)
    targets = select(targets_of(views, landmark_weights), numbers)
    found = _of_key_frames(fitter, targets, views, config)
    joint = found.solution
    if views.is_rig:
        agreeing = agreeing_views(landmarks, found.targets, joint.rows, joint.shape)
        if agreeing is not found.targets:
            held = shape is not None
            joint = landmarks.fit(agreeing, joint.rows, joint.shape, joint.focal_px, hold_shape=held)
    rows = torch.zeros(views.num_frames, joint.rows.shape[1])
    for start in range(0, len(numbers), _FRAMES_AT_ONCE):
        block = np.arange(start, min(start + _FRAMES_AT_ONCE, len(numbers)))
        part = select(targets, block)
        begin = initial_rows(landmarks.head, joint.shape, part, joint.focal_px)
        part = fitter.visible(part, begin, joint.focal_px)
        own = landmarks.fit_rows(part, begin, joint.shape, joint.focal_px)
        agreeing = agreeing_views(landmarks, part, own, joint.shape)
        if agreeing is not part:
            own = landmarks.fit_rows(agreeing, own, joint.shape, joint.focal_px)
        rows[torch.from_numpy(numbers[block])] = own
    rows[torch.from_numpy(numbers), :3] = unwrapped(rows[torch.from_numpy(numbers), :3])
    return replace(joint, rows=rows)


def check_rig(views: SequenceViews, head: HeadModel, config: TrackConfig) -> None:
    """Ask of a rig, before it is tracked, whether its cameras can be where they are said to be.

    Args:
        views: The rig.
        head: Carries the landmarks of the observations' set.
        config: Number of key frames.

    Raises:
        InputError: No head can be where all cameras see one: their calibration is wrong.
    """
    targets = select(targets_of(views, _trust_in_fixed(views)), np.flatnonzero(views.detected))
    _of_key_frames(_joint_fitter(views, head, config), targets, views, config)


def starting_rows(views: SequenceViews, head: HeadModel) -> Float[Tensor, "frames columns"]:
    """Rigid poses of a rig's resting head at the timesteps with a face, zeros elsewhere.

    Args:
        views: The rig.
        head: Carries the landmarks of the observations' set.
    """
    numbers = np.flatnonzero(views.detected)
    targets = select(targets_of(views, _trust_in_fixed(views)), numbers)
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
    fitter = JointFitter(head, embedding, 1.0, hidden_trust=_hidden_trust(views))
    targets = fitter.visible(targets_of(views, landmark_weights), rows, 1.0)
    return np.stack([view.weights for view in agreeing_views(fitter.landmarks, targets, rows, shape)])


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


def _joint_fitter(
    views: SequenceViews, head: HeadModel, config: TrackConfig, shape: Float[Tensor, " shapes"] | None = None
) -> JointFitter:
    embedding = landmark_set(views.first.landmark_set).embedding
    focal_px, known = config.focal_px, config.focal_px is not None
    if focal_px is None:
        focal_px = config.focal_ratio * max(views.first.size_hw)
    return JointFitter(head, embedding, focal_px, shape, holds_focal=known, hidden_trust=_hidden_trust(views))


def _hidden_trust(views: SequenceViews) -> float:
    return _HIDDEN_TRUST_OF_SOLVED_RIG if views.solved else 0.0


def _of_key_frames(fitter: JointFitter, targets: RigTargets, views: SequenceViews, config: TrackConfig) -> JointFit:
    """A head fitted to the key frames; a rig whose calibration contradicts them is refused."""
    features = pose_features(fitter.first_rows(targets), targets, views)
    key = key_frames_of_groups(
        views.scores[views.detected], features, views.group[views.detected], config.num_key_frames
    )
    chosen = select(targets, key)
    joint = fitter.fit(chosen)
    if views.is_rig and not views.solved:
        check_calibration(fitter, chosen, joint, [views.name(view) for view in range(views.num_views)])
    return joint


def _trust_in_fixed(views: SequenceViews) -> Float[np.ndarray, "views frames landmarks"]:
    """1 for every detected point that stays in one place of the surface."""
    fixed = landmark_set(views.first.landmark_set).fixed
    return (views.detected_by_view[..., None] & fixed).astype(np.float32)


def targets_of(views: SequenceViews, weights: Float[np.ndarray, "views frames landmarks"]) -> RigTargets:
    """What the landmark fit is given of all views.

    Args:
        views: With their cameras, where they are known.
        weights: Trust per point.
    """
    return tuple(
        LandmarkTargets(
            positions_px=views.landmarks_px(number),
            weights=weights[number],
            size_hw=view.size_hw,
            landmark_set=view.landmark_set,
            calibrated=None if view.calibrated is None else view.calibrated.camera,
            group=views.group,
            num_groups=int(views.group.max()) + 1,
        )
        for number, view in enumerate(views.observations)
    )


def agreeing_views(fitter: LandmarkFitter, targets: RigTargets, rows: Tensor, shape: Tensor) -> RigTargets:
    """A rig's targets without the views that saw something else; the same object if there are none, or nothing else.

    Args:
        fitter: Of the head.
        targets: Detections of some frames.
        rows: Fitted to them.
        shape: Likewise.
    """
    if targets[0].calibrated is None:
        return targets
    errors = np.nan_to_num(fitter.errors_percent(targets, rows, shape, 1.0))
    agreeing = errors < _OTHER_FACE_PERCENT
    left = np.any([view.seen & own for view, own in zip(targets, agreeing, strict=True)], axis=0)
    agreeing |= ~left
    if agreeing.all():
        return targets
    return tuple(view.with_weights(view.weights * own[:, None]) for view, own in zip(targets, agreeing, strict=True))


def pose_features(
    rows: Float[Tensor, "frames columns"], targets: RigTargets, views: SequenceViews
) -> Float[np.ndarray, "frames 3"]:
    """Pitch and yaw in radians, and mouth opening over face height in the view that sees the face best.

    Args:
        rows: Of the timesteps with a face.
        targets: Of those.
        views: The sequence.
    """
    numbers = np.flatnonzero(views.detected)
    scores = np.stack([np.where(view.detected, view.scores, -1) for view in views.observations])[:, numbers]
    every = np.arange(len(numbers))
    points = np.stack([view.positions_px for view in targets])[scores.argmax(axis=0), every]
    names = landmark_set(targets[0].landmark_set)
    upper_lip, lower_lip = names.inner_lips
    height = np.linalg.norm(points[:, names.chin] - points[:, names.upper], axis=1)
    opening = np.linalg.norm(points[:, lower_lip] - points[:, upper_lip], axis=1) / np.maximum(height, 1)
    turns = rows[:, :3]
    if views.is_rig:  # The rig's world may lie in any way: turns count from the first frame's head, about its axes.
        turned = matrix_from_axis_angle(turns)
        turns = axis_angle_from_matrix(turned[0].T @ turned)
    return np.column_stack([turns.numpy()[:, :2], opening])
