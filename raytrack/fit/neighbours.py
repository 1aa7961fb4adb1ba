"""Which frames of a sequence pull at each other, and how strongly."""

import numpy as np
from jaxtyping import Bool, Float, Int

_LONGEST_LINK = 5.0
"""Frames further apart in time than so many usual steps do not pull at each other."""


def link_weights(
    timestamps_s: Float[np.ndarray, " frames"],
    active: Bool[np.ndarray, " frames"],
    group: Int[np.ndarray, " frames"] | None = None,
    usual_s: float | None = None,
) -> Float[np.ndarray, " links"]:
    """How much neighbouring frames should be alike: 1 at the usual distance in time, less beyond.

    Not at all without a face, or from one group to the next.

    Args:
        timestamps_s: True times, ascending.
        active: Frames whose rows are fitted.
        group: Which stretch each frame belongs to; None: all are one.
        usual_s: The usual distance in time; that of these frames by default.
    """
    steps = np.diff(timestamps_s.astype(np.float64))
    usual = usual_step_s(timestamps_s) if usual_s is None else usual_s
    ratio = np.where(steps > 0, usual / np.maximum(steps, 1e-9), 1.0) if usual > 0 else np.ones(len(steps))
    weights = np.where(ratio < 1 / _LONGEST_LINK, 0.0, np.minimum(ratio, 1.0))
    together = active[1:] & active[:-1]
    return weights * (together if group is None else together & (group[1:] == group[:-1]))


def usual_step_s(timestamps_s: Float[np.ndarray, " frames"]) -> float:
    """Median time between neighbouring frames; 1 where there is but one."""
    steps = np.diff(timestamps_s.astype(np.float64))
    return float(np.median(steps)) if len(steps) else 1.0
