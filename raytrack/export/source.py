"""The input pictures that exports are made from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, kw_only=True)
class FrameSource:
    """Pictures of one sequence as functions of the frame's index, so that only those in use are in memory."""

    image: Callable[[int], UInt8[np.ndarray, "height width 3"]]
    """The input frame, RGB."""
    alpha: Callable[[int], UInt8[np.ndarray, "height width"]] | None = None
    """The person's matte, 255 inside; None when the sequence was not matted."""
