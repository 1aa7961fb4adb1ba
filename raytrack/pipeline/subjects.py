"""One identity for all of a subject's sequences: fitted once they have been observed, before any of them is tracked.

It is planned, carried out, recorded and resumed as a sequence of one stage is. It waits for the observations of its
members, passing over those that have failed; their tracks wait for it.
"""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa

from raytrack.assets import asset_sha256
from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import NoFaceError, RaytrackError
from raytrack.pipeline.digests import Digests
from raytrack.pipeline.plan import IDENTITY_FILE, FolderListings, SequencePlan, StageConfig, stage_fingerprints
from raytrack.pipeline.stage import Resources, Stage, StageContext, StageOutput, config_json, fingerprint
from raytrack.pipeline.stages_segments import OBSERVED, TRACKING, head_assets, reads_tracking, teller, tracking_config
from raytrack.tables.keys import SequenceKey, identity_name
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

    names, observations = [], []
    for member in context.config["members"]:
        observed = _observed(context, member)
        if observed is None:
            logger.warning(
                "%s: not observed, so it takes no part in the subject's identity", member["sequence"].key.sequence
            )
            continue
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


def _observed(context: StageContext, member: dict[str, Any]) -> StageContext | None:
    """A member's context as a stage of its own would have it; None where its observations are not whole."""
    key, parts = member["sequence"].key, {}
    for stage, made_by in member["fingerprints"].items():
        folder = part_path(context.out, member["tables"][stage], key, "x").parent
        paths = tuple(sorted(folder.glob(f"part-{stage}-[0-9]*.parquet")))
        footers = [read_footer(path) for path in paths]
        if not paths or any(footer is None or footer.fingerprint != made_by for footer in footers):
            return None
        parts[stage] = paths
    found = dataclasses.replace(context, key=key, sequence=member["sequence"], parts=parts)
    (recording,) = found.read("probe").to_pylist()
    every = set(range(recording["num_frames"]))
    whole = all(set(found.read(stage)["frame"].to_pylist()) == every for stage in OBSERVED[1:])
    return found if whole else None


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


def joint_subjects(config: RunConfig) -> dict[SequenceKey, tuple[SequenceConfig, ...]]:
    """The subjects whose sequences get one identity, by the key that it goes by.

    Raises:
        ConfigError: It is asked for where it cannot be had.
    """
    config.check_identity()
    track = config.track
    if config.identity == "own" or track.identity or track.preset == "vhap" or track.landmarks_only:
        return {}
    members: dict[SequenceKey, tuple[SequenceConfig, ...]] = {}
    for sequence in config.sequences:
        key = dataclasses.replace(sequence.key, sequence=identity_name(sequence.key.subject))
        members[key] = (*members.get(key, ()), sequence)
    return {
        key: sequences
        for key, sequences in members.items()
        if len(sequences) > 1 and not any(sequence.is_rig for sequence in sequences)
    }


def plan_identities(
    config: RunConfig, out: Path, stages: tuple[Stage, ...], digests: Digests
) -> dict[SequenceKey, SequencePlan]:
    """What each sequence gets its identity from, where it is a joint one.

    Args:
        config: The run's configuration.
        out: The output folder.
        stages: The stages of the run; without tracks no identity is needed.
        digests: What is known of the footage's files.

    Raises:
        ConfigError: A joint identity is asked for where it cannot be had.
        AssetError: An asset is not known.
    """
    if not any(stage.uses_identity for stage in stages):
        return {}
    observed = tuple(stage for stage in stages if stage.name in OBSERVED)
    plans: dict[SequenceKey, SequencePlan] = {}
    for number, (key, sequences) in enumerate(joint_subjects(config).items()):
        members = []
        for sequence in sequences:
            try:
                made_by = stage_fingerprints(config.for_sequence(sequence), observed, sequence, digests)
            except (RaytrackError, OSError):
                continue  # Whoever plans the sequence says so.
            tables = {stage.name: stage.table for stage in observed}
            members.append({"sequence": sequence, "fingerprints": made_by, "tables": tables})
        if len(members) > 1:
            # Before all sequences in the order of work.
            plan = _plan(config, out, key, members, order=-1 - number)
            plans |= {member["sequence"].key: plan for member in members}
    return plans


def _plan(config: RunConfig, out: Path, key: SequenceKey, members: list[dict[str, Any]], *, order: int) -> SequencePlan:
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
        stages=(IDENTITY,),
        chunk_frames=1,
        head=config.head,
        fingerprints={IDENTITY.name: made_by},
        configs={IDENTITY.name: StageConfig(value=value, text=config_json(IDENTITY, config))},
        waits_for_stages=OBSERVED,
        passes_over_failed=True,
    )
    plan.expand(FolderListings())
    plan.cached = frozenset({IDENTITY.name}) if plan.finished else frozenset()
    return plan
