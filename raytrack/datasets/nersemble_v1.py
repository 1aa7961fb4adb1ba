"""NeRSemble, version 1: single pictures or videos per camera, affine colour correction, clean plates.

The layout is described in `raytrack.datasets.nersemble_layout`.
"""

import re
from pathlib import Path

import numpy as np

from raytrack.datasets.calibration import read_calibrations
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
from raytrack.media.colour import AffineColour
from raytrack.media.config import ExtractConfig
from raytrack.media.folder import FolderInfo
from raytrack.media.images import IMAGE_SUFFIXES, read_image
from raytrack.media.probe import probe_video
from raytrack.media.source import Source
from raytrack.tables.keys import SequenceKey

KIND = "nersemble-v1"
_PICTURE_NAME = re.compile(r"cam_(?P<camera>.+)_(?P<timestep>\d+)")


def nersemble_v1_files(root: Path, subject: str, sequence: str, capture: CaptureConfig) -> RigFiles:
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
    calibrations = read_calibrations(layout.calibration_path(subject), CALIBRATED_SIZE_HW)
    pictures, videos = _pictures(folder), footage_by_camera(folder, "cam_*.mp4")
    places = calibrated_cameras(calibrations, list(pictures or videos), capture.cameras, str(folder))
    timesteps = _common_timesteps([pictures[camera] for camera in places], folder) if pictures else []
    colours = root / "color_correction" / subject
    return RigFiles(
        root=root,
        calibration=layout.calibration_path(subject),
        calibrations=calibrations,
        places=places,
        footage={
            camera: tuple(pictures[camera][i] for i in timesteps) if pictures else (videos[camera],)
            for camera in places
        },
        timesteps=tuple(timesteps),
        colours={camera: colours / f"{camera}.npy" for camera in places} if capture.color_correction else {},
        plates=clean_plates(layout, subject, list(places)),
    )


def nersemble_v1_sequence(
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
    files = nersemble_v1_files(root, subject, sequence, capture)
    footage = [
        CalibratedFootage(
            name=camera,
            source=_source(files, camera, capture.fps, threads),
            calibration=files.calibrations[camera],
            colour=read_affine(files.colours[camera]) if capture.color_correction else None,
            clean_plate=files.plates.get(camera),
        )
        for camera in files.places
    ]
    if timesteps := files.timesteps:
        times = np.array([int(timestep) for timestep in timesteps]) / capture.fps
    else:
        count = shortest(footage, key.sequence)
        timesteps, times = tuple(f"{i:06d}" for i in range(count)), np.arange(count) / capture.fps
    return calibrated_sequence(
        key,
        footage,
        files,
        Timeline(ids=timesteps, times_s=times),
        capture=capture,
        extract=extract,
        occluded=occluded_regions(subject, Path(capture.occlusions) if capture.occlusions else None),
    )


def _source(files: RigFiles, camera: str, fps: float, threads: int) -> Source:
    footage = files.footage[camera]
    if not files.timesteps:
        return probe_video(footage[0], threads=threads)
    first = read_image(footage[0])
    return FolderInfo(
        path=footage[0].parent,
        files=footage,
        size_hw=(first.rgb.shape[0], first.rgb.shape[1]),
        has_alpha=first.alpha is not None,
        timestamps_s=np.arange(len(footage)) / fps,
    )


def _pictures(folder: Path) -> dict[str, dict[str, Path]]:
    """Files by camera and timestep; nothing where the footage is not single pictures."""
    found: dict[str, dict[str, Path]] = {}
    images = folder / "images"
    for path in sorted(images.iterdir()) if images.is_dir() else ():
        match = _PICTURE_NAME.fullmatch(path.stem)
        if match and path.suffix.lower() in IMAGE_SUFFIXES:
            of_camera = found.setdefault(match["camera"], {})
            if match["timestep"] in of_camera:
                raise InputError(f"{path}: there is another picture of this timestep; remove one")
            of_camera[match["timestep"]] = path
    return found


def _common_timesteps(pictures: list[dict[str, Path]], folder: Path) -> list[str]:
    """Timesteps that every camera has a picture of, in order."""
    common = set(pictures[0]).intersection(*pictures[1:])
    if not common:
        raise InputError(f"{folder}: there is no timestep that all cameras have a picture of; choose capture.cameras")
    return sorted(common, key=lambda timestep: (int(timestep), timestep))


def read_affine(path: Path) -> AffineColour:
    """Read a colour correction: a matrix A of which `rgb @ A[:3, :3] + A[:3, 3]` is made, colours in [0, 1].

    Raises:
        InputError: The file is missing, or is no such matrix.
    """
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); get the dataset's colour correction, or go without: "
            "capture.color_correction: false"
        ) from error
    if matrix.shape not in {(3, 4), (4, 4)} or not np.isfinite(matrix).all():
        raise InputError(f"{path}: expected a 3×4 or 4×4 matrix of finite numbers, got shape {matrix.shape}")
    matrix = matrix.astype(np.float64)
    if np.abs(matrix[:3, 3]).max() > 1:
        raise InputError(f"{path}: its offset exceeds the range of colours, 0 to 1: it is for another scale")
    return AffineColour(matrix=matrix[:3, :3], offset=matrix[:3, 3])
