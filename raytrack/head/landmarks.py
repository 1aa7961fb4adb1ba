"""Landmarks as points on the head's surface."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.geometry.closest import SurfacePoints


@dataclass(frozen=True, kw_only=True)
class LandmarkEmbedding:
    """Points on a surface: a face and barycentric weights each."""

    faces: Int[Tensor, " points"]
    barycentric: Float[Tensor, "points 3"]


@dataclass(frozen=True, kw_only=True)
class ContourEmbedding:
    """The 17 jawline points per head yaw: where the visible outline of the face runs."""

    yaw_deg: Float[Tensor, " yaws"]
    """Turn of the head about +y relative to the direction to the camera, ascending; positive: to the subject's left."""
    faces: Int[Tensor, "yaws 17"]
    barycentric: Float[Tensor, "yaws 17 3"]

    def rows(self, yaw_deg: Float[Tensor, " frames"]) -> Int[Tensor, " frames"]:
        """Index of the nearest tabulated yaw."""
        return (yaw_deg[:, None] - self.yaw_deg).abs().argmin(dim=1)


@dataclass(frozen=True, kw_only=True)
class SeenLandmarks:
    """Landmarks of a head where a picture of it shows them."""

    points: SurfacePoints
    """For every landmark, also those that are not on the surface (face 0 there)."""
    found: Bool[np.ndarray, " points"]
    """Whether the landmark lies on the surface seen."""


def embedded_points(
    vertices: Float[Tensor, "*batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    embedding: LandmarkEmbedding,
) -> Float[Tensor, "*batch points 3"]:
    """Positions of embedded points. Differentiable in the vertices."""
    corners = faces[embedding.faces]
    picked = vertices.index_select(-2, corners.reshape(-1))
    picked = picked.reshape(*vertices.shape[:-2], len(corners), 3, 3)
    return (picked * embedding.barycentric[..., None]).sum(dim=-2)


def contour_points(
    vertices: Float[Tensor, "frames vertices 3"],
    faces: Int[Tensor, "faces 3"],
    contour: ContourEmbedding,
    yaw_deg: Float[Tensor, " frames"],
) -> Float[Tensor, "frames 17 3"]:
    """The jawline that a camera sees, chosen per frame by the head's yaw. Differentiable in the vertices."""
    rows = contour.rows(yaw_deg)
    corners = faces[contour.faces[rows]]
    frames = torch.arange(len(rows), device=vertices.device)[:, None, None]
    return (vertices[frames, corners] * contour.barycentric[rows][..., None]).sum(dim=-2)
