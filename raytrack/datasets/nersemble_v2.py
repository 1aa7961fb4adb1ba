"""NeRSemble, version 2: one video per camera, colours corrected by a polynomial of linear light.

The layout is described in `raytrack.datasets.nersemble_layout`.
"""

from pathlib import Path

import numpy as np

from raytrack.datasets.calibration import read_calibrations, read_json
from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.nersemble import (
    CALIBRATED_SIZE_HW,
    CalibratedFootage,
    Timeline,
    calibrated_sequence,
    shortest,
)
from raytrack.datasets.nersemble_layout import Layout, occluded_regions
from raytrack.datasets.rig_files import RigFiles, calibrated_cameras, clean_plates, footage_by_camera
from raytrack.datasets.sequence import Sequence
from raytrack.errors import InputError
from raytrack.media.colour import TERMS, PolynomialColour
from raytrack.media.config import ExtractConfig
from raytrack.media.probe import probe_video
from raytrack.tables.keys import SequenceKey

KIND = "nersemble-v2"


def nersemble_v2_files(root: Path, subject: str, sequence: str, capture: CaptureConfig) -> RigFiles:
    """Find the files of one recording.

    Args:
        root: The dataset's folder.
        subject: Who is seen.
        sequence: The sequence's folder.
        capture: Which cameras are taken, and whether their colours are corrected.

    Raises:
        ConfigError: No camera is left.
        InputError: Footage or calibration is missing or cannot be used.
    """
    layout = Layout(kind=KIND, root=root)
    folder = layout.sequences_folder(subject) / sequence
    calibration = layout.calibration_path(subject)
    calibrations = read_calibrations(calibration, CALIBRATED_SIZE_HW)
    videos = footage_by_camera(folder / "images", "cam_*.mp4")
    places = calibrated_cameras(calibrations, list(videos), capture.cameras, str(folder))
    colours = calibration.with_name("color_calibration.json")
    return RigFiles(
        root=root,
        calibration=calibration,
        calibrations=calibrations,
        places=places,
        footage={camera: (videos[camera],) for camera in places},
        colours=dict.fromkeys(places, colours) if capture.color_correction else {},
        plates=clean_plates(layout, subject, list(places)),
    )


def nersemble_v2_sequence(
    root: Path,
    subject: str,
    sequence: str,
    *,
    name: str = "",
    capture: CaptureConfig | None = None,
    extract: ExtractConfig | None = None,
    threads: int = 1,
) -> Sequence:
    """Look at one recording and decide what is taken of it.

    Args:
        root: The dataset's folder.
        subject: Who is seen, such as `074`.
        sequence: The sequence's folder, suffix and all.
        name: The sequence's name in the output; by default subject and folder.
        capture: Timesteps, cameras, downsampling, corrections.
        extract: Rate and number of timesteps.
        threads: Threads that a decoder may use.

    Raises:
        ConfigError: A name cannot name a folder, or no camera or timestep is left.
        InputError: The footage, the calibration or a colour correction is missing or cannot be used.
    """
    capture, extract = capture or CaptureConfig(), extract or ExtractConfig()
    key = SequenceKey(dataset=KIND, subject=subject, sequence=name or f"{subject}_{sequence}")
    files = nersemble_v2_files(root, subject, sequence, capture)
    cameras = list(files.places)
    colours = read_polynomials(files.colours[cameras[0]], cameras) if files.colours else {}
    footage = [
        CalibratedFootage(
            name=camera,
            source=probe_video(files.footage[camera][0], threads=threads),
            calibration=files.calibrations[camera],
            colour=colours.get(camera),
        )
        for camera in cameras
    ]
    count = shortest(footage, key.sequence)
    return calibrated_sequence(
        key,
        footage,
        files,
        Timeline(ids=tuple(f"{i:06d}" for i in range(count)), times_s=np.arange(count) / capture.fps),
        capture=capture,
        extract=extract,
        occluded=occluded_regions(subject, Path(capture.occlusions) if capture.occlusions else None),
    )


def read_polynomials(path: Path, cameras: list[str]) -> dict[str, PolynomialColour]:
    """Read `color_calibration.json`: for each camera a matrix of 3 rows and as many columns as terms.

    Args:
        path: The file.
        cameras: Those that must be in it.

    Raises:
        InputError: The file or a camera in it is missing, or holds something else.
    """
    document = read_json(path)
    found = {}
    for camera in cameras:
        if camera not in document:
            raise InputError(f"{path}: no camera {camera}; get the file again, or set capture.color_correction: false")
        try:
            matrix = np.array(document[camera], dtype=np.float64)
        except (TypeError, ValueError):
            matrix = np.empty((0, 0))
        if matrix.ndim != 2 or matrix.shape[0] != 3 or matrix.shape[1] not in TERMS or not np.isfinite(matrix).all():
            known = ", ".join(map(str, TERMS))
            raise InputError(f"{path}: camera {camera} needs 3 rows of {known} finite numbers, got {matrix.shape}")
        found[camera] = PolynomialColour(matrix=matrix)
    return found
