"""The 68 iBUG points of a posed head as a camera sees them."""

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.vhap_terms import NUM_JAWLINE
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters


@torch.no_grad()
def yaw_deg(
    vertices: Float[Tensor, "frames vertices 3"], parameters: FrameParameters, camera: Camera
) -> Float[Tensor, " frames"]:
    """Turn of the head about its own axis upwards, from the direction to a camera to where it faces.

    Positive to the subject's left.
    """
    to_camera = camera.position - vertices.mean(dim=1)
    across, _, forward = (to_camera[:, None] @ parameters.head_rotation())[:, 0].unbind(dim=-1)
    return -torch.rad2deg(torch.atan2(across, forward))


def ibug_points(
    head: HeadModel, vertices: Float[Tensor, "frames vertices 3"], parameters: FrameParameters, camera: Camera
) -> Float[Tensor, "frames 68 3"]:
    """The iBUG points in the world; the jawline by yaw, where the head has a table of it.

    Differentiable in the vertices; the choice from the table is not.

    Args:
        head: Carries `ibug`.
        vertices: Of the head, in the world.
        parameters: Which the vertices were posed with.
        camera: Whose view decides about the jawline.
    """
    points = head.landmarks_world(vertices, "ibug")
    if head.contour is None:
        return points
    jawline = head.contour_world(vertices, yaw_deg(vertices, parameters, camera))
    return torch.cat([jawline, points[:, NUM_JAWLINE:]], dim=1)
