"""Results of other sequences and of other work are neither trusted nor left beside new ones."""

import dataclasses

import pyarrow as pa
import pytest
import tiny_pipeline as tiny

from raytrack.config import RunConfig, SequenceConfig
from raytrack.fit.config import TrackConfig
from raytrack.pipeline.leftovers import traces
from raytrack.pipeline.stage import Stage, StageOutput
from raytrack.pipeline.stages_track import RENDER
from raytrack.tables.keys import SequenceKey
from raytrack.tables.store import read_table


def named(config, *, name="x", subject="", dataset="monocular"):
    """The same job with its one sequence called otherwise."""
    (sequence,) = config.sequences
    return dataclasses.replace(
        config, sequences=(SequenceConfig(video=sequence.video, name=name, subject=subject, dataset=dataset),)
    )


@pytest.mark.parametrize("other", [{"subject": "b"}, {"subject": "a", "dataset": "second"}])
def test_another_persons_clip_of_the_same_name_is_not_taken_for_ours(tmp_path, out, other):
    ours = named(tiny.job(tmp_path / "in", {"one": {}}), subject="a")
    theirs = named(tiny.job(tmp_path / "in", {"two": {"shade": 7}}), **other)
    assert tiny.run(ours, out).exit_code == 0
    first = tiny.contents(out)
    assert tiny.run(theirs, out).outcomes[0].plan.cached == frozenset()
    assert len(set(read_table(out, "frames")["subject"].to_pylist())) == 1
    assert tiny.contents(out) != first
    report = tiny.run(ours, out)
    assert report.exit_code == 0
    assert report.outcomes[0].plan.cached == frozenset()
    assert tiny.contents(out) == first


def test_naming_the_subject_later_doubles_nothing(tmp_path, out):
    config = tiny.job(tmp_path / "in", {"one": {}})
    assert tiny.run(named(config), out).exit_code == 0
    assert tiny.run(named(config, subject="074"), out).exit_code == 0
    assert read_table(out, "frames").num_rows == tiny.NUM_FRAMES
    assert set(read_table(out, "track")["subject"].to_pylist()) == {"074"}
    assert not list((out / "tables").glob("*/*/subject=x"))


def test_unfinished_previews_of_other_sequences_are_not_ours(out):
    (out / "preview").mkdir(parents=True)
    for name in (".tmp-12-a.mp4", ".tmp-12-b-a.mp4", ".tmp-12-3-a.mp4", "a.mp4", "b-a.mp4"):
        (out / "preview" / name).touch()
    key = SequenceKey(dataset="d", subject="s", sequence="a")
    assert sorted(path.name for path in traces(out, key, RENDER)) == [".tmp-12-a.mp4", "a.mp4"]


def test_tables_that_a_writer_had_only_half_written_do_not_stay(tmp_path, out):
    config = tiny.job(tmp_path / "in", {"a": {}, "b": {}})
    assert tiny.run(config, out).exit_code == 0
    whole = tiny.contents(out)
    for path in list((out / "tables").glob("*/*/*/sequence=a")):
        (path / ".tmp-0123456789abcdef.parquet").write_text("half")
    (out / "render/a/color/000003.png").unlink()
    assert tiny.run(config, out).exit_code == 0
    assert tiny.contents(out) == whole
    assert not list(out.rglob(".tmp-*"))


def test_an_output_folder_inside_the_images_does_not_change_them(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"a picture")
    rows = pa.table({"num_frames": [1]})
    stages = (
        Stage(
            name="probe", version=1, function=lambda _: StageOutput(rows=rows), table="sequences", sources=("video",)
        ),
    )
    config = RunConfig(sequences=(SequenceConfig(video=str(folder), name="a"),))
    assert tiny.run(config, folder / "out", stages=stages).exit_code == 0
    assert tiny.run(config, folder / "out", stages=stages).outcomes[0].plan.cached == {"probe"}


def left_of(out, *tops) -> list:
    """What lies in some folders of the output folder, and in tables in their names."""
    return [name for name in tiny.contents(out) if name.split("/")[0] in tops or "part-render" in name]


def test_what_was_made_from_a_replaced_result_goes_also_where_it_is_not_asked_for(tmp_path, out):
    config = tiny.job(tmp_path / "in", {"a": {}, "b": {}})
    assert tiny.run(config, out).exit_code == 0
    without_render = tiny.STAGES[:-1]
    tiny.run(config, out, stages=without_render)
    (out / "tracks/a/tracked_params.npz").unlink()
    tiny.run(config, out, stages=without_render)
    assert len(left_of(out, "render")) == 2 * (tiny.NUM_FRAMES + 3), "the same work again: renders are still true"
    one = dataclasses.replace(config, sequences=config.sequences[:1], track=TrackConfig(seed=3))
    assert tiny.run(one, out, stages=without_render).exit_code == 0
    assert all("/b/" in name or "sequence=b" in name for name in left_of(out, "render"))
    assert len(left_of(out, "render")) == tiny.NUM_FRAMES + 3, "other sequences are not touched"
