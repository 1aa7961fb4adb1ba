"""What both versions of NeRSemble have in common: from calibrated footage to a sequence of corrected pictures."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from raytrack.datasets.calibration import Calibration, check_aspect
from raytrack.datasets.config import CameraSubsetConfig, CaptureConfig
from raytrack.datasets.nersemble_layout import rig
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


def rig_places(names: list[str]) -> dict[str, int]:
    """Each camera's place in the rig: that of NeRSemble's rig where all are of it, else the calibration's order."""
    known: list[str] = rig()["cameras"]
    order = known if set(names) <= set(known) else names
    return {name: order.index(name) for name in names}


def select_cameras(places: dict[str, int], subset: CameraSubsetConfig, where: str) -> list[str]:
    """The cameras that are taken, by their places.

    Args:
        places: Cameras at hand, and their places in the rig.
        subset: Division and names narrow them down first, then the rest of the subset, whose numbers are places.
        where: What error messages begin with.

    Raises:
        ConfigError: None is left, or one that was named is not there.
    """
    missing = [name for name in subset.names if name not in places]
    if missing:
        raise ConfigError(f"{where}: no camera {missing[0]!r}; there is: {', '.join(places)}")
    division = None if subset.division == "all" else set(rig()["divisions"][subset.division])
    wanted = {
        place: name
        for name, place in sorted(places.items(), key=lambda item: item[1])
        if (division is None or place in division) and (not subset.names or name in subset.names)
    }
    taken = [wanted[place] for place in select_subset(list(wanted), subset)]
    if not taken:
        shown = ", ".join(f"{name} ({place})" for name, place in places.items())
        raise ConfigError(f"{where}: capture.cameras takes none of the cameras, which are: {shown}")
    return taken


def calibrated_cameras(
    calibrations: dict[str, Calibration], recorded: list[str], subset: CameraSubsetConfig, where: str
) -> dict[str, int]:
    """The cameras to read, in the order of their places in the rig, and those places.

    Args:
        calibrations: By camera.
        recorded: Cameras that there is footage of.
        subset: Which of them are taken.
        where: What messages begin with.

    Raises:
        ConfigError: The subset names none of them.
        InputError: No camera has both footage and a calibration.
    """
    places = rig_places(list(calibrations))
    if unknown := sorted(set(recorded) - set(places)):
        logger.warning("%s: cameras without calibration are left out: %s", where, ", ".join(unknown))
    at_hand = {name: place for name, place in places.items() if name in recorded}
    if not at_hand:
        raise InputError(f"{where}: no footage (cam_<camera>…) of the calibrated cameras {', '.join(places)}")
    if len(at_hand) < len(places):
        logger.info("%s: footage of %d of %d calibrated cameras", where, len(at_hand), len(places))
    return {name: at_hand[name] for name in select_cameras(at_hand, subset, where)}


def calibrated_sequence(
    key: SequenceKey,
    footage: list[CalibratedFootage],
    places: dict[str, int],
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
        places: The cameras' places in the rig.
        timeline: The timesteps.
        capture: Which timesteps are taken, and what is done to the pictures.
        extract: Which of those timesteps are taken, by rate and number.
        occluded: Head regions that are hidden.

    Raises:
        ConfigError: No timestep is left.
        InputError: Footage cannot be the calibrated picture, or cameras differ in size.
    """
    cameras = tuple(_camera(item, places[item.name], capture, str(key.sequence)) for item in footage)
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
    )


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


def footage_by_camera(folder: Path, pattern: str) -> dict[str, Path]:
    """Files called `cam_<camera>` and a suffix, by camera."""
    return {path.stem.removeprefix("cam_"): path for path in sorted(folder.glob(pattern)) if path.is_file()}
