"""The driver: what runs, what does not, and whose failure stops whom (one process, no Ray)."""

import dataclasses
import errno
import stat

import pyarrow as pa
import pytest
import tiny_pipeline as tiny

from raytrack import assets
from raytrack.errors import AssetError, InputError, OutputError
from raytrack.fit.config import TrackConfig
from raytrack.pipeline.records import stage_seconds
from raytrack.pipeline.stage import Stage, StageOutput
from raytrack.pipeline.worker import failure_kind
from raytrack.tables.store import read_footer, read_table


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Pauses before items are tried again; noted, but not taken."""
    noted, now = [], [0.0]
    monkeypatch.setattr("raytrack.pipeline.driver.time.monotonic", lambda: now[0])

    def sleep(seconds):
        noted.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("raytrack.pipeline.driver.time.sleep", sleep)
    return noted


def carried_out(out) -> int:
    """Items that have ever been carried out."""
    return read_table(out, "runs").num_rows


@pytest.fixture
def done(tmp_path, out):
    """A finished run of two sequences: configuration and contents."""
    config = tiny.job(tmp_path / "in", {"a": {}, "b": {}})
    assert tiny.run(config, out).exit_code == 0
    return config, tiny.contents(out)


def test_a_finished_run_has_every_table_and_file(out, done):
    _, contents = done
    for table, rows in (("sequences", 2), ("frames", 20), ("track", 20), ("track_static", 2), ("exports", 20)):
        assert read_table(out, table).num_rows == rows
    assert sum(name.startswith("render/a/color/") for name in contents) == tiny.NUM_FRAMES
    assert carried_out(out) == 2 * (1 + 3 + 1 + 3)
    assert not list((out / ".work").glob("*/*-*")), "checkpoints of finished work are removed"


def test_nothing_runs_twice(out, done):
    config, contents = done
    report = tiny.run(config, out)
    assert report.exit_code == 0
    assert all(outcome.plan.cached == {"probe", "frames", "track", "render"} for outcome in report.outcomes)
    assert carried_out(out) == 16
    assert tiny.contents(out) == contents


def test_the_output_folder_is_private(out, done):
    assert stat.S_IMODE(out.stat().st_mode) == 0o700


def test_only_what_a_change_touches_runs_again(out, done):
    config, contents = done
    report = tiny.run(dataclasses.replace(config, track=TrackConfig(seed=3)), out)
    assert report.outcomes[0].plan.cached == {"probe", "frames"}
    changed = {name for name, digest in tiny.contents(out).items() if contents.get(name) != digest}
    assert changed
    assert all(
        name.split("/")[0] in {"tracks", "render"} or "/track" in name or "/exports/" in name for name in changed
    )
    assert tiny.run(config, out).exit_code == 0
    assert tiny.contents(out) == contents


def test_another_clip_of_the_same_name_is_other_work(tmp_path, out, done):
    config, _ = done
    tiny.job(tmp_path / "in", {"b": {"note": "changed"}})
    report = tiny.run(config, out)
    assert [len(outcome.plan.cached) for outcome in report.outcomes] == [4, 0]


def test_deleted_files_are_made_again(out, done):
    config, contents = done
    (out / "frames/a/images/000005.png").unlink()
    (out / "render/b/color/000009.png").unlink()
    report = tiny.run(config, out)
    assert [sorted(outcome.plan.cached) for outcome in report.outcomes] == [
        ["probe", "render", "track"],
        ["frames", "probe", "track"],
    ]
    assert carried_out(out) == 16 + 2, "one chunk each"
    assert tiny.contents(out) == contents


def test_a_damaged_or_missing_table_is_made_again(out, done):
    config, contents = done
    part = next((out / "tables/frames").rglob("*sequence=a/part-frames-00001.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    next((out / "tables/track_static").rglob("*sequence=b/*.parquet")).unlink()
    assert tiny.run(config, out).exit_code == 0
    assert carried_out(out) == 16 + 2
    assert tiny.contents(out) == contents


def test_leftovers_of_other_work_are_removed(out, done):
    config, _ = done
    stray = out / "render/a/color/000099.png"
    stray.write_bytes(b"from a run with more frames that died before it could say so")
    tiny.run(dataclasses.replace(config, track=TrackConfig(seed=3)), out)
    assert not stray.exists()
    fewer = dataclasses.replace(config, pipeline=dataclasses.replace(config.pipeline, chunk_frames=100))
    tiny.run(fewer, out)
    assert len(list((out / "tables/frames").rglob("*sequence=a/*.parquet"))) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [("input", "input", "there is no face in this clip"), ("bug", "bug", "KeyError: 'missing'")],
)
def test_a_failure_is_a_row_and_harms_no_other_sequence(tmp_path, out, fault, kind, words):
    report = tiny.run(tiny.job(tmp_path / "in", {"good": {}, "bad": {"track": fault}}), out)
    assert report.exit_code == 3
    assert [outcome.finished for outcome in report.outcomes] == [True, False]
    (row,) = read_table(out, "failures").to_pylist()
    assert (row["sequence"], row["stage"], row["kind"], row["attempt"], row["final"]) == ("bad", "track", kind, 1, True)
    assert words in row["error"]
    assert "misbehave" in row["traceback"]
    assert (out / "frames/bad/images/000009.png").exists(), "what was done stays"
    assert not (out / "render/bad").exists()


def test_no_sequence_finished(tmp_path, out):
    assert tiny.run(tiny.job(tmp_path / "in", {"bad": {"probe": "input"}}), out).exit_code == 1


def test_a_missing_clip_harms_no_other_sequence(tmp_path, out):
    config = tiny.job(tmp_path / "in", {"good": {}, "gone": {}})
    (tmp_path / "in" / "gone.json").unlink()
    report = tiny.run(config, out)
    assert report.exit_code == 3
    assert "no such file or folder" in report.outcomes[1].failures[0].error
    assert read_table(out, "failures")["sequence"].to_pylist() == ["gone"]


def test_what_failed_is_tried_again_by_the_next_run(tmp_path, out):
    folder = tmp_path / "in"
    config = tiny.job(folder, {"a": {"render": "input"}})
    assert tiny.run(config, out).exit_code == 1
    again = dataclasses.replace(tiny.STAGES[-1], function=lambda context: StageOutput(rows=pa.table({"image": ["x"]})))
    report = tiny.run(config, out, stages=(*tiny.STAGES[:-1], again))
    assert report.exit_code == 0
    assert report.outcomes[0].failures == ()
    assert set(report.outcomes[0].plan.cached) == {"probe", "frames", "track"}


def test_passing_faults_are_retried_and_counted(tmp_path, out):
    report = tiny.run(tiny.job(tmp_path / "in", {"a": {"track": "passing"}}), out)
    assert report.exit_code == 0
    (row,) = read_table(out, "failures").to_pylist()
    assert (row["kind"], row["attempt"], row["final"]) == ("transient", 1, False)


def test_retries_end(tmp_path, out, pauses):
    def broken(context):
        raise TimeoutError("no answer")

    stages = (Stage(name="probe", version=1, function=broken, table="sequences", retries=2),)
    assert tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, stages=stages).exit_code == 1
    rows = read_table(out, "failures").sort_by("attempt").to_pylist()
    assert [(row["kind"], row["attempt"], row["final"]) for row in rows] == [
        ("transient", 1, False),
        ("transient", 2, False),
        ("transient", 3, True),
    ]
    assert sum(pauses) == pytest.approx(1 + 2), "each pause is longer"
    assert len(list((out / "tables/failures").rglob("*.parquet"))) == 1, "one part for all"
    tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, stages=stages)
    assert len(list((out / "tables/failures").rglob("*.parquet"))) == 1
    assert read_table(out, "failures").num_rows == 6


def test_what_trying_again_cannot_mend_is_not_tried_again(tmp_path, out, pauses):
    def broken(context):
        raise AssetError("head.npz is damaged: install raytrack again")

    stages = (Stage(name="probe", version=1, function=broken, table="sequences", retries=2),)
    assert tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, stages=stages).exit_code == 1
    (row,) = read_table(out, "failures").to_pylist()
    assert (row["kind"], row["attempt"], row["final"]) == ("system", 1, True)
    assert pauses == []


def test_damaged_assets_are_found_before_any_work(tmp_path, out):
    stages = (
        *tiny.STAGES[:-1],
        dataclasses.replace(tiny.STAGES[-1], assets=lambda _config: ("head/head.npz",)),
    )
    config = tiny.job(tmp_path / "in", {"a": {}})
    with pytest.MonkeyPatch.context() as patch:
        digests = dict(assets._digests(assets.assets_folder()))
        patch.setattr(assets, "_digests", lambda folder: digests | {"head/head.npz": "0" * 64})
        assets.asset_path.cache_clear()
        with pytest.raises(AssetError, match="install raytrack again"):
            tiny.run(config, out, stages=stages)
    assets.asset_path.cache_clear()
    assert read_table(out, "runs") is None
    assert tiny.run(config, out, stages=stages).exit_code == 0


def test_sequences_are_finished_early(tmp_path, out, capsys):
    tiny.run(tiny.job(tmp_path / "in", {"a": {}, "b": {}, "c": {}}), out)
    lines = [line for line in capsys.readouterr().out.splitlines() if "done" in line]
    assert [line.split(":")[0] for line in lines] == ["a"] * 4 + ["b"] * 4 + ["c"] * 4


def test_a_stage_cannot_read_what_it_does_not_declare(tmp_path, out):
    def curious(context):
        return StageOutput(rows=context.read("frames"))

    stages = (*tiny.STAGES[:2], Stage(name="x", version=1, function=curious, table="x", after=("probe",)))
    tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, stages=stages)
    assert "not among its `after`" in read_table(out, "failures")["error"][0].as_py()


def test_a_file_that_was_not_written_is_a_bug(tmp_path, out):
    def boasts(context):
        return StageOutput(rows=pa.table({"num_frames": [1]}), files=("frames/none.png",))

    stages = (Stage(name="probe", version=1, function=boasts, table="sequences"),)
    assert tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, stages=stages).exit_code == 1
    assert read_table(out, "failures")["kind"].to_pylist() == ["bug"]
    assert read_table(out, "sequences") is None


def test_seconds_are_known_after_a_resumed_run(out, done):
    config, _ = done
    (out / "render/a/color/000000.png").unlink()
    plan = tiny.run(config, out).outcomes[0].plan
    seconds = stage_seconds(out, plan.key, plan.fingerprints)
    assert list(seconds) == ["probe", "frames", "track", "render"]
    assert all(value > 0 for value in seconds.values())
    assert stage_seconds(out, plan.key, {"track": "other work"}) == {}


def test_outputs_name_no_machine_path(tmp_path, out, done):
    for path in (out / "tables").rglob("*.parquet"):
        assert str(tmp_path).encode() not in path.read_bytes()
        if "runs" not in path.parts:
            assert str(tmp_path) not in str(read_footer(path))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="choose another --out"):
        tiny.run(tiny.job(tmp_path / "in", {"a": {}}), tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("x"), "input"),
        (AssetError("x"), "system"),
        (OutputError("disk full"), "system"),
        (ValueError("x"), "bug"),
        (FileNotFoundError(errno.ENOENT, "x"), "bug"),
        (OSError(errno.ENOSPC, "x"), "system"),
        (PermissionError(errno.EACCES, "x"), "system"),
        (OSError(errno.EROFS, "x"), "system"),
        (OSError(errno.EIO, "x"), "system"),
        (OSError(errno.ESTALE, "x"), "transient"),
        (MemoryError(), "transient"),
        (ConnectionResetError(), "transient"),
    ],
)
def test_kinds_of_failure(error, kind):
    assert failure_kind(error) == kind
