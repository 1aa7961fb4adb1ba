"""How points of a posed head move in a picture when the identity changes."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.geometry.camera import Camera


def identity_rates(
    camera: Camera,
    world: Float[np.ndarray, "vertices 3"],
    moved: Float[Tensor, "vertices 3 shapes"],
    corners: Int[np.ndarray, "points 3"],
    weights: Float[np.ndarray, "points 3"],
) -> Float[Tensor, "points 2 shapes"]:
    """Pixels per unit of each identity coefficient.

    Args:
        camera: What sees the head.
        world: Its posed vertices.
        moved: How they move (`SurfaceModel.shape_jacobian`).
        corners: Vertices of each point.
        weights: Their shares.
    """
    shares = torch.from_numpy(np.ascontiguousarray(weights, np.float32))
    places = torch.from_numpy(np.ascontiguousarray(corners, np.int64))
    points = (torch.from_numpy(world)[places] * shares[..., None]).sum(dim=1)
    pose, focal = camera.cam_from_world, camera.intrinsics
    cam = camera.cam_points(points)
    scale = torch.stack([focal[0, 0], focal[1, 1]]) / cam[:, 2:]
    rate = (pose[None, :2, :3] - (cam[:, :2] / cam[:, 2:])[..., None] * pose[None, 2:, :3]) * scale[..., None]
    own = torch.zeros(len(points), *moved.shape[1:])
    for corner in range(3):
        own.addcmul_(moved[places[:, corner]], shares[:, corner, None, None])
    return rate @ own
