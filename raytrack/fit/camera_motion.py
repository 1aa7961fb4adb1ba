"""Small changes of a camera whose place and focal length are being found, and how they move its picture.

A change is seven numbers: a turn (axis-angle, radians) and a shift (metres) of what the camera sees, about a pivot in
front of it, and a log factor on the focal length. The pivot is where the head is, and it recedes as the focal length
grows, so that none of the seven alone carries the head out of the picture or makes it much larger: they are nearly
independent of each other.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.camera import Camera
from raytrack.geometry.rotation import matrix_from_axis_angle, skew

NUM_CAMERA_PARAMETERS = 7
MOST_TURN_RAD, MOST_SHIFT_M, MOST_LOG_FOCAL = 0.3, 0.2, 0.3
"""Longest step of each kind."""


def camera_rates(
    camera: Camera, points_world: Float[Tensor, "points 3"], pivot: Float[Tensor, "3"]
) -> Float[Tensor, "points 2 parameters"]:
    """Pixels per unit of each of a camera's seven parameters.

    Args:
        camera: As it is.
        points_world: What it sees.
        pivot: In the camera's axes.
    """
    cam = camera.cam_points(points_world)
    depth = cam[:, 2:, None]
    zero = torch.zeros_like(cam[:, 0])
    across, down, ahead = cam.unbind(dim=1)
    flat = torch.stack([ahead, zero, -across, zero, ahead, -down], dim=1).reshape(-1, 2, 3)
    focal = torch.stack([camera.intrinsics[0, 0], camera.intrinsics[1, 1]])[:, None]
    by_place = focal * flat / depth.square()
    by_turn = -by_place @ skew(cam - pivot)
    centred = focal[:, 0] * cam[:, :2] / depth[..., 0]
    by_focal = centred + by_place[..., 2] * pivot[2]
    return torch.cat([by_turn, by_place, by_focal[..., None]], dim=-1)


def moved_camera(camera: Camera, motion: Float[Tensor, "7"], pivot: Float[Tensor, "3"]) -> Camera:
    """The camera after a change; steps that are too long are cut.

    Args:
        camera: Before.
        motion: The seven parameters.
        pivot: In the axes of the camera before.
    """
    turn, shift, log_factor = motion.split((3, 3, 1))
    factor = log_factor.clamp(-MOST_LOG_FOCAL, MOST_LOG_FOCAL).exp()
    rotation = matrix_from_axis_angle(shortened(turn, MOST_TURN_RAD))
    old_rotation, old_translation = camera.cam_from_world.split((3, 1), dim=1)
    receding = torch.cat([pivot[:2], pivot[2:] * factor])
    translation = rotation @ (old_translation[:, 0] - pivot) + receding + shortened(shift, MOST_SHIFT_M)
    scale = torch.diag(torch.cat([factor, factor, torch.ones_like(factor)]))
    centre = camera.intrinsics * torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, 1]]).to(camera.intrinsics)
    return Camera(
        intrinsics=scale @ (camera.intrinsics - centre) + centre,
        cam_from_world=torch.cat([rotation @ old_rotation, translation[:, None]], dim=1),
        size_hw=camera.size_hw,
    )


def shortened(vector: Float[Tensor, "3"], longest: float) -> Float[Tensor, "3"]:
    """The vector, no longer than so much."""
    return vector * (longest / vector.norm().clamp_min(longest))


def without_place(motions: Float[Tensor, "cameras 7"], held: int) -> Float[Tensor, "cameras 7"]:
    """Changes of which one moves its camera not at all, but for the focal length."""
    kept = motions.clone()
    kept[held, : NUM_CAMERA_PARAMETERS - 1] = 0
    return kept
