"""How points of a posed head move in a single camera's picture when the identity or the focal length changes."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.geometry.camera import Camera


@dataclass(frozen=True, kw_only=True)
class SharedRates:
    """Derivatives at one frame's state; calling gives pixels per unit of each coefficient and each log focal length."""

    world: Float[Tensor, "vertices 3"]
    moved: Float[Tensor, "vertices 3 shapes"]
    """Of the world's vertices by the identity (`raytrack.fit.surface.SurfaceModel.shape_jacobian`)."""
    camera: Camera
    face_depth_m: float
    """Heads recede with a growing focal length so that this point stays where it is (`raytrack.fit.focal`)."""
    focal: int | None
    """Which of the focal lengths the frame has; None: they are known, and nothing moves."""
    num_focals: int

    def __call__(
        self, corners: Int[np.ndarray, "points 3"], weights: Float[np.ndarray, "points 3"]
    ) -> Float[np.ndarray, "points 2 shared"]:
        """Rates of points, each taken as the weighted sum of its projected corners.

        Args:
            corners: Vertices.
            weights: Barycentric.
        """
        by_vertex = torch.cat([self._by_shape(), self._by_focal()], dim=2).numpy()
        weights = weights.astype(np.float32)
        result = weights[:, 0, None, None] * by_vertex[corners[:, 0]]
        for corner in (1, 2):
            result += weights[:, corner, None, None] * by_vertex[corners[:, corner]]
        return result

    def _by_shape(self) -> Float[Tensor, "vertices 2 shapes"]:
        pose, focal = self.camera.cam_from_world, self.camera.intrinsics
        cam = self.camera.cam_points(self.world)
        along = (cam[:, :2] / cam[:, 2:])[..., None]
        scale = torch.stack([focal[0, 0], focal[1, 1]])[None, :, None] / cam[:, 2, None, None]
        return ((pose[None, :2, :3] - along * pose[None, 2:, :3]) * scale) @ self.moved

    def _by_focal(self) -> Float[Tensor, "vertices 2 focals"]:
        result = torch.zeros(len(self.world), 2, self.num_focals)
        if self.focal is not None:
            depth = self.camera.cam_points(self.world)[:, 2:]
            from_centre = self.camera.project(self.world) - self.camera.intrinsics[:2, 2]
            result[..., self.focal] = from_centre * (1 - self.face_depth_m / depth)
        return result
