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
class RunReport:
    """How a run ended."""

    out: Path
    seconds: float
    outcomes: tuple[SequenceOutcome, ...]
    summary: dict[str, Any] | None
    """What `summary.json` says; None where the run had no scores to reckon."""

    @property
    def exit_code(self) -> int:
        """0 when all sequences are finished, 3 when some are, 1 when none is."""
        finished = sum(outcome.finished for outcome in self.outcomes)
        if finished == len(self.outcomes):
            return ALL_FINISHED
        return SOME_FINISHED if finished else NONE_FINISHED
