"""The final render as pictures: one pair for every input frame, at the input's size."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from raytrack.fit.painting import Painted
from raytrack.media.images import write_png

COLOR_FOLDER, MASK_FOLDER = "color", "mask"


def make_picture_folders(folder: Path) -> None:
    """Make `color/` and `mask/` in an existing folder."""
    for name in (COLOR_FOLDER, MASK_FOLDER):
        (folder / name).mkdir()


def write_pictures(
    folder: Path, index: int, image: UInt8[np.ndarray, "height width 3"], painted: Painted | None, *, compression: int
) -> None:
    """Write `color/%06d.png` (the render over the input frame) and `mask/%06d.png` (255 where the head covers).

    Args:
        folder: Where the two folders are.
        index: The frame, from 0.
        image: The input frame, RGB.
        painted: The frame as drawn; None where the face was not found: the frame as it is, covered nowhere.
        compression: zlib level.
    """
    color = image if painted is None else painted.color
    mask = np.zeros(image.shape[:2], np.uint8) if painted is None else painted.mask.astype(np.uint8) * np.uint8(255)
    write_png(folder / COLOR_FOLDER / f"{index:06d}.png", color, compression=compression)
    write_png(folder / MASK_FOLDER / f"{index:06d}.png", mask, compression=compression)
