"""Focal length without zoom: as the focal length grows the head moves away and keeps its size in the picture.

What is left of a change is perspective, the only thing in which the focal length shows. If rows stood still, the first
steps of a focal length would move everything away from the picture's centre, and identity and offsets would take it
for a wider head.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle

_EYES = slice(3, 5)


def face_depth_m(rows: Float[Tensor, "frames columns"], joints: Float[Tensor, "5 3"]) -> Float[Tensor, " frames"]:
    """Distance of the point between the eyes from a single-view track's camera, along its axis, neck at rest.

    Args:
        rows: Packed parameters.
        joints: Resting joints.
    """
    arm = joints[_EYES].mean(dim=0) - joints[0]
    turned = matrix_from_axis_angle(rows[:, :3]) @ arm
    return 1 - (turned[:, 2] + joints[0, 2] + rows[:, 5])


def at_same_size(
    rows: Float[Tensor, "frames columns"],
    joints: Float[Tensor, "5 3"],
    log_focal_change: Float[Tensor, " frames"],
) -> Float[Tensor, "frames columns"]:
    """Rows further away by the ratio by which each frame's focal length grew. Differentiable in the change.

    Args:
        rows: Packed parameters.
        joints: Resting joints.
        log_focal_change: Logarithm of the ratio.
    """
    shift = torch.zeros_like(rows)
    shift[:, 5] = -face_depth_m(rows, joints)
    return rows + shift * log_focal_change.expm1()[:, None]
