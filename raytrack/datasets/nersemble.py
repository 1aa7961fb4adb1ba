"""What both versions of NeRSemble have in common: from calibrated footage to a sequence of corrected pictures."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from raytrack.datasets.alignment import tracker_from_capture
from raytrack.datasets.calibration import Calibration, check_aspect
from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.rig_files import RigFiles
from raytrack.datasets.selection import select_frames, select_subset
from raytrack.datasets.sequence import CameraSource, Correction, Sequence
from raytrack.errors import ConfigError, InputError
from raytrack.media.colour import ColourCorrection
from raytrack.media.config import ExtractConfig
from raytrack.media.source import Source
from raytrack.media.undistort import Undistortion
from raytrack.tables.keys import SequenceKey

logger = logging.getLogger(__name__)

CALIBRATED_SIZE_HW = (3208, 2200)
"""Size of the pictures that NeRSemble's intrinsics are of, where the file does not say."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibratedFootage:
    """What one camera recorded, and all that is known of it."""

    name: str
    source: Source
    calibration: Calibration
    """As the dataset gives it."""
    colour: ColourCorrection | None = None
    clean_plate: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """The timesteps that all cameras recorded."""

    ids: tuple[str, ...] = field(repr=False)
    times_s: Float[np.ndarray, " timesteps"] = field(repr=False)


def calibrated_sequence(
    key: SequenceKey,
    footage: list[CalibratedFootage],
    files: RigFiles,
    timeline: Timeline,
    *,
    capture: CaptureConfig,
    extract: ExtractConfig,
    occluded: tuple[str, ...] = (),
) -> Sequence:
    """A sequence whose pictures are downsampled, colour-corrected and undistorted as they are read.

    Args:
        key: Its names.
        footage: Of each camera that is taken; frame i of each is timestep i.
        files: Where it comes from: the rig's calibrations and the cameras' places.
        timeline: The timesteps.
        capture: Which timesteps are taken, and what is done to the pictures.
        extract: Which of those timesteps are taken, by rate and number.
        occluded: Head regions that are hidden.

    Raises:
        ConfigError: No timestep is left.
        InputError: Footage cannot be the calibrated picture, or cameras differ in size.
    """
    cameras = tuple(_camera(item, files.places[item.name], capture, str(key.sequence)) for item in footage)
    sizes = {camera.calibration.size_hw: camera.name for camera in cameras if camera.calibration}
    if len(sizes) > 1:
        shown = ", ".join(f"{width}×{height} ({name})" for (height, width), name in sizes.items())
        raise InputError(f"{key.sequence}: cameras differ in size: {shown}; take those of one size (capture.cameras)")
    chosen = np.array(select_subset(range(len(timeline.ids)), capture.timesteps), dtype=np.int64)
    if not len(chosen):
        raise ConfigError(f"{key.sequence}: capture.timesteps takes none of the {len(timeline.ids)} timesteps")
    times = timeline.times_s[chosen]
    by_rate = select_frames(times, target_fps=extract.target_fps, every=extract.every, max_frames=extract.max_frames)
    index = chosen[by_rate]
    return Sequence(
        key=key,
        cameras=cameras,
        source_index=index,
        frame_ids=tuple(timeline.ids[place] for place in index),
        timestamps_s=timeline.times_s[index] - timeline.times_s[index[0]],
        size_hw=next(iter(sizes)),
        occluded=occluded,
        tracker_from_capture=_turn(files, str(key.sequence)),
    )


def _turn(files: RigFiles, where: str) -> Float[np.ndarray, "3 3"]:
    """From the dataset's world to the tracker's, by the whole rig, whichever cameras are taken."""
    try:
        return tracker_from_capture(list(files.calibrations.values()))
    except ValueError as error:
        raise InputError(f"{where}: {error}; check {files.calibration}") from error


def _camera(footage: CalibratedFootage, place: int, capture: CaptureConfig, where: str) -> CameraSource:
    """A camera with the calibration of the pictures that it will give."""
    check_aspect(footage.calibration, footage.source.size_hw, f"{where}: camera {footage.name}")
    height, width = (max(round(length / capture.downsample), 1) for length in footage.source.size_hw)
    calibration = footage.calibration.scaled((height, width))
    undistortion = None
    if calibration.distortion is not None and capture.undistort:
        undistortion = Undistortion(
            intrinsics=calibration.intrinsics, coefficients=calibration.distortion, size_hw=calibration.size_hw
        )
    return CameraSource(
        name=footage.name,
        source=footage.source,
        index=place,
        # Where the user wants the lens left as it is, the pinhole camera is the nearest there is.
        calibration=calibration.undistorted(),
        correction=Correction(
            downsample=capture.downsample,
            colour=footage.colour if capture.color_correction else None,
            undistortion=undistortion,
        ),
        clean_plate=footage.clean_plate,
    )


def shortest(footage: list[CalibratedFootage], where: str) -> int:
    """How many frames all cameras have; a camera that has more loses the last ones."""
    counts = {item.name: item.source.num_frames for item in footage}
    least = min(counts.values())
    if longer := [name for name, count in counts.items() if count > least]:
        logger.warning("%s: only %d frames of camera %s are used: others have no more", where, least, longer[0])
    return least
