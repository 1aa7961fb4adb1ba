"""The pictures of a sequence as the photometric stages use them: at tracking size, with their mattes."""

import tempfile
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8, UInt8
from torch import Tensor

from raytrack.fit.landmark_sets import LandmarkSet, landmark_set
from raytrack.fit.observation import SequenceObservation

MATTE_FLOOR = 0.3
"""Mattes below this count as background: (α − floor) / (1 − floor), clipped."""
_CHIN_MARGIN = 0.02
"""The matte is trusted down to this share of the image height below the chin: further down, clothes and shoulders
belong to the foreground but not to the head's mesh."""
DISTANCE_LIMIT_PX = 7.0
_DISTANCE_STEPS = 16
_IN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class TrackingFrames:
    """Frames of one sequence, resampled to tracking size."""

    images: UInt8[np.ndarray, "frames height width 3"]
    size_hw: tuple[int, int]
    scale: float
    """Tracking pixels per input pixel."""
    matte_steps: UInt8[np.ndarray, "frames height width"] | None
    """Cleaned matte, 255 = foreground."""
    distance_steps: Int8[np.ndarray, "frames height width"] | None
    """Distance to the matte's outline in sixteenths of a pixel."""
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
        frames = list(range(observation.num_frames)) if numbers is None else numbers.tolist()
        images = large_array((len(frames), *size_hw, 3), np.uint8)
        matte = distance = None
        for index, number in enumerate(frames):
            images[index] = resized(observation.load_image(number), size_hw)
        if observation.load_alpha is not None:
            matte = large_array((len(frames), *size_hw), np.uint8)
            distance = large_array((len(frames), *size_hw), np.int8)
            for index, number in enumerate(frames):
                cleaned = clean_matte(resized(observation.load_alpha(number), size_hw))
                matte[index] = np.round(cleaned * 255)
                distance[index] = np.round(signed_distance(cleaned) * _DISTANCE_STEPS)
        factor = np.array([size_hw[1] / width, size_hw[0] / height], np.float32)
        landmarks = observation.landmarks_px[frames].astype(np.float32) * factor
        points = landmark_set(observation.landmark_set)
        face_height = np.ptp(landmarks[..., 1], axis=1)
        upper_lip, lower_lip = points.inner_lips
        lips = landmarks[:, lower_lip] - landmarks[:, upper_lip]
        return cls(
            images=images,
            size_hw=size_hw,
            scale=scale,
            matte_steps=matte,
            distance_steps=distance,
            chin_row=landmarks[:, points.chin, 1] + _CHIN_MARGIN * size_hw[0],
            mouth_open=np.linalg.norm(lips, axis=1) > points.open_mouth * np.maximum(face_height, 1),
            landmarks_px=landmarks,
            landmarks=points,
        )

    @property
    def has_matte(self) -> bool:
        """Whether there are mattes."""
        return self.matte_steps is not None

    def matte(self, frames: np.ndarray | list[int]) -> Float[np.ndarray, "batch height width"]:
        """Cleaned mattes in [0, 1].

        Raises:
            ValueError: There are none.
        """
        if self.matte_steps is None:
            raise ValueError("the sequence has no mattes")
        return self.matte_steps[frames].astype(np.float32) / 255

    def signed_distance(self, frame: int) -> Float[np.ndarray, "height width"] | None:
        """Distance to the matte's outline in pixels, positive inside, cut at `DISTANCE_LIMIT_PX`; None without."""
        if self.distance_steps is None:
            return None
        return self.distance_steps[frame].astype(np.float32) / _DISTANCE_STEPS

    def above_chin(self, frame: int) -> Bool[np.ndarray, "height 1"]:
        """Rows in which the matte's outline is the head's own. Below them it only says where the head is not."""
        rows = np.arange(self.size_hw[0])[:, None] + 0.5
        return rows < self.chin_row[frame]

    def pixel_weights(self, frame: int) -> Float[np.ndarray, "height width"] | None:
        """Trust in each pixel's colour: 0 where background shines through the outline; None without mattes."""
        if self.matte_steps is None:
            return None
        return cv2.erode(self.matte_steps[frame], np.ones((3, 3), np.uint8)).astype(np.float32) / 255

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


def signed_distance(matte: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Distance to the matte's outline in pixels, positive inside, cut at `DISTANCE_LIMIT_PX`; 0 without an outline."""
    inside = (matte > 0.5).astype(np.uint8)
    if inside.all() or not inside.any():
        return np.zeros(matte.shape, np.float32)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return np.clip(distance, -DISTANCE_LIMIT_PX, DISTANCE_LIMIT_PX)


def large_array(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Uninitialised array; backed by a temporary file when it is so large that it may not fit into memory."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= _IN_MEMORY_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        # The mapping keeps the file alive after it is closed; it has no name, so nothing is left behind.
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
