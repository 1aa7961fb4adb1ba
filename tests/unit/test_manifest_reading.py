"""Jobs whose sequences are listed in a file of their own, and choosing some of a job's sequences."""

import json

import pytest
import tyro
import yaml

from raytrack import cli, commands
from raytrack.config import SequenceConfig
from raytrack.errors import ConfigError
from raytrack.job import expanded, load_job
from raytrack.pipeline.choose import chosen

TABLE = (
    "\ufeffvideo,name,subject,occluded,masks\r\n"
    "clips/anna 1.mp4,anna-1,anna,hair neck_lower,\r\n"
    "\r\n"
    "/x/ben.mov,,,,m\r\n"
)


@pytest.fixture
def load(tmp_path):
    """Reads a job with a manifest in another folder."""

    def load(name: str, text: str, **job):
        (tmp_path / "lists").mkdir(exist_ok=True)
        (tmp_path / "lists" / name).write_text(text, encoding="utf-8", newline="")
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({"manifest": f"lists/{name}", **job}))
        return load_job(path)

    return load


def test_a_table(load, tmp_path):
    config = load("people.csv", TABLE, sequences=[{"video": "carl.mp4"}])
    assert config.manifest == "", "it has been read"
    carl, anna, ben = config.sequences
    assert carl.video == str(tmp_path / "carl.mp4")
    assert anna == SequenceConfig(
        video=str(tmp_path / "lists/clips/anna 1.mp4"), name="anna-1", subject="anna", occluded=("hair", "neck_lower")
    )
    assert (ben.video, ben.masks, ben.key.subject) == ("/x/ben.mov", str(tmp_path / "lists/m"), "ben")


def test_paths_of_several_videos_may_have_blanks(load, tmp_path):
    config = load("rigs.csv", "videos,name,occluded\nmy clips/a.mp4; my clips/b.mp4,ab,hair neck_lower\n")
    (rig,) = config.sequences
    assert rig.videos == tuple(str(tmp_path / f"lists/my clips/{name}.mp4") for name in "ab")
    assert rig.occluded == ("hair", "neck_lower")


def test_lists_say_the_same(load):
    entries = [{"video": "a.mp4", "name": "a", "occluded": ["hair"]}, {"root": "d", "dataset": "nersemble-v2"}]
    by_yaml = load("people.yaml", yaml.safe_dump(entries)).sequences
    by_lines = load("people.jsonl", "\n\n".join(json.dumps(entry) for entry in entries)).sequences
    by_table = load("people.csv", "video,name,occluded,root,dataset\na.mp4,a,hair\n,,,d,nersemble-v2\n").sequences
    assert by_yaml == by_lines == by_table
    assert by_yaml[0].occluded == ("hair",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "p.csv",
            "video,nmae\na.mp4,a\n",
            r"p\.csv:1: unknown column 'nmae'; known: video, videos, name, dataset, root",
        ),
        ("p.csv", "a,b\n", r"p\.csv:1: unknown columns 'a', 'b'"),
        ("p.csv", "video,video\n", r"p\.csv:1: there are two columns video"),
        ("p.csv", "video\na.mp4\nb.mp4,b\n", r"p\.csv:3: 2 cells under 1 columns"),
        ("p.csv", 'video,name\n"a\nb.mp4",ab\n,c\n', r"p\.csv:4: a sequence needs either a `video`"),
        ("p.csv", 'video\n"a.mp4\n', r"p\.csv:2: not a table"),
        ("p.csv", "video\n", r"p\.csv: lists no sequences"),
        ("p.jsonl", '{"video": "a.mp4"}\n{"vide": "b.mp4"}\n', r"p\.jsonl:2: unknown key 'vide'; known keys: video"),
        ("p.jsonl", '{"video": "a.mp4"\n', r"p\.jsonl:1: not JSON"),
        ("p.jsonl", "[1]\n", r"p\.jsonl:1: a sequence is a mapping"),
        ("p.yaml", "# people\n- video: a.mp4\n- video: 3\n", r"p\.yaml:3: video must be text, got 3"),
        ("p.yaml", "video: a.mp4\n", r"p\.yaml:1: a manifest is a list"),
        ("p.yaml", "- [", r"p\.yaml: not valid YAML"),
        ("p.yaml", "", r"p\.yaml: lists no sequences"),
        ("p.txt", "a.mp4\n", r"p\.txt: a manifest ends with \.csv, \.jsonl, \.yaml, \.yml"),
        ("p.csv", "video,name\na.mp4,x\nb.mp4,x\n", r"two sequences are called 'x'"),
    ],
)
def test_mistakes_are_explained_where_they_are(load, name, text, message):
    with pytest.raises(ConfigError, match=message):
        load(name, text)


def test_a_manifest_that_is_not_there(tmp_path):
    (tmp_path / "job.yaml").write_text("manifest: none.csv\n")
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        load_job(tmp_path / "job.yaml")


PEOPLE = "video,name,subject\n1.mp4,anna-1,anna\n2.mp4,anna-2,anna\n3.mp4,ben-1,ben\n"


@pytest.mark.parametrize(
    ("subjects", "sequences", "expected"),
    [
        ((), (), ["anna-1", "anna-2", "ben-1"]),
        (("anna",), (), ["anna-1", "anna-2"]),
        (("a*", "ben"), ("*-1",), ["anna-1", "ben-1"]),
        ((), ("ben-1", "anna-2"), ["anna-2", "ben-1"]),
        (("b[a-e]n",), (), ["ben-1"]),
    ],
)
def test_choosing_some(load, subjects, sequences, expected):
    config = chosen(load("p.csv", PEOPLE), subjects, sequences)
    assert [sequence.key.sequence for sequence in config.sequences] == expected


@pytest.mark.parametrize(
    ("subjects", "sequences", "message"),
    [
        (("carl",), (), "no subject 'carl' in the job; there is: anna, ben"),
        (("anna", "c*"), (), r"no subject 'c\*'"),
        (("anna",), ("ben-1",), "no sequence 'ben-1' in the job; there is: anna-1, anna-2"),
        ((), ("anna",), "no sequence 'anna'"),
    ],
)
def test_choosing_what_is_not_there(load, subjects, sequences, message):
    with pytest.raises(ConfigError, match=message):
        chosen(load("p.csv", PEOPLE), subjects, sequences)


def test_choosing_on_the_command_line(load, tmp_path, capsys):
    load("p.csv", PEOPLE)
    run = ["run", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out"), "--sequential"]
    assert cli.main([*run, "--subjects", "carl"]) == 2
    assert "no subject 'carl' in the job; there is: anna, ben" in capsys.readouterr().err
    assert cli.main([*run, "--subjects", "a*", "--sequences", "*-2"]) == 1
    printed = capsys.readouterr().out
    assert "anna-2: plan failed (input)" in printed, "the clip is not there, but it is the one that was chosen"
    assert "anna-1" not in printed
    assert "ben-1" not in printed


def test_choosing_is_left_to_the_cluster():
    line = ["submit", "job.yaml", "--out", "/o", "--quiet", "--subjects", "0*", "1", "--sequences", "EMO-*"]
    options = tyro.cli(cli.Command, args=line)
    assert commands.passed_on(options) == ("--quiet", "--subjects", "0*", "1", "--sequences", "EMO-*")


def test_choosing_from_a_dataset(tmp_path):
    folders = ("EMO-1-shout+laugh", "EMO-10-x", "EXP-2-eyes")
    for subject in ("018", "074"):
        for folder in folders:
            (tmp_path / subject / "sequences" / folder / "images").mkdir(parents=True)
    job = tmp_path / "job.yaml"
    job.write_text(f"sequences: [{{dataset: nersemble-v2, root: {tmp_path}}}]\n")
    config = expanded(load_job(job))
    assert len(config.sequences) == 6

    def names(*arguments):
        return [one.key.sequence for one in chosen(config, *arguments).sequences]

    assert names(("074",), ("EMO-1",)) == ["074_EMO-1-shout+laugh"]
    assert names((), ("EXP-*",)) == ["018_EXP-2-eyes", "074_EXP-2-eyes"]
    assert names((), ("018_*",)) == [f"018_{folder}" for folder in folders]
    (tmp_path / "018/sequences/EMO-1/images").mkdir(parents=True)
    config = expanded(load_job(job))
    assert names((), ("EMO-1",)) == ["018_EMO-1", "074_EMO-1-shout+laugh"], "each subject has its own folders"
