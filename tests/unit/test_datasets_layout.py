"""Which sequences of a dataset a job means, and how it says so."""

import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raytrack.cli import main
from raytrack.config import SequenceConfig
from raytrack.datasets.config import CaptureConfig, SubsetConfig
from raytrack.datasets.nersemble_layout import Layout, find_sequences, matching, rig
from raytrack.datasets.selection import select_subset
from raytrack.errors import ConfigError
from raytrack.job import expanded, load_job
from raytrack.mapping import from_mapping, to_mapping

FOLDERS = ["BACKGROUND", "EMO-1-shout+laugh", "EMO-2", "EMO-2-again", "EMO-10-x", "EXP-1-head", "EXP-2-eyes", "FREE"]


def make_folders(root, kind, subjects=("074", "104", "0740")):
    for subject in subjects:
        for folder in FOLDERS:
            (root / subject / ("sequences" if kind == "nersemble-v2" else "") / folder).mkdir(parents=True)
        if kind == "nersemble-v1":
            (root / "camera_params" / subject).mkdir(parents=True)
            (root / "color_correction" / subject).mkdir(parents=True)
    (root / "notes").mkdir()
    return root


def job(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("EMO-1", ["EMO-1-shout+laugh"]),
        ("EMO-10", ["EMO-10-x"]),
        ("EMO-2", ["EMO-2"]),
        ("EMO", ["EMO-1-shout+laugh", "EMO-2", "EMO-2-again", "EMO-10-x"]),
        ("EM", []),
        ("EMO-*", ["EMO-1-shout+laugh", "EMO-2", "EMO-2-again", "EMO-10-x"]),
        ("EXP-[12]-*", ["EXP-1-head", "EXP-2-eyes"]),
        ("*", FOLDERS[1:]),
        ("BACKGROUND", ["BACKGROUND"]),
        ("EMO-1-shout+laugh", ["EMO-1-shout+laugh"]),
    ],
)
def test_what_a_sequence_name_means(pattern, expected):
    assert matching(FOLDERS, pattern) == expected


@pytest.mark.parametrize("kind", ["nersemble-v1", "nersemble-v2"])
def test_globs_expand(tmp_path, kind):
    layout = Layout(kind=kind, root=make_folders(tmp_path, kind))
    assert sorted(layout.subjects()) == ["074", "0740", "104"]
    assert [one.name for one in find_sequences(layout, "074", "EMO-1 EXP-*")] == [
        "074_EMO-1-shout+laugh",
        "074_EXP-1-head",
        "074_EXP-2-eyes",
    ]
    assert len(find_sequences(layout, "", "")) == 3 * 7
    assert {one.subject for one in find_sequences(layout, "07*", "FREE")} == {"074", "0740"}
    names = [one.sequence for one in find_sequences(layout, "104", "EMO-*")]
    assert names == ["EMO-1-shout+laugh", "EMO-2", "EMO-2-again", "EMO-10-x"], "natural order"
    with pytest.raises(ConfigError, match=r"no subject '999'; there is: 074"):
        find_sequences(layout, "999", "")
    with pytest.raises(ConfigError, match=r"no sequence 'EMO-3'; there is: BACKGROUND, EMO-1"):
        find_sequences(layout, "074", "EMO-1 EMO-3")
    with pytest.raises(ConfigError, match="no such folder"):
        find_sequences(Layout(kind=kind, root=tmp_path / "none"), "", "")


def test_a_job_lists_every_sequence(tmp_path):
    make_folders(tmp_path / "data", "nersemble-v1")
    text = """
    sequences:
    - {dataset: nersemble-v1, root: data, subject: "074", sequence: EMO-1 EXP-*, occluded: [hair]}
    - {dataset: nersemble-v1, root: data, subject: "104", sequence: EMO-2, name: second}
    - {video: me.mp4}
    capture: {downsample: 4, timesteps: {every: 2}, cameras: {division: six}, occlusions: hidden.yaml}
    track: {occluded: [boundary]}
    """
    (tmp_path / "hidden.yaml").write_text('"074": [neck_lower]\n')
    config = expanded(load_job(job(tmp_path, text)))
    assert [sequence.key.sequence for sequence in config.sequences] == [
        "074_EMO-1-shout+laugh",
        "074_EXP-1-head",
        "074_EXP-2-eyes",
        "second",
        "me",
    ]
    first, *_, second, video = config.sequences
    assert (first.subject, first.sequence, first.root) == ("074", "EMO-1-shout+laugh", str(tmp_path / "data"))
    assert (first.key.dataset, second.key.subject, video.key.dataset) == ("nersemble-v1", "104", "monocular")
    assert first.occluded == ("hair", "neck_lower")
    assert config.for_sequence(first).track.occluded == ("boundary", "hair", "neck_lower")
    assert config.for_sequence(second).track.occluded == ("boundary",)
    assert (config.capture.downsample, config.capture.timesteps.every) == (4, 2)
    assert config.capture.cameras.division == "six"
    again = job(tmp_path, yaml.safe_dump(to_mapping(config)))
    assert load_job(again) == config, "what a run writes down can be read, whether or not the dataset is still there"
    assert expanded(load_job(again)) == config, "and run"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{dataset: nersemble-v1, root: data, subject: 074}", "subject must be text, got 60"),
        ("{dataset: nersemble-v3, root: data}", "nersemble-v1 or nersemble-v2, got 'nersemble-v3'"),
        ("{root: data}", "nersemble-v1 or nersemble-v2, got 'monocular'"),
        (
            "{dataset: nersemble-v1, root: data, video: a.mp4}",
            "either a `video`, the `videos` of several cameras, or the `root`",
        ),
        ("{video: a.mp4, sequence: EMO-1}", "needs the `root` of a dataset"),
        ("{dataset: nersemble-v1, root: elsewhere}", "no such folder"),
        ("{dataset: nersemble-v1, root: data, name: one}", "cannot all be called 'one'"),
        ("{dataset: nersemble-v1, root: data, subject: '074', sequence: EMO-9}", "no sequence 'EMO-9'"),
    ],
)
def test_mistakes_in_a_job(tmp_path, entry, message):
    make_folders(tmp_path / "data", "nersemble-v1")
    with pytest.raises(ConfigError, match=message):
        expanded(load_job(job(tmp_path, f"sequences: [{entry}]")))


def test_a_sequence_that_is_named_twice_is_a_mistake(tmp_path):
    make_folders(tmp_path / "data", "nersemble-v2")
    entry = "{dataset: nersemble-v2, root: data, subject: '074', sequence: EMO-2}"
    with pytest.raises(ConfigError, match="two sequences are called '074_EMO-2'"):
        expanded(load_job(job(tmp_path, f"sequences: [{entry}, {entry}]")))


@pytest.mark.parametrize(
    "text", ["- neck", "074: [neck_lower]", '"074": neck_lower', '"074": [1]', "{", "!!python/object:os.system {}"]
)
def test_tables_of_hidden_regions_are_checked(tmp_path, text):
    make_folders(tmp_path / "data", "nersemble-v1")
    (tmp_path / "hidden.yaml").write_text(text)
    sequences = "sequences: [{dataset: nersemble-v1, root: data}]"
    with pytest.raises(ConfigError, match=r"hidden\.yaml"):
        expanded(load_job(job(tmp_path, f"{sequences}\ncapture: {{occlusions: hidden.yaml}}")))


def test_downsampling_on_the_command_line(tmp_path, capsys):
    from tyro import cli

    from raytrack.cli import Command, job_config

    make_folders(tmp_path / "data", "nersemble-v1")
    path = job(tmp_path, "sequences: [{dataset: nersemble-v1, root: data, subject: '074', sequence: FREE}]")
    options = cli(Command, args=["run", str(path), "--out", str(tmp_path / "o"), "--downsample", "4"])
    assert job_config(options).capture.downsample == 4
    path.write_text(path.read_text().replace("FREE", "FUN"))
    assert main(["run", str(path), "--out", str(tmp_path / "o")]) == 2
    assert "no sequence 'FUN'; there is: " in capsys.readouterr().err
    assert main(["run", str(path), "--out", str(tmp_path / "o"), "--downsample", "0"]) == 2
    assert "capture.downsample must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["masks", "ground_truth", "name"])
def test_what_is_of_one_sequence_is_not_given_to_several(tmp_path, field):
    make_folders(tmp_path / "data", "nersemble-v1")
    entry = f"dataset: nersemble-v1, root: data, subject: '074', {field}: x"
    with pytest.raises(ConfigError, match=r"is of one sequence, but \d+ are meant|cannot all be called 'x'"):
        expanded(load_job(job(tmp_path, f"sequences: [{{{entry}}}]")))
    one = expanded(load_job(job(tmp_path, f"sequences: [{{{entry}, sequence: EMO-2}}]"))).sequences
    assert len(one) == 1


def test_a_dataset_takes_no_plate_of_the_jobs():
    with pytest.raises(ValueError, match=r"`plate` 'x\.png' is for a video"):
        SequenceConfig(dataset="nersemble-v1", root="x", plate="x.png")


def test_the_shipped_table_is_whole():
    data = rig()
    assert len(set(data["cameras"])) == 16
    assert data["cameras"][8] == "222200037"
    assert sorted(data["divisions"]["train"] + data["divisions"]["val"]) == list(range(16))
    assert all(type(regions) is list for regions in data["occluded"].values())


def test_inputs_are_what_reading_depends_on(tmp_path):
    layout = Layout(kind="nersemble-v1", root=make_folders(tmp_path, "nersemble-v1"))
    (tmp_path / "camera_params/074/camera_params.json").touch()
    names = [path.relative_to(tmp_path).as_posix() for path in layout.inputs("074", "EMO-2")]
    expected = ["camera_params/074/camera_params.json", "color_correction/074", "074/BACKGROUND", "074/EMO-2"]
    assert names == expected


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"count": 0},
        {"start": -1},
        {"start": 3, "stop": 3},
        {"only": 1, "every": 2},
        {"only": 1, "stop": 2},
    ],
)
def test_subsets_that_make_no_sense(options):
    with pytest.raises(ValueError, match=r"must|only"):
        SubsetConfig(**options)
    with pytest.raises(ConfigError, match=r"job: .*"):
        from_mapping(CaptureConfig, {"timesteps": options}, where="job")


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.none() | st.integers(1, 30),
    st.integers(1, 7),
    st.none() | st.integers(1, 30),
)
def test_subsets_are_increasing_and_evenly_spaced(total, start, length, every, count):
    stop = None if length is None else start + length
    subset = SubsetConfig(start=start, stop=stop, every=every, count=count)
    taken = select_subset(range(total), subset)
    allowed = range(start, total if stop is None else min(stop, total), every)
    assert set(taken) <= set(allowed)
    assert list(taken) == sorted(set(taken))
    assert len(taken) == min(len(allowed), count or len(allowed))
    if count and count > 1 and len(taken) > 1:
        assert (taken[0], taken[-1]) == (allowed[0], allowed[-1])
        places = [allowed.index(number) for number in taken]
        gaps = [after - before for before, after in itertools.pairwise(places)]
        assert max(gaps) - min(gaps) <= 1


def test_a_dataset_sequence_has_no_key_before_it_is_found():
    assert SequenceConfig(dataset="nersemble-v1", root="x", subject="0*", sequence="*").is_pattern
    assert not SequenceConfig(video="a.mp4").is_pattern


@pytest.mark.parametrize("kind", ["nersemble-v1", "nersemble-v2"])
def test_the_shipped_job_means_ten_sequences_of_the_dataset(tmp_path, repository, kind):
    text = (repository / "jobs" / "nersemble.yaml").read_text(encoding="utf-8")
    names = ["EMO-1-shout+laugh", "EMO-2-surprise+fear", "EMO-3-angry+sad", "EMO-4-disgust+happy", "FREE", "HAIR"]
    names += [f"EXP-{i}-x" for i in range(1, 10)] + ["BACKGROUND", "SEN-10-port_strong_smokey", "EXP-20-x"]
    for name in names:
        (tmp_path / "data" / "074" / ("sequences" if kind == "nersemble-v2" else "") / name).mkdir(parents=True)
    (tmp_path / "data" / "camera_params" / "074").mkdir(parents=True)
    text = text.replace("../../nersemble", "data").replace("dataset: nersemble-v2", f"dataset: {kind}")
    config = expanded(load_job(job(tmp_path, text)))
    expected = names[:4] + [f"EXP-{i}-x" for i in (2, 3, 4, 5, 8, 9)]
    assert [sequence.sequence for sequence in config.sequences] == expected
    assert config.capture.downsample == 4
