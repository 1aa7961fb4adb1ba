"""The whole configuration of a run: frozen dataclasses, read from YAML with every key, type and range checked.

Each package keeps its own dataclasses in a torch-free ``config.py``; here they are collected.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.manifest import read_manifest
from raytrack.datasets.nersemble_layout import KINDS, Layout, find_sequences, occluded_regions
from raytrack.errors import AssetError, ConfigError
from raytrack.export.config import ExportConfig, UnionConfig
from raytrack.fit.config import TrackConfig
from raytrack.head.names import head_path, is_head_path
from raytrack.media.config import ExtractConfig
from raytrack.observe.config import LandmarkConfig, MattingMethod, PlateRefinement
from raytrack.remote import is_uri, pinned
from raytrack.tables.keys import SequenceKey, footage_name, union_name

DEFAULT_HEAD = "default"
Device = Literal["auto", "cpu", "cuda"]
_Config = TypeVar("_Config")


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """One sequence of a job: where its footage is and what it is called. Either a video, or a part of a dataset.

    Paths are relative to the job file; ``assets:NAME`` is a file that ships with raytrack.
    """

    video: str = ""
    """A video file, or a folder of images."""
    name: str = ""
    """Names the sequence's folders; by default the video's name, or subject and sequence of a dataset."""
    dataset: str = "monocular"
    """With `root`: `nersemble-v1` or `nersemble-v2`; else any name."""
    root: str = ""
    """Folder of a dataset. Subject and sequence then say what of it is meant, perhaps many sequences."""
    subject: str = ""
    """Who is seen; by default the sequence's name. Of a dataset: names or patterns (``0*``) separated by spaces; by
    default all."""
    sequence: str = ""
    """Of a dataset: names or patterns separated by spaces; by default all. `EMO-1` means the folder `EMO-1`, else
    `EMO-1-…`."""
    occluded: tuple[str, ...] = ()
    """Head regions that are hidden in this sequence, beside those of `track`. Of a dataset also what its table says."""
    masks: str = ""
    """A folder of foreground masks, one per frame, for `matting: given` or `auto`; of a dataset, with a folder
    `cam_<camera>` for each camera."""
    plate: str = ""
    """A picture of the scene without the person, for `matting: plate`, `bgmv2` or `auto`."""
    ground_truth: str = ""
    """What the tracker should have found, where the footage was rendered; adds `ground_truth` to the summary."""

    def __post_init__(self) -> None:
        """Check that it is one kind of sequence or the other.

        Raises:
            ValueError: Neither or both are given, or a dataset is of a kind that is not known.
        """
        if bool(self.video) == bool(self.root):
            raise ValueError("a sequence needs either a `video`, or the `root` of a dataset with what is meant of it")
        if self.root and self.dataset not in KINDS:
            raise ValueError(f"a `root` needs a `dataset` that is {' or '.join(KINDS)}, got {self.dataset!r}")
        if self.sequence and not self.root:
            raise ValueError(f"`sequence` {self.sequence!r} needs the `root` of a dataset; a video has a `name`")
        if self.plate and self.root:
            raise ValueError(
                f"`plate` {self.plate!r} is for a video; a dataset's cameras have clean plates of their own"
            )

    @property
    def footage(self) -> str:
        """Where it comes from, for people."""
        return self.video or self.root

    @property
    def is_rig(self) -> bool:
        """Whether it was recorded by calibrated cameras."""
        return bool(self.root)

    @property
    def is_pattern(self) -> bool:
        """Whether it may mean several sequences, and has no key yet; see `expanded`."""
        return bool(self.root) and not (self.name and self.subject and self.sequence)

    @property
    def key(self) -> SequenceKey:
        """Dataset, subject and sequence names.

        Raises:
            ConfigError: A name cannot name a folder.
        """
        name = self.name or footage_name(self.video)
        return SequenceKey(dataset=self.dataset, subject=self.subject or name, sequence=name)


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """How the work is cut up and carried out. Nothing here but `chunk_frames` can change a result."""

    chunk_frames: int = 256
    """Frames of one task in the stages that work on frames one by one."""
    cpus: int | None = None
    """CPUs that a local run may use; all by default. On a cluster, the cluster decides."""
    track_cpus: int | None = None
    """CPUs that each of a sequence's long steps (tracking, pictures, dataset) may use; fewer where no node has as many.
    By default, all CPUs divided by the sequences that run at once."""
    device: Device = "auto"
    """Where the networks for mattes and landmarks run: `cuda` waits for a GPU, `auto` takes one where there is one now.
    Tracking uses a GPU with `track.renderer: nvdiffrast`. On a GPU, results differ by rounding."""
    time_limit_factor: float = 1.0
    """Multiplies every stage's time limit."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        if self.chunk_frames < 1:
            raise ValueError(f"pipeline.chunk_frames must be positive, got {self.chunk_frames}")
        if not 0 < self.time_limit_factor <= 1000:
            raise ValueError(f"pipeline.time_limit_factor must lie in (0, 1000], got {self.time_limit_factor}")
        for name in ("cpus", "track_cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"pipeline.{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run is told."""

    sequences: tuple[SequenceConfig, ...] = ()
    manifest: str = ""
    """A file that lists further sequences: a table (.csv) whose columns are named as their settings, or a list (.yaml,
    .jsonl). Paths in it are relative to it. Empty once it has been read."""
    head: str = DEFAULT_HEAD
    """The head model: `default`, the name of an imported head such as `flame2023`, or a head file, by path or URI (such
    as ``s3://bucket/head.npz#sha256=…``, fetched once per node)."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    matting: MattingMethod = "auto"
    """How the person is told from the background; `auto` takes masks or an alpha channel where there are some, else a
    clean plate where there is one."""
    matting_weights: str = ""
    """The weights of `rvm` or `bgmv2`, as their authors publish them, by path or URI; by default those in
    `$RAYTRACK_ASSETS`."""
    plate_refinement: PlateRefinement = "guided"
    """How outlines are refined for `matting: plate`: by the guided filter, or by `pymatting` (finer, far slower)."""
    landmarks: LandmarkConfig = field(default_factory=LandmarkConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    union: UnionConfig | None = None
    """Also make one dataset of those of each subject's sequences, with whole sequences held out; by default not. It
    waits until all of them are exported, and there is none while one has failed."""
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)

    def for_sequence(self, sequence: SequenceConfig) -> "RunConfig":
        """The configuration as it applies to one sequence, and to no other.

        The regions that are hidden in it are added, and what does not concern it has its default: how rigs are read
        for a single camera, and the table that the hidden regions were found in.
        """
        regions = tuple(dict.fromkeys((*self.track.occluded, *sequence.occluded)))
        capture = dataclasses.replace(self.capture, occlusions="") if sequence.is_rig else CaptureConfig()
        return dataclasses.replace(
            self,
            sequences=(sequence,),
            capture=capture,
            track=dataclasses.replace(self.track, occluded=regions),
        )

    def union_members(self) -> dict[SequenceKey, tuple[SequenceConfig, ...]]:
        """The sequences of each subject, in order, by the key of their union."""
        members: dict[SequenceKey, tuple[SequenceConfig, ...]] = {}
        for sequence in self.sequences:
            key = dataclasses.replace(sequence.key, sequence=union_name(sequence.key.subject))
            members[key] = (*members.get(key, ()), sequence)
        return members

    def __post_init__(self) -> None:
        """Check that sequence names are usable and differ, also where folders do not tell capitals from small letters.

        Raises:
            ConfigError: A name cannot name a folder, two sequences share one, masks would be ignored, a plate is
                missing, or a union would have another's name.
        """
        seen: dict[str, SequenceConfig] = {}
        for sequence in self.sequences:
            if sequence.is_pattern:
                continue
            name = sequence.key.sequence
            if other := seen.get(name.lower()):
                both = (other.key.sequence, name)
                fault = f"two sequences are called {name!r}" if len(set(both)) == 1 else f"{both} differ only in case"
                raise ConfigError(
                    f"{fault} ({other.footage} and {sequence.footage}): write a job file that gives each a `name`"
                )
            if sequence.key.is_union:
                raise ConfigError(
                    f"{name!r} is what the union of the subject's sequences is called: choose another name"
                )
            seen[name.lower()] = sequence
            if sequence.masks and self.matting not in ("auto", "given"):
                raise ConfigError(
                    f"sequence {name!r} has masks, but matting {self.matting!r} uses none: "
                    "take matting `given` or `auto`, or leave out the masks"
                )
            if self.matting in {"plate", "bgmv2"} and not sequence.plate and not sequence.is_rig:
                raise ConfigError(
                    f"matting {self.matting!r} needs a picture of the empty scene for sequence {name!r}: "
                    "name it as `plate`"
                )
        if self.union is not None and not any(sequence.is_pattern for sequence in self.sequences):
            self._check_unions(seen)

    def _check_unions(self, sequences: Mapping[str, SequenceConfig]) -> None:
        unions: dict[str, SequenceKey] = {}
        for key in self.union_members():
            name = key.sequence
            if other := unions.get(name.lower()):
                raise ConfigError(
                    f"subjects {other.subject!r} of {other.dataset} and {key.subject!r} of {key.dataset} cannot both "
                    f"have a union {name!r}: write a job file for each"
                )
            if name.lower() in sequences:
                raise ConfigError(f"{name!r} names a sequence and the union of subject {key.subject!r}: give another")
            unions[name.lower()] = key


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
    lists = [name for name, hint in hints.items() if typing.get_origin(hint) is tuple]
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
    return dataclasses.replace(
        config,
        sequences=sequences,
        manifest="",
        head=head,
        capture=capture,
        matting_weights=absolute(config.matting_weights),
        landmarks=landmarks,
    )


def _absolute(text: str, folder: Path, *, here: bool) -> str:
    """A path made absolute; other nodes may know what lies behind links by another name, so theirs stay."""
    if not text or text.startswith("assets:") or is_uri(text) or (not here and Path(text).is_absolute()):
        return text
    return str((folder / Path(text).expanduser()).resolve())


def _resolved_sequence(sequence: SequenceConfig, folder: Path, *, here: bool) -> SequenceConfig:
    paths = ("video", "root", "masks", "plate", "ground_truth")
    return dataclasses.replace(
        sequence, **{name: _absolute(getattr(sequence, name), folder, here=here) for name in paths}
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


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `over` laid over it, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def to_mapping(config: Any) -> Any:
    """A configuration as plain mappings, lists and scalars, ready for YAML or JSON."""
    if dataclasses.is_dataclass(config):
        return {item.name: to_mapping(getattr(config, item.name)) for item in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_mapping(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_mapping(value) for value in config]
    return config


def from_mapping(cls: type[_Config], data: Any, *, where: str, path: str = "") -> _Config:
    """Make a configuration dataclass from plain data, checking every key and type.

    Args:
        cls: A dataclass, with further dataclasses inside it or not.
        data: Nested mappings, lists and scalars, as YAML gives them.
        where: What error messages begin with, such as the file's name.
        path: Dotted path of `data` inside the whole.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or range; the message says where,
            what was expected and what was found.
    """
    under = f" under {path!r}" if path else ""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping{under}, got {_shown(data)}")
    known = {item.name: item for item in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{under}; known keys: {', '.join(known)}")
    for name, item in known.items():
        if name not in data and item.default is item.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: missing key {name!r}{under}")
    values = {
        key: _checked(hints[key], value, where=where, path=f"{path}.{key}" if path else key)
        for key, value in data.items()
    }
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _checked(hint: Any, value: Any, *, where: str, path: str) -> Any:
    """`value` as the type `hint`, or a ConfigError that names its path."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast("type", hint), value, where=where, path=path)
    if origin in (Union, types.UnionType):
        # Only optional values are supported: what is left is one type, whose own message is the useful one.
        (inner,) = (item for item in arguments if item is not type(None))
        return None if value is None else _checked(inner, value, where=where, path=path)
    if origin is tuple and isinstance(value, (list, tuple)):
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) == len(value):
            pairs = enumerate(zip(hints, value, strict=True))
            return tuple(_checked(item, one, where=where, path=f"{path}[{i}]") for i, (item, one) in pairs)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint or any(value == choice and type(value) is type(choice) for choice in arguments):
        return value
    raise ConfigError(f"{where}: {path} must be {_expected(hint)}, got {_shown(value)}")


def _expected(hint: Any) -> str:
    """A type in the words of someone who writes YAML."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin is tuple:
        return f"a list of {_expected(arguments[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, str(hint))


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})" if not isinstance(value, str) else repr(value)
