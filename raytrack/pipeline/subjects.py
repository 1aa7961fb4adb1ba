"""One identity for all of a subject's sequences: fitted once they have been observed, before any of them is tracked.

It is planned, carried out, recorded and resumed as a sequence of one stage is. It waits for the observations of its
members; their tracks wait for it. Members are all of the subject's sequences in the job, also those that a run leaves
out: they are then observed, and no more. Only footage that is known to be no good is passed over. What an identity is
made of is part of its fingerprint, so it does not depend on what failed on the way, or on how the work was split.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from raytrack.assets import asset_sha256
from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import NoFaceError, OutputError, RaytrackError
from raytrack.pipeline.device import torch_device
from raytrack.pipeline.digests import Digests
from raytrack.pipeline.leftovers import remove_files, traces
from raytrack.pipeline.plan import IDENTITY_FILE, FolderListings, SequencePlan, StageConfig, stage_fingerprints
from raytrack.pipeline.records import last_failures
from raytrack.pipeline.stage import Resources, Stage, StageContext, StageOutput, config_json, fingerprint
from raytrack.pipeline.stages_segments import OBSERVED, TRACKING, head_assets, reads_tracking, teller, tracking_config
from raytrack.tables.keys import SequenceKey
from raytrack.tables.schemas import IDENTITIES
from raytrack.tables.store import part_path, read_footer

# The stage's libraries are loaded by the worker that needs them, not by the driver.
# ruff: noqa: PLC0415

logger = logging.getLogger(__name__)


def identity_path(name: str) -> str:
    """Where the identity of this name lies, relative to the output folder."""
    return f"tracks/{name}/{IDENTITY_FILE}"


def find_identity(context: StageContext) -> StageOutput:
    """Fit one identity to frames of all members; goes on from its checkpoints."""
    from raytrack.fit.joint_identity import fit_identity
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_views

    torch_device(context)  # refuses at once where the renderer would need a GPU that is not there
    names, observations = [], []
    for member in context.config["members"]:
        observed = _observed(context, member)
        try:
            (observation,) = read_views(observed)
        except NoFaceError:
            logger.warning("%s: no face, so it takes no part in the subject's identity", observed.name)
            continue
        names.append(observed.name)
        observations.append(observation)
    if not observations:
        raise NoFaceError
    identity = fit_identity(
        observations,
        load_head(context.head),
        tracking_config(context),
        checkpoint_folder=context.checkpoint_folder,
        on_progress=teller(context),
    )
    path = context.out / identity_path(context.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    identity.save(path)
    row = {"path": identity_path(context.name), "members": names}
    return StageOutput(rows=pa.Table.from_pylist([row], schema=IDENTITIES), files=(row["path"],))


def _observed(context: StageContext, member: dict[str, Any]) -> StageContext:
    """A member's context as a stage of its own would have it.

    Raises:
        OutputError: Its observations are gone, or are others by now.
    """
    key, parts = member["sequence"].key, {}
    for stage, made_by in member["fingerprints"].items():
        folder = part_path(context.out, member["tables"][stage], key, "x").parent
        paths = tuple(sorted(folder.glob(f"part-{stage}-[0-9]*.parquet")))
        footers = [read_footer(path) for path in paths]
        if not paths or any(footer is None or footer.fingerprint != made_by for footer in footers):
            raise OutputError(f"{key.sequence}: results of stage {stage!r} have gone or were replaced: run again")
        parts[stage] = paths
    return dataclasses.replace(context, key=key, sequence=member["sequence"], parts=parts)


IDENTITY = Stage(
    name="identity",
    version=1,
    function=find_identity,
    code=TRACKING,
    table="identities",
    reads=reads_tracking,
    assets=head_assets,
    sources=("members",),
    compiles=True,
    actor=True,
    resources=Resources(cpus=2),
    timeout_s=4 * 3600,
    folders=("tracks/{sequence}",),
)


def identity_stage(stages: tuple[Stage, ...]) -> Stage:
    """The stage that finds an identity, with the resources that these stages give to a track's fit."""
    given = [stage.resources for stage in stages if stage.uses_identity and stage.actor]
    return dataclasses.replace(IDENTITY, resources=given[0]) if given else IDENTITY


def joint_subjects(config: RunConfig, whole: RunConfig | None = None) -> dict[SequenceKey, tuple[SequenceConfig, ...]]:
    """The subjects whose sequences get one identity, by the key that it goes by.

    Args:
        config: The run's configuration.
        whole: The job that its sequences were chosen from: of each subject in the run, all take part.

    Raises:
        ConfigError: It is asked for where it cannot be had.
    """
    whole = whole or config
    whole.check_identity()
    chosen = {sequence.key for sequence in config.sequences}
    return {
        key: members
        for key, members in whole.identity_members().items()
        if any(sequence.key in chosen for sequence in members)
    }


def plan_identities(
    config: RunConfig, out: Path, stages: tuple[Stage, ...], digests: Digests, whole: RunConfig | None = None
) -> dict[SequenceKey, SequencePlan]:
    """What each sequence gets its identity from, where it is a joint one.

    Args:
        config: The run's configuration.
        out: The output folder.
        stages: The stages of the run; without tracks no identity is needed.
        digests: What is known of the footage's files.
        whole: The job that the sequences were chosen from, where they are not all.

    Raises:
        ConfigError: A joint identity is asked for where it cannot be had.
        AssetError: An asset is not known.
    """
    if not any(stage.uses_identity for stage in stages):
        return {}
    observed = tuple(stage for stage in stages if stage.name in OBSERVED)
    plans: dict[SequenceKey, SequencePlan] = {}
    for number, (key, sequences) in enumerate(joint_subjects(config, whole).items()):
        found = (_member(config, out, observed, sequence, digests) for sequence in sequences)
        members = [member for member in found if member is not None]
        if members:
            # Before all sequences in the order of work.
            plan = _plan(config, out, key, members, identity_stage(stages), order=-1 - number)
            plans |= {sequence.key: plan for sequence in sequences}
    return plans


def plan_members(identity: SequencePlan) -> tuple[SequenceConfig, ...]:
    """The sequences that an identity is made of."""
    return tuple(member["sequence"] for member in identity.configs[IDENTITY.name].value["members"])


def _member(
    config: RunConfig, out: Path, observed: tuple[Stage, ...], sequence: SequenceConfig, digests: Digests
) -> dict[str, Any] | None:
    """What the identity is told of one sequence; None where its footage is known to be no good."""
    try:
        made_by = stage_fingerprints(config.for_sequence(sequence), observed, sequence, digests)
    except (RaytrackError, OSError):
        return None  # Whoever plans the sequence says so.
    tables = {stage.name: stage.table for stage in observed}
    for name, failure in last_failures(out, sequence.key, made_by).items():
        footer = read_footer(part_path(out, tables[name], sequence.key, f"{name}-{failure.chunk:05d}"))
        if failure.kind == "input" and (footer is None or footer.fingerprint != made_by[name]):
            return None
    return {"sequence": sequence, "fingerprints": made_by, "tables": tables}


def identity_parts(out: Path) -> Iterator[tuple[SequenceKey, Path]]:
    """The identities that an output folder holds, each with its part of the table `identities`."""
    parts = (out / "tables" / IDENTITY.table).glob("dataset=*/subject=*/sequence=*/part-identity-00000.parquet")
    for path in sorted(parts):
        dataset, subject, sequence = (part.partition("=")[2] for part in path.parent.parts[-3:])
        yield SequenceKey(dataset=dataset, subject=subject, sequence=sequence), path


def remove_stale_identities(
    config: RunConfig, out: Path, stages: tuple[Stage, ...], whole: RunConfig | None = None
) -> list[str]:
    """Remove identities of the run's subjects that have none any more, and name them.

    Raises:
        OSError: A file cannot be removed.
    """
    if not any(stage.uses_identity for stage in stages):
        return []
    joint, removed = joint_subjects(config, whole), []
    subjects = {(sequence.key.dataset, sequence.key.subject) for sequence in config.sequences}
    for key, _ in list(identity_parts(out)):
        if key in joint or (key.dataset, key.subject) not in subjects:
            continue
        if config.track.identity == str(out / identity_path(key.sequence)):
            continue
        remove_files([*traces(out, key, IDENTITY)])
        shutil.rmtree(out / ".work" / key.sequence, ignore_errors=True)
        removed.append(key.sequence)
    return removed


def _plan(
    config: RunConfig, out: Path, key: SequenceKey, members: list[dict[str, Any]], stage: Stage, *, order: int
) -> SequencePlan:
    regions = dict.fromkeys((*config.track.occluded, *(name for one in members for name in one["sequence"].occluded)))
    config = dataclasses.replace(config, track=dataclasses.replace(config.track, occluded=tuple(regions)))
    named = [(one["sequence"].key.sequence, one["fingerprints"]) for one in members]
    digest = hashlib.sha256(json.dumps([key.subject, named]).encode()).hexdigest()
    made_by = fingerprint(IDENTITY, config, asset_sha256=asset_sha256, source_sha256={"members": digest}, upstream={})
    value = {**IDENTITY.reads(config), "members": members}
    plan = SequencePlan(
        out=out,
        order=order,
        sequence=members[0]["sequence"],
        key=key,
        stages=(stage,),
        chunk_frames=1,
        head=config.head,
        fingerprints={IDENTITY.name: made_by},
        configs={IDENTITY.name: StageConfig(value=value, text=config_json(IDENTITY, config))},
        waits_for_stages=OBSERVED,
    )
    plan.expand(FolderListings())
    plan.cached = frozenset({IDENTITY.name}) if plan.finished else frozenset()
    return plan
