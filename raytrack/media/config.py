"""How frames are taken from footage. Needs no torch: the command line reads it."""

from dataclasses import dataclass

LEAST_FPS, GREATEST_FPS = 0.01, 1000.0
"""Slower than a frame in a minute and a half, or faster than a high-speed camera, is a slip of the pen."""


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Which frames are taken, and at what sizes they are kept."""

    target_fps: float | None = None
    """Take frames at about this rate; by default every frame at its true time. Frames are never made up."""
    every: int = 1
    """Take every n-th frame."""
    max_frames: int | None = None
    """Take at most so many frames, from the beginning."""
    image_fps: float = 25.0
    """Frames per second of footage that is a folder of images."""
    downsample_scales: tuple[int, ...] = ()
    """Keep smaller copies too: 2 gives `images_2` at half the height and width."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        for name in ("target_fps", "image_fps"):
            rate = getattr(self, name)
            if rate is not None and not LEAST_FPS <= rate <= GREATEST_FPS:
                raise ValueError(f"extract.{name} must lie between {LEAST_FPS} and {GREATEST_FPS}, got {rate}")
        if self.every < 1:
            raise ValueError(f"extract.every must be at least 1, got {self.every}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"extract.max_frames must be at least 1, got {self.max_frames}")
        if any(scale < 2 for scale in self.downsample_scales):
            raise ValueError(f"extract.downsample_scales must be 2 or more, got {self.downsample_scales}")
        if len(set(self.downsample_scales)) < len(self.downsample_scales):
            raise ValueError(f"extract.downsample_scales has a scale twice: {self.downsample_scales}")
