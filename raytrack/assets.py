"""Shipped assets: where they lie, and proof that they are whole.

Each asset file is listed in `assets/SHA256SUMS` (``sha256sum`` format, paths relative to the assets folder). A file is
checked once per process, the first time it is asked for.
"""

import functools
import hashlib
from pathlib import Path

from raytrack.errors import AssetError

_INSTALLED = Path(__file__).parent / "_assets"
_CHECKOUT = Path(__file__).parents[1] / "assets"


def assets_folder() -> Path:
    """The folder of shipped assets: inside an installed package, else beside it in a checkout."""
    for folder in (_INSTALLED, _CHECKOUT):
        if (folder / "SHA256SUMS").is_file():
            return folder
    raise AssetError(f"raytrack's assets are missing (looked in {_INSTALLED} and {_CHECKOUT}): install raytrack again")


@functools.cache
def _digests(folder: Path) -> dict[str, str]:
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {
        name.strip().lstrip("*"): digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())
    }


def asset_names() -> tuple[str, ...]:
    """Every shipped asset, as paths relative to the assets folder."""
    return tuple(sorted(_digests(assets_folder())))


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def asset_sha256(name: str) -> str:
    """The digest that the asset `name` (a path relative to the assets folder) must have.

    Raises:
        AssetError: The asset is not one of raytrack's.
    """
    digests = _digests(assets_folder())
    if name not in digests:
        raise AssetError(f"{name!r} is not a shipped asset; shipped: {', '.join(sorted(digests))}")
    return digests[name]


@functools.cache
def asset_path(name: str) -> Path:
    """Path of a shipped asset, after checking its sha256.

    Args:
        name: Path relative to the assets folder, such as ``head/head.npz``.

    Raises:
        AssetError: The file is missing or its bytes differ from what was shipped.
    """
    path, expected = assets_folder() / name, asset_sha256(name)
    if not path.is_file():
        raise AssetError(f"shipped asset {name} is missing: install raytrack again")
    if (actual := sha256_of(path)) != expected:
        raise AssetError(
            f"shipped asset {name} is damaged (sha256 {actual[:12]}…, expected {expected[:12]}…): "
            "install raytrack again"
        )
    return path
