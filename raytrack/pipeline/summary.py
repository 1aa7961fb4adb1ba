"""`summary.json`: how long everything took and how good it is."""

import json
import math
from pathlib import Path
from typing import Any

from raytrack.media.files import replaced_file
from raytrack.pipeline.inventory import known_keys, take_inventory
from raytrack.pipeline.outcome import SequenceOutcome, UnionOutcome
from raytrack.pipeline.records import FailureRecord, stage_seconds
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.unions import UNION, known_unions
from raytrack.tables.keys import SequenceKey
from raytrack.tables.schemas import CAMERA_SCORE_NAMES, SCORE_NAMES, TRUTH_NAMES
from raytrack.tables.store import part_path, read_footer, read_part

SUMMARY_FILE = "summary.json"
SCORES_TABLE, CAMERA_SCORES_TABLE = "scores", "camera_scores"
SOLVED_CAMERAS_TABLE = "track_cameras"
"""Of uncalibrated rigs: the cameras that were found."""
SCORES_STAGE = "render"
EVENTS_TABLE, EVENTS_STAGE = "events", "track"


def write_summary(
    out: Path,
    outcomes: tuple[SequenceOutcome, ...],
    stages: tuple[Stage, ...],
    seconds: float,
    unions: tuple[UnionOutcome, ...] = (),
) -> dict[str, Any]:
    """Write `summary.json` into the output folder, and give back what it says.

    It is about everything that the folder holds, also what other jobs have made.

    Args:
        out: The output folder.
        outcomes: How each sequence of the run ended.
        stages: All stages, in order.
        seconds: How long the run took.
        unions: How each union of the run ended.

    Raises:
        OutputError: It cannot be written.
        RaytrackError: A table is damaged.
    """
    sequences = {outcome.key.sequence: _of_this_run(out, outcome, stages) for outcome in outcomes}
    ours = {outcome.key for outcome in outcomes}
    sequences |= {key.sequence: _of_others(out, key, stages) for key in known_keys(out) if key not in ours}
    summary = {"run": {"seconds": round(seconds, 3)}, "sequences": sequences}
    if united := _unions(out, unions):
        summary["unions"] = united
    with replaced_file(out / SUMMARY_FILE) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _unions(out: Path, outcomes: tuple[UnionOutcome, ...]) -> dict[str, Any]:
    """What is said of unions: of those that there are, and of those that failed."""
    entries: dict[str, Any] = {}
    for key, row in known_unions(out):
        entry = {name: value for name, value in row.items() if name != "member_fingerprints"}
        footer = read_footer(part_path(out, UNION.table, key, UNION.part(0)))
        seconds = stage_seconds(out, key, {UNION.name: footer.fingerprint}) if footer else {}
        entries[key.sequence] = {**entry, "seconds": round(sum(seconds.values()), 3)}
    for outcome in outcomes:
        if outcome.failures:
            failed = {one.stage: {"kind": one.kind, "error": one.error} for one in outcome.failures}
            entries[outcome.plan.name] = {"failed": failed}
    return entries


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
    if scored and (events := sequence_events(out, key)):
        entry["events"] = events
    if fingerprints:
        seconds = stage_seconds(out, key, fingerprints)
        entry["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
    if truth is not None:
        entry["ground_truth"] = truth
    if failures:
        entry["failed"] = {failure.stage: {"kind": failure.kind, "error": failure.error} for failure in failures}
    return entry


def sequence_events(out: Path, key: SequenceKey) -> list[str]:
    """What happens in a sequence's footage, in words, in order of the frames."""
    path = part_path(out, EVENTS_TABLE, key, f"{EVENTS_STAGE}-00000")
    return read_part(path)["text"].to_pylist() if path.is_file() else []


def sequence_scores(out: Path, key: SequenceKey) -> dict[str, Any]:
    """Scores of a sequence, and of each camera of a rig, as `summary.json` spells them; empty where it has none."""
    path = part_path(out, SCORES_TABLE, key, f"{SCORES_STAGE}-00000")
    if not path.is_file():
        return {}
    (row,) = read_part(path).to_pylist()
    # An older version's rows lack some.
    scores = {name: row.get(name) for name in (*SCORE_NAMES, "frames")}
    cameras = part_path(out, CAMERA_SCORES_TABLE, key, f"{SCORES_STAGE}-00000")
    if cameras.is_file():
        scores["cameras"] = {
            one["camera_id"]: {name: one.get(name) for name in CAMERA_SCORE_NAMES}
            for one in read_part(cameras).to_pylist()
        }
    solved = part_path(out, SOLVED_CAMERAS_TABLE, key, "track-00000")
    if solved.is_file() and "cameras" in scores:
        scores["cameras_solved"] = True
        for one in read_part(solved).to_pylist():
            focal_px = math.sqrt(one["intrinsics"][0][0] * one["intrinsics"][1][1])
            scores["cameras"].setdefault(one["camera_id"], {})["focal_px"] = round(focal_px, 2)
    if row["has_ground_truth"]:
        scores["ground_truth"] = {name: row[f"ground_truth_{name}"] for name in TRUTH_NAMES}
    return scores
