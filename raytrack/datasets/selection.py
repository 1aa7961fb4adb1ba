"""Which of a clip's frames, or of a rig's cameras, are taken."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from raytrack.datasets.config import SubsetConfig


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


def select_subset(numbers: Sequence[int], subset: SubsetConfig) -> tuple[int, ...]:
    """The numbers that are taken of increasing ones: first one or a range, of those every n-th, of those so many.

    Args:
        numbers: What there is, such as the frames 0 … n − 1, or the places in the rig of the cameras at hand.
        subset: Its `only`, `start` and `stop` are such numbers, whether or not all smaller ones are there.

    Returns:
        Nothing where the subset names nothing that is there.
    """
    if subset.only is not None:
        only = numbers[-1] + 1 + subset.only if subset.only < 0 and numbers else subset.only
        return tuple(number for number in numbers if number == only)
    last = subset.stop if subset.stop is not None else float("inf")
    taken = [number for number in numbers if (subset.start or 0) <= number < last][:: subset.every]
    if subset.count is None or subset.count >= len(taken):
        return tuple(taken)
    # Halves are rounded up, whatever the platform.
    steps = max(subset.count - 1, 1)
    return tuple(taken[(2 * place * (len(taken) - 1) + steps) // (2 * steps)] for place in range(subset.count))
