"""Square windows on an image, turned to the face: cutting one out, and carrying points back."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, kw_only=True)
class Window:
    """A square on an image, in pixels whose centres lie at half-integers."""

    center_px: tuple[float, float]
    size_px: float
    """Length of a side."""
    angle_rad: float = 0.0
    """Turn of the square's x axis from the image's, towards its y axis (down)."""

    def image_from_window(self, size: int) -> Float[np.ndarray, "2 3"]:
        """Affine map from coordinates in a crop of `size` pixels to the image."""
        scale = self.size_px / size
        cosine, sine = np.cos(self.angle_rad) * scale, np.sin(self.angle_rad) * scale
        turn = np.array([[cosine, -sine], [sine, cosine]])
        offset = np.array(self.center_px) - turn @ np.full(2, size / 2)
        return np.concatenate([turn, offset[:, None]], axis=1)


def crop(
    image: UInt8[np.ndarray, "height width 3"], window: Window, size: int, *, repeat_border: bool
) -> UInt8[np.ndarray, "size size 3"]:
    """Cut a window out of an image and bring it to `size` pixels.

    A window of many more pixels than that is averaged, not point sampled.

    Args:
        image: RGB.
        window: What to cut; it may reach beyond the image.
        size: Side of the crop.
        repeat_border: Beyond the image, repeat its border; black otherwise.
    """
    # Samples at most two pixels apart miss nothing, as each blends four pixels; what there is too much is averaged.
    factor = int(np.clip(np.ceil(window.size_px / size / 2), 1, 8))
    affine = window.image_from_window(size * factor)
    # OpenCV counts pixel centres as integers: half a pixel less on both sides.
    affine[:, 2] += affine[:, :2] @ np.full(2, 0.5) - 0.5
    border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
    side = (size * factor, size * factor)
    cut = cv2.warpAffine(image, affine, side, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)
    return cut if factor == 1 else cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)


def to_image(points: Float[np.ndarray, "*points 2"], window: Window, size: int) -> Float[np.ndarray, "*points 2"]:
    """Carry points from a crop of `size` pixels to the image."""
    affine = window.image_from_window(size)
    return points @ affine[:, :2].T + affine[:, 2]
