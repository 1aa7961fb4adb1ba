"""One recording to be tracked: its cameras, frames and times."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from raytrack.datasets.calibration import Calibration
from raytrack.errors import InputError
from raytrack.media.colour import ColourCorrection
from raytrack.media.folder import FolderInfo, read_folder
from raytrack.media.images import Picture, read_image
from raytrack.media.resize import downsample
from raytrack.media.source import Source, read_pictures
from raytrack.media.undistort import Undistortion
from raytrack.tables.keys import SequenceKey


@dataclass(frozen=True, kw_only=True, eq=False)
class Correction:
    """What is done to every picture of a camera, once, in this order."""

    downsample: int = 1
    """Factor by which height and width shrink."""
    colour: ColourCorrection | None = None
    undistortion: Undistortion | None = None
    """Of the downsampled picture."""

    def apply(self, picture: Picture) -> Picture:
        """The corrected picture; its alpha is shrunk and undistorted alike."""
        rgb, alpha = downsample(picture.rgb, self.downsample), picture.alpha
        if alpha is not None:
            alpha = downsample(alpha, self.downsample)
        if self.colour is not None:
            rgb = self.colour.apply(rgb)
        if self.undistortion is not None:
            rgb = self.undistortion.apply(rgb)
            alpha = None if alpha is None else self.undistortion.apply(alpha)
        return Picture(rgb=rgb, alpha=alpha)


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraSource:
    """What one camera recorded."""

    name: str
    source: Source
    index: int = 0
    """Its place in the rig, whichever of the rig's cameras are taken."""
    calibration: Calibration | None = None
    """Of the corrected pictures; None where it is to be found out."""
    correction: Correction = field(default_factory=Correction)
    clean_plate: Path | None = None
    """A picture of the scene without the person, as the camera took it."""

    def read_clean_plate(self) -> Picture:
        """The clean plate, corrected as the frames are.

        Raises:
            InputError: There is none, it cannot be read, or it differs in size from the frames.
        """
        if self.clean_plate is None:
            raise InputError(f"camera {self.name} has no clean plate")
        plate = read_image(self.clean_plate)
        if plate.rgb.shape[:2] != self.source.size_hw:
            height, width = self.source.size_hw
            raise InputError(
                f"{self.clean_plate}: {plate.rgb.shape[1]}×{plate.rgb.shape[0]} pixels, where the frames have "
                f"{width}×{height}; bring both to one size"
            )
        return self.correction.apply(plate)


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
    """Of the pictures that `read` gives."""
    occluded: tuple[str, ...] = ()
    """Head regions of the subject that are hidden."""
    tracker_from_capture: Float[np.ndarray, "3 3"] | None = field(default=None, repr=False)
    """Turns the world of the cameras' calibrations into the tracker's; see `raytrack.datasets.alignment`. None where
    they have none."""

    @property
    def num_frames(self) -> int:
        """Number of frames taken."""
        return len(self.frame_ids)

    @property
    def has_alpha(self) -> bool:
        """Whether the footage has an alpha channel, which can serve as matte."""
        return all(camera.source.has_alpha for camera in self.cameras)

    def read(self, start: int = 0, stop: int | None = None, *, camera: int = 0, threads: int = 1) -> Iterator[Picture]:
        """Read the taken frames `start` to `stop` (not included) of one camera in order, corrected.

        Args:
            start: Index of the first, among the frames taken.
            stop: Index after the last; by default the number of frames.
            camera: Index among the cameras taken.
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
        footage = self.cameras[camera]
        if isinstance(footage.source, FolderInfo):
            # Single images need not be read to be passed over.
            for index in wanted.tolist():
                (picture,) = read_folder(footage.source, index, index + 1)
                yield footage.correction.apply(picture)
            return
        for index, picture in enumerate(read_pictures(footage.source, first, last + 1, threads=threads), start=first):
            if index in kept:
                yield footage.correction.apply(picture)
