"""One recording to be tracked: its cameras, frames and times."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from raytrack.media.images import Picture
from raytrack.media.source import Source, read_pictures
from raytrack.tables.keys import SequenceKey


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraSource:
    """What one camera recorded."""

    name: str
    source: Source


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequence:
    """One recording. All cameras show the same frames at the same times."""

    key: SequenceKey
    """Dataset, subject and sequence names."""
    cameras: tuple[CameraSource, ...]
    """One where the footage is monocular."""
    source_index: Int[np.ndarray, " frames"] = field(repr=False)
    """Which of the footage's frames are taken, increasing."""
    frame_ids: tuple[str, ...] = field(repr=False)
    """What each frame is called in the output (`timestep_id`)."""
    timestamps_s: Float[np.ndarray, " frames"] = field(repr=False)
    """Time of each frame in seconds since the first that is taken."""
    size_hw: tuple[int, int]

    @property
    def num_frames(self) -> int:
        """Number of frames taken."""
        return len(self.frame_ids)

    @property
    def has_alpha(self) -> bool:
        """Whether the footage has an alpha channel, which can serve as matte."""
        return all(camera.source.has_alpha for camera in self.cameras)

    def read(self, start: int = 0, stop: int | None = None, *, camera: int = 0, threads: int = 1) -> Iterator[Picture]:
        """Read the taken frames `start` to `stop` (not included) of one camera in order.

        Args:
            start: Index of the first, among the frames taken.
            stop: Index after the last; by default the number of frames.
            camera: Index of the camera.
            threads: Threads that a decoder may use.

        Raises:
            ValueError: The range is not within the sequence.
            InputError: The footage cannot be read any more.
        """
        stop = self.num_frames if stop is None else stop
        if not 0 <= start <= stop <= self.num_frames:
            raise ValueError(f"frames {start} to {stop} are not within the {self.num_frames} of {self.key.sequence}")
        if start == stop:
            return
        wanted = self.source_index[start:stop]
        first, last = int(wanted[0]), int(wanted[-1])
        kept = set(wanted.tolist())
        pictures = read_pictures(self.cameras[camera].source, first, last + 1, threads=threads)
        for index, picture in enumerate(pictures, start=first):
            if index in kept:
                yield picture
