"""A folder of images, or a single image, as footage."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from raytrack.errors import InputError
from raytrack.media.images import Picture, list_images, read_image

_LARGEST_STEP = 100
"""Numbers in names that are typically further apart than this are no frame numbers (but, say, clock times)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderInfo:
    """Images that are the frames of a clip."""

    path: Path
    files: tuple[Path, ...] = field(repr=False)
    size_hw: tuple[int, int]
    has_alpha: bool
    """Whether the first image has an alpha channel; `raytrack.media.source.probe` also looks whether it says anything.
    """
    timestamps_s: Float[np.ndarray, " frames"] = field(repr=False)
    """Time of each frame in seconds since the first, from the numbers in the files' names."""

    @property
    def num_frames(self) -> int:
        """Number of images."""
        return len(self.files)

    @property
    def frame_ids(self) -> tuple[str, ...]:
        """Frames are called as their files, without suffix."""
        return tuple(file.stem for file in self.files)


def probe_folder(path: Path, *, fps: float) -> FolderInfo:
    """Find out what a folder of images holds; the images are taken in natural order of their names.

    Args:
        path: The folder, or one image.
        fps: Frames per second: the time between images whose numbers follow each other.

    Raises:
        InputError: There is no image, two have the same name but for the suffix, or the first cannot be read.
    """
    files = (path,) if path.is_file() else tuple(list_images(path))
    seen: dict[str, Path] = {}
    for file in files:
        if file.stem in seen:
            raise InputError(f"{path}: {seen[file.stem].name} and {file.name} would be the same frame; remove one")
        seen[file.stem] = file
    first = read_image(files[0])
    return FolderInfo(
        path=path,
        files=files,
        size_hw=(first.rgb.shape[0], first.rgb.shape[1]),
        has_alpha=first.alpha is not None,
        timestamps_s=_frame_numbers([file.stem for file in files]) / fps,
    )


def _frame_numbers(names: list[str]) -> Float[np.ndarray, " frames"]:
    """The number at the end of each name, less the first; consecutive numbers where they are no frame numbers."""
    consecutive = np.arange(len(names), dtype=np.float64)
    matches = [re.fullmatch(r"(.*?)(\d+)", name) for name in names]
    if len({match and match[1] for match in matches}) != 1 or matches[0] is None:
        return consecutive
    numbers = [int(match[2]) for match in matches if match]
    steps = np.diff(np.array([number - numbers[0] for number in numbers], dtype=np.float64))
    if len(steps) and (steps.min() <= 0 or np.median(steps) > _LARGEST_STEP):
        return consecutive
    return np.concatenate([[0.0], np.cumsum(steps)])


def read_folder(info: FolderInfo, start: int, stop: int) -> Iterator[Picture]:
    """Read images `start` to `stop` (not included).

    Raises:
        ValueError: The range is not within the folder.
        InputError: An image cannot be read, or differs in size from the first.
    """
    if not 0 <= start <= stop <= info.num_frames:
        raise ValueError(f"frames {start} to {stop} are not within the {info.num_frames} of {info.path}")
    for file in info.files[start:stop]:
        picture = read_image(file)
        if picture.rgb.shape[:2] != info.size_hw:
            height, width = info.size_hw
            raise InputError(
                f"{file}: {picture.rgb.shape[1]}×{picture.rgb.shape[0]} pixels, where the folder's first image has "
                f"{width}×{height}; bring all to one size"
            )
        opaque = np.full(info.size_hw, 255, np.uint8)
        alpha = (opaque if picture.alpha is None else picture.alpha) if info.has_alpha else None
        yield Picture(rgb=picture.rgb, alpha=alpha)
