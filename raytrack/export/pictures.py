"""The final render as pictures: one pair for every camera and input frame, at the input's size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from raytrack.fit.painting import Painted
from raytrack.fit.rig import RigCamera
from raytrack.media.images import write_png
from raytrack.tables.keys import safe_name

COLOR_FOLDER, MASK_FOLDER = "color", "mask"


def picture_folders(folder: Path, rig: Sequence[RigCamera]) -> list[tuple[Path, Path]]:
    """Make `color/` and `mask/` in an existing folder, with `cam_<id>/` in them for each camera of a rig.

    Args:
        folder: `render/<sequence>`.
        rig: The cameras; empty for a single view, whose pictures lie in the folders themselves.

    Returns:
        Where the colours and the masks of each camera go.
    """
    names = [f"cam_{safe_name(view.id)}" for view in rig] or [""]
    pairs = [(folder / COLOR_FOLDER / name, folder / MASK_FOLDER / name) for name in names]
    for path in (path for pair in pairs for path in pair):
        path.mkdir(parents=True)
    return pairs


def write_pictures(
    folders: tuple[Path, Path],
    index: int,
    image: UInt8[np.ndarray, "height width 3"],
    painted: Painted | None,
    *,
    compression: int,
) -> None:
    """Write `%06d.png` into both folders: the render over the input frame, and 255 where the head covers it.

    Args:
        folders: Of the camera, from `picture_folders`.
        index: The frame, from 0.
        image: The input frame, RGB.
        painted: The frame as drawn; None where the face was not found: the frame as it is, covered nowhere.
        compression: zlib level.
    """
    color = image if painted is None else painted.color
    mask = np.zeros(image.shape[:2], np.uint8) if painted is None else painted.mask.astype(np.uint8) * np.uint8(255)
    write_png(folders[0] / f"{index:06d}.png", color, compression=compression)
    write_png(folders[1] / f"{index:06d}.png", mask, compression=compression)
