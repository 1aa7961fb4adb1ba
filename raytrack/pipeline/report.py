"""What a person reads at the end of a run, and when asking how far it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raytrack.errors import ConfigError
from raytrack.export.config import dataset_path
from raytrack.job import load_job
from raytrack.pipeline.display import clock
from raytrack.pipeline.inventory import Inventory, known_keys, take_inventory
from raytrack.pipeline.item_progress import read_progress
from raytrack.pipeline.lock import owner
from raytrack.pipeline.outcome import RunReport, UnionOutcome
from raytrack.pipeline.plan import SequencePlan
from raytrack.pipeline.planning import identities_of, plan_job
from raytrack.pipeline.records import FailureRecord, last_failures
from raytrack.pipeline.run import CONFIG_FILE, MEMBERS_FILE
from raytrack.pipeline.screen import Screen
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.stages import all_stages
from raytrack.pipeline.summary import EVENTS_TABLE, SCORES_STAGE, SUMMARY_FILE, sequence_events, sequence_scores
from raytrack.pipeline.unions import UNION, plan_unions
from raytrack.tables.keys import SequenceKey

_MOST_EVENTS = 8
_RESULTS = (("preview", "preview/{}.mp4"), ("dataset", "export/{}"), ("track", "tracks/{}"), ("frames", "frames/{}"))


def write_report(report: RunReport, screen: Screen, *, retry: str, quiet: bool = False) -> None:
    """Say where the results are, how good they are, what failed, and how to try again.

    Args:
        report: The run.
        screen: Where to write.
        retry: The command that tries again.
        quiet: Say only what failed.
    """
    scores = report.summary["sequences"] if report.summary else {}
    for outcome in report.outcomes:
        name = outcome.key.sequence
        if outcome.finished and not quiet:
            screen.write(f"{name}: {_scores_in_words(scores.get(name, {}))}{_places(report.out, name)}\n")
            _write_events(report.out, outcome.key, screen, scored=bool(scores.get(name, {}).get("events")))
        if not outcome.finished:
            _write_failures(name, outcome.failures, screen)
    for union in report.unions:
        _write_union(union, report, screen, quiet=quiet)
    for note in () if quiet else report.notes:
        screen.write(f"{note}\n")
    finished = sum(outcome.finished for outcome in report.outcomes)
    if not quiet:
        where = f"; scores in {report.out / SUMMARY_FILE}" if report.summary else ""
        total = len(report.outcomes)
        plural = "s" * (total != 1)
        screen.write(f"{finished} of {total} sequence{plural} finished in {clock(report.seconds)}{where}\n")
    if report.exit_code:
        screen.write(f"to try again: {retry}\n")


def _write_events(out: Path, key: SequenceKey, screen: Screen, *, scored: bool) -> None:
    """The first of a sequence's events, and where all of them are: the summary is of sequences with scores."""
    texts = sequence_events(out, key)
    shown = texts if len(texts) <= _MOST_EVENTS else texts[: _MOST_EVENTS - 1]
    screen.write("".join(f"    {text}\n" for text in shown))
    if len(shown) < len(texts):
        screen.write(
            f"    and {len(texts) - len(shown)} more: see {SUMMARY_FILE if scored else f'the table {EVENTS_TABLE}'}\n"
        )


def _write_union(union: UnionOutcome, report: RunReport, screen: Screen, *, quiet: bool) -> None:
    name = union.plan.name
    entry = (report.summary or {}).get("unions", {}).get(name)
    if union.plan.finished and not quiet:
        words, formats = "", union.plan.configs[UNION.name].value["formats"]
        if entry:
            tested = " ".join(entry["test_sequences"])
            words = f"{len(entry['members'])} sequences, {entry['num_timesteps']} timesteps, tested by {tested}; "
        screen.write(f"{name}: {words}dataset {report.out / dataset_path(formats[0], name)}\n")
    _write_failures(name, union.failures, screen)


def _write_failures(name: str, failures: Sequence[FailureRecord], screen: Screen) -> None:
    for failure in failures:
        screen.write(f"{name}: {failure.stage} failed ({failure.kind}): {failure.error}\n")
        if failure.kind == "bug":
            screen.write(f"{failure.traceback}this is a fault of raytrack: please report it with these lines\n")


def _scores_in_words(entry: Mapping[str, Any]) -> str:
    """One line of scores; empty where there are none."""
    spelled = (
        ("psnr_db", "{:.1f} dB"),
        ("worst_l1", "worst frame L1 {:.3f}"),
        ("landmark_error_px", "landmarks {:.2f} px"),
        ("jitter_px", "jitter {:.2f} px"),
        ("coverage", "coverage {:.1%}"),
        ("outline_error_face_percent", "outline off by {:.1f} % of the face"),
        ("psnr_held_out_frames_db", "held-out frames {:.1f} dB"),
        ("frames", "{} frames"),
    )
    words = [text.format(entry[name]) for name, text in spelled if entry.get(name) is not None]
    if cameras := entry.get("cameras"):
        words.append(_cameras_in_words(cameras))
        if entry.get("cameras_solved"):
            words.append(_solved_in_words(cameras))
    truth = entry.get("ground_truth") or {}
    if truth.get("face_error_mm") is not None:
        words.append(f"truth: face {truth['face_error_mm']:.2f} mm, landmarks {truth['landmark_error_px']:.2f} px")
    return ", ".join(words) + "; " if words else ""


def _cameras_in_words(cameras: Mapping[str, Any]) -> str:
    """How many cameras there are, and which of them the track explains worst."""
    scored = {name: scores["l1"] for name, scores in cameras.items() if scores["l1"] is not None}
    plural = "s" * (len(cameras) != 1)
    if len(scored) < 2:
        return f"{len(cameras)} camera{plural}"
    worst = max(scored, key=lambda name: scored[name])
    return f"{len(cameras)} cameras, worst {worst} with {cameras[worst]['psnr_db']:.1f} dB"


def _solved_in_words(cameras: Mapping[str, Any]) -> str:
    """What was found out about the cameras, and how well each sees its landmarks explained."""
    each = [
        f"{name} f {one['focal_px']:.0f} px"
        + (f", landmarks {one['landmark_error_px']:.2f} px" if one.get("landmark_error_px") is not None else "")
        for name, one in cameras.items()
        if one.get("focal_px") is not None
    ]
    return f"cameras solved from the head ({'; '.join(each)})"


def _places(out: Path, name: str) -> str:
    """The result that matters most to a person."""
    for noun, pattern in _RESULTS:
        path = out / pattern.format(name)
        if path.exists():
            return f"{noun} {path}"
    return str(out)


def write_status(out: Path, screen: Screen) -> None:
    """Say how far the work in an output folder is, also while another process works on it.

    Raises:
        ConfigError: The folder holds no run.
    """
    if not (out / CONFIG_FILE).is_file():
        raise ConfigError(f"{out}: not a folder that raytrack wrote ({CONFIG_FILE} is missing)")
    config = load_job(out / CONFIG_FILE)
    stages = all_stages(config)
    whole = load_job(out / MEMBERS_FILE) if (out / MEMBERS_FILE).is_file() else None
    plans, unreadable = plan_job(config, out.resolve(), stages, whole=whole)
    holder = owner(out)
    screen.write(f"{out}: " + (f"{holder} is working on it\n" if holder else "nobody is working on it\n"))
    for plan in plans:
        screen.write(f"{plan.name} (subject {plan.key.subject}, dataset {plan.key.dataset}): ")
        screen.write(
            ", ".join(_stage_in_words(plan, stage.name) for stage in stages if not plan.skips(stage.name)) + "\n"
        )
        if plan.stage_done(SCORES_STAGE):
            screen.write(f"    {_scores_in_words(sequence_scores(plan.out, plan.key))}{_places(out, plan.name)}\n")
            _write_events(out, plan.key, screen, scored=(out / SUMMARY_FILE).is_file())
        _write_last_failures(plan, screen)
    for key, error in unreadable.items():
        screen.write(f"{key.sequence}: {error}\n")
    unions = plan_unions(config, out.resolve(), plans, unreadable)
    for plan in (*identities_of(plans), *unions.plans):
        screen.write(f"{plan.name} (subject {plan.key.subject}, dataset {plan.key.dataset}): ")
        screen.write(", ".join(_stage_in_words(plan, stage.name) for stage in plan.stages) + "\n")
        _write_last_failures(plan, screen)
    screen.write("".join(f"{note}\n" for note in unions.notes))
    ours = {sequence.key for sequence in config.sequences}
    for key in known_keys(out.resolve()):
        if key not in ours:
            _write_other(take_inventory(out.resolve(), key, stages), out.resolve(), stages, screen)


def _write_last_failures(plan: SequencePlan, screen: Screen) -> None:
    for name, failure in last_failures(plan.out, plan.key, plan.fingerprints).items():
        if not plan.stage_done(name):
            screen.write(f"    {name} failed ({failure.kind}): {failure.error}\n")


def _write_other(inventory: Inventory, out: Path, stages: tuple[Stage, ...], screen: Screen) -> None:
    """What there is of a sequence of an earlier job."""
    key = inventory.key
    shown = (stage.name for stage in stages if stage.name in inventory.fingerprints or not stage.is_for_some)
    words = (f"{name} {'done' if name in inventory.done else 'to do'}" for name in shown)
    screen.write(f"{key.sequence} (subject {key.subject}, dataset {key.dataset}): {', '.join(words)}\n")
    if SCORES_STAGE in inventory.done:
        screen.write(f"    {_scores_in_words(sequence_scores(out, key))}{_places(out, key.sequence)}\n")
        _write_events(out, key, screen, scored=(out / SUMMARY_FILE).is_file())
    for name, failure in inventory.failures.items():
        screen.write(f"    {name} failed ({failure.kind}): {failure.error}\n")


def _stage_in_words(plan: SequencePlan, name: str) -> str:
    if plan.stage_done(name):
        return f"{name} done"
    folder = plan.out / ".work" / plan.name
    running = [read_progress(path) for path in sorted(folder.glob(f"progress-{name}-*.json"))]
    shares = [f"{item.share:.0%}" for item in running if item]
    return f"{name} {' '.join(shares)}" if shares else f"{name} to do"
