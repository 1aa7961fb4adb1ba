"""A whole run: lock the output folder, plan, work, and sum up."""

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import yaml

from raytrack.assets import asset_path
from raytrack.config import RunConfig
from raytrack.errors import OutputError, RaytrackError
from raytrack.mapping import to_mapping
from raytrack.media.files import replaced_file
from raytrack.pipeline.digests import DIGESTS_FILE, Digests
from raytrack.pipeline.disk import check_space
from raytrack.pipeline.display import Display
from raytrack.pipeline.driver import Driver
from raytrack.pipeline.executor import Executor, SequentialExecutor, available_cpus
from raytrack.pipeline.leftovers import remove_namesakes
from raytrack.pipeline.lock import sole_writer
from raytrack.pipeline.outcome import RunReport, SequenceOutcome, UnionOutcome
from raytrack.pipeline.plan import SequencePlan
from raytrack.pipeline.planning import as_output_error, identities_of, observers_of, plan_job
from raytrack.pipeline.ray_environment import cluster_address, prepare_environment
from raytrack.pipeline.records import FailureRecord, fold_records, last_failures, write_failure
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.stages import all_stages
from raytrack.pipeline.subjects import (
    IDENTITY,
    identity_stage,
    joint_subjects,
    plan_members,
    remove_stale_identities,
)
from raytrack.pipeline.summary import SCORES_STAGE, SUMMARY_FILE, write_summary
from raytrack.pipeline.unions import UNION, UnionPlans, plan_unions, remove_stale_unions
from raytrack.pipeline.warm import compile_kernels
from raytrack.tables.keys import SequenceKey

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
MEMBERS_FILE = ".work/members.yaml"
"""Beside the run's sequences, others that take part in their subjects' identities; as a job file."""
_MOST_PASSES = 3


def run_job(
    config: RunConfig,
    out: Path,
    stages: tuple[Stage, ...],
    *,
    known_stages: tuple[Stage, ...] = (),
    whole: RunConfig | None = None,
    sequential: bool = False,
    display: Display | None = None,
) -> RunReport:
    """Carry out some stages of every sequence of a job, as far as they are not done already; sum up in `summary.json`.

    Args:
        config: The configuration; paths in it are absolute.
        out: The output folder; made when it is not there, readable by its owner alone.
        stages: The stages, each after those that it needs; see `raytrack.pipeline.stage.select`.
        known_stages: All stages that there are, by default raytrack's: what they left is removed where it was made from
            something that this run replaces.
        whole: The job that the sequences were chosen from, where they are not all; see `plan_unions` and
            `plan_identities`.
        sequential: Work in this process, without Ray and without time limits.
        display: Shows what happens; by default nothing does.

    Raises:
        OutputError: The folder cannot be written, or another run is writing to it.
        RaytrackError: Something that every sequence needs is missing or damaged.
        KeyboardInterrupt: The run was interrupted; calling again goes on where it stopped.
    """
    started = time.perf_counter()
    out = out.resolve()
    _make_folders(out)
    known_stages = known_stages or all_stages(config)
    others = tuple(stage for stage in known_stages if stage.name not in {asked.name for asked in stages})
    try:
        with sole_writer(out) as run_id, contextlib.ExitStack() as stack:
            if display is not None:
                stack.callback(display.close)
            _write_config(config, out / CONFIG_FILE)
            _write_members(config, whole, out / MEMBERS_FILE)
            _remove_namesakes(config, out, (*stages, *others), whole)
            digests = Digests(out / ".work" / DIGESTS_FILE)
            plans, unions = [], UnionPlans()
            for _ in range(_MOST_PASSES):
                earlier = [*plans, *unions.plans]
                plans, unreadable = plan_job(config, out, stages, digests, others, whole)
                digests.save()
                unions = plan_unions(config, out, plans, unreadable, whole)
                _keep_failures([*plans, *unions.plans], earlier)
                _work(config, out, stages, plans, unions, run_id=run_id, sequential=sequential, display=display)
                if not _other_members(plans):
                    break
            outcomes = _outcomes(config, out, plans, unreadable)
            union_outcomes = tuple(UnionOutcome(plan=plan, failures=_failures(out, plan)) for plan in unions.plans)
            for name in remove_stale_unions(out):
                logger.warning("%s: removed, for the datasets that it was made of have changed", name)
            for name in remove_stale_identities(config, out, stages, whole):
                logger.warning("%s: removed, for no sequence of this job is tracked with it", name)
            seconds = time.perf_counter() - started
            summary = None
            if any(stage.name == SCORES_STAGE for stage in stages) or (out / SUMMARY_FILE).is_file():
                summary = write_summary(out, outcomes, known_stages, seconds, union_outcomes)
    except OSError as error:
        raise as_output_error(error, out) from error
    notes = (*unions.notes, *(union.note for union in union_outcomes if union.note), *_waiting_identities(plans))
    return RunReport(out=out, seconds=seconds, outcomes=outcomes, summary=summary, unions=union_outcomes, notes=notes)


def _work(
    config: RunConfig,
    out: Path,
    stages: tuple[Stage, ...],
    plans: list[SequencePlan],
    unions: UnionPlans,
    *,
    run_id: str,
    sequential: bool,
    display: Display | None,
) -> None:
    """Run whatever is left; Ray is started only where there is something to run."""
    cpus = config.pipeline.cpus or available_cpus()
    address = cluster_address()
    runs_on = f"cluster {address}" if address and not sequential else f"{cpus} CPU" + "s" * (cpus != 1)
    if display is not None:
        display.planned(plans, stages, runs_on, unions.plans, identities_of(plans))
    if all(plan.finished for plan in (*plans, *unions.plans)):
        return
    identities = [plan for plan in identities_of(plans) if any(user.needs_identity for user in plan.users)]
    sequences = [*plans, *observers_of(plans)]
    _check_assets(config, [*identities, *sequences])
    tight = check_space(config, out, sequences, unions.plans)
    if display is not None and tight:
        display.warn(tight)
    if not sequential and not address:
        compile_kernels([*identities, *plans])
    driver = Driver(
        [*identities, *sequences, *unions.plans],
        run_id=run_id,
        time_limit_factor=config.pipeline.time_limit_factor,
        watcher=display or Display.silent(),
    )
    finding = (identity_stage(stages),) if identities else ()
    with _executor(out, (*stages, *finding), cpus, sequential=sequential) as executor:
        driver.run(executor)


def _keep_failures(plans: Sequence[SequencePlan], earlier: Sequence[SequencePlan]) -> None:
    """What has been given up before in this run is not tried again."""
    before = {plan.key: plan for plan in earlier}
    for plan in plans:
        if plan.key in before:
            plan.keep_failures(before[plan.key])


def _other_members(plans: Sequence[SequencePlan]) -> bool:
    """Whether identities have other members by what the run has found out, so that it must plan anew."""
    for identity in identities_of(plans):
        members, needed = {sequence.key for sequence in plan_members(identity)}, identity.waits_for_stages
        for plan in (*identity.waits_for, *identity.users):
            no_good = any(name in needed and failure.kind == "input" for name, failure in plan.failures.items())
            if no_good if plan.key in members else all(plan.stage_done(name) for name in needed):
                return True
    return False


def _waiting_identities(plans: Sequence[SequencePlan]) -> list[str]:
    """Why tracks could not be begun, in words, where it is the fault of another sequence."""
    notes = []
    for identity in identities_of(plans):
        waiting = identity.waiting_for
        if identity.finished or not waiting or not any(user.needs_identity for user in identity.users):
            continue
        whys = [f" ({one.stage} failed: {one.error})" for one in waiting[0].failures.values()]
        notes.append(
            f"{identity.name}: not found, for {waiting[0].name} is not observed{''.join(whys[:1])}; the subject's "
            "sequences are tracked once it is, or with `identity: own`"
        )
    return notes


def _check_assets(config: RunConfig, plans: list[SequencePlan]) -> None:
    """Look at the shipped files that the work needs before it starts: a damaged one concerns every sequence.

    Raises:
        AssetError: One is missing or damaged.
    """
    to_do = {stage.name: stage for plan in plans for stage in plan.stages if not plan.stage_done(stage.name)}
    for name in sorted({name for stage in to_do.values() for name in stage.assets(config)}):
        asset_path(name)


def _executor(out: Path, stages: tuple[Stage, ...], cpus: int, *, sequential: bool) -> Executor:
    if sequential:
        return SequentialExecutor(cpus)
    prepare_environment(out / ".work")
    from raytrack.pipeline.ray_executor import RayExecutor  # noqa: PLC0415 (Ray reads its environment when imported)

    return RayExecutor(cpus=cpus, stages=stages)


def _outcomes(
    config: RunConfig, out: Path, plans: list[SequencePlan], unreadable: dict[SequenceKey, RaytrackError]
) -> tuple[SequenceOutcome, ...]:
    by_key = {plan.key: plan for plan in plans}
    outcomes = []
    for sequence in config.sequences:
        key = sequence.key
        if key in unreadable:
            failure = _unreadable_failure(unreadable[key])
            _record(out, key, failure)
            outcomes.append(SequenceOutcome(key=key, plan=None, failures=(failure,)))
            continue
        plan = by_key[key]
        outcomes.append(SequenceOutcome(key=key, plan=plan, failures=_failures(out, plan)))
    return tuple(outcomes)


def _failures(out: Path, plan: SequencePlan) -> tuple[FailureRecord, ...]:
    """The latest final failure of each stage that is not done."""
    failures = {**last_failures(out, plan.key, plan.fingerprints), **plan.failures}
    found = tuple(failure for name, failure in failures.items() if not plan.stage_done(name))
    if plan.needs_identity and plan.identity_from is not None and not found:
        return _failures(out, plan.identity_from)
    return found


def _record(out: Path, key: SequenceKey, failure: FailureRecord) -> None:
    try:
        write_failure(out, key, failure)
        fold_records(out, key)
    except (OSError, RaytrackError) as error:
        logger.warning("%s: a failure cannot be recorded (%s)", key.sequence, error)


def _unreadable_failure(error: RaytrackError) -> FailureRecord:
    return FailureRecord(
        stage="plan",
        chunk=0,
        fingerprint="",
        kind=error.kind,
        error=str(error),
        traceback="",
        attempt=1,
        final=True,
        failed_at=datetime.now(tz=timezone.utc),
    )


def _remove_namesakes(config: RunConfig, out: Path, stages: tuple[Stage, ...], whole: RunConfig | None) -> None:
    keys = [sequence.key for sequence in config.sequences]
    keys += config.union_members() if config.union is not None else ()
    for key, members in joint_subjects(config, whole).items():
        keys += [key, *(sequence.key for sequence in members)]
    for namesake in remove_namesakes(out, keys, (*stages, UNION, IDENTITY)):
        logger.warning(
            "%s: the results of another sequence of this name (subject %s, dataset %s) were removed",
            namesake.sequence,
            namesake.subject,
            namesake.dataset,
        )


def _make_folders(out: Path) -> None:
    """Make the output folder for its owner's eyes only: faces are personal data."""
    for folder in (out, out / ".work", out / "tables"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = folder / f".tmp-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:  # noqa: PERF203 (three times, and the message names the folder)
            raise OutputError(f"{folder}: cannot be written ({error.strerror}): choose another --out") from error


def _write_members(config: RunConfig, whole: RunConfig | None, path: Path) -> None:
    """Keep those that `raytrack status` needs to know of beside the run's own sequences."""
    members = {one.key: one for joint in joint_subjects(config, whole).values() for one in joint}
    if members.keys() <= {sequence.key for sequence in config.sequences}:
        path.unlink(missing_ok=True)
    else:
        members |= {sequence.key: sequence for sequence in config.sequences}
        _write_config(dataclasses.replace(config, sequences=tuple(members.values()), union=None), path)


def _write_config(config: RunConfig, path: Path) -> None:
    """Keep the resolved configuration: a job file for the same run, also used by `raytrack status`."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # The C one is quicker, and not everywhere.
    text = yaml.dump(to_mapping(config), Dumper=dumper, sort_keys=False, allow_unicode=True)
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
