"""Eyebrows, drawn stroke by stroke."""

import cv2
import numpy as np
from scipy import ndimage

from .texels import Texels

BROW_STROKES = 420
BROW_PX_PER_M = 20000


def brow_picture(rng: np.random.Generator) -> np.ndarray:
    """One brow (left side of the face) as strokes; 60 × 30 mm, x outwards, the eye's centre in the left third."""
    height, width = int(0.030 * BROW_PX_PER_M), int(0.060 * BROW_PX_PER_M)
    picture = np.zeros((height, width), np.float32)
    for _ in range(BROW_STROKES):
        along = rng.beta(1.15, 1.25)
        thickness = np.interp(along, [0, 0.25, 0.6, 1], [0.0036, 0.0042, 0.0032, 0.0008])
        root = np.array(
            [
                np.interp(along, [0, 1], [-0.0165, 0.0245]),
                np.interp(along, [0, 0.35, 0.68, 1], [0.0168, 0.0200, 0.0222, 0.0168]) + rng.uniform(-1, 1) * thickness,
            ]
        )
        angle = np.radians(
            np.interp(along, [0, 0.25, 0.6, 1], [72, 38, 8, -22]) + rng.normal(0, 9) - 12 * (root[1] > 0.021)
        )
        length = rng.uniform(0.0045, 0.0075) * np.interp(along, [0, 1], [1.0, 0.8])
        middle = root + 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        tip = middle + 0.5 * length * np.array([np.cos(angle - 0.35), np.sin(angle - 0.35)])
        curve = np.stack([(1 - t) ** 2 * root + 2 * t * (1 - t) * middle + t**2 * tip for t in np.linspace(0, 1, 8)])
        pixels = np.stack(
            [curve[:, 0] * BROW_PX_PER_M + width / 3, height - (curve[:, 1] - 0.005) * BROW_PX_PER_M], axis=1
        )
        layer = np.zeros_like(picture)
        cv2.polylines(layer, [np.round(pixels * 16).astype(np.int32)], False, 1.0, 6, cv2.LINE_AA, 4)
        picture = picture + (1 - picture) * layer * rng.uniform(0.45, 0.8)
    return cv2.GaussianBlur(picture, (0, 0), 3.2)


def brow_texels(texels: Texels, eyes: np.ndarray, seed: int) -> np.ndarray:
    """Brow coverage per texel, projected from the front."""
    coverage = np.zeros(len(texels.face))
    for k, eye in enumerate(eyes):
        picture = brow_picture(np.random.default_rng(seed + k))
        height, width = picture.shape
        x = (texels.position[:, 0] - eye[0]) * np.sign(eye[0]) * BROW_PX_PER_M + width / 3
        y = height - (texels.position[:, 1] - eye[1] - 0.005) * BROW_PX_PER_M
        inside = (texels.position[:, 2] > eye[2] - 0.015) & (texels.normal[:, 2] > 0.05)
        value = ndimage.map_coordinates(picture, [y, x], order=1, mode="constant")
        coverage = np.maximum(coverage, value * inside)
    return coverage
