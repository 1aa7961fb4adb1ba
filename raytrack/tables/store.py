"""Atomic Parquet parts: a part that is there with the right fingerprint is finished work; nothing else is.

A part is written beside its place under a name that readers ignore (``.tmp-*``), flushed to disk, and renamed. Its
footer carries the fingerprint of the work that made it and the names of the files which that work left, so whether the
work is done can be seen without reading any row. Equal rows give equal bytes.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from raytrack.errors import ConfigError, OutputError, RaytrackError
from raytrack.tables.keys import SequenceKey

SCHEMA_VERSION = 2
"""Raised when columns change. 2: cameras."""
_PARTITIONING = pyarrow.dataset.partitioning(
    pa.schema([("dataset", pa.string()), ("subject", pa.string()), ("sequence", pa.string())]), flavor="hive"
)


@dataclass(frozen=True, kw_only=True)
class Footer:
    """What a part says about itself."""

    fingerprint: str
    """Of the work that made it; equal fingerprints mean equal inputs, configuration and code version."""
    schema_version: int
    files: tuple[str, ...]
    """Files that the same work left, relative to the output folder."""
    config: str
    """The configuration that the work read, as JSON."""


def part_path(out: Path, table: str, key: SequenceKey, part: str) -> Path:
    """Where a part of a table lies.

    Args:
        out: The run's output folder.
        table: Table name.
        key: The sequence.
        part: What tells the part from others of the same sequence, such as ``frames-00000``.
    """
    return out / "tables" / table / key.partition() / f"part-{part}.parquet"


def write_part(path: Path, rows: pa.Table, *, fingerprint: str, files: Sequence[str] = (), config: str = "") -> None:
    """Commit a part: all of it or nothing, also when the process or the machine dies.

    Args:
        path: From `part_path`.
        rows: The rows.
        fingerprint: See `Footer`.
        files: Files that belong to the part, relative to the output folder; their bytes must be on disk already.
        config: See `Footer`.

    Raises:
        OutputError: It cannot be written.
    """
    metadata = {
        **(rows.schema.metadata or {}),
        b"raytrack.fingerprint": fingerprint.encode(),
        b"raytrack.schema_version": str(SCHEMA_VERSION).encode(),
        b"raytrack.files": json.dumps(list(files)).encode(),
        b"raytrack.config": config.encode(),
    }
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}.parquet"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(
            rows.replace_schema_metadata(metadata), temporary, compression="zstd", write_page_checksum=True
        )
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def flush_to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_footer(path: Path) -> Footer | None:
    """What a part says about itself, or None where there is no whole part of this schema version."""
    try:
        metadata = pyarrow.parquet.read_metadata(path).metadata or {}
        footer = Footer(
            fingerprint=metadata[b"raytrack.fingerprint"].decode(),
            schema_version=int(metadata[b"raytrack.schema_version"]),
            files=tuple(json.loads(metadata[b"raytrack.files"])),
            config=metadata[b"raytrack.config"].decode(),
        )
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    return footer if footer.schema_version == SCHEMA_VERSION else None


def read_part(path: Path) -> pa.Table:
    """All rows of one part, after checking every page's checksum.

    Raises:
        RaytrackError: The part is missing or its bytes changed since it was written.
    """
    try:
        # One thread: parts are small, and starting threads takes longer than reading.
        return pyarrow.parquet.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise RaytrackError(f"{path}: missing or damaged table ({error}): delete this file and run again") from error


def read_number(path: Path, column: str, default: int | None = None) -> int:
    """The whole number that a column holds in all rows of a part; the footer tells it without any row being read.

    Args:
        path: The part.
        column: The column.
        default: What holds where there is no such column.

    Raises:
        RaytrackError: The part is missing or damaged.
        ValueError: The column holds several numbers, or is not there and has no default.
    """
    try:
        metadata = pyarrow.parquet.read_metadata(path)
        if default is not None and column not in metadata.schema.names:
            return default
        rows = metadata.row_group(0)
    except (OSError, pa.ArrowException) as error:
        raise RaytrackError(f"{path}: missing or damaged table ({error}): delete this file and run again") from error
    for chunk in map(rows.column, range(rows.num_columns)):
        limits = chunk.statistics
        if chunk.path_in_schema == column and limits is not None and limits.has_min_max and limits.min == limits.max:
            return int(limits.min)
    raise ValueError(f"{path}: column {column!r} does not hold one number")


def read_parts(paths: Iterable[Path]) -> pa.Table:
    """The rows of several parts of one table, in the order given.

    Raises:
        RaytrackError: A part is missing or damaged.
        ValueError: No part is given.
    """
    parts = [read_part(path) for path in paths]
    if not parts:
        raise ValueError("no parts to read")
    return pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="default")


def sequence_folders(out: Path) -> Iterator[tuple[SequenceKey, Path]]:
    """Every folder of a sequence in every table; a sequence comes once for each table that knows of it."""
    for folder in sorted((out / "tables").glob("*/dataset=*/subject=*/sequence=*")):
        dataset, subject, sequence = (part.partition("=")[2] for part in folder.parts[-3:])
        try:
            key = SequenceKey(dataset=dataset, subject=subject, sequence=sequence)
        except ConfigError:
            continue  # Not a folder of ours.
        yield key, folder


def read_table(out: Path, table: str) -> pa.Table | None:
    """A whole table with its columns `dataset`, `subject` and `sequence`, or None where nothing has been written.

    Temporary files of writers that died are passed over; page checksums are verified.

    Raises:
        RaytrackError: A part is damaged.
    """
    folder = out / "tables" / table
    paths = sorted(str(path) for path in folder.glob("dataset=*/subject=*/sequence=*/part-*.parquet"))
    if not paths:
        return None
    parquet = pyarrow.dataset.ParquetFileFormat(
        default_fragment_scan_options=pyarrow.dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
    )
    try:
        return pyarrow.dataset.dataset(
            paths, format=parquet, partitioning=_PARTITIONING, partition_base_dir=str(folder)
        ).to_table()
    except (OSError, pa.ArrowException) as error:
        raise RaytrackError(f"{folder}: damaged table ({error}): delete the damaged part and run again") from error
