"""What a stage is: a pure function from its inputs to rows and files, with everything that its result depends on.

The fingerprint of a stage is made of its name and version, the configuration that it reads (and it is given no other),
the sha256 of the assets and footage that it reads and of the code that it runs, and the fingerprints of the stages
before it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from raytrack import __version__
from raytrack.config import Device, RunConfig, SequenceConfig
from raytrack.mapping import to_mapping
from raytrack.pipeline.code import code_sha256, module_sha256
from raytrack.pipeline.item_progress import write_progress
from raytrack.tables.keys import SequenceKey
from raytrack.tables.store import part_path, read_parts


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one item of a stage occupies while it runs."""

    cpus: float = 1
    """At most; a node with fewer gives what it has."""
    gpus: float = 0
    gpu_required: bool = True
    """Whether it waits for a GPU; else it runs on the CPU where no node has one."""
    memory_gb: float = 0
    """Of main memory; 0 reserves none."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A run of one camera's frames, `start` to `stop` (exclusive), in the numbering of the run."""

    index: int
    """Among all chunks of the sequence: those of the first camera, then those of the second, and so on."""
    start: int
    stop: int
    view: int = 0
    """Which of the cameras taken."""

    @property
    def frames(self) -> range:
        """The frame indices."""
        return range(self.start, self.stop)


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """What one item of a stage made."""

    rows: pa.Table
    """Goes to the stage's table."""
    files: tuple[str, ...] = ()
    """Files written, relative to the output folder. The work counts as done only while they all exist."""
    also: Mapping[str, pa.Table] = field(default_factory=dict)
    """Rows for further tables, by table name."""


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a stage's function is given. Everything it may depend on is in here."""

    out: Path
    """The run's output folder."""
    stage: str
    key: SequenceKey
    sequence: SequenceConfig
    config: Any
    """What `Stage.reads` picked from the run's configuration."""
    fingerprint: str
    head: str
    """Name or path of the head model; stages that use it have its digest in their fingerprint."""
    parts: Mapping[str, tuple[Path, ...]]
    """The committed parts of each stage before this one, in order."""
    identity: str = ""
    """File of the subject's identity, where it is known; likewise."""
    chunk: Chunk | None = None
    """The frames to work on, where the stage is cut into chunks."""
    cpus: int = 1
    """Threads that may compute at once. No result may depend on it."""
    device: Device = "cpu"
    """Where networks and renderers run: `cuda` and `auto` have a GPU reserved, which `auto` need not use. Results may
    differ by rounding."""
    attempt: int = 1

    @property
    def name(self) -> str:
        """The sequence's name, which names its folders."""
        return self.key.sequence

    @property
    def item(self) -> str:
        """Names this item among those of its sequence, as in ``frames-00000``."""
        return f"{self.stage}-{self.chunk.index if self.chunk else 0:05d}"

    @property
    def work_folder(self) -> Path:
        """Scratch of the sequence, gone when it is finished."""
        return self.out / ".work" / self.name

    @property
    def checkpoint_folder(self) -> Path:
        """Where the item may leave checkpoints; another configuration or footage has another folder."""
        return self.work_folder / f"{self.item}-{self.fingerprint[:16]}"

    def read(self, stage: str, *, chunk: int | None = None, table: str = "") -> pa.Table:
        """Rows of a stage before this one: all, or those of one chunk.

        Args:
            stage: The stage.
            chunk: Index of the chunk.
            table: A further table that the stage wrote, instead of its own.

        Raises:
            RaytrackError: A table is damaged.
            ValueError: The stage is not declared in `Stage.after`.
        """
        if stage not in self.parts:
            raise ValueError(f"stage {self.stage!r} reads {stage!r}, which is not among its `after` {list(self.parts)}")
        paths = self.parts[stage]
        if table:
            paths = tuple(part_path(self.out, table, self.key, path.stem.removeprefix("part-")) for path in paths)
        return read_parts(paths if chunk is None else paths[chunk : chunk + 1])

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Tell whoever watches how far the item is; cheap enough to be called for every frame."""
        write_progress(self.work_folder / f"progress-{self.item}.json", done, total, note)


StageFunction = Callable[[StageContext], StageOutput]


def _nothing(_config: RunConfig) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the pipeline for one sequence."""

    name: str
    version: int
    """Raised whenever the function's results change."""
    function: StageFunction
    table: str
    """Where its rows go."""
    reads: Callable[[RunConfig], Any] = _nothing
    """The part of the configuration that the function may see; plain data or configuration dataclasses."""
    assets: Callable[[RunConfig], tuple[str, ...]] = _nothing
    """Shipped assets that the function reads."""
    sources: tuple[str, ...] = ()
    """Fields of `SequenceConfig` that name files or folders which the function reads."""
    code: tuple[str, ...] = ()
    """Sub-packages of raytrack whose code makes the results, besides the function's own module."""
    after: tuple[str, ...] = ()
    """Stages whose results the function reads."""
    fan_out: str = ""
    """Name of the stage whose columns `num_frames` and `num_cameras` (1 where it has none) say what there is to cut
    into chunks; else one item."""
    cut: Callable[[Any, SequenceConfig, int], Sequence[tuple[int, int]]] | None = None
    """How all cameras' frames are cut together, where not each camera's into chunks: first frames and those after the
    last, given what the stage reads, the sequence and its number of frames. None: the sequence does not need it."""
    uses_identity: bool = False
    """Whether it waits for the joint identity of the subject's sequences, where they have one."""
    compiles: bool = False
    """Whether it runs kernels that are compiled when they are first used on a machine."""
    actor: bool = False
    """Whether each item gets a process of its own, which ends with it."""
    resources: Resources = field(default_factory=Resources)
    timeout_s: float = 600
    """Time limit of one item, counted from its start."""
    frame_timeout_s: float = 0
    """Added to the time limit for each picture of the item: of its chunk, else of all the sequence's cameras."""
    retries: int = 2
    """How often an item is tried again after a transient or system failure."""
    folders: tuple[str, ...] = ()
    """Patterns, relative to the output folder with ``{sequence}`` in them, of what only this stage writes; in their
    last component, ``{pid}`` stands for digits."""
    cost: float = 1.0
    """Expected share of a sequence's time, for the remaining-time estimate; any unit."""

    @property
    def is_for_some(self) -> bool:
        """Whether there are sequences that have no need of it."""
        return self.cut is not None

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages that must be finished first: those it reads, and the one that says how many frames there are."""
        return tuple(dict.fromkeys((*self.after, *((self.fan_out,) if self.fan_out else ()))))

    def part(self, index: int) -> str:
        """Name of a part in the stage's table."""
        return f"{self.name}-{index:05d}"

    def part_path(self, out: Path, key: SequenceKey, index: int) -> Path:
        """Where a part of the stage's table lies."""
        return part_path(out, self.table, key, self.part(index))


def config_json(stage: Stage, config: RunConfig) -> str:
    """The configuration that a stage reads, as text with one spelling."""
    return json.dumps(to_mapping(stage.reads(config)), sort_keys=True, separators=(",", ":"))


def fingerprint(
    stage: Stage,
    config: RunConfig,
    *,
    asset_sha256: Callable[[str], str],
    source_sha256: Mapping[str, str],
    upstream: Mapping[str, str],
) -> str:
    """What the stage's results depend on, as a sha256.

    Args:
        stage: The stage.
        config: The run's configuration.
        asset_sha256: Digest of a shipped asset.
        source_sha256: Digest of the content behind each field of `SequenceConfig`.
        upstream: Fingerprint of every stage in `stage.needs`.
    """
    parts = {
        "stage": stage.name,
        "version": stage.version,
        "raytrack": __version__,
        "code": {"": module_sha256(stage.function), **{name: code_sha256(name) for name in stage.code}},
        "config": config_json(stage, config),
        "chunk_frames": config.pipeline.chunk_frames if stage.fan_out and not stage.cut else None,
        "assets": {name: asset_sha256(name) for name in stage.assets(config)},
        "sources": {name: source_sha256[name] for name in stage.sources},
        "upstream": {name: upstream[name] for name in stage.needs},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def chunks(num_frames: int, chunk_frames: int, num_cameras: int = 1) -> list[Chunk]:
    """Cut each camera's frames into chunks whose bounds depend on nothing but these numbers."""
    starts = range(0, num_frames, chunk_frames)
    return [
        Chunk(
            index=view * len(starts) + place,
            start=start,
            stop=min(start + chunk_frames, num_frames),
            view=view,
        )
        for view in range(num_cameras)
        for place, start in enumerate(starts)
    ]


def select(stages: tuple[Stage, ...], targets: tuple[str, ...]) -> tuple[Stage, ...]:
    """The stages that the targets need, in the order given.

    Raises:
        ValueError: A target is no stage, or a stage stands before one that it needs.
    """
    by_name = {stage.name: stage for stage in stages}
    order = {stage.name: i for i, stage in enumerate(stages)}
    wanted: set[str] = set()
    pending = list(targets)
    while pending:
        name = pending.pop()
        if name not in by_name:
            raise ValueError(f"unknown stage {name!r}; stages: {', '.join(by_name)}")
        wanted.add(name)
        for before in by_name[name].needs:
            if before not in order or order[before] >= order[name]:
                raise ValueError(f"stage {name!r} needs {before!r}, which does not stand before it")
            if before not in wanted:
                pending.append(before)
    return tuple(stage for stage in stages if stage.name in wanted)
