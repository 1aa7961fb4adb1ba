"""Still images: reading any common kind as 8-bit RGB with its alpha, writing PNG, and folders of frames."""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from raytrack.errors import InputError
from raytrack.media.files import replaced_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Files taken for images, whatever the case of their suffix."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image as it was read."""

    rgb: UInt8[np.ndarray, "height width 3"]
    """Not multiplied by the alpha."""
    alpha: UInt8[np.ndarray, "height width"] | None
    """255 where opaque; None where the file has no alpha channel."""


def to_uint8(values: Shaped[np.ndarray, "height width *channels"]) -> UInt8[np.ndarray, "height width *channels"]:
    """Bring samples to 8 bits: 16-bit ones are divided by 257 and rounded, floats are taken to lie in [0, 1]."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        # Rounded exactly: (v + 128) / 257 in integers.
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.round(np.clip(np.nan_to_num(values), 0.0, 1.0) * 255.0).astype(np.uint8)


def read_image(path: Path) -> Picture:
    """Read an image of any common kind: grey, RGB or with alpha, 8 or 16 bits a sample, turned as its EXIF says.

    Raises:
        InputError: The file is missing or is not a readable image.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    # IMREAD_UNCHANGED keeps alpha and depth but ignores EXIF; JPEG, which has EXIF, has neither.
    flags = cv2.IMREAD_COLOR if path.suffix.lower() in (".jpg", ".jpeg") else cv2.IMREAD_UNCHANGED
    try:
        values = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        values = None
    if values is None or values.dtype not in (np.uint8, np.uint16, np.float32, np.float64):
        raise InputError(f"{path}: not a readable image; replace it or remove it from the folder")
    return _to_picture(to_uint8(values))


def _to_picture(values: UInt8[np.ndarray, "height width *channels"]) -> Picture:
    """Split samples in OpenCV's order into RGB and alpha."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    if channels == 1:
        return Picture(rgb=cv2.cvtColor(values, cv2.COLOR_GRAY2RGB), alpha=None)
    if channels == 2:
        return Picture(rgb=cv2.cvtColor(values[..., 0], cv2.COLOR_GRAY2RGB), alpha=values[..., 1].copy())
    alpha = values[..., 3].copy() if channels == 4 else None
    return Picture(rgb=cv2.cvtColor(values[..., :3], cv2.COLOR_BGR2RGB), alpha=alpha)


def read_mask(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Read a foreground mask: the alpha channel if there is one that says anything, else the brightness.

    Raises:
        InputError: The file is missing or is not a readable image.
    """
    picture = read_image(path)
    if picture.alpha is not None and picture.alpha.min() < 255:
        return picture.alpha
    return cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)


def write_png(path: Path, image: UInt8[np.ndarray, "height width *channels"], *, compression: int = 1) -> None:
    """Write grey (h, w), RGB (h, w, 3) or RGBA (h, w, 4) as PNG, in one step: the file is whole or not there.

    Args:
        path: Where; its folder is made.
        image: What.
        compression: zlib level, 0 to 9: 1 is four times faster than 6 and a few per cent larger.

    Raises:
        OutputError: The file cannot be written.
    """
    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[2] if image.ndim == 3 else 2]
    values = image if order is None else cv2.cvtColor(image, order)
    _, encoded = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    with replaced_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `frame_10` after `frame_9`."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)


def list_images(folder: Path) -> list[Path]:
    """The images directly inside a folder, in natural order of their names; hidden files are left out.

    Raises:
        InputError: The folder cannot be read or has no image in it.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
        files = [path for path in files if path.is_file()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check the path") from error
    if not files:
        raise InputError(f"{folder}: no image in this folder (looked for {' '.join(IMAGE_SUFFIXES)})")
    return sorted(files, key=lambda path: (natural_key(path.stem), path.name))
