"""Footage of either kind: a video file or a folder of images."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from raytrack.errors import InputError
from raytrack.media.decode import decode_pictures
from raytrack.media.folder import FolderInfo, probe_folder, read_folder
from raytrack.media.images import IMAGE_SUFFIXES, Picture
from raytrack.media.probe import NOMINAL_FPS, VideoInfo, probe_video

Source: TypeAlias = VideoInfo | FolderInfo


def probe(path: Path, *, image_fps: float = NOMINAL_FPS, threads: int = 1) -> Source:
    """Find out what footage holds.

    Args:
        path: A video file, a folder of images, or one image.
        image_fps: Frames per second of images.
        threads: Threads that a decoder may use.

    Raises:
        InputError: It is missing or cannot be used; the message says what to do.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return probe_folder(path, fps=image_fps)
    return probe_video(path, threads=threads)


def read_pictures(source: Source, start: int = 0, stop: int | None = None, *, threads: int = 1) -> Iterator[Picture]:
    """Read frames `start` to `stop` (not included) in order, each with its alpha where the footage has one.

    A frame is the same whatever the range it is read in.

    Args:
        source: What `probe` said of the footage.
        start: Index of the first frame.
        stop: Index after the last; by default the number of frames.
        threads: Threads that a decoder may use.

    Raises:
        ValueError: The range is not within the clip.
        InputError: The footage cannot be read any more, or an image differs in size.
    """
    stop = source.num_frames if stop is None else stop
    if isinstance(source, FolderInfo):
        return read_folder(source, start, stop)
    return decode_pictures(source, start, stop, threads=threads)


def read_frames(
    source: Source, start: int = 0, stop: int | None = None, *, threads: int = 1
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Read frames `start` to `stop` (not included) as RGB; see `read_pictures`."""
    for picture in read_pictures(source, start, stop, threads=threads):
        yield picture.rgb
