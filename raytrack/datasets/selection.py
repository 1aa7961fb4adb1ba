"""Which of a clip's frames are taken."""

import numpy as np
from jaxtyping import Float, Int


def select_frames(
    timestamps_s: Float[np.ndarray, " frames"],
    *,
    target_fps: float | None = None,
    every: int = 1,
    max_frames: int | None = None,
) -> Int[np.ndarray, " selected"]:
    """Indices of the frames to take, increasing: first by rate, then every n-th of those, then the first so many.

    Args:
        timestamps_s: True time of each frame, increasing.
        target_fps: For each tick of this rate take the nearest frame, once; by default take all. Frames are never
            repeated, so a rate above the footage's takes all of them.
        every: Take every n-th.
        max_frames: Take at most so many.
    """
    indices = np.arange(len(timestamps_s))
    if target_fps is not None and len(timestamps_s) > 1:
        elapsed = timestamps_s - timestamps_s[0]
        ticks = np.arange(int(np.floor(elapsed[-1] * target_fps + 1e-6)) + 1) / target_fps
        # A tick halfway between two frames goes to the earlier one, whatever the rounding.
        middles = (elapsed[1:] + elapsed[:-1]) / 2 + 1e-9
        indices = np.unique(np.searchsorted(middles, ticks))
    return indices[::every][:max_frames]
