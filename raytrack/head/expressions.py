"""From the 52 expression scores of Face Mesh (ARKit's names) to a head's parameters: a starting point for fits."""

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

GAZE_HORIZONTAL_RAD = 0.52
"""Eye rotation at score 1 of eyeLookIn or eyeLookOut."""
GAZE_UP_RAD, GAZE_DOWN_RAD = 0.42, 0.44
GAZE = (
    # Column of eyes_pose, score name, rotation at score 1 (left eye, then right; x down, y to the subject's left).
    (0, "eyeLookDownLeft", GAZE_DOWN_RAD),
    (0, "eyeLookUpLeft", -GAZE_UP_RAD),
    (1, "eyeLookOutLeft", GAZE_HORIZONTAL_RAD),
    (1, "eyeLookInLeft", -GAZE_HORIZONTAL_RAD),
    (3, "eyeLookDownRight", GAZE_DOWN_RAD),
    (3, "eyeLookUpRight", -GAZE_UP_RAD),
    (4, "eyeLookOutRight", -GAZE_HORIZONTAL_RAD),
    (4, "eyeLookInRight", GAZE_HORIZONTAL_RAD),
)


def parameters_from_scores(
    head: HeadModel, score_names: tuple[str, ...], scores: Float[Tensor, "frames scores"]
) -> FrameParameters:
    """Expression, jaw and gaze that the scores describe; head pose and neck stay 0.

    Args:
        head: Expressions that it does not have, or that are off by default, are left out.
        score_names: ARKit's names, in the order of the columns; unknown ones (such as ``_neutral``) are left out.
        scores: In [0, 1].

    Raises:
        ValueError: Names and columns do not match.
    """
    if len(score_names) != scores.shape[1]:
        raise ValueError(f"{len(score_names)} score names for {scores.shape[1]} columns")
    columns = {name: scores[:, index] for index, name in enumerate(score_names)}
    expression = scores.new_zeros(len(scores), head.num_expressions)
    for index, name in enumerate(head.expression_names):
        if name in columns and bool(head.expression_enabled[index]):
            expression[:, index] = columns[name]
    eyes = scores.new_zeros(len(scores), 6)
    for column, name, full_rad in GAZE:
        if name in columns:
            eyes[:, column] += full_rad * columns[name]
    absent = scores.new_zeros(len(scores))
    opening = columns.get("jawOpen", absent) * head.jaw_open_full_rad
    sideways = (columns.get("jawLeft", absent) - columns.get("jawRight", absent)) * head.jaw_side_full_rad
    still = scores.new_zeros(len(scores), 3)
    return FrameParameters(
        rotation=still,
        translation=still,
        neck_pose=still,
        jaw_pose=torch.stack([opening, sideways, absent], dim=1),
        eyes_pose=eyes,
        expression=expression,
    )
