"""The nearest point of a triangle mesh."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

_CANDIDATES = 24
"""Triangles tried for each point: those with the nearest centres. Ample where triangles are of similar size."""


@dataclass(frozen=True, kw_only=True)
class SurfacePoints:
    """Points on a mesh."""

    faces: Int[np.ndarray, " points"]
    barycentric: Float[np.ndarray, "points 3"]

    def on(
        self, values: Float[np.ndarray, "vertices channels"], faces: Int[np.ndarray, "faces 3"]
    ) -> Float[np.ndarray, "points channels"]:
        """Values given at corners, at these points."""
        return (values[faces[self.faces]] * self.barycentric[..., None]).sum(axis=1)


def nearest_on_mesh(
    points: Float[np.ndarray, "points 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
) -> SurfacePoints:
    """The point of a mesh nearest to each given point.

    Raises:
        ValueError: The mesh has no faces.
    """
    if len(faces) == 0:
        raise ValueError("a mesh without faces has no nearest point")
    triangles = vertices[faces]
    count = min(_CANDIDATES, len(faces))
    _, found = KDTree(triangles.mean(axis=1)).query(points, k=count)
    found = np.asarray(found).reshape(len(points), count)
    repeated = np.repeat(points, count, axis=0)
    candidates = triangles[found.reshape(-1)]
    weights = nearest_barycentric(repeated, candidates)
    nearest = (candidates * weights[..., None]).sum(axis=1)
    best = np.linalg.norm(nearest - repeated, axis=1).reshape(len(points), count).argmin(axis=1)
    rows = np.arange(len(points))
    return SurfacePoints(faces=found[rows, best], barycentric=weights.reshape(len(points), count, 3)[rows, best])


def distance_to_surface(
    points: Float[np.ndarray, "points 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
) -> Float[np.ndarray, " points"]:
    """Distance of each point to the nearest point of a mesh's surface, in the unit of the points."""
    nearest = nearest_on_mesh(points, vertices, faces).on(vertices, faces)
    return np.linalg.norm(nearest - points, axis=-1)


def closest_on_triangles(
    points: Float[np.ndarray, "pairs 3"], triangles: Float[np.ndarray, "pairs 3 3"]
) -> Float[np.ndarray, "pairs 3"]:
    """The nearest point of each triangle to its point."""
    return (triangles * nearest_barycentric(points, triangles)[..., None]).sum(axis=1)


def nearest_barycentric(
    points: Float[np.ndarray, "pairs 3"], triangles: Float[np.ndarray, "pairs 3 3"]
) -> Float[np.ndarray, "pairs 3"]:
    """Barycentric weights of the point of each triangle that is nearest to its point.

    Inside its prism that is the foot of the perpendicular, elsewhere the nearest point of the edges.
    """
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    offset = points - triangles[:, 0]
    a, b, c = (first**2).sum(1), (first * second).sum(1), (second**2).sum(1)
    d, e = (first * offset).sum(1), (second * offset).sum(1)
    determinant = a * c - b * b
    is_flat = determinant <= 1e-14 * a * c  # all three corners on a line: only its edges count
    determinant = np.where(is_flat, 1, determinant)
    v, w = (c * d - b * e) / determinant, (a * e - b * d) / determinant
    plane = np.stack([1 - v - w, v, w], axis=1)
    choices = [_on_edge(points, triangles, corner, (corner + 1) % 3) for corner in range(3)]
    distances = np.stack(
        [np.linalg.norm((triangles * choice[..., None]).sum(1) - points, axis=1) for choice in choices]
    )
    edge = np.stack(choices)[distances.argmin(axis=0), np.arange(len(points))]
    is_inside = (plane >= 0).all(axis=1) & ~is_flat
    return np.where(is_inside[:, None], plane, edge)


def _on_edge(points: np.ndarray, triangles: np.ndarray, start: int, end: int) -> np.ndarray:
    along = triangles[:, end] - triangles[:, start]
    share = ((points - triangles[:, start]) * along).sum(1) / np.maximum((along**2).sum(1), 1e-30)
    weights = np.zeros((len(points), 3))
    weights[:, end] = np.clip(share, 0, 1)
    weights[:, start] = 1 - weights[:, end]
    return weights
