"""Undoing a lens's distortion, once, so that everything after it sees a pinhole camera."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, UInt8

NUM_COEFFICIENTS = (4, 5, 8, 12, 14)
"""How many coefficients OpenCV's distortion model takes: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [τx τy]]]]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Undistortion:
    """Resamples pictures of a distorting camera as a pinhole camera of the same intrinsics would have taken them."""

    intrinsics: Float[np.ndarray, "3 3"]
    """Of the picture as it is given, in pixels; (0, 0) is the top-left corner."""
    coefficients: Float[np.ndarray, " coefficients"]
    """In OpenCV's order."""
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        """Check the number of coefficients.

        Raises:
            ValueError: OpenCV's model has no such number.
        """
        if len(self.coefficients) not in NUM_COEFFICIENTS:
            known = ", ".join(map(str, NUM_COEFFICIENTS))
            raise ValueError(f"a lens distortion has {known} coefficients, got {len(self.coefficients)}")

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        # OpenCV counts from the centre of the first pixel.
        matrix = self.intrinsics - np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
        height, width = self.size_hw
        return cv2.initUndistortRectifyMap(matrix, self.coefficients, np.eye(3), matrix, (width, height), cv2.CV_32FC1)

    def apply(self, image: UInt8[np.ndarray, "height width *channels"]) -> UInt8[np.ndarray, "height width *channels"]:
        """The undistorted picture or matte, linearly interpolated; black where the camera did not look.

        Raises:
            ValueError: The picture's size is another.
        """
        if image.shape[:2] != self.size_hw:
            raise ValueError(f"expected a picture of {self.size_hw} (h, w), got {image.shape[:2]}")
        across, down = self._maps
        return cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
