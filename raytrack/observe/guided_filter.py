"""Sharpen a coarse matte along the edges of its picture.

Source: He, Sun, Tang, "Guided Image Filtering" (2013) §3.5 (colour guide), and He, Sun, "Fast Guided Filter" (2015):
the matte is modelled, in small windows, as a linear function of the pixel's colour; the functions are found at low
resolution and applied at full resolution.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

_FLAT = 0.01
"""Where a matte changes less than this within a window it is left as it is."""
_UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _window_mean(values: Float[np.ndarray, "height width *channels"], radius: int) -> np.ndarray:
    side = (2 * radius + 1, 2 * radius + 1)
    return cv2.blur(values, side, borderType=cv2.BORDER_REFLECT)


def _varying(matte: Float[np.ndarray, "height width"], radius: int) -> Bool[np.ndarray, "height width"]:
    """Where the matte is not constant within the window."""
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return cv2.dilate(matte, window) - cv2.erode(matte, window) > _FLAT


def _solve_symmetric(
    matrix: Float[np.ndarray, "pixels 6"], right: Float[np.ndarray, "pixels 3"]
) -> Float[np.ndarray, "pixels 3"]:
    """Solve one positive definite 3×3 system a pixel by Cramer's rule.

    Args:
        matrix: Entries 00, 01, 02, 11, 12, 22.
        right: The right-hand sides.
    """
    a, b, c, d, e, f = matrix.T
    cofactors = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    determinant = a * cofactors[0] + b * cofactors[1] + c * cofactors[2]
    x, y, z = right.T
    adjugate = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
    rows = [cofactors[i] * x + cofactors[j] * y + cofactors[k] * z for i, j, k in adjugate]
    return np.stack(rows, axis=-1) / determinant[:, None]


def _linear_model(
    guide: Float[np.ndarray, "height width 3"], matte: Float[np.ndarray, "height width"], radius: int, smoothness: float
) -> Float[np.ndarray, "height width 4"]:
    """The linear function of colour (three slopes and an offset) that best gives the matte around each pixel."""
    active = _varying(matte, radius)
    products = np.stack([guide[..., i] * guide[..., j] for i, j in _UPPER], axis=-1)
    mean_matte = _window_mean(matte, radius)
    # The systems are nearly singular where the picture is grey: solve them in double precision.
    mean, expected = _window_mean(guide, radius)[active].astype(np.float64), mean_matte[active].astype(np.float64)
    covariance = _window_mean(products, radius)[active] - np.stack([mean[:, i] * mean[:, j] for i, j in _UPPER], -1)
    covariance[:, [0, 3, 5]] += smoothness
    mixed = _window_mean(guide * matte[..., None], radius)[active] - mean * expected[:, None]
    slopes = _solve_symmetric(covariance, mixed)
    model = np.zeros((*matte.shape, 4), np.float32)
    model[..., 3] = mean_matte
    model[active] = np.concatenate([slopes, (expected - (slopes * mean).sum(axis=-1))[:, None]], axis=-1)
    return _window_mean(model, radius)


def guided_filter(
    image: UInt8[np.ndarray, "height width 3"],
    matte: Float[np.ndarray, "rows columns"],
    *,
    radius: int,
    smoothness: float = 1e-4,
) -> Float[np.ndarray, "height width"]:
    """Bring a coarse matte to the resolution of its picture and to the picture's edges.

    Args:
        image: RGB; its edges are followed.
        matte: Float32 in [0, 1] over the same field of view, at any resolution.
        radius: Half width of the windows, in pixels of the matte.
        smoothness: Variance of colour (of [0, 1] values) below which no edge is followed.

    Returns:
        Float32 matte in [0, 1] at the resolution of the picture.
    """
    size = (image.shape[1], image.shape[0])
    small = cv2.resize(image, matte.shape[::-1], interpolation=cv2.INTER_AREA)
    model = _linear_model(small.astype(np.float32) / 255.0, matte, radius, smoothness)
    model[..., :3] /= 255.0
    model = cv2.resize(model, size, interpolation=cv2.INTER_LINEAR)
    result = model[..., 3].copy()
    for channel in range(3):
        result += model[..., channel] * image[..., channel]
    return np.clip(result, 0.0, 1.0, out=result)
