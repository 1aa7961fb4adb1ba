"""What is done and what is left to do, sequence by sequence."""

import enum
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytrack.assets import asset_sha256
from raytrack.config import RunConfig, SequenceConfig
from raytrack.pipeline.digests import Digests
from raytrack.pipeline.leftovers import half_written_parts, remove_files, traces
from raytrack.pipeline.records import FailureRecord
from raytrack.pipeline.sources import source_digests, source_path
from raytrack.pipeline.stage import Chunk, Stage, chunks, config_json, fingerprint
from raytrack.pipeline.truth_check import check_truth
from raytrack.tables.keys import SequenceKey
from raytrack.tables.store import part_path, read_footer, read_number

IDENTITY_FILE = "identity.npz"
"""The joint identity of a subject's sequences, in the folder of its name under ``tracks``."""


class PartState(enum.Enum):
    """Where one item stands."""

    TODO = "todo"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class FolderListings:
    """Which files exist, asked folder by folder, because one listing is cheaper than a question per file."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
        """Whether the file existed when its folder was first asked for."""
        folder = path.parent
        if folder not in self._names:
            names = (item.name for item in folder.iterdir()) if folder.is_dir() else ()
            self._names[folder] = frozenset(names)
        return path.name in self._names[folder]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """The part of the configuration that one stage reads."""

    value: Any
    text: str
    """As JSON."""


@dataclass
class SequencePlan:
    """One sequence's stages and how far they are. The driver changes `parts` as work proceeds."""

    out: Path
    order: int
    """Position in the job; earlier sequences are finished first."""
    sequence: SequenceConfig
    key: SequenceKey
    stages: tuple[Stage, ...]
    chunk_frames: int
    head: str
    fingerprints: dict[str, str]
    configs: dict[str, StageConfig]
    parts: dict[str, list[PartState]] = field(default_factory=dict)
    """State of each stage's items; a stage is missing until it is known how many items it has."""
    waits_for: tuple["SequencePlan", ...] = ()
    """Plans that must have done `waits_for_stages` before any of this one can begin."""
    waits_for_stages: tuple[str, ...] = ()
    users: tuple["SequencePlan", ...] = ()
    """Of a joint identity: plans whose tracks hold it."""
    identity: str = ""
    """File of the subject's identity, where it is known or going to be."""
    identity_from: "SequencePlan | None" = None
    """What finds the subject's identity, which stages that use it wait for."""
    others: tuple[Stage, ...] = ()
    """Stages that are not asked for, which may have left results nevertheless."""
    cached: frozenset[str] = frozenset()
    """Stages that were done before this run."""
    failures: dict[str, FailureRecord] = field(default_factory=dict)
    """Why this run gave a stage up."""
    _extents: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The sequence's name."""
        return self.key.sequence

    def stage_done(self, name: str) -> bool:
        """Whether all items of a stage are done."""
        states = self.parts.get(name)
        return states is not None and all(state is PartState.DONE for state in states)

    def stage_failed(self, name: str) -> bool:
        """Whether an item of a stage has been given up."""
        return PartState.FAILED in self.parts.get(name, ())

    def skips(self, name: str) -> bool:
        """Whether a stage has nothing to do for this sequence, as far as is known."""
        return any(stage.name == name and stage.is_for_some for stage in self.stages) and not self.parts.get(name)

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return all(self.stage_done(stage.name) for stage in self.stages)

    @property
    def waiting_for(self) -> list["SequencePlan"]:
        """Plans that have not come as far as this one needs."""
        return [plan for plan in self.waits_for if not all(plan.stage_done(name) for name in self.waits_for_stages)]

    @property
    def needs_identity(self) -> bool:
        """Whether a stage is left to do that uses a joint identity."""
        used = (stage.name for stage in self.stages if stage.uses_identity)
        return self.identity_from is not None and not all(self.stage_done(name) for name in used)

    @property
    def failed(self) -> bool:
        """Whether some stage has been given up."""
        return any(self.stage_failed(stage.name) for stage in self.stages)

    def keep_failures(self, earlier: "SequencePlan") -> None:
        """What an earlier plan of the same run gave up is given up here too, where it is the very same work."""
        for name, failure in earlier.failures.items():
            states, before = self.parts.get(name, []), earlier.parts.get(name, [])
            if self.fingerprints.get(name) != earlier.fingerprints[name] or len(states) != len(before):
                continue
            pairs = zip(states, before, strict=True)
            self.parts[name] = [old if new is PartState.TODO and old is PartState.FAILED else new for new, old in pairs]
            self.failures[name] = failure

    def chunk(self, stage: Stage, index: int) -> Chunk | None:
        """The frames of an item, where the stage is cut into chunks."""
        return self._chunks(stage)[index] if stage.fan_out else None

    def limit_s(self, stage: Stage, index: int) -> float:
        """Time limit of an item."""
        if not stage.frame_timeout_s:
            return stage.timeout_s
        chunk = self.chunk(stage, index)
        counted = [other.fan_out for other in self.stages if other.fan_out]
        num_frames, num_cameras = self._extent(counted[0]) if counted else (0, 0)
        return stage.timeout_s + stage.frame_timeout_s * (len(chunk.frames) if chunk else num_frames * num_cameras)

    def part_paths(self, stage: Stage) -> tuple[Path, ...]:
        """The parts of a stage that is done, in order."""
        return tuple(stage.part_path(self.out, self.key, index) for index in range(len(self.parts[stage.name])))

    def expand(self, listings: FolderListings) -> None:
        """Find the items of every stage whose number of items has become known, and which of them are done."""
        for stage in self.stages:
            if stage.name in self.parts or (stage.fan_out and not self.stage_done(stage.fan_out)):
                continue
            count = len(self._chunks(stage)) if stage.fan_out else 1
            self.parts[stage.name] = [
                PartState.DONE if self._committed(stage, index, listings) else PartState.TODO for index in range(count)
            ]

    def ready(self) -> Iterator[tuple[Stage, int]]:
        """Items that can start now."""
        if self.waiting_for:
            return
        without = self.identity_from is not None and not self.identity_from.finished
        for stage in self.stages:
            if stage.uses_identity and without:
                continue
            if all(self.stage_done(name) for name in stage.needs):
                states = self.parts.get(stage.name, ())
                yield from ((stage, index) for index, state in enumerate(states) if state is PartState.TODO)

    def sweep(self) -> None:
        """Remove what earlier runs left of the work that is to be done, and all that was made from it.

        Results of the very same work stay, as do those that were made from them.
        """
        remove_files(half_written_parts(self.out, self.key))
        for stage in self._stale_others():
            remove_files(traces(self.out, self.key, stage))
        for stage in self.stages:
            states = self.parts.get(stage.name, [])
            if states and self.stage_done(stage.name):
                continue
            kept = [
                stage.part_path(self.out, self.key, index)
                for index, state in enumerate(states)
                if state is PartState.DONE
            ]
            footers = [read_footer(path) for path in kept]
            keep = {*kept, *(self.out / name for footer in footers if footer for name in footer.files)}
            remove_files(path for path in traces(self.out, self.key, stage) if path not in keep)
        self.sweep_scratch()

    def _stale_others(self) -> list[Stage]:
        """Stages that are not asked for, but were made from what is about to be replaced."""
        replaced = {stage.name for stage in self.stages if not self._was_begun(stage)}
        stale: list[Stage] = []
        for stage in self.others:  # Each stands after those that it needs.
            if replaced & set(stage.needs):
                replaced.add(stage.name)
                stale.append(stage)
        return stale

    def _was_begun(self, stage: Stage) -> bool:
        """Whether some of the work asked for has been committed, and not other work in its place."""
        paths = part_path(self.out, stage.table, self.key, "x").parent.glob(f"part-{stage.name}-[0-9]*.parquet")
        footers = (read_footer(path) for path in paths)
        return any(footer is not None and footer.fingerprint == self.fingerprints[stage.name] for footer in footers)

    def sweep_scratch(self) -> None:
        """Remove checkpoints that nothing will resume from: those of finished items and of other configurations."""
        folder = self.out / ".work" / self.name
        current = {print_[:16] for name, print_ in self.fingerprints.items() if not self.stage_done(name)}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and path.name.rpartition("-")[2] not in current:
                shutil.rmtree(path)

    def _chunks(self, stage: Stage) -> list[Chunk]:
        num_frames, num_cameras = self._extent(stage.fan_out)
        if stage.cut is not None:
            bounds = stage.cut(self.configs[stage.name].value, self.sequence, num_frames)
            return [Chunk(index=index, start=start, stop=stop) for index, (start, stop) in enumerate(bounds)]
        return chunks(num_frames, self.chunk_frames, num_cameras)

    def _extent(self, stage_name: str) -> tuple[int, int]:
        """Numbers of frames and of cameras, as the stage that counts them says."""
        if stage_name not in self._extents:
            (stage,) = (stage for stage in self.stages if stage.name == stage_name)
            path = stage.part_path(self.out, self.key, 0)
            self._extents[stage_name] = (read_number(path, "num_frames"), read_number(path, "num_cameras", 1))
        return self._extents[stage_name]

    def _committed(self, stage: Stage, index: int, listings: FolderListings) -> bool:
        footer = read_footer(stage.part_path(self.out, self.key, index))
        return (
            footer is not None
            and footer.fingerprint == self.fingerprints[stage.name]
            and all(listings.has(self.out / name) for name in footer.files)
        )


def plan_sequence(
    out: Path,
    config: RunConfig,
    stages: tuple[Stage, ...],
    sequence: SequenceConfig,
    order: int,
    digests: Digests,
    others: tuple[Stage, ...] = (),
    identity_from: SequencePlan | None = None,
) -> SequencePlan:
    """Find out what is left to do for one sequence.

    Args:
        out: The output folder.
        config: The run's configuration.
        stages: The stages, each after those that it needs.
        sequence: The sequence.
        order: Its position in the job.
        digests: What is known of the footage's files.
        others: Stages that are not asked for, likewise in order.
        identity_from: What finds the subject's identity, where it is a joint one.

    Raises:
        AssetError: An asset is not known.
        ConfigError: No camera of a rig is taken.
        InputError: The footage is not there or cannot be read, or its ground truth is of another clip.
    """
    config = config.for_sequence(sequence)
    fingerprints = stage_fingerprints(config, stages, sequence, digests, identity_from)
    plan = SequencePlan(
        out=out,
        order=order,
        sequence=sequence,
        key=sequence.key,
        stages=stages,
        others=others,
        chunk_frames=config.pipeline.chunk_frames,
        head=config.head,
        identity=config.track.identity if identity_from is None else str(_identity_file(identity_from)),
        identity_from=identity_from,
        fingerprints=fingerprints,
        configs={
            stage.name: StageConfig(value=stage.reads(config), text=config_json(stage, config)) for stage in stages
        },
    )
    plan.expand(FolderListings())
    plan.cached = frozenset(name for name, states in plan.parts.items() if states and plan.stage_done(name))
    needs_truth = any("ground_truth" in stage.sources and stage.name not in plan.cached for stage in stages)
    if sequence.ground_truth and needs_truth and source_path(sequence.ground_truth).exists():
        check_truth(sequence, config.extract, config.capture)
    return plan


def stage_fingerprints(
    config: RunConfig,
    stages: tuple[Stage, ...],
    sequence: SequenceConfig,
    digests: Digests,
    identity_from: SequencePlan | None = None,
) -> dict[str, str]:
    """What stages' results for a sequence depend on; arguments and errors are those of `plan_sequence`.

    The configuration is the one that applies to this sequence.
    """
    fields = frozenset(name for stage in stages for name in stage.sources)
    sources = source_digests(sequence, fields, digests, config.capture)
    fingerprints: dict[str, str] = {}
    for stage in stages:
        found = fingerprint(stage, config, asset_sha256=asset_sha256, source_sha256=sources, upstream=fingerprints)
        if identity_from is not None and stage.uses_identity:
            parts = json.dumps([found, identity_from.fingerprints])
            found = hashlib.sha256(parts.encode()).hexdigest()
        fingerprints[stage.name] = found
    return fingerprints


def _identity_file(plan: SequencePlan) -> Path:
    return plan.out / "tracks" / plan.name / IDENTITY_FILE


def count_cached(plans: Iterable[SequencePlan]) -> int:
    """Stages, over all sequences, that were done before this run."""
    return sum(len(plan.cached) for plan in plans)
