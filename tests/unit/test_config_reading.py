"""Job files: every key, type and range is checked, and the message says where."""

from dataclasses import dataclass

import pytest
import yaml

from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import ConfigError
from raytrack.job import load_job
from raytrack.mapping import from_mapping, merged, to_mapping


def read(data):
    return from_mapping(RunConfig, data, where="job.yaml")


def test_defaults_survive_the_round_trip():
    config = RunConfig(sequences=(SequenceConfig(video="a.mp4"),))
    assert read(yaml.safe_load(yaml.safe_dump(to_mapping(config)))) == config


def test_values_arrive():
    config = read({"track": {"static_offset": False, "occluded": ["hair"], "weights": {"photo": 1}}, "head": "x"})
    assert config.track.static_offset is False
    assert config.track.occluded == ("hair",)
    assert config.track.weights.photo == 1.0
    assert config.head == "x"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"trakc": {}}, r"job.yaml: unknown key 'trakc'; known keys: .*track"),
        ({"track": {"sede": 1}}, r"unknown key 'sede' under 'track'; known keys: .*seed"),
        ({"track": {"weights": {"foto": 1}}}, r"unknown key 'foto' under 'track.weights'"),
        ({"track": {"seed": "one"}}, r"track.seed must be a whole number, got 'one'"),
        ({"track": {"seed": 1.5}}, r"track.seed must be a whole number, got 1.5 \(float\)"),
        ({"track": {"seed": True}}, r"track.seed must be a whole number, got True \(bool\)"),
        ({"track": {"static_offset": 1}}, r"track.static_offset must be true or false"),
        ({"track": {"preset": "fast"}}, r"track.preset must be one of default, vhap, got 'fast'"),
        ({"track": {"occluded": "hair"}}, r"track.occluded must be a list of text, got 'hair'"),
        ({"track": {"occluded": [1]}}, r"track.occluded\[0\] must be text, got 1"),
        ({"track": None}, r"expected a mapping under 'track', got None"),
        ({"track": {"weights": {"photo": "nan"}}}, r"track.weights.photo must be a number"),
        ({"pipeline": {"cpus": "all"}}, r"pipeline.cpus must be a whole number"),
        ({"pipeline": {"cpus": 0}}, r"pipeline.cpus must be at least 1, got 0"),
        ({"pipeline": {"chunk_frames": 0}}, r"pipeline.chunk_frames must be positive, got 0"),
        ({"sequences": [{"name": "a"}]}, r"a sequence needs either a `video`, the `videos` of several cameras"),
        ({"sequences": [{"video": "a.mp4", "name": "../a"}]}, r"'../a' cannot name a folder"),
        ({"sequences": [{"video": "x/a.mp4"}, {"video": "y/a.mp4"}]}, r"two sequences are called 'a'"),
        ({"sequences": [{"video": "x/A.mp4"}, {"video": "y/a.mp4"}]}, r"\('A', 'a'\) differ only in case"),
        ({"sequences": [{"video": "a.mp4", "masks": "m"}], "matting": "none"}, r"matting 'none' uses none"),
        ({"extract": {"image_fps": 1e-9}}, r"extract.image_fps must lie between"),
        ({"extract": {"image_fps": float("inf")}}, r"extract.image_fps must lie between"),
        ({"extract": {"target_fps": float("nan")}}, r"extract.target_fps must lie between"),
        ({"pipeline": {"time_limit_factor": float("nan")}}, r"pipeline.time_limit_factor must lie in"),
        ({"pipeline": {"track_cpus": 0}}, r"pipeline.track_cpus must be at least 1"),
        ({"export": {"canonical_jaw_rad": float("inf")}}, r"export.canonical_jaw_rad must lie in"),
        ({"export": {"preview_width_px": 10**9}}, r"export.preview_width_px must lie in"),
        ({"export": {"test_fraction": 2}}, r"export.test_fraction must lie in"),
        (["a.mp4"], r"expected a mapping"),
    ],
)
def test_mistakes_are_named(data, message):
    with pytest.raises(ConfigError, match=message):
        read(data)


def test_null_is_taken_where_a_value_is_optional():
    assert read({"pipeline": {"cpus": None}}).pipeline.cpus is None
    assert read({"pipeline": {"cpus": 2}}).pipeline.cpus == 2


def test_tuples_of_fixed_length():
    @dataclass(frozen=True, kw_only=True)
    class Size:
        size_hw: tuple[int, int]

    assert from_mapping(Size, {"size_hw": [1, 2]}, where="x").size_hw == (1, 2)
    with pytest.raises(ConfigError, match="size_hw must be a list"):
        from_mapping(Size, {"size_hw": [1, 2, 3]}, where="x")


def test_paths_are_relative_to_the_job_file(tmp_path):
    job = tmp_path / "jobs" / "a.yaml"
    job.parent.mkdir()
    job.write_text("sequences:\n- {video: ../clips/b.mp4, masks: m}\n- {video: 'assets:demo/demo.mp4'}\n")
    first, second = load_job(job).sequences
    assert first.video == str(tmp_path / "clips" / "b.mp4")
    assert first.masks == str(tmp_path / "jobs" / "m")
    assert second.video == "assets:demo/demo.mp4"
    assert (first.key.sequence, second.key.sequence) == ("b", "demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [("sequences: [", "not valid YAML"), ("", "is a mapping"), ("head: default", "`sequences` is empty")],
)
def test_a_job_file_that_cannot_be_used(tmp_path, text, message):
    job = tmp_path / "job.yaml"
    job.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_job(job)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_job(tmp_path / "none.yaml")


def test_yaml_cannot_make_objects(tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("sequences: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_job(job)


def test_overrides_lie_on_top(tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("sequences: [{video: a.mp4}]\ntrack: {seed: 1, rounds: 2}\n")
    config = load_job(job, {"track": {"seed": 5}})
    assert (config.track.seed, config.track.rounds) == (5, 2)
    assert merged({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
