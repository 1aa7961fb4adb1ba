"""The pictures of a sequence as the photometric stages use them: at tracking size, in memory, with their mattes."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from raytrack.fit.landmark_sets import LandmarkSet, landmark_set
from raytrack.fit.observation import SequenceObservation

MATTE_FLOOR = 0.3
"""Mattes below this count as background: (α − floor) / (1 − floor), clipped."""
_CHIN_MARGIN = 0.02
"""The matte is trusted down to this share of the image height below the chin: further down, clothes and shoulders
belong to the foreground but not to the head's mesh."""


@dataclass(frozen=True, kw_only=True)
class TrackingFrames:
    """Frames of one sequence, resampled to tracking size."""

    images: UInt8[np.ndarray, "frames height width 3"]
    size_hw: tuple[int, int]
    scale: float
    """Tracking pixels per input pixel."""
    matte: Float[np.ndarray, "frames height width"] | None
    """Cleaned matte in [0, 1], float16."""
    signed_distance: Float[np.ndarray, "frames height width"] | None
    """Distance to the matte's outline in pixels, positive inside, float16."""
    chin_row: Float[np.ndarray, " frames"]
    """First row below which foreground need not be head: clothes and shoulders reach beyond the mesh."""
    mouth_open: Bool[np.ndarray, " frames"]
    """Whether the mouth's inside may be visible."""
    landmarks_px: Float[np.ndarray, "frames landmarks 2"]
    """At tracking size."""
    landmarks: LandmarkSet
    """Which points they are."""

    @classmethod
    def load(
        cls, observation: SequenceObservation, longer_side_px: int, numbers: Int[np.ndarray, " chosen"] | None = None
    ) -> "TrackingFrames":
        """Read frames once and keep them at no more than `longer_side_px`.

        Args:
            observation: Where the pictures come from.
            longer_side_px: Larger pictures are averaged down to it.
            numbers: Frames to read, all by default; the result numbers them from 0.
        """
        height, width = observation.size_hw
        scale = min(1.0, longer_side_px / max(height, width))
        size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        frames = range(observation.num_frames) if numbers is None else numbers.tolist()
        images = np.stack([resized(observation.load_image(k), size_hw) for k in frames])
        factor = np.array([size_hw[1] / width, size_hw[0] / height], np.float32)
        landmarks = observation.landmarks_px[list(frames)].astype(np.float32) * factor
        matte = distance = None
        if observation.load_alpha is not None:
            mattes = [clean_matte(resized(observation.load_alpha(k), size_hw)) for k in frames]
            matte = np.stack(mattes).astype(np.float16)
            distance = np.stack([_signed_distance(alpha) for alpha in mattes]).astype(np.float16)
        points = landmark_set(observation.landmark_set)
        face_height = np.ptp(landmarks[..., 1], axis=1)
        upper_lip, lower_lip = points.inner_lips
        lips = landmarks[:, lower_lip] - landmarks[:, upper_lip]
        return cls(
            images=images,
            size_hw=size_hw,
            scale=scale,
            matte=matte,
            signed_distance=distance,
            chin_row=landmarks[:, points.chin, 1] + _CHIN_MARGIN * size_hw[0],
            mouth_open=np.linalg.norm(lips, axis=1) > points.open_mouth * np.maximum(face_height, 1),
            landmarks_px=landmarks,
            landmarks=points,
        )

    def above_chin(self, frame: int) -> Bool[np.ndarray, "height 1"]:
        """Rows in which the matte's outline is the head's own. Below them it only says where the head is not."""
        rows = np.arange(self.size_hw[0])[:, None] + 0.5
        return rows < self.chin_row[frame]

    def pixel_weights(self, frame: int) -> Float[np.ndarray, "height width"] | None:
        """Trust in each pixel's colour: 0 where background shines through the outline; None without mattes."""
        if self.matte is None:
            return None
        return cv2.erode(self.matte[frame].astype(np.float32), np.ones((3, 3), np.uint8))

    def targets(self, frames: np.ndarray | list[int]) -> Float[Tensor, "batch height width 3"]:
        """Colours in [0, 1]."""
        return torch.from_numpy(self.images[frames]).float().div_(255)


def resized(picture: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Area-averaged copy; the picture itself if it has that size."""
    if picture.shape[:2] == size_hw:
        return picture
    return cv2.resize(picture, size_hw[::-1], interpolation=cv2.INTER_AREA)


def clean_matte(alpha: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Matte in [0, 1] with its faint fringe removed."""
    return np.clip((alpha.astype(np.float32) / 255 - MATTE_FLOOR) / (1 - MATTE_FLOOR), 0, 1)


def _signed_distance(matte: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    inside = (matte > 0.5).astype(np.uint8)
    if inside.all() or not inside.any():
        return np.zeros(matte.shape, np.float32)
    outwards = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    return outwards - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
