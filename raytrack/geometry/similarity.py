"""The similarity that aligns two point sets."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


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
