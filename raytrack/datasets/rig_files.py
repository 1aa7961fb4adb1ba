"""Which files a recording of calibrated cameras is made of, found before any of them is decoded."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from raytrack.datasets.calibration import Calibration
from raytrack.datasets.config import CameraSubsetConfig
from raytrack.datasets.nersemble_layout import BACKGROUND, Layout, rig
from raytrack.datasets.selection import select_subset
from raytrack.errors import ConfigError, InputError
from raytrack.media.images import IMAGE_SUFFIXES
from raytrack.tables.keys import safe_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class RigFiles:
    """The files of one recording, as far as they concern the cameras that are taken."""

    root: Path
    """The dataset's folder."""
    calibration: Path
    calibrations: dict[str, Calibration]
    """Of the whole rig, as the dataset gives them."""
    places: dict[str, int]
    """The cameras that are taken, and their places in the rig, increasing."""
    footage: dict[str, tuple[Path, ...]] = field(repr=False)
    """By camera: one video, or a picture for each of `timesteps`."""
    timesteps: tuple[str, ...] = field(default=(), repr=False)
    """Of single pictures; empty where there are videos."""
    colours: dict[str, Path] = field(default_factory=dict)
    """Colour corrections by camera, perhaps all in one file; empty where none are applied."""
    plates: dict[str, Path] = field(default_factory=dict)
    """Clean plates by camera, of those that have one."""

    @property
    def of_pictures(self) -> tuple[Path, ...]:
        """Files that decide what the pictures show, in a fixed order; whether or not all of them are there."""
        footage = (path for camera in self.places for path in self.footage[camera])
        return tuple(dict.fromkeys((self.calibration, *self.colours.values(), *footage)))

    @property
    def of_plates(self) -> tuple[Path, ...]:
        """Clean plates, in a fixed order."""
        return tuple(self.plates.values())


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
        InputError: No camera has both footage and a calibration, or one has a name that cannot name a folder.
    """
    places = rig_places(list(calibrations))
    if unsafe := [name for name in places if safe_name(name) != name]:
        raise InputError(f"{where}: camera {unsafe[0]!r} cannot name a folder: use letters, digits and . _ + -")
    if unknown := sorted(set(recorded) - set(places)):
        logger.warning("%s: cameras without calibration are left out: %s", where, ", ".join(unknown))
    at_hand = {name: place for name, place in places.items() if name in recorded}
    if not at_hand:
        raise InputError(f"{where}: no footage (cam_<camera>…) of the calibrated cameras {', '.join(places)}")
    if len(at_hand) < len(places):
        logger.info("%s: footage of %d of %d calibrated cameras", where, len(at_hand), len(places))
    return {name: at_hand[name] for name in select_cameras(at_hand, subset, where)}


def footage_by_camera(folder: Path, pattern: str) -> dict[str, Path]:
    """Files called `cam_<camera>` and a suffix, by camera."""
    return {path.stem.removeprefix("cam_"): path for path in sorted(folder.glob(pattern)) if path.is_file()}


def clean_plates(layout: Layout, subject: str, cameras: list[str]) -> dict[str, Path]:
    """Pictures of the scene without the person, by camera, of the cameras that have one."""
    folder = layout.sequences_folder(subject) / BACKGROUND
    files = {path.stem: path for path in sorted(folder.glob("image_*")) if path.suffix.lower() in IMAGE_SUFFIXES}
    return {camera: files[f"image_{camera}"] for camera in cameras if f"image_{camera}" in files}
