"""Curves that grow on the head, and the ribbons facing the camera that they are drawn as."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from .head_asset import Array


@dataclass(frozen=True, kw_only=True)
class Strands:
    """Curves (S, P, 3) with widths (S, P) in metres and a brightness (S,)."""

    points: Array
    widths: Array
    tint: Array


@dataclass(frozen=True, kw_only=True)
class RootedStrands:
    """Strands in the frames of the triangles they grow on."""

    faces: npt.NDArray[np.int64]
    """(S, 3) vertex indices."""
    weights: Array
    """(S, 3) barycentrics of the root."""
    local: Array
    """(S, P, 3) curve in the triangle's frame (edge, across, normal)."""
    widths: Array
    tint: Array

    def posed(self, vertices: Array) -> Strands:
        """The strands on posed vertices."""
        root = np.einsum("sk,skc->sc", self.weights, vertices[self.faces])
        points = root[:, None] + np.einsum("spk,skc->spc", self.local, triangle_frames(vertices, self.faces))
        return Strands(points=points, widths=self.widths, tint=self.tint)


def triangle_frames(vertices: Array, faces: npt.NDArray[np.int64]) -> Array:
    """(S, 3, 3) rows: unit edge, unit across, unit normal."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    edge = (b - a) / np.linalg.norm(b - a, axis=1, keepdims=True)
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return np.stack([edge, np.cross(normal, edge), normal], axis=1)


def root_strands(vertices: Array, faces: npt.NDArray[np.int64], weights: Array, strands: Strands) -> RootedStrands:
    """Expresses strands in the frames of the triangles at their roots."""
    root = np.einsum("sk,skc->sc", weights, vertices[faces])
    local = np.einsum("spc,skc->spk", strands.points - root[:, None], triangle_frames(vertices, faces))
    return RootedStrands(faces=faces, weights=weights, local=local, widths=strands.widths, tint=strands.tint)


def unit(vectors: Array) -> Array:
    """Normalised along the last axis."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def closest_weights(vertices: Array, faces: npt.NDArray[np.int64], points: Array) -> Array:
    """Barycentrics (n, 3) of points projected to their triangles, clipped to them."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    e1, e2, d = b - a, c - a, points - a
    d11, d12, d22 = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
    p1, p2 = (d * e1).sum(1), (d * e2).sum(1)
    denominator = np.maximum(d11 * d22 - d12 * d12, 1e-18)
    v, w = (d22 * p1 - d12 * p2) / denominator, (d11 * p2 - d12 * p1) / denominator
    weights = np.clip(np.stack([1 - v - w, v, w], axis=1), 0, 1)
    return weights / weights.sum(axis=1, keepdims=True)


def nearest_on_faces(
    vertices: Array, faces: npt.NDArray[np.int64], points: Array
) -> tuple[npt.NDArray[np.int64], Array]:
    """The nearest of some faces to each point: vertex indices (n, 3) and barycentrics (n, 3)."""
    near = faces[cKDTree(vertices[faces].mean(axis=1)).query(points, k=12)[1]]
    weights = np.stack([closest_weights(vertices, near[:, k], points) for k in range(12)], axis=1)
    feet = np.einsum("nkc,nkcd->nkd", weights, vertices[near])
    best = np.linalg.norm(feet - points[:, None], axis=2).argmin(axis=1)
    rows = np.arange(len(points))
    return near[rows, best], weights[rows, best]


def ribbons(strands: Strands, camera: Array) -> tuple[Array, Array, Array, npt.NDArray[np.int64]]:
    """Triangles facing the camera: positions (n, 3), tangents (n, 3), (across −1…1, along 0…1, tint) (n, 3), faces."""
    count, length = strands.points.shape[:2]
    tangent = unit(np.gradient(strands.points, axis=1))
    side = unit(np.cross(tangent, camera - strands.points)) * (strands.widths / 2)[..., None]
    positions = np.stack([strands.points - side, strands.points + side], axis=2)
    along = np.broadcast_to(np.linspace(0, 1, length)[None, :, None], (count, length, 2))
    across = np.broadcast_to(np.array([-1.0, 1.0]), (count, length, 2))
    tint = np.broadcast_to(strands.tint[:, None, None], (count, length, 2))
    base = (np.arange(count)[:, None] * length + np.arange(length - 1)) * 2
    quads = np.stack([base, base + 1, base + 3, base, base + 3, base + 2], axis=-1)
    return (
        positions.reshape(-1, 3),
        np.repeat(tangent[:, :, None], 2, axis=2).reshape(-1, 3),
        np.stack([across, along, tint], axis=-1).reshape(-1, 3),
        quads.reshape(-1, 3),
    )
