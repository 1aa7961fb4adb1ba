"""`summary.json`: how long everything took and how good it is."""

import json
from pathlib import Path
from typing import Any

from raytrack.media.files import replaced_file
from raytrack.pipeline.inventory import known_keys, take_inventory
from raytrack.pipeline.outcome import SequenceOutcome
from raytrack.pipeline.records import FailureRecord, stage_seconds
from raytrack.pipeline.stage import Stage
from raytrack.tables.keys import SequenceKey
from raytrack.tables.schemas import SCORE_NAMES, TRUTH_NAMES
from raytrack.tables.store import part_path, read_part

SUMMARY_FILE = "summary.json"
SCORES_TABLE = "scores"
SCORES_STAGE = "render"


def write_summary(
    out: Path, outcomes: tuple[SequenceOutcome, ...], stages: tuple[Stage, ...], seconds: float
) -> dict[str, Any]:
    """Write `summary.json` into the output folder, and give back what it says.

    It is about everything that the folder holds, also what other jobs have made.

    Args:
        out: The output folder.
        outcomes: How each sequence of the run ended.
        stages: All stages, in order.
        seconds: How long the run took.

    Raises:
        OutputError: It cannot be written.
        RaytrackError: A table is damaged.
    """
    sequences = {outcome.key.sequence: _of_this_run(out, outcome, stages) for outcome in outcomes}
    ours = {outcome.key for outcome in outcomes}
    sequences |= {key.sequence: _of_others(out, key, stages) for key in known_keys(out) if key not in ours}
    summary = {"run": {"seconds": round(seconds, 3)}, "sequences": sequences}
    with replaced_file(out / SUMMARY_FILE) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _of_this_run(out: Path, outcome: SequenceOutcome, stages: tuple[Stage, ...]) -> dict[str, Any]:
    plan = outcome.plan
    asked = {stage.name for stage in plan.stages} if plan else set()
    known = plan.fingerprints if plan else {}
    scored = plan is not None and plan.stage_done(SCORES_STAGE)
    if not asked.issuperset(stage.name for stage in stages):
        inventory = take_inventory(out, outcome.key, stages)
        known = {**inventory.fingerprints, **known}
        scored |= SCORES_STAGE in inventory.done and SCORES_STAGE not in asked
    ordered = {stage.name: known[stage.name] for stage in stages if stage.name in known}
    return _entry(out, outcome.key, ordered, outcome.failures, scored=scored)


def _of_others(out: Path, key: SequenceKey, stages: tuple[Stage, ...]) -> dict[str, Any]:
    inventory = take_inventory(out, key, stages)
    failures = tuple(inventory.failures.values())
    return _entry(out, key, inventory.fingerprints, failures, scored=SCORES_STAGE in inventory.done)


def _entry(
    out: Path, key: SequenceKey, fingerprints: dict[str, str], failures: tuple[FailureRecord, ...], *, scored: bool
) -> dict[str, Any]:
    entry = sequence_scores(out, key) if scored else {}
    truth = entry.pop("ground_truth", None)
    if fingerprints:
        seconds = stage_seconds(out, key, fingerprints)
        entry["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
    if truth is not None:
        entry["ground_truth"] = truth
    if failures:
        entry["failed"] = {failure.stage: {"kind": failure.kind, "error": failure.error} for failure in failures}
    return entry


def sequence_scores(out: Path, key: SequenceKey) -> dict[str, Any]:
    """Scores of a sequence, as `summary.json` spells them; empty where it has none."""
    path = part_path(out, SCORES_TABLE, key, f"{SCORES_STAGE}-00000")
    if not path.is_file():
        return {}
    (row,) = read_part(path).to_pylist()
    scores = {name: row[name] for name in (*SCORE_NAMES, "frames")}
    if row["has_ground_truth"]:
        scores["ground_truth"] = {name: row[f"ground_truth_{name}"] for name in TRUTH_NAMES}
    return scores
