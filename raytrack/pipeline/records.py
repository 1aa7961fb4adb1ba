"""What happened and when: the tables `runs` and `failures`, the only ones that know of times and machines.

A worker leaves a row in `runs` just before it commits an item, so a driver that dies loses none. When a sequence comes
to rest, its rows are folded into one part of each table.
"""

import dataclasses
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from raytrack.tables.keys import SequenceKey
from raytrack.tables.store import part_path, read_parts, write_part

FailureKind = Literal["input", "bug", "transient", "system", "timeout", "node"]
_TIME = pa.timestamp("us", tz="UTC")

RUNS_SCHEMA = pa.schema(
    [
        pa.field("record", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("started_at", _TIME, nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("pid", pa.int64(), nullable=False),
        pa.field("warnings", pa.list_(pa.string()), nullable=False),
    ]
)
FAILURES_SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("traceback", pa.string(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("final", pa.bool_(), nullable=False),
        pa.field("failed_at", _TIME, nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One item that was carried out."""

    stage: str
    chunk: int
    fingerprint: str
    attempt: int
    started_at: datetime
    seconds: float
    host: str
    pid: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FailureRecord:
    """One attempt at an item that failed."""

    stage: str
    chunk: int
    fingerprint: str
    kind: FailureKind
    error: str
    traceback: str
    attempt: int
    final: bool
    """Whether the run gave the item up."""
    failed_at: datetime


def write_run(out: Path, key: SequenceKey, record: RunRecord) -> None:
    """Add a row to `runs`."""
    name = uuid.uuid4().hex
    rows = pa.Table.from_pylist([{"record": name, **dataclasses.asdict(record)}], schema=RUNS_SCHEMA)
    write_part(part_path(out, "runs", key, f"{record.stage}-{record.chunk:05d}-{name[:12]}"), rows, fingerprint="")


def write_failure(out: Path, key: SequenceKey, record: FailureRecord) -> None:
    """Add a row to `failures`."""
    rows = pa.Table.from_pylist([dataclasses.asdict(record)], schema=FAILURES_SCHEMA)
    name = f"{record.stage}-{record.chunk:05d}-{uuid.uuid4().hex[:12]}"
    write_part(part_path(out, "failures", key, name), rows, fingerprint="")


def fold_records(out: Path, key: SequenceKey) -> None:
    """Gather a sequence's rows of `runs`, and those of `failures`, into one part each.

    Dying halfway loses and doubles nothing.

    Raises:
        RaytrackError: A part is damaged, or cannot be written.
        OSError: A part cannot be removed.
    """
    for table, schema in (("runs", RUNS_SCHEMA), ("failures", FAILURES_SCHEMA)):
        target = part_path(out, table, key, "all")
        parts = sorted(target.parent.glob("part-*.parquet"))
        if len(parts) < 2:
            continue
        write_part(target, pa.Table.from_pylist(_rows_of(parts), schema=schema), fingerprint="")
        for path in parts:
            if path != target:
                path.unlink()


def _rows_of(parts: Iterable[Path]) -> list[dict[str, Any]]:
    """The rows of some parts in the order of their times, each once."""
    distinct = {tuple(map(str, row.values())): row for row in (read_parts(parts).to_pylist() if parts else ())}
    return sorted(distinct.values(), key=lambda row: (row.get("started_at") or row["failed_at"], row["stage"]))


def stage_seconds(out: Path, key: SequenceKey, fingerprints: dict[str, str]) -> dict[str, float]:
    """How long each stage took, its items added up, also where an earlier run carried it out.

    Args:
        out: The run's output folder.
        key: The sequence.
        fingerprints: The stages, in the order wanted, with the fingerprints of the work asked for.
    """
    parts = sorted(part_path(out, "runs", key, "all").parent.glob("part-*.parquet"))
    rows = _rows_of(parts)
    latest: dict[tuple[str, int], float] = {
        (row["stage"], row["chunk"]): row["seconds"]
        for row in rows
        if fingerprints.get(row["stage"]) == row["fingerprint"]
    }
    totals = {name: [seconds for (stage, _), seconds in latest.items() if stage == name] for name in fingerprints}
    return {name: sum(seconds) for name, seconds in totals.items() if seconds}


def last_started(out: Path, key: SequenceKey) -> dict[str, datetime]:
    """When each stage was last begun with success."""
    parts = sorted(part_path(out, "runs", key, "all").parent.glob("part-*.parquet"))
    return {row["stage"]: row["started_at"] for row in _rows_of(parts)}


def last_failures(out: Path, key: SequenceKey, fingerprints: dict[str, str] | None) -> dict[str, FailureRecord]:
    """The latest final failure of each stage, among those of the work asked for; of any work where that is None."""
    parts = sorted(part_path(out, "failures", key, "all").parent.glob("part-*.parquet"))
    rows = _rows_of(parts)
    return {
        row["stage"]: FailureRecord(**row)
        for row in rows
        if row["final"] and (fingerprints is None or fingerprints.get(row["stage"]) == row["fingerprint"])
    }
