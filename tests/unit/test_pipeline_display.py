"""What a person sees: the plan, progress with the time left, failures and how to try again."""

import dataclasses
import errno
import io
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from raytrack.config import SequenceConfig
from raytrack.pipeline import doctor
from raytrack.pipeline.display import Display, clock, progress_of
from raytrack.pipeline.item_progress import forget_progress, read_progress, write_progress
from raytrack.pipeline.outcome import RunReport, SequenceOutcome, UnionOutcome
from raytrack.pipeline.plan import PartState, SequencePlan, StageConfig
from raytrack.pipeline.records import FailureRecord
from raytrack.pipeline.report import write_report
from raytrack.pipeline.screen import Screen
from raytrack.pipeline.stage import Stage, StageOutput
from raytrack.pipeline.unions import UNION
from raytrack.pipeline.worker import Failure, ItemResult
from raytrack.tables.schemas import EVENTS
from raytrack.tables.store import part_path, write_part

DONE, RUNNING, TODO, FAILED = PartState.DONE, PartState.RUNNING, PartState.TODO, PartState.FAILED


def nothing(context) -> StageOutput:
    raise NotImplementedError


STAGES = (
    Stage(name="frames", version=1, function=nothing, table="frames", cost=1),
    Stage(name="track", version=1, function=nothing, table="track", after=("frames",), cost=3),
)


def plan_of(out: Path, name="a", **parts) -> SequencePlan:
    sequence = SequenceConfig(video=f"{name}.mp4")
    return SequencePlan(
        out=out,
        order=0,
        sequence=sequence,
        key=sequence.key,
        stages=STAGES,
        chunk_frames=4,
        head="default",
        fingerprints={"frames": "f", "track": "t"},
        configs={},
        parts=parts,
    )


def test_the_plan_is_one_line(out):
    plans = [plan_of(out, "a", frames=[DONE], track=[TODO]), plan_of(out, "b", frames=[TODO])]
    plans[0].cached = frozenset({"frames"})
    stream = io.StringIO()
    Display(stream, live=False).planned(plans, STAGES, "2 CPUs")
    assert stream.getvalue() == "2 sequences, 2 stages; 1 cached, 3 to run; 2 CPUs\n"


def test_progress_weighs_stages_by_their_cost(out):
    assert progress_of(plan_of(out, frames=[TODO]))[0] == 0
    assert progress_of(plan_of(out, frames=[DONE, TODO]))[0] == pytest.approx(0.125)
    assert progress_of(plan_of(out, frames=[DONE, DONE], track=[RUNNING]))[0] == pytest.approx(0.25)
    write_progress(out / ".work/a/progress-track-00000.json", 5, 10, "round 2")
    share, notes = progress_of(plan_of(out, frames=[DONE, DONE], track=[RUNNING]))
    assert share == pytest.approx(0.25 + 0.75 / 2)
    assert notes == ["track (round 2)"]
    cached = plan_of(out, frames=[DONE], track=[RUNNING])
    cached.cached = frozenset({"frames"})
    assert progress_of(cached)[0] == pytest.approx(0.5)


def test_a_terminal_gets_one_block_with_the_time_left(out, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    display = Display(stream, live=True)
    plan = plan_of(out, frames=[DONE], track=[RUNNING])
    display.planned([plan], STAGES, "2 CPUs")
    display.started(plan, STAGES[0], 0)
    now[0] += 60
    display.tick()
    assert re.search(r"a  █{5}░{15}  25%  1:00  3:00 left +track", stream.getvalue())
    display.tick()
    assert stream.getvalue().count("\x1b[1F") == 1, "the second block takes the place of the first"
    display.close()
    assert stream.getvalue().endswith("\x1b[1F\x1b[J")


def test_failures_and_warnings_stand_above_the_block(out):
    stream = io.StringIO()
    display = Display(stream, live=True)
    plan = plan_of(out, frames=[FAILED])
    display.planned([plan], STAGES, "2 CPUs")
    failed = ItemResult(seconds=1, failure=Failure(kind="input", error="no face"), warnings=("the end is cut off",))
    display.ended(plan, STAGES[0], 0, failed, final=True)
    display.ended(plan, STAGES[0], 0, failed, final=False)
    text = stream.getvalue()
    assert "a: frames failed (input): no face\n" in text
    assert "a: frames is tried again (input): no face\n" in text
    assert text.count("warning: the end is cut off") == 1


def test_without_a_terminal_lines_are_plain(out, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    display = Display(stream, live=False)
    plan = plan_of(out, frames=[DONE], track=[RUNNING])
    display.planned([plan], STAGES, "2 CPUs")
    display.started(plan, STAGES[0], 0)
    display.ended(plan, STAGES[0], 0, ItemResult(seconds=1), final=True)
    display.tick()
    assert stream.getvalue().splitlines()[1:] == ["a: frames done (25% of the sequence)"]
    now[0] += 31
    display.tick()
    display.tick()
    assert len(stream.getvalue().splitlines()) == 3
    assert "\x1b" not in stream.getvalue()


def test_the_report_says_where_how_good_what_failed_and_what_to_do(out):
    (out / "preview").mkdir(parents=True)
    (out / "preview/a.mp4").touch()
    bug = FailureRecord(
        stage="track",
        chunk=0,
        fingerprint="t",
        kind="bug",
        error="KeyError: 'x'",
        traceback="Traceback: here\n",
        attempt=1,
        final=True,
        failed_at=datetime.now(tz=timezone.utc),
    )
    good, bad = plan_of(out, "a", frames=[DONE], track=[DONE]), plan_of(out, "b", frames=[DONE], track=[FAILED])
    scores = {"psnr_db": 27.25, "worst_l1": 0.05, "landmark_error_px": 1.234, "jitter_px": None, "frames": 90}
    report = RunReport(
        out=out,
        seconds=75,
        outcomes=(
            SequenceOutcome(key=good.key, plan=good, failures=()),
            SequenceOutcome(key=bad.key, plan=bad, failures=(bug,)),
        ),
        summary={"sequences": {"a": scores}},
    )
    stream = io.StringIO()
    write_report(report, Screen(stream), retry="raytrack run a.mp4 b.mp4 --out o")
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"a: 27.2 dB, worst frame L1 0.050, landmarks 1.23 px, 90 frames; preview {out}/preview/a.mp4"
    assert lines[1] == "b: track failed (bug): KeyError: 'x'"
    assert lines[2] == "Traceback: here"
    assert lines[4] == f"1 of 2 sequences finished in 1:15; scores in {out}/summary.json"
    assert lines[5] == "to try again: raytrack run a.mp4 b.mp4 --out o"
    assert report.exit_code == 3


def test_the_report_says_where_all_events_are(out):
    plan = plan_of(out, frames=[DONE], track=[DONE])
    texts = [f"cut at frame {frame}" for frame in range(10, 20)]
    rows = [{"kind": "cut", "first_frame": 0, "last_frame": 0, "text": text} for text in texts]
    write_part(
        part_path(out, "events", plan.key, "track-00000"), pa.Table.from_pylist(rows, schema=EVENTS), fingerprint="t"
    )

    def said(summary) -> str:
        outcomes = (SequenceOutcome(key=plan.key, plan=plan, failures=()),)
        stream = io.StringIO()
        write_report(RunReport(out=out, seconds=1, outcomes=outcomes, summary=summary), Screen(stream), retry="")
        return stream.getvalue()

    assert "    cut at frame 16\n    and 3 more: see the table events\n" in said(None)
    assert "and 3 more: see summary.json\n" in said({"sequences": {"a": {"events": texts}}})


def test_the_report_tells_of_cameras_unions_and_what_else_there_is_to_know(out):
    finished = plan_of(out, "a", frames=[DONE], track=[DONE])
    united = dataclasses.replace(
        plan_of(out, "union_x", union=[DONE]),
        stages=(UNION,),
        configs={"union": StageConfig(value={"formats": ("nerf",)}, text="")},
        waits_for=(finished,),
    )
    united.key = dataclasses.replace(finished.key, sequence="union_x")
    cameras = {name: {"l1": l1, "psnr_db": 30 - 100 * l1} for name, l1 in (("left", 0.03), ("right", 0.01))}
    union = {"members": ["a", "b"], "num_timesteps": 90, "test_sequences": ["b"]}
    report = RunReport(
        out=out,
        seconds=1,
        outcomes=(SequenceOutcome(key=finished.key, plan=finished, failures=()),),
        summary={"sequences": {"a": {"frames": 45, "cameras": cameras}}, "unions": {"union_x": union}},
        unions=(UnionOutcome(plan=united, failures=()),),
        notes=("union_y: none is made",),
    )
    stream = io.StringIO()
    write_report(report, Screen(stream), retry="")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("a: 45 frames, 2 cameras, worst left with 27.0 dB; ")
    assert lines[1] == f"union_x: 2 sequences, 90 timesteps, tested by b; dataset {out}/export/union_x"
    assert lines[2] == "union_y: none is made"
    assert report.exit_code == 0
    united.parts["union"] = [FAILED]
    assert report.exit_code == 3


class Closed(io.StringIO):
    """A stream that nobody reads any more after the first line."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("live", [True, False])
def test_a_screen_that_is_gone_ends_nothing(out, live):
    stream = Closed()
    display = Display(stream, live=live)
    plan = plan_of(out, frames=[DONE], track=[RUNNING])
    display.planned([plan], STAGES, "2 CPUs")
    display.ended(plan, STAGES[0], 0, ItemResult(seconds=1, warnings=("odd",)), final=True)
    display.tick()
    display.close()
    assert stream.getvalue().count("\n") == 1


def test_progress_files_come_and_go(tmp_path):
    path = tmp_path / "progress.json"
    assert read_progress(path) is None
    write_progress(path, 1, 4, "x")
    write_progress(path, 2, 4, "x")
    assert read_progress(path).share == 0.25, "not written more than twice a second"
    forget_progress(path)
    assert not path.exists()
    write_progress(path, 3, 4, "x")
    assert read_progress(path).share == 0.75
    path.write_text("half")
    assert read_progress(path) is None


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_doctor_finds_two_packages_of_opencv(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "4.8" if not name.endswith("contrib-python") else "")
    (check,) = [check for check in doctor.examine() if check.name == "opencv"]
    assert check.verdict == "bad"
    assert "pip uninstall" in check.advice


def test_doctor_finds_damaged_assets(monkeypatch):
    monkeypatch.setattr(doctor, "asset_names", lambda: ("head/none.npz",))
    checks = {check.name: check for check in doctor.examine()}
    assert checks["assets"].verdict == "bad"
    assert {name for name, check in checks.items() if check.verdict == "bad"} == {"assets"}


def test_doctor_wants_clusters_to_ask_for_a_token(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    checks = {check.name: check for check in doctor.examine()}
    assert checks["ray"].verdict == "bad"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert {check.name: check for check in doctor.examine()}["ray"].verdict == "ok"


def test_doctor_survives_what_it_should_find():
    """Each package that raytrack needs is missing, one check after the other says so, and how to get it."""
    code = (
        "import importlib.metadata, sys\n"
        "class Gone:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name in {'torch', 'av', 'numba', 'cv2', 'pyarrow', 'numpy'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
        "sys.meta_path.insert(0, Gone())\n"
        "def missing(name):\n    raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.version = missing\n"
        "from raytrack import cli\nsys.exit(cli.main(['doctor', '--warm']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    advice = {line.split(":")[0]: lines[i + 1] for i, line in enumerate(lines) if line.startswith("bad")}
    for name, package in {
        "torch": "torch",
        "ray": "ray",
        "opencv": "opencv-python-headless",
        "video": "av",
        "tables": "pyarrow",
        "kernel cache": "numba",
        "kernels": "numba",
    }.items():
        assert f"pip install --force-reinstall {package}" in advice[f"bad   {name}"]
    assert any(line.startswith("ok    assets") for line in lines)


def test_doctor_survives_a_library_that_cannot_be_loaded(monkeypatch):
    def broken() -> doctor.Check:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor, "_torch", broken)
    checks = {check.name: check for check in doctor.examine()}
    assert checks["torch"].verdict == "bad"
    assert "libcudart" in checks["torch"].finding
    assert checks["disk"].verdict != "bad"
