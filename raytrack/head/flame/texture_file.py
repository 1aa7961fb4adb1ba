"""A user's texture for FLAME: a painted picture, or a texture space.

Two spaces are known, both given out by FLAME's authors for 512² texels, blue first (their own readers turn the channels
round):

- FLAME's (`FLAME_texture.npz`): `mean` (512, 512, 3) and `tex_dir` (512, 512, 3, 200), in levels of 0 … 255.
- The one made from the Basel Face Model (`FLAME_albedo_from_BFM.npz`): `MU` and `PC`, 199 components, in 0 … 1.

Components are in falling order of variance and have it in their length, so that coefficients are about N(0, 1).
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from raytrack.errors import AssetError
from raytrack.head.texture_basis import MAX_COMPONENTS
from raytrack.head.texture_basis import MAX_SIZE as MAX_BASIS_SIZE

_SPACES = {"mean": "tex_dir", "MU": "PC"}
"""Key of the mean and of the directions."""
MAX_SIZE = 2048


@dataclass(frozen=True, kw_only=True)
class GivenTexture:
    """What a texture file says. sRGB in [0, 1], row 0 at the top; sides are powers of two."""

    albedo: Float[np.ndarray, "size size 3"]
    directions: Float[np.ndarray, "components side side 3"] | None = None
    """The first 100 components of a texture space, per unit coefficient, at up to 512 texels along a side."""


def read_texture(path: Path) -> GivenTexture:
    """The base albedo that a file gives, up to 2048² texels, and its principal components if it has any.

    Args:
        path: A picture, or a texture space as npz.

    Raises:
        AssetError: The file cannot be read, or is neither.
    """
    if not path.is_file():
        raise AssetError(f"{path}: no such texture")
    if path.suffix.lower() == ".npz":
        return _texture_space(path)
    return GivenTexture(albedo=np.clip(_squared(_painted(path), MAX_SIZE), 0, 1).astype(np.float64))


def _squared(picture: Float[np.ndarray, "height width 3"], most: int) -> Float[np.ndarray, "size size 3"]:
    """A picture with a side that is a power of two, not above its larger one."""
    side = min(most, 2 ** int(np.floor(np.log2(max(picture.shape[:2])))))
    if picture.shape[:2] == (side, side):
        return picture
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def _painted(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise AssetError(f"{path}: neither a picture nor a texture space")
    return picture[..., ::-1].astype(np.float32) / 255


def _texture_space(path: Path) -> GivenTexture:
    try:
        with np.load(path, allow_pickle=False) as archive:
            key = next((name for name in _SPACES if name in archive.files), None)
            if key is None:
                raise AssetError(f"{path}: a texture space has a mean called {' or '.join(_SPACES)}")
            mean = np.asarray(archive[key], np.float32).ravel()
            # One array after the other: all of FLAME's components take 600 MB.
            rows = _first_components(path, archive, _SPACES[key], mean.size)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise AssetError(f"{path}: not a texture space ({error})") from error
    side = round((mean.size / 3) ** 0.5)
    if side < 16 or side * side * 3 != mean.size or not np.isfinite(mean).all():
        raise AssetError(f"{path}: its mean of {mean.size} numbers is no square picture")
    levels = 255 if mean.max() > 2 else 1
    albedo = _squared(mean.reshape(side, side, 3)[..., ::-1] / levels, MAX_SIZE)
    directions = None
    if rows is not None:
        pictures = (row.reshape(side, side, 3)[..., ::-1] / levels for row in rows)
        directions = np.stack([_squared(picture, MAX_BASIS_SIZE) for picture in pictures])
    return GivenTexture(albedo=np.clip(albedo, 0, 1).astype(np.float64), directions=directions)


def _first_components(
    path: Path, archive: np.lib.npyio.NpzFile, key: str, num_values: int
) -> Float[np.ndarray, "components values"] | None:
    """One row per component, as many as are kept; None where the file has only a mean."""
    if key not in archive.files:
        return None
    directions = archive[key]
    count = directions.shape[-1] if directions.ndim else 0
    if count == 0 or directions.size != num_values * count or directions.dtype.kind != "f":
        raise AssetError(
            f"{path}: {key} is {directions.dtype} {directions.shape}, expected a number for each of the mean's "
            f"{num_values} and each component, components last"
        )
    rows = directions.reshape(num_values, count)[:, :MAX_COMPONENTS].T.astype(np.float32)
    if not np.isfinite(rows).all():
        raise AssetError(f"{path}: {key} holds numbers that are not finite")
    return rows
