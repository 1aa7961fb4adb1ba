"""Where the files that a job names are, and the digests of what they hold."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from raytrack.assets import asset_path, asset_sha256
from raytrack.config import SequenceConfig
from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.nersemble_layout import Layout
from raytrack.errors import InputError
from raytrack.pipeline.digests import Digests
from raytrack.tables.keys import rig_names

if TYPE_CHECKING:
    from raytrack.datasets.rig_files import RigFiles

_ASSETS = "assets:"
_READERS = 8


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


def source_digests(
    sequence: SequenceConfig, fields: frozenset[str], digests: Digests, capture: CaptureConfig | None = None
) -> dict[str, str]:
    """Digest of the content behind each of the named fields of a sequence's configuration.

    Of a recording of calibrated cameras `video` stands for all that decides what the pictures show, and `plate` for
    the clean plates, both of the cameras that are taken; `masks` for those of every camera.

    Args:
        sequence: The sequence.
        fields: Names of fields that hold files or folders.
        digests: What is known of files already.
        capture: Which cameras are taken, and what is done to their pictures.

    Raises:
        AssetError: A shipped file is not known.
        ConfigError: No camera is taken.
        InputError: A file is not there or cannot be read.
    """
    if sequence.is_calibrated:
        return _rig_digests(sequence, fields, digests, capture or CaptureConfig())
    if sequence.videos:
        return _videos_digests(sequence, fields, digests)
    return {name: content_sha256(getattr(sequence, name), digests) for name in sorted(fields)}


def recording_state(sequence: SequenceConfig, capture: CaptureConfig) -> tuple[tuple[str, int, int], ...]:
    """What tells the files of a recording from those of another time: their paths, times of change and sizes.

    Raises:
        ConfigError: No camera is taken.
        InputError: Footage or calibration is missing or cannot be used.
    """
    if sequence.is_calibrated:
        files = _files_of(sequence, capture)
        paths = (*files.of_pictures, *files.of_plates)
    else:
        paths = tuple(source_path(video) for video in (sequence.videos or (sequence.video,)))
    states = ((path, path.stat()) for path in paths if path.exists())
    return tuple((str(path), state.st_mtime_ns, state.st_size) for path, state in states)


def taken_cameras(sequence: SequenceConfig, capture: CaptureConfig) -> tuple[str, ...]:
    """The calibrated cameras of a sequence that are taken, by place; none of monocular footage.

    Raises:
        ConfigError: No camera is taken.
        InputError: Footage or calibration is missing or cannot be used.
    """
    return tuple(_files_of(sequence, capture).places) if sequence.is_calibrated else ()


def recording_folder(sequence: SequenceConfig) -> Path:
    """The folder of a recording of calibrated cameras."""
    layout = Layout(kind=sequence.dataset, root=Path(sequence.root))
    return layout.sequences_folder(sequence.subject) / sequence.sequence


def _files_of(sequence: SequenceConfig, capture: CaptureConfig) -> "RigFiles":
    # Heavy, and most jobs have no rig.
    from raytrack.datasets.registry import recording_files  # noqa: PLC0415

    return recording_files(sequence.dataset, Path(sequence.root), sequence.subject, sequence.sequence, capture)


def _videos_digests(sequence: SequenceConfig, fields: frozenset[str], digests: Digests) -> dict[str, str]:
    """`source_digests` of the videos of an uncalibrated rig."""
    found = {name: content_sha256(getattr(sequence, name), digests) for name in fields - {"video", "masks"}}
    if "masks" in fields:
        found["masks"] = _mask_folders_sha256(sequence.masks, digests)
    if "video" in fields:
        # Cameras are called after their videos.
        names = rig_names(sequence.videos)[1]
        contents = [content_sha256(video, digests) for video in sequence.videos]
        parts = [f"{name}\0{content}\0" for name, content in zip(names, contents, strict=True)]
        found["video"] = hashlib.sha256("".join(parts).encode()).hexdigest()
    return found


def _rig_digests(
    sequence: SequenceConfig, fields: frozenset[str], digests: Digests, capture: CaptureConfig
) -> dict[str, str]:
    """`source_digests` of a recording of calibrated cameras."""
    found = {name: content_sha256(getattr(sequence, name), digests) for name in fields - {"video", "plate", "masks"}}
    if "masks" in fields:
        found["masks"] = _mask_folders_sha256(sequence.masks, digests)
    # These stand for the recording where its files are gone and the last known digests count.
    folder = recording_folder(sequence)
    places = {name: folder / f".{name}" for name in ("video", "plate") if name in fields}
    if not places:
        return found
    try:
        files = _files_of(sequence, capture)
    except InputError:
        known = {name: digests.of_missing(place) for name, place in places.items()}
        if None in known.values():
            raise
        return {**found, **{name: digest for name, digest in known.items() if digest is not None}}
    for name, place in places.items():
        paths = files.of_pictures if name == "video" else files.of_plates
        found[name] = _files_sha256([path for path in paths if path.is_file()], files.root, digests)
        digests.remember_folder(place, found[name])
    return found


def _mask_folders_sha256(masks: str, digests: Digests) -> str:
    """Digest of the masks in all folders of a folder."""
    if not masks:
        return ""
    digest = hashlib.sha256()
    for folder in sorted(path for path in Path(masks).glob("cam_*") if path.is_dir()):
        digest.update(f"{folder.name}\0{content_sha256(str(folder), digests)}\0".encode())
    return digest.hexdigest()


def _files_sha256(paths: list[Path], root: Path, digests: Digests) -> str:
    """Digest of the paths, within a folder, and of the contents of several files."""
    digest = hashlib.sha256()
    try:
        unknown = [path for path in paths if not digests.knows(path)]
        if unknown:
            # Rigs record gigabytes, and one reader leaves the disk idle.
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(digests.of_file, unknown))
        for path in paths:
            digest.update(f"{path.relative_to(root).as_posix()}\0{digests.of_file(path)}\0".encode())
    except OSError as error:
        raise InputError(f"{error.filename or root}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()
