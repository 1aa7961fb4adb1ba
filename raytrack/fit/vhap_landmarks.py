"""The 68 iBUG points of a posed head as a camera sees them."""

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

_CAMERA_POSITION = (0.0, 0.0, 1.0)
_NUM_JAWLINE = 17


@torch.no_grad()
def yaw_deg(vertices: Float[Tensor, "frames vertices 3"], parameters: FrameParameters) -> Float[Tensor, " frames"]:
    """Turn of the head about the world's +y, from the direction to the monocular camera to where it faces.

    Positive to the subject's left.
    """
    turn = matrix_from_axis_angle(parameters.rotation) @ matrix_from_axis_angle(parameters.neck_pose)
    facing = turn[:, :, 2]
    to_camera = vertices.new_tensor(_CAMERA_POSITION) - vertices.mean(dim=1)
    angle = torch.atan2(facing[:, 0], facing[:, 2]) - torch.atan2(to_camera[:, 0], to_camera[:, 2])
    return torch.rad2deg(torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi)


def ibug_points(
    head: HeadModel, vertices: Float[Tensor, "frames vertices 3"], parameters: FrameParameters
) -> Float[Tensor, "frames 68 3"]:
    """The iBUG points in the world; the jawline by yaw, where the head has a table of it.

    Differentiable in the vertices; the choice from the table is not.

    Args:
        head: Carries `ibug`.
        vertices: Of the head, in the world.
        parameters: Which the vertices were posed with.
    """
    points = head.landmarks_world(vertices, "ibug")
    if head.contour is None:
        return points
    jawline = head.contour_world(vertices, yaw_deg(vertices, parameters))
    return torch.cat([jawline, points[:, _NUM_JAWLINE:]], dim=1)
