"""What the landmark fit is given of one view."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int

from raytrack.geometry.camera import Camera, monocular_camera

Focals = float | Float[np.ndarray, " groups"]
"""Focal length in pixels of an uncalibrated camera: one, or one for each group of frames."""


@dataclass(frozen=True, kw_only=True)
class LandmarkTargets:
    """A view's detections to fit, for some frames."""

    positions_px: Float[np.ndarray, "frames landmarks 2"]
    weights: Float[np.ndarray, "frames landmarks"]
    """Relative trust per point, 0 throughout a frame without a face; a frame's weights need not sum to one."""
    size_hw: tuple[int, int]
    landmark_set: str = "facemesh"
    calibrated: Camera | None = None
    """None: at (0, 0, 1) m, of a focal length to be found."""
    group: Int[np.ndarray, " frames"] | None = None
    """Which focal length each frame has; None: there is one."""
    num_groups: int = 1
    """How many focal lengths there are, in frames of this object or not."""

    @cached_property
    def face_size_px(self) -> Float[np.ndarray, " frames"]:
        """Larger side of each frame's landmark box."""
        extent = self.positions_px.max(axis=1) - self.positions_px.min(axis=1)
        return np.maximum(extent.max(axis=1), 1.0)

    @cached_property
    def seen(self) -> np.ndarray:
        """Frames with a trusted point, (frames,) bool."""
        return np.any(self.weights > 0, axis=1)

    def camera(self, focal_px: Focals, dtype: torch.dtype = torch.float32) -> Camera:
        """The view's camera; the focal length (pixels) is that of an uncalibrated one: one for all, or per frame."""
        if self.calibrated is None:
            return monocular_camera(torch.tensor(self.focals_px(focal_px), dtype=dtype), self.size_hw)
        known = self.calibrated
        return Camera(
            intrinsics=known.intrinsics.to(dtype), cam_from_world=known.cam_from_world.to(dtype), size_hw=known.size_hw
        )

    def focals_px(self, focal_px: Focals) -> float | Float[np.ndarray, " frames"]:
        """The focal length of each frame, of those of the groups; the one there is where there is one."""
        if not isinstance(focal_px, np.ndarray):
            return focal_px
        return float(focal_px[0]) if self.group is None else focal_px[self.group]

    def frame_camera(self, focal_px: Focals, frame: int) -> Camera:
        """The view's camera at one frame."""
        if self.calibrated is not None:
            return self.camera(1.0)
        focals_px = self.focals_px(focal_px)
        own = float(focals_px[frame]) if isinstance(focals_px, np.ndarray) else focals_px
        return monocular_camera(torch.tensor(own), self.size_hw)

    def select(self, frames: Int[np.ndarray, " chosen"]) -> "LandmarkTargets":
        """Some of the frames."""
        return self.with_weights(self.weights, frames)

    def uncalibrated(self) -> "LandmarkTargets":
        """As a single camera's."""
        return replace(self, calibrated=None)

    def with_weights(
        self, weights: Float[np.ndarray, "frames landmarks"], frames: Int[np.ndarray, " chosen"] | None = None
    ) -> "LandmarkTargets":
        """Other trust, for some of the frames or all."""
        chosen = slice(None) if frames is None else frames
        return LandmarkTargets(
            positions_px=self.positions_px[chosen],
            weights=weights[chosen],
            size_hw=self.size_hw,
            landmark_set=self.landmark_set,
            calibrated=self.calibrated,
            group=None if self.group is None else self.group[chosen],
            num_groups=self.num_groups,
        )


RigTargets = tuple[LandmarkTargets, ...]
"""One per view, of the same frames."""


def select(views: RigTargets, frames: Int[np.ndarray, " chosen"]) -> RigTargets:
    """Some of the frames of every view."""
    return tuple(view.select(frames) for view in views)
