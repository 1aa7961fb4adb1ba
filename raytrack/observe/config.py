"""How landmarks and mattes are found. Needs no torch: the command line reads it."""

from dataclasses import dataclass
from typing import Literal

LandmarkMethod = Literal["auto", "facemesh"]
MattingMethod = Literal["auto", "selfie", "given", "none"]


@dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Which detector finds the face and its landmarks."""

    method: LandmarkMethod = "auto"
    """`auto`: the best detector whose weights are at hand."""
    max_faces: int = 8
    """Follow at most so many faces in a frame, the largest; the clip's person is chosen among them."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        if self.max_faces < 1:
            raise ValueError(f"landmarks.max_faces must be at least 1, got {self.max_faces}")
