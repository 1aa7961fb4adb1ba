"""Several videos of one head by cameras that stand still and record at the same times; nothing is known of the cameras.

Frame i of each is timestep i. Recordings may differ in length by a little, for nobody stops all cameras at once: the
frames that all have count.
"""

import logging
from collections.abc import Sequence as Listed
from pathlib import Path

import numpy as np

from raytrack.datasets.calibration import Calibration
from raytrack.datasets.selection import select_frames
from raytrack.datasets.sequence import CameraSource, Sequence
from raytrack.errors import InputError
from raytrack.media.config import ExtractConfig
from raytrack.media.source import Source, probe
from raytrack.tables.keys import SequenceKey

logger = logging.getLogger(__name__)
_MOST_LEFT_OUT = 0.2
"""Recordings whose lengths differ by more than this share of the longest are not of the same take."""
_MOST_APART = 0.5
"""Frames of the same number may be this share of a frame's duration apart in time."""


def synchronous_sequence(
    paths: Listed[Path],
    names: Listed[str],
    *,
    name: str,
    subject: str = "",
    dataset: str = "monocular",
    extract: ExtractConfig | None = None,
    threads: int = 1,
) -> Sequence:
    """Look at the footage of an uncalibrated rig and decide what is taken of it.

    Args:
        paths: Of each camera a video file or a folder of images.
        names: What to call the cameras.
        name: The sequence's name.
        subject: Who is seen; by default the sequence's name.
        dataset: What it belongs to.
        extract: Which frames to take; by default all.
        threads: Threads that a decoder may use.

    Raises:
        ConfigError: A name cannot name a folder.
        InputError: Footage is missing or cannot be used, or the cameras did not record the same frames.
    """
    extract = extract or ExtractConfig()
    key = SequenceKey(dataset=dataset, subject=subject or name, sequence=name)
    sources = {
        camera: probe(path, image_fps=extract.image_fps, threads=threads)
        for camera, path in zip(names, paths, strict=True)
    }
    count = _common_frames(sources, name)
    _check_times(sources, count, name)
    _check_sizes(sources, name)
    first = next(iter(sources.values()))
    times = first.timestamps_s[:count]
    index = select_frames(times, target_fps=extract.target_fps, every=extract.every, max_frames=extract.max_frames)
    cameras = tuple(
        CameraSource(name=camera, source=source, index=place) for place, (camera, source) in enumerate(sources.items())
    )
    return Sequence(
        key=key,
        cameras=cameras,
        source_index=index,
        frame_ids=tuple(first.frame_ids[place] for place in index),
        timestamps_s=times[index] - times[index[0]],
        size_hw=first.size_hw,
    )


def unknown_calibration(size_hw: tuple[int, int]) -> Calibration:
    """What is said of a camera of which only the size of its pictures is known.

    Args:
        size_hw: Of its pictures.
    """
    return Calibration(intrinsics=np.full((3, 3), np.nan), cam_from_world=np.full((3, 4), np.nan), size_hw=size_hw)


def _common_frames(sources: dict[str, Source], where: str) -> int:
    """How many frames all cameras have.

    Raises:
        InputError: One has far fewer than another.
    """
    counts = {camera: source.num_frames for camera, source in sources.items()}
    least, most = min(counts.values()), max(counts.values())
    if most - least > _MOST_LEFT_OUT * most:
        raise InputError(
            f"{where}: the cameras of a rig record the same frames, but these have {_listed(counts)}: cut the videos "
            "to the same stretch, beginning with the same frame"
        )
    if most > least:
        logger.warning("%s: cameras have %s frames: the first %d of each are taken", where, _listed(counts), least)
    return least


def _check_times(sources: dict[str, Source], count: int, where: str) -> None:
    """Refuse footage whose frames drift apart: cameras of different frame rates, or with dropped frames.

    Raises:
        InputError: Frames of one number lie too far apart in time.
    """
    (reference, first), *others = sources.items()
    elapsed = first.timestamps_s[:count] - first.timestamps_s[0]
    duration = float(np.median(np.diff(elapsed))) if count > 1 else 0.0
    for camera, source in others:
        own = source.timestamps_s[:count] - source.timestamps_s[0]
        apart = np.abs(own - elapsed)
        if duration > 0 and apart.max() > _MOST_APART * duration:
            frame = int(np.argmax(apart > _MOST_APART * duration))
            raise InputError(
                f"{where}: cameras {reference} and {camera} do not record at the same times: frame {frame} is "
                f"{elapsed[frame]:.3f} s after the first in one and {own[frame]:.3f} s in the other; bring the videos "
                "to one frame rate"
            )


def _check_sizes(sources: dict[str, Source], where: str) -> None:
    """Refuse pictures of different sizes.

    Raises:
        InputError: There are some.
    """
    sizes = {camera: f"{source.size_hw[1]}×{source.size_hw[0]}" for camera, source in sources.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{where}: cameras differ in size: {_listed(sizes)}; bring the videos to one size")


def _listed(values: dict[str, int] | dict[str, str]) -> str:
    return ", ".join(f"{value} ({camera})" for camera, value in values.items())
