"""What is left to do for all sequences of a job, and for what they share."""

from collections.abc import Sequence
from pathlib import Path

from raytrack.config import RunConfig
from raytrack.errors import OutputError, RaytrackError
from raytrack.pipeline.digests import DIGESTS_FILE, Digests
from raytrack.pipeline.plan import SequencePlan, plan_sequence
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.subjects import plan_identities, plan_members
from raytrack.tables.keys import SequenceKey


def plan_job(
    config: RunConfig,
    out: Path,
    stages: tuple[Stage, ...],
    digests: Digests | None = None,
    others: tuple[Stage, ...] = (),
    whole: RunConfig | None = None,
) -> tuple[list[SequencePlan], dict[SequenceKey, RaytrackError]]:
    """What is left to do for each sequence, and why some cannot be planned at all.

    Args:
        config: The run's configuration.
        out: The output folder.
        stages: The stages, each after those that it needs.
        digests: What is known of the footage; by default what the last run knew, also of files that are gone.
        others: Stages that are not asked for but may have left results.
        whole: The job that the sequences were chosen from, where they are not all; see `plan_identities`.
    """
    digests = digests or Digests(out / ".work" / DIGESTS_FILE, trust_missing=True)
    identities = plan_identities(config, out, stages, digests, whole)
    plans: list[SequencePlan] = []
    unreadable: dict[SequenceKey, RaytrackError] = {}
    for order, sequence in enumerate(config.sequences):
        try:
            identity_from = identities.get(sequence.key)
            plans.append(plan_sequence(out, config, stages, sequence, order, digests, others, identity_from))
        except RaytrackError as error:  # noqa: PERF203 (one sequence's fault must not touch another)
            unreadable[sequence.key] = error
        except OSError as error:
            unreadable[sequence.key] = as_output_error(error, out)
    order = -1 - len({plan.name for plan in identities.values()})
    for identity in identities_of(plans):
        users = tuple(plan for plan in plans if plan.identity_from is identity)
        members = _member_plans(config, identity, users, (*stages, *others), digests, order)
        identity.users, identity.waits_for = users, members
        order -= len(members)
    return plans, unreadable


def _member_plans(
    config: RunConfig,
    identity: SequencePlan,
    users: Sequence[SequencePlan],
    stages: tuple[Stage, ...],
    digests: Digests,
    order: int,
) -> tuple[SequencePlan, ...]:
    """Plans that an identity waits for: of members that the run leaves out, what observes them, where it is needed."""
    by_key = {plan.key: plan for plan in users}
    needed = not identity.finished and any(plan.needs_identity for plan in users)
    observed = tuple(stage for stage in stages if stage.name in identity.waits_for_stages)
    rest = tuple(stage for stage in stages if stage.name not in identity.waits_for_stages)
    members = []
    for number, sequence in enumerate(plan_members(identity)):
        plan = by_key.get(sequence.key)
        if plan is None and needed:
            plan = plan_sequence(identity.out, config, observed, sequence, order - number, digests, rest)
        members += [plan] if plan is not None else []
    return tuple(members)


def identities_of(plans: Sequence[SequencePlan]) -> list[SequencePlan]:
    """The joint identities that sequences' tracks need, each once."""
    found = {plan.identity_from.name: plan.identity_from for plan in plans if plan.identity_from is not None}
    return list(found.values())


def observers_of(plans: Sequence[SequencePlan]) -> list[SequencePlan]:
    """Plans of sequences that are only observed, for the identities of others."""
    ours = {plan.key for plan in plans}
    return [plan for identity in identities_of(plans) for plan in identity.waits_for if plan.key not in ours]


def as_output_error(error: OSError, path: Path) -> OutputError:
    """What is said of a file that cannot be read or written."""
    return OutputError(
        f"{error.filename or path}: cannot be read or written ({error.strerror or error}): free space, "
        "see to its permissions, or choose another --out"
    )
