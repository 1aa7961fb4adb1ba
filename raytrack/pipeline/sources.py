"""Where the files that a job names are, and the digests of what they hold."""

import hashlib
from pathlib import Path

from raytrack.assets import asset_path, asset_sha256
from raytrack.config import SequenceConfig
from raytrack.errors import InputError
from raytrack.pipeline.digests import Digests

_ASSETS = "assets:"


def source_path(source: str) -> Path:
    """The file or folder that a path in a job file means; ``assets:NAME`` is a shipped file, checked.

    Raises:
        AssetError: There is no such asset, or it is damaged.
    """
    return asset_path(source.removeprefix(_ASSETS)) if source.startswith(_ASSETS) else Path(source)


def content_sha256(source: str, digests: Digests | None = None) -> str:
    """Digest of a file's bytes, or of the names and bytes of a folder's images; "" where no source is given.

    Only the images that are read count: whatever else comes to lie in the folder, such as results, changes nothing.

    Args:
        source: As in a job file.
        digests: What is known of files already.

    Raises:
        AssetError: There is no such asset.
        InputError: It is not there or cannot be read.
    """
    if not source:
        return ""
    if source.startswith(_ASSETS):
        return asset_sha256(source.removeprefix(_ASSETS))
    path, digests = Path(source), digests or Digests()
    try:
        if path.is_dir():
            return _folder_sha256(path, digests)
        if path.exists():
            return digests.of_file(path)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from error
    if (known := digests.of_missing(path)) is not None:
        return known
    raise InputError(f"{source}: no such file or folder")


def _folder_sha256(path: Path, digests: Digests) -> str:
    from raytrack.media.images import list_images  # noqa: PLC0415 (heavy, and not every job has a folder)

    try:
        files = list_images(path)
    except InputError:
        files = []  # Whoever needs the images will say what is wrong with the folder.
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{digests.of_file(file)}\0".encode())
    digests.remember_folder(path, digest.hexdigest())
    return digest.hexdigest()


def source_digests(sequence: SequenceConfig, fields: frozenset[str], digests: Digests) -> dict[str, str]:
    """Digest of the content behind each of the named fields of a sequence's configuration.

    Raises:
        AssetError: A shipped file is not known.
        InputError: A file is not there or cannot be read.
    """
    return {name: content_sha256(getattr(sequence, name), digests) for name in sorted(fields)}
