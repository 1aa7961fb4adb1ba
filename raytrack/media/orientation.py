"""How a recorded picture is turned or mirrored to be shown: quarter turns from a video's display matrix."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import UInt8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """What to do to a recorded picture, in this order."""

    transpose: bool = False
    """Swap rows and columns."""
    mirror_x: bool = False
    """Then swap left and right."""
    mirror_y: bool = False
    """Then swap top and bottom."""

    def size_hw(self, recorded_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of the picture as shown."""
        return (recorded_hw[1], recorded_hw[0]) if self.transpose else recorded_hw

    def apply(
        self, image: UInt8[np.ndarray, "height width *channels"]
    ) -> UInt8[np.ndarray, "shown_height shown_width *channels"]:
        """Turn a recorded picture the way it is shown; contiguous in memory."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


def orientation_from_matrix(matrix: np.ndarray) -> Orientation:
    """Nearest quarter turn (with or without mirroring) of a display matrix.

    Args:
        matrix: Nine 16.16 fixed-point integers (a b u c d v x y w), as in ISO/IEC 14496-12 §8.3.2: a point (p, q),
            q down, is shown at (a p + c q, b p + d q).
    """
    a, b, c, d = (float(matrix[index]) for index in (0, 1, 3, 4))
    transpose = abs(b) + abs(c) > abs(a) + abs(d)
    if min(abs(a) + abs(d), abs(b) + abs(c)) > 0.01 * max(abs(a) + abs(d), abs(b) + abs(c), 1.0):
        logger.warning("the video asks to be turned by no multiple of 90 degrees: the nearest one is taken")
    across, down = (c, b) if transpose else (a, d)
    return Orientation(transpose=transpose, mirror_x=across < 0, mirror_y=down < 0)


def orientation_of(frame: VideoFrame) -> Orientation:
    """The orientation that a decoded frame carries; upright where it carries none."""
    side_data: Any = frame.side_data
    for index in range(len(side_data)):
        data = side_data[index]
        if data.type.name == "DISPLAYMATRIX":
            return orientation_from_matrix(np.frombuffer(memoryview(data), np.dtype("=i4"), count=9))
    return Orientation()
