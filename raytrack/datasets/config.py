"""Options of datasets with several calibrated cameras, free of heavy imports."""

from dataclasses import dataclass, field
from typing import Literal

CameraDivision = Literal["all", "train", "val", "front", "side", "six"]


@dataclass(frozen=True, kw_only=True)
class SubsetConfig:
    """Which of many are taken: first one or a range, of those every n-th, of those so many."""

    only: int | None = None
    """This one, counted from 0; −1 is the last."""
    start: int | None = None
    """From this one on."""
    stop: int | None = None
    """Up to this one, which is not taken itself."""
    every: int = 1
    """Every n-th of the range."""
    count: int | None = None
    """So many, evenly spaced, with the first and the last among them."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range, or two contradict each other.
        """
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if (self.start or 0) < 0 or (self.stop is not None and self.stop <= (self.start or 0)):
            raise ValueError(f"a range must begin at 0 or later and not be empty, got {self.start} to {self.stop}")
        if self.only is not None and (self.start, self.stop, self.every, self.count) != (None, None, 1, None):
            raise ValueError("`only` takes one by itself: leave out start, stop, every and count")


@dataclass(frozen=True, kw_only=True)
class CameraSubsetConfig(SubsetConfig):
    """Which cameras are taken. Cameras keep their place in the rig: with one left out the others' numbers stay."""

    division: CameraDivision = "all"
    """Named part of the rig."""
    names: tuple[str, ...] = ()
    """These alone, by name."""


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """How recordings of calibrated cameras are read."""

    downsample: int = 1
    """Work at 1/n of the footage's height and width; intrinsics follow."""
    color_correction: bool = True
    """Apply the dataset's colour correction, camera by camera."""
    undistort: bool = True
    """Undo lens distortion where the calibration gives it."""
    fps: float = 73.0
    """Frames per second of the recording. Timesteps are numbered at this rate."""
    timesteps: SubsetConfig = field(default_factory=SubsetConfig)
    """Which timesteps are taken; `extract` applies to what is left."""
    cameras: CameraSubsetConfig = field(default_factory=CameraSubsetConfig)
    occlusions: str = ""
    """A YAML file that says which head regions are hidden: subject → list of regions, over what ships with raytrack."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        if self.downsample < 1:
            raise ValueError(f"capture.downsample must be at least 1, got {self.downsample}")
        if not self.fps > 0:
            raise ValueError(f"capture.fps must be positive, got {self.fps}")
