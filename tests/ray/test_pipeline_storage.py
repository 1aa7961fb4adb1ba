"""An output folder that cannot be written, wholly or in part: said in words, and no more lost than must be."""

import errno
import logging
import os
from pathlib import Path

import pytest
import tiny_pipeline as tiny

from raytrack import cli
from raytrack.errors import OutputError
from raytrack.pipeline import plan as plan_module
from raytrack.pipeline import records
from raytrack.tables import store
from raytrack.tables.store import read_table


@pytest.mark.parametrize("name", ["tables", ".work", "config.yaml", ".work/lock"])
def test_what_is_in_the_way_ends_the_run_in_words(tmp_path, out, name, capsys):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    blocked = out / name
    blocked.parent.mkdir(parents=True)
    if name in ("tables", ".work"):
        blocked.touch()
    else:
        (blocked / "x").mkdir(parents=True)
    assert cli.main(["preprocess", str(clip), "--out", str(out), "--sequential"]) == 2
    printed = capsys.readouterr().err
    assert name.split("/")[0] in printed
    assert "Traceback" not in printed


def test_a_summary_that_cannot_be_written(tmp_path, out):
    (out / "summary.json" / "x").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"summary\.json"):
        tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out)
    assert read_table(out, "track").num_rows == tiny.NUM_FRAMES, "the work itself is kept"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_a_worker_that_cannot_write_its_rows_is_the_systems_fault(tmp_path, out, monkeypatch, number):
    monkeypatch.setattr("raytrack.pipeline.driver._FIRST_PAUSE_S", 0.0)
    real = store.flush_to_disk

    def flush(path):
        if "/track/" in str(path) and "sequence=b" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        real(path)

    monkeypatch.setattr(store, "flush_to_disk", flush)
    report = tiny.run(tiny.job(tmp_path / "in", {"a": {}, "b": {}}), out)
    assert [outcome.finished for outcome in report.outcomes] == [True, False]
    assert report.outcomes[1].failures[0].kind == "system"
    assert os.strerror(number) in report.outcomes[1].failures[0].error


def test_failures_that_cannot_be_recorded_are_reported_nevertheless(tmp_path, out, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OutputError("no space left")

    monkeypatch.setattr(records, "write_part", lambda path, *args, **kwargs: full())
    monkeypatch.setattr("raytrack.pipeline.driver._FIRST_PAUSE_S", 0.0)
    with caplog.at_level(logging.WARNING):
        report = tiny.run(tiny.job(tmp_path / "in", {"a": {"probe": "input"}, "b": {}}), out)
    assert report.exit_code == 1
    assert report.outcomes[0].failures[0].error == "there is no face in this clip"
    assert "cannot be recorded (no space left)" in caplog.text


def test_a_driver_that_cannot_tidy_one_sequence_harms_no_other(tmp_path, out, monkeypatch):
    real = plan_module.SequencePlan.sweep

    def sweep(plan):
        if plan.name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(plan.out / "frames/b"))
        real(plan)

    monkeypatch.setattr(plan_module.SequencePlan, "sweep", sweep)
    report = tiny.run(tiny.job(tmp_path / "in", {"a": {}, "b": {}, "c": {}}), out)
    assert [outcome.finished for outcome in report.outcomes] == [True, False, True]
    (failure,) = report.outcomes[1].failures
    assert (failure.kind, failure.stage) == ("system", "probe")
    assert "frames/b" in failure.error


def test_progress_that_cannot_be_written_is_no_failure(tmp_path, out, monkeypatch):
    real = Path.write_text

    def write_text(path, *args, **kwargs):
        if "progress-" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, **kwargs)

    config = tiny.job(tmp_path / "in", {"a": {}})
    monkeypatch.setattr(Path, "write_text", write_text)
    assert tiny.run(config, out).exit_code == 0
