"""The last step of a run: the datasets of one subject's sequences as one, once all of them are exported.

A union is planned, carried out, recorded and resumed as a sequence of one stage is; it waits for its members. Where one
of them is not finished there is none: `raytrack union` unites those that there are.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raytrack.assets import asset_sha256
from raytrack.config import RunConfig
from raytrack.export.config import DatasetFormatName, dataset_path
from raytrack.pipeline.leftovers import remove_files, traces
from raytrack.pipeline.plan import FolderListings, SequencePlan, StageConfig
from raytrack.pipeline.stage import Stage, StageContext, StageOutput, config_json, fingerprint
from raytrack.tables.keys import SequenceKey
from raytrack.tables.schemas import UNIONS
from raytrack.tables.store import part_path, read_footer, read_part

# The stage's libraries are loaded by the worker that needs them, not by the driver.
# ruff: noqa: PLC0415

logger = logging.getLogger(__name__)

EXPORT_STAGE = "export"
UNITED_FORMATS: tuple[DatasetFormatName, ...] = ("nerf", "gaussian-avatars")
"""Formats that have unions."""


@dataclass(frozen=True, kw_only=True)
class UnionPlans:
    """What is to be united."""

    plans: tuple[SequencePlan, ...] = ()
    """One for each subject that has a union."""
    notes: tuple[str, ...] = ()
    """Why subjects have none, in words."""


def unite(context: StageContext) -> StageOutput:
    """The datasets of a subject's sequences as one, in each format that has unions."""
    from raytrack.export.union import union_datasets

    members, rows, files = context.config["members"], [], []
    for name in context.config["formats"]:
        path = dataset_path(name, context.name)
        union = union_datasets(
            [context.out / dataset_path(name, member) for member in members],
            context.out / path,
            context.config["union"],
            subject=context.key.subject,
        )
        rows.append(
            {
                "path": path,
                "mode": context.config["union"].mode,
                "members": list(members),
                "member_fingerprints": list(context.config["fingerprints"]),
                "train_sequences": list(union.train_sequences),
                "test_sequences": list(union.test_sequences),
                "num_timesteps": union.num_timesteps,
                "num_train": union.num_frames["train"],
                "num_val": union.num_frames["val"],
                "num_test": union.num_frames["test"],
                "same_identity": union.same_identity,
            }
        )
        files += [file for file in sorted((context.out / path).rglob("*")) if file.is_file()]
    return StageOutput(
        rows=pa.Table.from_pylist(rows, schema=UNIONS),
        files=tuple(file.relative_to(context.out).as_posix() for file in files),
    )


def _formats(config: RunConfig) -> tuple[DatasetFormatName, ...]:
    return tuple(name for name in UNITED_FORMATS if name in config.export.formats)


UNION = Stage(
    name="union",
    version=1,
    function=unite,
    code=(
        *("export/union.py", "export/union_check.py", "export/union_names.py", "export/union_source.py"),
        *("export/documents.py", "export/splits.py", "export/files.py", "tables/keys.py", "tables/schemas.py"),
    ),
    table="unions",
    reads=lambda config: {"union": config.union, "formats": _formats(config)},
    sources=("members",),
    timeout_s=1800,
    folders=tuple(dataset_path(name, prefix + "{sequence}") for name in UNITED_FORMATS for prefix in ("", ".tmp-")),
)


def plan_unions(
    config: RunConfig,
    out: Path,
    plans: Sequence[SequencePlan],
    unreadable: Collection[SequenceKey] = (),
    whole: RunConfig | None = None,
) -> UnionPlans:
    """Find out which unions there are to be, and which of them are done.

    Args:
        config: The run's configuration.
        out: The output folder.
        plans: Those of the sequences.
        unreadable: Sequences that could not be planned.
        whole: The job that the run's sequences were chosen from. Where some of a subject's are left out its union,
            which is of them all, is left alone.
    """
    if config.union is None or not any(stage.name == EXPORT_STAGE for plan in plans for stage in plan.stages):
        return UnionPlans()
    by_key = {plan.key: plan for plan in plans}
    all_members = (whole or config).union_members()
    unions: list[SequencePlan] = []
    notes: list[str] = []
    for key, sequences in config.union_members().items():
        missing = [sequence.key.sequence for sequence in sequences if sequence.key in unreadable]
        if len(all_members.get(key, ())) > len(sequences):
            chosen = f"{len(sequences)} of the subject's {len(all_members[key])} sequences"
            notes.append(f"{key.sequence}: none is made, for the run is of {chosen} alone")
        elif len(sequences) < 2:
            notes.append(f"{key.sequence}: none is made of one sequence alone, for whole sequences are held out")
        elif not _formats(config):
            notes.append(f"{key.sequence}: none is made of the formats {', '.join(config.export.formats)}")
        elif missing:
            notes.append(f"{key.sequence}: none is made, for {missing[0]} cannot be read")
        else:
            members = tuple(by_key[sequence.key] for sequence in sequences)
            unions.append(_plan(config, out, key, members, order=len(config.sequences) + len(unions)))
    return UnionPlans(plans=tuple(unions), notes=tuple(notes))


def _plan(
    config: RunConfig, out: Path, key: SequenceKey, members: tuple[SequencePlan, ...], *, order: int
) -> SequencePlan:
    names = tuple(member.name for member in members)
    fingerprints = tuple(member.fingerprints[EXPORT_STAGE] for member in members)
    digest = hashlib.sha256(json.dumps([key.subject, names, fingerprints]).encode()).hexdigest()
    value = {
        "union": config.union,
        "formats": _formats(config),
        "members": names,
        "fingerprints": fingerprints,
    }
    made_by = fingerprint(
        UNION,
        dataclasses.replace(config, sequences=()),
        asset_sha256=asset_sha256,
        source_sha256={"members": digest},
        upstream={},
    )
    plan = SequencePlan(
        out=out,
        order=order,
        sequence=members[0].sequence,
        key=key,
        stages=(UNION,),
        chunk_frames=1,
        head=config.head,
        fingerprints={UNION.name: made_by},
        configs={UNION.name: StageConfig(value=value, text=config_json(UNION, config))},
        waits_for=members,
        waits_for_stages=(EXPORT_STAGE,),
    )
    plan.expand(FolderListings())
    plan.cached = frozenset({UNION.name}) if plan.finished else frozenset()
    return plan


def union_parts(out: Path) -> Iterator[tuple[SequenceKey, Path]]:
    """The unions that an output folder holds, each with its part of the table `unions`."""
    for path in sorted((out / "tables" / UNION.table).glob("dataset=*/subject=*/sequence=*/part-union-00000.parquet")):
        dataset, subject, sequence = (part.partition("=")[2] for part in path.parent.parts[-3:])
        yield SequenceKey(dataset=dataset, subject=subject, sequence=sequence), path


def known_unions(out: Path) -> Iterator[tuple[SequenceKey, dict[str, Any]]]:
    """The unions that an output folder holds, each with its row of the table `unions`, of its first format.

    Raises:
        RaytrackError: A table is damaged.
    """
    for key, path in union_parts(out):
        row, *_ = read_part(path).to_pylist()
        yield key, row


def remove_stale_unions(out: Path) -> list[str]:
    """Remove unions of datasets that have been made anew or are gone, and name them: they refer to what is no more.

    Raises:
        RaytrackError: A table is damaged.
        OSError: A file cannot be removed.
    """
    removed = []
    for key, row in list(known_unions(out)):
        members = zip(row["members"], row["member_fingerprints"], strict=True)
        if all(_exported(out, dataclasses.replace(key, sequence=name)) == made_by for name, made_by in members):
            continue
        remove_files(traces(out, key, UNION))
        removed.append(key.sequence)
    return removed


def _exported(out: Path, key: SequenceKey) -> str:
    """The fingerprint of a sequence's dataset; "" where there is none."""
    footer = read_footer(part_path(out, "exports", key, f"{EXPORT_STAGE}-00000"))
    return footer.fingerprint if footer else ""
