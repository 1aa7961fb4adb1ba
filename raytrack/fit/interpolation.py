"""Rows of frames in which no face was found."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def interpolate_missing(
    rows: Float[Tensor, "frames columns"],
    known: Bool[np.ndarray, " frames"],
    group: Int[np.ndarray, " frames"] | None = None,
) -> Float[Tensor, "frames columns"]:
    """Replace unknown rows: linearly between known neighbours, by the nearest one before the first and after the last.

    Axis-angle vectors are interpolated as vectors, which is close enough for the turns of a head between two frames.

    Args:
        rows: Packed parameters of every frame.
        known: Those that are right.
        group: Shots, by numbers; one that is interrupted by others goes on with its number. Where the nearest known
            rows before and after a frame are of different shots, the frame takes the row of its own shot.

    Raises:
        ValueError: No row is known.
    """
    numbers = np.flatnonzero(known)
    if len(numbers) == 0:
        raise ValueError("no row is known")
    if known.all():
        return rows
    every = np.arange(len(rows))
    after = np.clip(np.searchsorted(numbers, every), 0, len(numbers) - 1)
    before = np.clip(np.searchsorted(numbers, every, side="right") - 1, 0, len(numbers) - 1)
    low, high = numbers[before], numbers[after]
    share = np.where(high > low, (every - low) / np.maximum(high - low, 1), 0.0)
    if group is not None:
        cut = group[low] != group[high]
        share[cut & (group == group[low])] = 0.0
        share[cut & (group == group[high])] = 1.0
    weight = torch.from_numpy(share.astype(np.float32))[:, None]
    mixed = rows[torch.from_numpy(low)] * (1 - weight) + rows[torch.from_numpy(high)] * weight
    return torch.where(torch.from_numpy(known)[:, None], rows, mixed)
