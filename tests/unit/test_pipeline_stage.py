"""Fingerprints: they change with whatever a result depends on, and with nothing else."""

import ast
import dataclasses
import inspect
import re
import textwrap

import pyarrow as pa
import pytest

from raytrack.config import PipelineConfig, RunConfig, SequenceConfig
from raytrack.fit.config import TrackConfig
from raytrack.pipeline import code
from raytrack.pipeline import stage as stage_module
from raytrack.pipeline.stage import Stage, StageOutput, chunks, fingerprint, select
from raytrack.pipeline.stages import all_stages


def nothing(context):
    return StageOutput(rows=pa.table({"x": [1]}))


STAGE = Stage(
    name="track",
    version=1,
    function=nothing,
    table="track",
    reads=lambda config: {"seed": config.track.seed, "head": config.head},
    assets=lambda config: (f"head/{config.head}.npz",),
    sources=("video",),
    after=("landmarks",),
)


def print_of(stage=STAGE, config=None, *, asset="a0", source="s0", upstream="u0"):
    return fingerprint(
        stage,
        config or RunConfig(),
        asset_sha256=lambda name: f"{name}:{asset}",
        source_sha256={"video": source, "masks": "m0"},
        upstream={"landmarks": upstream, "probe": "p0"},
    )


@pytest.mark.parametrize(
    "change",
    [
        {"stage": dataclasses.replace(STAGE, name="other")},
        {"stage": dataclasses.replace(STAGE, version=2)},
        {"stage": dataclasses.replace(STAGE, sources=("video", "masks"))},
        {"stage": dataclasses.replace(STAGE, after=("landmarks", "probe"))},
        {"stage": dataclasses.replace(STAGE, fan_out="probe")},
        {"config": RunConfig(track=TrackConfig(seed=1))},
        {"config": RunConfig(head="flame")},
        {"asset": "a1"},
        {"source": "s1"},
        {"upstream": "u1"},
    ],
)
def test_fingerprint_changes_with_what_the_result_depends_on(change):
    assert print_of(**change) != print_of()


@pytest.mark.parametrize(
    "change",
    [
        {"config": RunConfig(track=TrackConfig(rounds=1))},
        {"config": RunConfig(pipeline=PipelineConfig(cpus=7, chunk_frames=3))},
        {"stage": dataclasses.replace(STAGE, timeout_s=1, retries=0, actor=True, cost=9)},
    ],
)
def test_fingerprint_is_blind_to_the_rest(change):
    assert print_of(**change) == print_of()


def test_fingerprint_changes_with_the_code(monkeypatch, tmp_path):
    package = tmp_path / "raytrack"
    (package / "fit").mkdir(parents=True)
    (package / "media").mkdir()
    (package / "fit" / "a.py").write_text("x = 1")
    (package / "media" / "b.py").write_text("y = 1")
    monkeypatch.setattr(code, "_PACKAGE", package)
    fitting = dataclasses.replace(STAGE, code=("fit",))

    def print_anew():
        code.code_sha256.cache_clear()
        return print_of(fitting)

    before = print_anew()
    (package / "media" / "b.py").write_text("y = 2")
    assert print_anew() == before, "code that the stage does not use"
    (package / "fit" / "a.py").write_text("x = 2")
    changed = print_anew()
    assert changed != before
    (package / "fit" / "a.py").rename(package / "fit" / "c.py")
    assert print_anew() != changed
    monkeypatch.setattr(stage_module, "__version__", "99")
    assert print_anew() != changed
    with pytest.raises(ValueError, match="no source 'nothing'"):
        code.code_sha256("nothing")
    code.code_sha256.cache_clear()


def imported_units(path) -> set[str]:
    """Sub-packages of raytrack that a module imports, at any depth."""
    modules = (node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
    return {module.split(".")[1] for module in modules if module and module.startswith("raytrack.")}


def test_stages_name_all_the_code_that_they_use(repository):
    package = repository / "raytrack"
    for stage in all_stages(RunConfig()):
        function = textwrap.dedent(inspect.getsource(stage.function))
        named = set(stage.code)
        for unit in [name for name in stage.code if "/" not in name]:
            for path in (package / unit).rglob("*.py"):
                named_or_plain = named | {"errors", "assets", "remote", "tables"}
                assert imported_units(path) <= named_or_plain, f"{stage.name}: {path.name}"
        assert {name.split(".")[1] for name in re.findall(r"from (raytrack\.\w+)", function)} - {"pipeline"} <= named


def test_stages_name_the_data_that_their_code_reads(repository):
    package = repository / "raytrack"
    for stage in all_stages(RunConfig()):
        for unit in [name for name in stage.code if "/" not in name]:
            data = [path for path in (package / unit).rglob("*") if path.suffix in {".yaml", ".json", ".txt", ".npz"}]
            assert {path.relative_to(package).as_posix() for path in data} <= set(stage.code), stage.name


def test_chunk_bounds_count_where_a_stage_is_cut_into_chunks():
    cut = dataclasses.replace(STAGE, fan_out="probe")
    assert print_of(cut) != print_of(cut, RunConfig(pipeline=PipelineConfig(chunk_frames=3)))


def test_chunks_cover_every_frame_once():
    for num_frames in (1, 2, 3, 4, 7, 256, 257):
        cut = chunks(num_frames, 3)
        assert [frame for chunk in cut for frame in chunk.frames] == list(range(num_frames))
        assert [chunk.index for chunk in cut] == list(range(len(cut)))


def test_each_camera_has_chunks_of_its_own():
    cut = chunks(5, 3, 2)
    assert [(chunk.index, chunk.view, list(chunk.frames)) for chunk in cut] == [
        (0, 0, [0, 1, 2]),
        (1, 0, [3, 4]),
        (2, 1, [0, 1, 2]),
        (3, 1, [3, 4]),
    ]
    assert chunks(5, 3, 1) == cut[:2], "one camera alone is cut as ever"


def test_select_takes_what_the_targets_need():
    names = [("probe", ()), ("frames", ("probe",)), ("alphas", ("frames",)), ("track", ("frames",)), ("x", ("alphas",))]
    stages = tuple(Stage(name=name, version=1, function=nothing, table=name, after=after) for name, after in names)
    assert [stage.name for stage in select(stages, ("track",))] == ["probe", "frames", "track"]
    assert [stage.name for stage in select(stages, ("x", "track"))] == ["probe", "frames", "alphas", "track", "x"]
    with pytest.raises(ValueError, match="unknown stage 'y'; stages: probe"):
        select(stages, ("y",))
    with pytest.raises(ValueError, match="does not stand before it"):
        select(stages[::-1], ("x",))


@pytest.mark.parametrize(
    ("num_sequences", "cpus", "sequential", "expected"),
    [(1, 8, False, 8), (2, 8, False, 4), (3, 8, False, 2), (20, 8, False, 1), (5, 8, True, 8), (1, 1, False, 1)],
)
def test_long_stages_share_all_cpus(num_sequences, cpus, sequential, expected):
    sequences = tuple(SequenceConfig(video=f"{index}.mp4") for index in range(num_sequences))
    config = RunConfig(sequences=sequences, pipeline=PipelineConfig(cpus=cpus))
    given = {stage.name: stage.resources.cpus for stage in all_stages(config, sequential=sequential)}
    assert {given[name] for name in ("track", "render", "export")} == {expected}
    assert {given[name] for name in ("frames", "alphas", "landmarks")} == {1}
    set_by_hand = RunConfig(sequences=sequences, pipeline=PipelineConfig(cpus=cpus, track_cpus=3))
    assert {stage.resources.cpus for stage in all_stages(set_by_hand) if stage.name == "track"} == {3}
