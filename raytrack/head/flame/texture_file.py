"""A user's texture for FLAME: a painted picture, or the mean of a texture space."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from raytrack.errors import AssetError

_MEANS = ("mean", "MU")
"""Of FLAME's own texture space, and of the one made from the Basel Face Model."""
MAX_SIZE = 2048


def read_texture(path: Path) -> Float[np.ndarray, "size size 3"]:
    """The base albedo that a file gives, sRGB in [0, 1], row 0 at the top; its side is a power of two up to 2048.

    Args:
        path: A picture, or a texture space as npz (`mean` and `tex_dir`, or `MU` and `PC`): its mean is taken, and its
            directions are not used, for the tracker paints each texel itself.

    Raises:
        AssetError: The file cannot be read, or is neither.
    """
    if not path.is_file():
        raise AssetError(f"{path}: no such texture")
    picture = _mean_of_space(path) if path.suffix.lower() == ".npz" else _painted(path)
    side = min(MAX_SIZE, 2 ** int(np.floor(np.log2(max(picture.shape[:2])))))
    if picture.shape[:2] != (side, side):
        picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.clip(picture, 0, 1).astype(np.float64)


def _painted(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise AssetError(f"{path}: neither a picture nor a texture space")
    return picture[..., ::-1].astype(np.float32) / 255


def _mean_of_space(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            key = next((name for name in _MEANS if name in archive.files), None)
            if key is None:
                raise AssetError(f"{path}: a texture space has a mean called {' or '.join(_MEANS)}")
            mean = np.asarray(archive[key], np.float32).ravel()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise AssetError(f"{path}: not a texture space ({error})") from error
    side = round((mean.size / 3) ** 0.5)
    if side < 16 or side * side * 3 != mean.size or not np.isfinite(mean).all():
        raise AssetError(f"{path}: its mean of {mean.size} numbers is no square picture")
    # Both spaces keep blue first, one of them in 0 … 255.
    return mean.reshape(side, side, 3)[..., ::-1] / (255 if mean.max() > 2 else 1)
