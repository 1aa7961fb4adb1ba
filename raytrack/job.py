"""Job files: YAML to a checked configuration, its paths absolute, its datasets listed sequence by sequence."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from raytrack.config import DEFAULT_HEAD, RunConfig, SequenceConfig
from raytrack.datasets.manifest import read_manifest
from raytrack.datasets.nersemble_layout import Layout, find_sequences, occluded_regions
from raytrack.errors import AssetError, ConfigError
from raytrack.head.names import head_path, is_head_path
from raytrack.mapping import from_mapping, merged
from raytrack.remote import is_uri, pinned


def load_job(path: Path, overrides: Mapping[str, Any] | None = None, *, here: bool = True) -> RunConfig:
    """Read a job file; the paths in it become absolute. What may stand for many sequences stays: see `expanded`.

    Args:
        path: A YAML file whose keys are the fields of `RunConfig`.
        overrides: Nested mapping that is laid over what the file says.
        here: As in `resolved`.

    Raises:
        ConfigError: The file is not there, is not YAML, or a key, type or value is wrong.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a job file is a mapping with keys such as `sequences`, got {type(data).__name__}")
    config = from_mapping(RunConfig, merged(data, overrides or {}), where=str(path))
    if not config.sequences and not config.manifest:
        raise ConfigError(f"{path}: `sequences` is empty: list at least one with its `video`")
    return resolved(config, path.parent, here=here)


def _manifest_sequences(path: Path, *, here: bool) -> tuple[SequenceConfig, ...]:
    """The sequences of a manifest, their paths absolute.

    Raises:
        ConfigError: It cannot be read, or an entry is wrong; the message names file and line.
    """
    hints = typing.get_type_hints(SequenceConfig)
    lists = {name: "" for name, hint in hints.items() if typing.get_origin(hint) is tuple}
    lists["videos"] = ";"  # Paths may have blanks in them.
    return tuple(
        _resolved_sequence(from_mapping(SequenceConfig, entry.values, where=entry.where), path.parent, here=here)
        for entry in read_manifest(path, hints, lists)
    )


def resolved(config: RunConfig, folder: Path, *, here: bool = True) -> RunConfig:
    """The configuration with every path made absolute; relative ones start from `folder`.

    Args:
        config: As it was written.
        folder: Where relative paths start.
        here: Whether it is for a run on this machine, whose own heads then have the names that they go by.

    Raises:
        ConfigError: There is no head of the name that is asked for, or the manifest is wrong.
    """

    def absolute(text: str) -> str:
        return _absolute(text, folder, here=here)

    sequences = tuple(_resolved_sequence(sequence, folder, here=here) for sequence in config.sequences)
    if config.manifest:
        sequences += _manifest_sequences(Path(absolute(config.manifest)), here=here)
    head = _resolved_head(config.head, absolute, here=here)
    capture = dataclasses.replace(config.capture, occlusions=absolute(config.capture.occlusions))
    landmarks = dataclasses.replace(config.landmarks, weights=absolute(config.landmarks.weights))
    track = dataclasses.replace(config.track, identity=absolute(config.track.identity))
    return dataclasses.replace(
        config,
        sequences=sequences,
        track=track,
        manifest="",
        head=head,
        capture=capture,
        matting_weights=absolute(config.matting_weights),
        landmarks=landmarks,
    )


def _absolute(text: str, folder: Path, *, here: bool, name: bool = False) -> str:
    """A path made absolute; other nodes may know what lies behind links by another name, so theirs stay.

    With `name`, the last of its names is kept where it is a link's, for it says what something is called.
    """
    if not text or text.startswith("assets:") or is_uri(text) or (not here and Path(text).is_absolute()):
        return text
    path = folder / Path(text).expanduser()
    return str(path.parent.resolve() / path.name if name and path.is_symlink() else path.resolve())


def _resolved_sequence(sequence: SequenceConfig, folder: Path, *, here: bool) -> SequenceConfig:
    """The sequence with absolute paths.

    Raises:
        ConfigError: Two of its videos are one file.
    """
    paths = ("video", "root", "masks", "plate", "ground_truth")
    files: dict[str, str] = {}
    for video in sequence.videos:
        path = _absolute(video, folder, here=here)
        if path in files:
            raise ConfigError(f"{files[path]} and {video} are the same file: `videos` are those of different cameras")
        files[path] = video
    return dataclasses.replace(
        sequence,
        videos=tuple(_absolute(video, folder, here=here, name=True) for video in sequence.videos),
        **{name: _absolute(getattr(sequence, name), folder, here=here) for name in paths},
    )


def _resolved_head(head: str, absolute: Callable[[str], str], *, here: bool) -> str:
    """A head of the user's own as an absolute path; the shipped head by its name, and all where that is for others.

    Raises:
        ConfigError: There is no head of that name.
    """
    if head == DEFAULT_HEAD or not (here or is_head_path(head)):
        return head
    try:
        return absolute(head) if is_head_path(head) else str(head_path(head).resolve())
    except AssetError as error:
        raise ConfigError(str(error)) from error


def with_pinned_files(config: RunConfig) -> RunConfig:
    """The configuration with the digest of every file that is given as a URI, so that no node takes another.

    Raises:
        AssetError: One cannot be fetched.
    """
    landmarks = dataclasses.replace(config.landmarks, weights=pinned(config.landmarks.weights))
    return dataclasses.replace(
        config, head=pinned(config.head), matting_weights=pinned(config.matting_weights), landmarks=landmarks
    )


def expanded(config: RunConfig) -> RunConfig:
    """The configuration with every sequence of a dataset listed by itself, with name, subject and folder.

    Raises:
        ConfigError: A dataset is not there, a name or pattern means nothing in it, or two sequences share a name.
    """
    table = Path(config.capture.occlusions) if config.capture.occlusions else None
    sequences: list[SequenceConfig] = []
    for entry in config.sequences:
        if not entry.root:
            sequences.append(entry)
            continue
        found = find_sequences(Layout(kind=entry.dataset, root=Path(entry.root)), entry.subject, entry.sequence)
        if entry.name and len(found) > 1:
            raise ConfigError(f"{len(found)} sequences cannot all be called {entry.name!r}: leave `name` out")
        if (entry.masks or entry.ground_truth) and len(found) > 1:
            field = "masks" if entry.masks else "ground_truth"
            raise ConfigError(f"`{field}` is of one sequence, but {len(found)} are meant: list each by itself")
        for one in found:
            regions = dict.fromkeys((*entry.occluded, *occluded_regions(one.subject, table)))
            names = {"name": entry.name or one.name, "subject": one.subject, "sequence": one.sequence}
            sequences.append(dataclasses.replace(entry, **names, occluded=tuple(regions)))
    return dataclasses.replace(config, sequences=tuple(sequences))
