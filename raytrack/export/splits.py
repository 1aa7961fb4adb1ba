"""Which timesteps and cameras of a dataset train, validate and test."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

FRONTAL_CAMERA_INDEX = 8
"""NeRSemble's frontal camera among its sixteen."""


def num_train_timesteps(num_timesteps: int, test_fraction: float) -> int:
    """How many of the first timesteps train; rounded up, so that one frame alone trains."""
    return math.ceil(round((1 - test_fraction) * num_timesteps, 6))


def validation_camera(camera_indices: Iterable[int]) -> int | None:
    """The camera that validates: the frontal one if it is there, else the last; none where there is but one."""
    distinct = set(camera_indices)
    if len(distinct) < 2:
        return None
    return FRONTAL_CAMERA_INDEX if FRONTAL_CAMERA_INDEX in distinct else max(distinct)


def split_frames(frames: Sequence[dict[str, Any]], num_train: int) -> dict[str, list[dict[str, Any]]]:
    """The frames of `train`, `val` and `test`.

    The first `num_train` timesteps train, and one of the cameras validates on them; all cameras test on the rest.
    """
    validating = validation_camera(frame["camera_index"] for frame in frames)
    learnt = [frame for frame in frames if frame["timestep_index"] < num_train]
    return {
        "train": [frame for frame in learnt if frame["camera_index"] != validating],
        "val": [frame for frame in learnt if frame["camera_index"] == validating],
        "test": [frame for frame in frames if frame["timestep_index"] >= num_train],
    }
