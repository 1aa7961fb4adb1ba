"""Pictures for readers that know neither principal point nor pixel aspect: both put right by resampling.

Nothing of a picture is lost: it grows until its principal point is in its middle, and what is added is background.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.geometry.camera import Camera

_NEGLIGIBLE_PX = 1e-3
"""A principal point so near to the middle is in the middle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Centring:
    """How the pictures of a camera become those of one with square pixels and a centred principal point."""

    camera: Camera
    """The camera of the new pictures."""
    new_from_old: Float[np.ndarray, "2 3"] | None
    """Where pixels go, (0, 0) the top-left corner; None where they are already as they must be."""

    @classmethod
    def of(cls, camera: Camera) -> "Centring":
        """The smallest new picture that holds all of the old one, at least at its resolution."""
        matrix, (height, width) = camera.intrinsics.double().numpy(), camera.size_hw
        focal = float(max(matrix[0, 0], matrix[1, 1]))
        sizes = [
            _centred_size(float(matrix[axis, 2]) * focal / matrix[axis, axis], length * focal / matrix[axis, axis])
            for axis, length in ((0, width), (1, height))
        ]
        wanted = np.array([[focal, 0, sizes[0] / 2], [0, focal, sizes[1] / 2], [0, 0, 1]])
        moved = (wanted @ np.linalg.inv(matrix))[:2]
        unchanged = sizes == [width, height] and np.abs(moved - np.eye(3)[:2]).max() < _NEGLIGIBLE_PX
        new = Camera(
            intrinsics=torch.from_numpy(wanted).float(),
            cam_from_world=camera.cam_from_world,
            size_hw=(sizes[1], sizes[0]),
        )
        return cls(camera=new, new_from_old=None if unchanged else moved)

    def image(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """A picture, resampled; its edge goes on into what is added, so that no other colour bleeds in."""
        return self._resampled(image, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)

    def matte(self, matte: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "new_height new_width"]:
        """Its matte, resampled; 0 in what is added."""
        return self._resampled(matte, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)

    def _resampled(self, values: np.ndarray, interpolation: int, border: int) -> np.ndarray:
        if self.new_from_old is None:
            return values
        # OpenCV counts from the centre of the first pixel.
        linear, shift = self.new_from_old[:, :2], self.new_from_old[:, 2]
        warp = np.concatenate([linear, (shift + linear @ [0.5, 0.5] - 0.5)[:, None]], axis=1)
        height, width = self.camera.size_hw
        return cv2.warpAffine(values, warp, (width, height), flags=interpolation, borderMode=border, borderValue=0)


def _centred_size(centre_px: float, length_px: float) -> int:
    """The least whole length that holds a picture with its principal point in the middle."""
    return math.ceil(2 * max(centre_px, length_px - centre_px) - 2 * _NEGLIGIBLE_PX)
