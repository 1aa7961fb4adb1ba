"""Footage of either kind: a video file or a folder of images."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from raytrack.errors import InputError
from raytrack.media.decode import decode_pictures
from raytrack.media.folder import FolderInfo, probe_folder, read_folder
from raytrack.media.images import IMAGE_SUFFIXES, Picture
from raytrack.media.probe import NOMINAL_FPS, VideoInfo, probe_video

Source: TypeAlias = VideoInfo | FolderInfo
_ALPHA_SAMPLES = 8
"""Frames, spread over the clip, that are looked at to tell a matte from an alpha channel that says nothing."""


def probe(path: Path, *, image_fps: float = NOMINAL_FPS, threads: int = 1) -> Source:
    """Find out what footage holds. An alpha channel that is the same all over the picture counts as none.

    Args:
        path: A video file, a folder of images, or one image.
        image_fps: Frames per second of images.
        threads: Threads that a decoder may use.

    Raises:
        InputError: It is missing or cannot be used; the message says what to do.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    is_folder = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES
    source = probe_folder(path, fps=image_fps) if is_folder else probe_video(path, threads=threads)
    if source.has_alpha and not _alpha_varies(source, threads):
        return dataclasses.replace(source, has_alpha=False)
    return source


def _alpha_varies(source: Source, threads: int) -> bool:
    """Whether the alpha channel tells some pixels of a picture from others, in any of a few frames."""
    for index in np.unique(np.linspace(0, source.num_frames - 1, _ALPHA_SAMPLES).astype(int)).tolist():
        for picture in read_pictures(source, index, index + 1, threads=threads):
            if picture.alpha is not None and picture.alpha.min() < picture.alpha.max():
                return True
    return False


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
