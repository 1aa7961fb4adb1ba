"""Pinhole cameras; the one module that converts between OpenCV and OpenGL axes.

World: metres, y up, OpenGL handedness. A camera looks along its own +z with y down (OpenCV). Pixel centres lie at
half-integers: (0, 0) is the top-left corner of the image, and row 0 is its top row.

Clip space is what the renderer takes: after division by w, x = −1 is the left edge of the image, y = −1 its top edge
(y grows with the row index), and z runs from −1 (near) to 1 (far).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NEAR_M = 0.05
FAR_M = 20.0
GL_FROM_CV = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""Flips y and z: camera axes of OpenCV to those of OpenGL and back."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Pinhole camera in OpenCV axes: x right, y down, z forward."""

    intrinsics: Float[Tensor, "*#batch 3 3"]
    """Focal lengths and principal point in pixels; (0, 0) is the top-left corner."""
    cam_from_world: Float[Tensor, "*#batch 3 4"]
    """Rigid transform in metres."""
    size_hw: tuple[int, int]

    @property
    def position(self) -> Float[Tensor, "*#batch 3"]:
        """Where the camera is in the world, metres. Differentiable in the pose."""
        rotation, translation = self.cam_from_world.split((3, 1), dim=-1)
        return -(rotation.mT @ translation)[..., 0]

    def cam_points(self, points_world: Float[Tensor, "*#batch points 3"]) -> Float[Tensor, "*#batch points 3"]:
        """World points in camera axes, metres. Differentiable in the points and the pose."""
        rotation, translation = self.cam_from_world.split((3, 1), dim=-1)
        return points_world @ rotation.mT + translation.mT

    def project(self, points_world: Float[Tensor, "*#batch points 3"]) -> Float[Tensor, "*#batch points 2"]:
        """Project world points to pixels (pixel centres lie at half-integers).

        Differentiable in the points, the intrinsics and the pose.
        """
        points_px = self.cam_points(points_world) @ self.intrinsics.mT
        return points_px[..., :2] / points_px[..., 2:]

    def clip(self, points_world: Float[Tensor, "*#batch points 3"]) -> Float[Tensor, "*#batch points 4"]:
        """World points in clip space (x, y, z, w); w is the depth in metres.

        Differentiable in the points, the intrinsics and the pose.
        """
        height, width = self.size_hw
        cam = self.cam_points(points_world)
        homogeneous = cam @ self.intrinsics.mT
        depth = cam[..., 2]
        x = homogeneous[..., 0] * (2 / width) - depth
        y = homogeneous[..., 1] * (2 / height) - depth
        z = depth * ((FAR_M + NEAR_M) / (FAR_M - NEAR_M)) - 2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
        return torch.stack([x, y, z, depth], dim=-1)

    def to(self, target: torch.device | str) -> "Camera":
        """The same camera with its tensors on another device."""
        return Camera(
            intrinsics=self.intrinsics.to(target), cam_from_world=self.cam_from_world.to(target), size_hw=self.size_hw
        )

    def scaled(self, size_hw: tuple[int, int]) -> "Camera":
        """The same camera for the same picture resampled to `size_hw`."""
        factor = torch.tensor([size_hw[1] / self.size_hw[1], size_hw[0] / self.size_hw[0], 1.0])
        scale = torch.diag(factor).to(self.intrinsics)
        return Camera(intrinsics=scale @ self.intrinsics, cam_from_world=self.cam_from_world, size_hw=size_hw)


def monocular_camera(focal_px: Float[Tensor, "*batch"], size_hw: tuple[int, int]) -> Camera:
    """The camera of a single-view track: at (0, 0, 1) m, looking down −z, principal point at the image centre.

    Args:
        focal_px: Focal length in pixels of an image of `size_hw`; differentiable.
        size_hw: Height and width of the image in pixels.
    """
    height, width = size_hw
    zero, one = torch.zeros_like(focal_px), torch.ones_like(focal_px)
    rows = [focal_px, zero, one * width / 2, zero, focal_px, one * height / 2, zero, zero, one]
    intrinsics = torch.stack(rows, dim=-1).reshape(*focal_px.shape, 3, 3)
    rotation = GL_FROM_CV.to(focal_px)
    translation = torch.tensor([[0.0], [0.0], [1.0]]).to(focal_px)
    return Camera(intrinsics=intrinsics, cam_from_world=torch.cat([rotation, translation], dim=-1), size_hw=size_hw)
