"""Soft masks, noise and blending: smooth functions of positions in metres."""

import numpy as np
from scipy import ndimage


def value_noise(points: np.ndarray, cell_m: float, seed: int) -> np.ndarray:
    """Smooth noise in about −1…1 with features of `cell_m`."""
    grid = np.random.default_rng(seed).normal(0, 1, (48, 48, 48)).astype(np.float32)
    coordinates = (points / cell_m + 1000.0).T
    return ndimage.map_coordinates(grid, coordinates % 47.0, order=1, mode="grid-wrap")


def bump(points: np.ndarray, centre, radii) -> np.ndarray:
    """Gaussian of the offset measured in radii."""
    return np.exp(-(((points - np.asarray(centre)) / np.asarray(radii)) ** 2).sum(axis=-1))


def step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth 0…1 ramp from `low` to `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blend(colour: np.ndarray, other, share: np.ndarray) -> np.ndarray:
    """Mix towards `other` by a share per texel."""
    share = np.clip(share, 0, 1)[:, None]
    return colour * (1 - share) + np.asarray(other) * share
