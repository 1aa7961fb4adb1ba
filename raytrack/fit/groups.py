"""Groups of frames that share a light and a focal length: the stretches between a sequence's cuts.

Identity, offsets and texture are the same in all groups.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int


@dataclass(frozen=True, kw_only=True)
class FrameGroups:
    """Which of the lights and which of the focal lengths of `SharedParameters` each frame has."""

    light: Int[np.ndarray, " frames"]
    focal: Int[np.ndarray, " frames"]

    @classmethod
    def of(cls, group: Int[np.ndarray, " frames"]) -> "FrameGroups":
        """Every group with a light and a focal length of its own."""
        return cls(light=group, focal=group)

    @property
    def num_lights(self) -> int:
        """How many lights there are."""
        return int(self.light.max()) + 1


def numbered(group: Int[np.ndarray, " frames"]) -> Int[np.ndarray, " frames"]:
    """The same groups, counted from 0 in the order in which they appear."""
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[number.reshape(-1)].astype(np.int64)


def joined_to_seen(group: Int[np.ndarray, " frames"], seen: Bool[np.ndarray, " frames"]) -> Int[np.ndarray, " frames"]:
    """The same groups but for those in which nothing is seen: their frames belong to the nearest seen frame's.

    A light and a focal length of their own could not be known.

    Args:
        group: Counted from 0.
        seen: Frames in which there is something to fit.
    """
    numbers = np.flatnonzero(seen)
    if len(numbers) == 0:
        return group
    every = np.arange(len(group))
    after = np.clip(np.searchsorted(numbers, every), 0, len(numbers) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(every - numbers[before] <= numbers[after] - every, numbers[before], numbers[after])
    return numbered(np.where(np.isin(group, group[numbers]), group, group[nearest]))


def longest(group: Int[np.ndarray, " frames"]) -> int:
    """The group with the most frames, the first of them if there are several."""
    return int(np.bincount(group).argmax())
