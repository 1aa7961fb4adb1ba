"""`summary.json`: how long everything took and how good it is."""

import json
from pathlib import Path
from typing import Any

from raytrack.media.files import replaced_file
from raytrack.pipeline.outcome import SequenceOutcome
from raytrack.pipeline.plan import SequencePlan
from raytrack.pipeline.records import stage_seconds
from raytrack.tables.schemas import SCORE_NAMES, TRUTH_NAMES
from raytrack.tables.store import part_path, read_part

SUMMARY_FILE = "summary.json"
SCORES_TABLE = "scores"
SCORES_STAGE = "render"


def write_summary(out: Path, outcomes: tuple[SequenceOutcome, ...], seconds: float) -> dict[str, Any]:
    """Write `summary.json` into the output folder, and give back what it says.

    Args:
        out: The output folder.
        outcomes: How each sequence ended.
        seconds: How long the run took.

    Raises:
        OutputError: It cannot be written.
    """
    sequences = {outcome.key.sequence: _sequence(out, outcome) for outcome in outcomes}
    summary = {"run": {"seconds": round(seconds, 3)}, "sequences": sequences}
    with replaced_file(out / SUMMARY_FILE) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _sequence(out: Path, outcome: SequenceOutcome) -> dict[str, Any]:
    plan = outcome.plan
    entry: dict[str, Any] = {}
    if plan is not None:
        entry |= sequence_scores(out, plan) if plan.stage_done(SCORES_STAGE) else {}
        seconds = stage_seconds(out, plan.key, plan.fingerprints)
        truth = entry.pop("ground_truth", None)
        entry["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        entry |= {"ground_truth": truth} if truth is not None else {}
    if not outcome.finished:
        entry["failed"] = {
            failure.stage: {"kind": failure.kind, "error": failure.error} for failure in outcome.failures
        }
    return entry


def sequence_scores(out: Path, plan: SequencePlan) -> dict[str, Any]:
    """Scores of a sequence, as `summary.json` spells them; empty where it has none."""
    path = part_path(out, SCORES_TABLE, plan.key, f"{SCORES_STAGE}-00000")
    if not path.is_file():
        return {}
    (row,) = read_part(path).to_pylist()
    scores = {name: row[name] for name in (*SCORE_NAMES, "frames")}
    if row["has_ground_truth"]:
        scores["ground_truth"] = {name: row[f"ground_truth_{name}"] for name in TRUTH_NAMES}
    return scores
