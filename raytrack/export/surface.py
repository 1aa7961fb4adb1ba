"""Distances between a point set and a triangle mesh, and the similarity that aligns two point sets."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

_CANDIDATES = 24
"""Triangles tried for each point: those with the nearest centres. Ample where triangles are of similar size."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """``x -> scale * rotation @ x + translation``."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """The transformed points."""
        return self.scale * points @ self.rotation.T + self.translation


def best_similarity(source: Float[np.ndarray, "points 3"], target: Float[np.ndarray, "points 3"]) -> Similarity:
    """The least-squares similarity from source to target of corresponding points (Umeyama, 1991).

    Raises:
        ValueError: Fewer than three points, or the source has no extent.
    """
    if len(source) < 3 or source.shape != target.shape:
        raise ValueError(f"need three or more pairs of points, got {source.shape} and {target.shape}")
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    spread = float((source_centred**2).sum())
    if spread == 0:
        raise ValueError("the source points coincide: no similarity aligns them")
    left, singular, right = np.linalg.svd(target_centred.T @ source_centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    scale = float((singular * signs).sum() / spread)
    return Similarity(scale=scale, rotation=rotation, translation=target_mean - scale * rotation @ source_mean)


def distance_to_surface(
    points: Float[np.ndarray, "points 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
) -> Float[np.ndarray, " points"]:
    """Distance of each point to the nearest point of a mesh's surface, in the unit of the points."""
    triangles = vertices[faces]
    count = min(_CANDIDATES, len(faces))
    _, nearest = KDTree(triangles.mean(axis=1)).query(points, k=count)
    nearest = np.asarray(nearest).reshape(len(points), count)
    closest = closest_on_triangles(np.repeat(points, count, axis=0), triangles[nearest.reshape(-1)])
    distances = np.linalg.norm(closest - np.repeat(points, count, axis=0), axis=-1)
    return distances.reshape(len(points), count).min(axis=1)


def closest_on_triangles(
    points: Float[np.ndarray, "pairs 3"], triangles: Float[np.ndarray, "pairs 3 3"]
) -> Float[np.ndarray, "pairs 3"]:
    """The nearest point of each triangle to its point: the foot of the perpendicular, else the nearest edge point."""
    corner_a, corner_b, corner_c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    edge_points = np.stack(
        [
            _closest_on_segments(points, corner_a, corner_b),
            _closest_on_segments(points, corner_b, corner_c),
            _closest_on_segments(points, corner_c, corner_a),
        ]
    )
    nearest_edge = np.linalg.norm(edge_points - points, axis=-1).argmin(axis=0)
    on_edge = edge_points[nearest_edge, np.arange(len(points))]
    normal = np.cross(corner_b - corner_a, corner_c - corner_a)
    squared = np.maximum((normal**2).sum(axis=-1), 1e-30)[:, None]
    foot = points - ((points - corner_a) * normal).sum(axis=-1, keepdims=True) / squared * normal
    weights = np.stack(
        [
            (np.cross(second - first, foot - first) * normal).sum(axis=-1)
            for first, second in ((corner_a, corner_b), (corner_b, corner_c), (corner_c, corner_a))
        ]
    )
    inside = (weights >= 0).all(axis=0) & (squared[:, 0] > 1e-30)
    return np.where(inside[:, None], foot, on_edge)


def _closest_on_segments(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    along = ends - starts
    squared = np.maximum((along**2).sum(axis=-1), 1e-30)
    fraction = np.clip(((points - starts) * along).sum(axis=-1) / squared, 0, 1)
    return starts + fraction[:, None] * along
