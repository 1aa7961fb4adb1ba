"""Making smaller copies of frames."""

import cv2
import numpy as np
from jaxtyping import UInt8

THUMBNAIL_PX = 16
"""Side of a thumbnail."""


def downsample(
    image: UInt8[np.ndarray, "height width *channels"], scale: int
) -> UInt8[np.ndarray, "small_height small_width *channels"]:
    """Shrink an image or matte by a whole factor, averaging the pixels that fall together.

    Args:
        image: Any 8-bit image.
        scale: Factor, such as 2 for half the height and width (rounded, at least 1 pixel).

    Raises:
        ValueError: The factor is below 1.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    if scale == 1:
        return image
    height, width = (max(round(length / scale), 1) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def thumbnail(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "16 16 3"]:
    """A picture's small copy, averaged, by which pictures can be compared."""
    return cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
