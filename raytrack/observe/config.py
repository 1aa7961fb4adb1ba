"""How landmarks and mattes are found. Needs no torch: the command line reads it."""

from dataclasses import dataclass
from typing import Literal

LandmarkMethod = Literal["auto", "facemesh", "face-alignment", "face-alignment-2.5d", "star"]
"""`face-alignment` finds the face's visible outline, `face-alignment-2.5d` the jaw, hidden or not."""
MattingMethod = Literal["auto", "selfie", "rvm", "bgmv2", "plate", "given", "none"]
"""`auto`: the footage's own masks or alpha channel where there are some, else `plate` where there is a clean plate,
else `selfie`. `none`: no matte, everything counts as foreground."""
PlateRefinement = Literal["guided", "pymatting"]
"""How the outline of a clean-plate matte is refined: the guided filter, or closed-form matting (slow)."""


@dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Which detector finds the face and its landmarks."""

    method: LandmarkMethod = "auto"
    """`auto`: the best detector whose weights are at hand."""
    weights: str = ""
    """The weights of `star`, a TorchScript file; by default the one in `$RAYTRACK_ASSETS/star`."""
    max_faces: int = 8
    """Follow at most so many faces in a frame, the largest; the clip's person is chosen among them."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        if self.max_faces < 1:
            raise ValueError(f"landmarks.max_faces must be at least 1, got {self.max_faces}")
