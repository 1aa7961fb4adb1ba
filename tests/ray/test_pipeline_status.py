"""What several jobs in one output folder add up to, in the summary and in the status; and without the footage."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
import tiny_pipeline as tiny

from raytrack import cli
from raytrack.fit.config import TrackConfig
from raytrack.media.encode import write_video
from raytrack.pipeline.inventory import take_inventory
from raytrack.pipeline.stage import Chunk, StageOutput
from raytrack.tables.keys import SequenceKey
from raytrack.tables.schemas import SCORES

SCORE_ROW = {
    **dict.fromkeys(("psnr_db", "l1", "worst_l1", "landmark_error_px", "jitter_px", "coverage"), 0.5),
    "frames": tiny.NUM_FRAMES,
    "has_ground_truth": False,
}


def scored(context):
    """The last stage of the small pipeline, for all frames at once, with scores beside it."""
    output = tiny.render(dataclasses.replace(context, chunk=Chunk(index=0, start=0, stop=tiny.NUM_FRAMES)))
    scores = pa.Table.from_pylist([SCORE_ROW], schema=SCORES)
    return StageOutput(rows=output.rows, files=output.files, also={"scores": scores})


STAGES = (*tiny.STAGES[:-1], dataclasses.replace(tiny.STAGES[-1], function=scored, fan_out="", version=2))


def summary_of(out) -> dict:
    return json.loads((out / "summary.json").read_text())["sequences"]


def test_a_second_job_forgets_nothing(tmp_path, out):
    first = tiny.job(tmp_path / "in", {"a": {}, "broken": {"track": "input"}})
    second = tiny.job(tmp_path / "in", {"b": {}})
    tiny.run(first, out, stages=STAGES, known=STAGES)
    alone = summary_of(out)
    assert alone["a"]["psnr_db"] == 0.5
    assert list(alone["broken"]["failed"]) == ["track"]
    tiny.run(second, out, stages=STAGES, known=STAGES)
    both = summary_of(out)
    assert set(both) == {"a", "b", "broken"}
    assert {name: both[name] for name in alone} == alone
    tiny.run(first, out, stages=STAGES[:2], known=STAGES)
    again = summary_of(out)
    assert again["a"] == alone["a"], "a command that asks for less takes nothing away"
    assert again["b"] == both["b"]


def test_scores_of_a_replaced_track_are_not_told(tmp_path, out):
    config = tiny.job(tmp_path / "in", {"a": {}})
    tiny.run(config, out, stages=STAGES, known=STAGES)
    other = dataclasses.replace(config, track=TrackConfig(seed=3))
    tiny.run(other, out, stages=STAGES[:-1], known=STAGES)
    entry = summary_of(out)["a"]
    assert "psnr_db" not in entry
    assert list(entry["seconds"]) == ["probe", "frames", "track"]


def test_an_inventory_knows_what_is_whole(tmp_path, out):
    config = tiny.job(tmp_path / "in", {"a": {}})
    tiny.run(config, out)
    key = SequenceKey(dataset="monocular", subject="a", sequence="a")
    assert take_inventory(out, key, tiny.STAGES).done == {"probe", "frames", "track", "render"}
    next((out / "tables/frames").rglob("part-frames-00002.parquet")).unlink()
    assert take_inventory(out, key, tiny.STAGES).done == {"probe", "track", "render"}


@pytest.fixture
def clips(tmp_path):
    """Two short videos without a face."""
    paths = [tmp_path / f"{name}.mp4" for name in ("one", "two")]
    for path in paths:
        images = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), np.uint8)
        write_video(path, list(images), 25)
    return paths


def test_status_tells_of_all_jobs_also_without_the_footage(out, clips, capsys):
    for clip in clips:
        assert cli.main(["preprocess", str(clip), "--out", str(out), "--sequential"]) == 0
        clip.unlink()
    capsys.readouterr()
    assert cli.main(["status", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("one", "two"):
        (line,) = [line for line in lines if line.startswith(f"{name} (subject {name}, dataset monocular): ")]
        assert "probe done" in line
        assert "landmarks done" in line
        assert "track to do" in line
