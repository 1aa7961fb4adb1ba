"""What the tracker is given: one sequence's pictures and what was observed in them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from raytrack.fit.rig import RigCamera

SMALLEST_FACE_PX = 8.0
"""Landmarks closer together than this are no face."""
ImageLoader = Callable[[int], np.ndarray]
"""Frame index to picture: uint8 RGB (h, w, 3), or uint8 matte (h, w)."""


@dataclass(frozen=True, kw_only=True)
class SequenceObservation:
    """One camera's view of one sequence, in time order."""

    size_hw: tuple[int, int]
    timestep_ids: tuple[str, ...]
    timestamps_s: Float[np.ndarray, " frames"]
    load_image: ImageLoader
    load_alpha: ImageLoader | None
    """Foreground mattes, 255 = foreground; None when there are none."""
    landmarks_px: Float[np.ndarray, "frames landmarks 2"]
    """The points of `landmark_set` (x, y), pixel centres at half-integers; anything where there is no face."""
    scores: Float[np.ndarray, " frames"]
    """Confidence of the detection in [0, 1]; 0 where no face was found."""
    expression_scores: Float[np.ndarray, "frames scores"] | None = None
    landmark_set: str = "facemesh"
    """Which of a head's landmark embeddings the points belong to: a key of `raytrack.fit.landmark_sets`."""
    calibrated: RigCamera | None = None
    """The camera of a calibrated rig; None where its focal length, and in a rig its place, are to be found. The views
    of a rig have the same frames, one for one; their pictures may differ in size."""
    camera_id: str = ""
    """What to call an uncalibrated camera of several; by default its number."""
    group: Int[np.ndarray, " frames"] | None = None
    """Which stretch of the recording each frame belongs to, such as the shots between cuts: each has a light of its own
    and, for a single camera, a focal length of its own, and nothing is smoothed across. None: all are one."""
    usual_step_s: float | None = None
    """Time between neighbouring frames of the recording, where these were picked from it; None: the median of these."""
    source_index: Int[np.ndarray, " frames"] | None = None
    """Which frames of the recording these are, where not all of them were taken; None: all, from 0."""

    @property
    def num_frames(self) -> int:
        """Number of frames, tracked or not."""
        return len(self.timestep_ids)

    @cached_property
    def detected(self) -> Bool[np.ndarray, " frames"]:
        """Frames in which the face was found, with landmarks that are numbers and not all in one place."""
        extent = np.ptp(self.landmarks_px, axis=1).max(axis=1)
        return (self.scores > 0) & np.isfinite(extent) & (extent > SMALLEST_FACE_PX)
