"""Writing pictures and folders so that what is there is whole, and equal content gives equal bytes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from raytrack.errors import OutputError


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A fresh folder to fill, which takes the place of `folder` when the block ends without an error.

    Raises:
        OutputError: The folder cannot be written.
    """
    temporary = folder.with_name(f".tmp-{folder.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); free space or choose another OUT"
        ) from error


def write_png(path: Path, image: UInt8[np.ndarray, "height width *channels"], *, compression: int) -> None:
    """Write a grey, RGB or RGBA picture; its folder must exist.

    Args:
        path: The file.
        image: Two dimensions, or three with 3 or 4 channels; row 0 at the top.
        compression: zlib level, 0 to 9.

    Raises:
        OutputError: The file cannot be written.
    """
    to_file_order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[2] if image.ndim == 3 else 2]
    ordered = image if to_file_order is None else cv2.cvtColor(image, to_file_order)
    _, encoded = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); free space or choose another OUT") from error


def read_png(path: Path) -> UInt8[np.ndarray, "height width *channels"]:
    """A picture that `write_png` wrote: grey (two dimensions), RGB or RGBA.

    Raises:
        OutputError: The file is missing or damaged.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise OutputError(f"{path}: not a readable picture; run the export again")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
