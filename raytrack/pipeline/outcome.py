"""How a run ended."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrack.pipeline.plan import SequencePlan
from raytrack.pipeline.records import FailureRecord
from raytrack.tables.keys import SequenceKey

ALL_FINISHED, NONE_FINISHED, SOME_FINISHED = 0, 1, 3


@dataclass(frozen=True, kw_only=True)
class SequenceOutcome:
    """How one sequence ended."""

    key: SequenceKey
    plan: SequencePlan | None
    """None where the footage could not even be read."""
    failures: tuple[FailureRecord, ...]
    """The latest final failure of each stage that is not done."""

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return self.plan is not None and self.plan.finished


@dataclass(frozen=True, kw_only=True)
class UnionOutcome:
    """How the union of one subject's sequences ended."""

    plan: SequencePlan
    failures: tuple[FailureRecord, ...]

    @property
    def note(self) -> str:
        """Why there is none, in words, where that is no failure of its own."""
        waiting = [member.name for member in self.plan.waiting_for]
        if self.plan.finished or not waiting:
            return ""
        more = f" and {len(waiting) - 1} more are" if len(waiting) > 1 else " is"
        return f"{self.plan.name}: none is made, for {waiting[0]}{more} not finished"


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """How a run ended."""

    out: Path
    seconds: float
    outcomes: tuple[SequenceOutcome, ...]
    summary: dict[str, Any] | None
    """What `summary.json` says; None where the run had no scores to reckon."""
    unions: tuple[UnionOutcome, ...] = ()
    notes: tuple[str, ...] = ()
    """What else the person should know, such as why a subject has no union."""

    @property
    def exit_code(self) -> int:
        """0 when all sequences and unions are finished, 3 when some sequences are, 1 when none is."""
        finished = sum(outcome.finished for outcome in self.outcomes)
        if finished == len(self.outcomes) and all(union.plan.finished for union in self.unions):
            return ALL_FINISHED
        return SOME_FINISHED if finished else NONE_FINISHED
