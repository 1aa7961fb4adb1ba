"""Where the files that a job names are, and the digests of what they hold."""

import hashlib
from pathlib import Path

from raytrack.assets import asset_path, asset_sha256, sha256_of
from raytrack.config import SequenceConfig
from raytrack.errors import InputError

_ASSETS = "assets:"


def source_path(source: str) -> Path:
    """The file or folder that a path in a job file means; ``assets:NAME`` is a shipped file, checked.

    Raises:
        AssetError: There is no such asset, or it is damaged.
    """
    return asset_path(source.removeprefix(_ASSETS)) if source.startswith(_ASSETS) else Path(source)


def content_sha256(source: str) -> str:
    """Digest of a file's bytes, or of the names and bytes of all files in a folder; "" where no source is given.

    Raises:
        AssetError: There is no such asset.
        InputError: It is not there or cannot be read.
    """
    if not source:
        return ""
    if source.startswith(_ASSETS):
        return asset_sha256(source.removeprefix(_ASSETS))
    path = Path(source)
    try:
        if path.is_file():
            return sha256_of(path)
        if not path.is_dir():
            raise InputError(f"{source}: no such file or folder")
        digest = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\0".encode())
        return digest.hexdigest()
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from error


def source_digests(sequence: SequenceConfig, fields: frozenset[str]) -> dict[str, str]:
    """Digest of the content behind each of the named fields of a sequence's configuration.

    Raises:
        AssetError: A shipped file is not known.
        InputError: A file is not there or cannot be read.
    """
    return {name: content_sha256(getattr(sequence, name)) for name in sorted(fields)}
