"""Points of pictures as terms of a least-squares problem: values and slopes at them, metrics, pulls, and their sum."""

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_GLINT = 0.1
"""Colour error from which a bright spot in an eye is a light's reflection rather than the eye."""


def absolute(error: np.ndarray, weight: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """Metrics and pulls of weighted absolute x and y errors, quadratic below `smallest`."""
    weight = weight[:, None] / np.maximum(np.abs(error), smallest)
    metric = np.zeros((len(error), 2, 2))
    metric[:, 0, 0], metric[:, 1, 1] = weight[:, 0], weight[:, 1]
    return metric, weight * error


def glint_trust(error: Float[np.ndarray, "pixels 3"]) -> Float[np.ndarray, " pixels"]:
    """Trust in pixels of eyes, less where they are much brighter than drawn: lights are mirrored there.

    Args:
        error: Drawn less seen colours.
    """
    excess = np.maximum(-error.mean(axis=1) - _GLINT, 0) / _GLINT
    return 1 / (1 + excess**2)


def image_gradients(
    image: np.ndarray, target: np.ndarray, blur_px: float, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residual (n, 3) and central-difference slope (n, 3, 2) of the render at some pixels, both blurred."""
    if blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur_px)
        target = cv2.GaussianBlur(target, (0, 0), blur_px)
    height, width = image.shape[:2]
    row, column = np.divmod(pixels, width)
    left, right = np.maximum(column - 1, 0), np.minimum(column + 1, width - 1)
    above, below = np.maximum(row - 1, 0), np.minimum(row + 1, height - 1)
    across, down = image[row, right] - image[row, left], image[below, column] - image[above, column]
    return image[row, column] - target[row, column], np.stack([across, down], axis=-1) / 2


def bilinear(field: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Values of a field at (column, row) positions counted in pixel centres; the border goes on outside."""
    height, width = field.shape
    x, y = np.clip(point[:, 0], 0, width - 1), np.clip(point[:, 1], 0, height - 1)
    column, row = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, below = np.minimum(column + 1, width - 1), np.minimum(row + 1, height - 1)
    across, down = x - column, y - row
    upper = field[row, column] * (1 - across) + field[row, right] * across
    lower = field[below, column] * (1 - across) + field[below, right] * across
    return upper * (1 - down) + lower * down


def assemble(jacobian: np.ndarray, metrics: np.ndarray, pulls: np.ndarray) -> tuple[Tensor, Tensor]:
    """Normal equations Σ Jᵀ M J and Σ Jᵀ p over points with 2 × 2 metrics M and pulls p."""
    # A 2 × 2 Cholesky factor per point, in closed form; rows of L ᵀ J then make one tall matrix.
    first = np.sqrt(np.maximum(metrics[:, 0, 0], 0))
    cross = metrics[:, 0, 1] / np.maximum(first, 1e-12)
    second = np.sqrt(np.maximum(metrics[:, 1, 1] - cross**2, 0))
    points = torch.from_numpy(jacobian)
    factor = torch.from_numpy(np.stack([first, cross, second], axis=1).astype(np.float32))
    top = factor[:, 0:1] * points[:, 0] + factor[:, 1:2] * points[:, 1]
    bottom = factor[:, 2:3] * points[:, 1]
    tall = torch.cat([top, bottom])
    pull = torch.from_numpy(pulls.astype(np.float32)).flatten()
    return tall.T @ tall, points.flatten(0, 1).T @ pull
