"""A segment that fails: its sequence has no track, and the others' work is kept."""

import pyarrow as pa
import tiny_pipeline as tiny

from raytrack.pipeline.stage import Stage, StageOutput
from raytrack.tables.store import read_table

PROBE, FRAMES = tiny.STAGES[:2]


def frames_of(out, name) -> str:
    return (out / f"tracks/{name}/tracked_params.npz").read_text()


def shared_by_segments(context) -> StageOutput:
    tiny.misbehave(context)
    return StageOutput(rows=pa.table({"num_parts": pa.array([1], pa.int32())}))


def segment(context) -> StageOutput:
    """A third of the frames; the sequence's file says which one fails."""
    if tiny.orders(context).get("segment") == context.chunk.index:
        raise tiny.InputError("the fit diverged")
    num = len(context.chunk.frames)
    rows = {"num_parts": pa.array([3] * num, pa.int32()), "frame": pa.array(context.chunk.frames, pa.int32())}
    return StageOutput(rows=pa.table(rows))


def joined(context) -> StageOutput:
    frames = context.read("track_segments")["frame"].to_pylist()
    folder = context.out / "tracks" / context.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tracked_params.npz").write_text(str(frames))
    return StageOutput(
        rows=pa.table({"frame": pa.array(frames, pa.int32())}), files=(f"tracks/{context.name}/tracked_params.npz",)
    )


SEGMENTED = (
    PROBE,
    FRAMES,
    Stage(
        name="track_shared",
        version=1,
        function=shared_by_segments,
        table="track_shared",
        after=("frames",),
        fan_out="probe",
        cut=lambda *_: [(0, tiny.NUM_FRAMES)],
    ),
    Stage(
        name="track_segments",
        version=1,
        function=segment,
        table="track_segments",
        after=("track_shared",),
        fan_out="probe",
        cut=lambda *_: [(0, 4), (4, 7), (7, tiny.NUM_FRAMES)],
    ),
    Stage(
        name="track",
        version=1,
        function=joined,
        table="track",
        after=("track_segments",),
        folders=("tracks/{sequence}",),
    ),
)


def test_a_segment_that_fails_keeps_what_the_others_found(tmp_path, out, capsys):
    faulty = tiny.job(tmp_path / "job", {"a": {"segment": 1}, "b": {}})
    report = tiny.run(faulty, out, stages=SEGMENTED, known=SEGMENTED)
    assert report.exit_code == 3
    assert "a: track_segments failed (input): the fit diverged" in capsys.readouterr().out
    assert not (out / "tracks/a").exists()
    assert frames_of(out, "b") == str(list(range(tiny.NUM_FRAMES)))
    found = list(out.glob("tables/track_segments/*/*/sequence=a/part-track_segments-*.parquet"))
    assert sorted(path.stem[-1] for path in found) == ["0", "2"]
    runs = [row for row in read_table(out, "runs").to_pylist() if row["sequence"] == "a"]
    assert len([row for row in runs if row["stage"] == "track_segments"]) == 2


def test_a_segment_that_failed_for_a_moment_is_all_that_is_done_again(tmp_path, out, monkeypatch):
    config = tiny.job(tmp_path / "job", {"a": {}})
    monkeypatch.setattr(tiny, "orders", lambda _: {} if (out / "repaired").exists() else {"segment": 1})
    assert tiny.run(config, out, stages=SEGMENTED, known=SEGMENTED).exit_code == 1
    before = {row["record"] for row in read_table(out, "runs").to_pylist()}
    (out / "repaired").touch()
    assert tiny.run(config, out, stages=SEGMENTED, known=SEGMENTED).exit_code == 0
    anew = [row["stage"] for row in read_table(out, "runs").to_pylist() if row["record"] not in before]
    assert sorted(anew) == ["track", "track_segments"]
    assert frames_of(out, "a") == str(list(range(tiny.NUM_FRAMES)))
