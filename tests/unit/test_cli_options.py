"""The command line: every option reaches the configuration, mistakes end with exit code 2, help is light."""

import os
import subprocess
import sys

import pytest
import tyro
import yaml

from raytrack import cli
from raytrack.config import RunConfig
from raytrack.errors import ConfigError
from raytrack.pipeline.lock import sole_writer
from raytrack.tables.keys import rig_names


def config_of(line: str) -> RunConfig:
    """The configuration that a command line asks for."""
    return cli.job_config(tyro.cli(cli.Command, args=line.split()))


@pytest.mark.parametrize(
    ("option", "read", "expected"),
    [
        ("--no-static-offset", lambda c: c.track.static_offset, False),
        ("--landmarks-only", lambda c: c.track.landmarks_only, True),
        ("--downsample-scales 2 4", lambda c: c.extract.downsample_scales, (2, 4)),
        ("--matting none", lambda c: c.matting, "none"),
        ("--matting selfie", lambda c: c.matting, "selfie"),
        ("--matting rvm", lambda c: c.matting, "rvm"),
        ("--matting-weights /x/rvm.onnx", lambda c: c.matting_weights, "/x/rvm.onnx"),
        ("--plate /x/empty.png", lambda c: c.sequences[0].plate, "/x/empty.png"),
        ("--landmarks facemesh", lambda c: c.landmarks.method, "facemesh"),
        ("--landmark-weights /x/star.pt", lambda c: c.landmarks.weights, "/x/star.pt"),
        ("--background-color black", lambda c: c.export.background_color, "black"),
        ("--background-color transparent", lambda c: c.export.background_color, "transparent"),
        ("--occluded hair neck_lower", lambda c: c.track.occluded, ("hair", "neck_lower")),
        ("--preset vhap", lambda c: c.track.preset, "vhap"),
        ("--focal-px 900.5", lambda c: c.track.focal_px, 900.5),
        ("--seed 7", lambda c: c.track.seed, 7),
        ("--target-fps 12.5", lambda c: c.extract.target_fps, 12.5),
        ("--cpus 1", lambda c: c.pipeline.cpus, 1),
        ("--name me", lambda c: c.sequences[0].key.sequence, "me"),
    ],
)
def test_options_reach_the_configuration(option, read, expected):
    assert read(config_of("run a.mp4 --out o")) != expected
    assert read(config_of(f"run a.mp4 --out o {option}")) == expected
    assert read(
        config_of(f"run --out o {option} -- a.mp4" if " " not in option else f"run a.mp4 {option} --out o")
    ) == (expected)


def test_a_rig_has_the_names_of_its_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "other"):
        (tmp_path / name).mkdir()
    for camera, target in (("left", "a"), ("right", "b")):
        (tmp_path / f"{target}/0001.mp4").touch()
        (tmp_path / f"other/me_{camera}.mp4").symlink_to(tmp_path / f"{target}/0001.mp4")
    (rig,) = config_of("run --rig other/me_left.mp4 other/me_right.mp4 --out o").sequences
    assert rig.key.sequence == "me"
    assert rig_names(rig.videos) == ("me", ("left", "right"))
    (rig,) = config_of("run --rig other/me_left.mp4 other/me_right.mp4 --out o --name you").sequences
    assert rig.key.sequence == "you"
    (tmp_path / "twin.mp4").symlink_to(tmp_path / "a/0001.mp4")
    for twin in ("twin.mp4", "./a/0001.mp4", "a/0001.mp4"):
        assert cli.main(["preprocess", "a/0001.mp4", twin, "--rig", "--out", "o"]) == 2


def test_a_name_is_for_one_sequence(capsys):
    assert cli.main(["run", "a.mp4", "b.mp4", "--out", "o", "--name", "me"]) == 2
    assert "--name goes with one video" in capsys.readouterr().err


def test_what_a_job_cannot_have_is_said_before_any_work(tmp_path, capsys):
    rig = ["run", "a.mp4", "b.mp4", "--rig", "--out", str(tmp_path / "o")]
    assert cli.main([*rig, "--focal-px", "900"]) == 2
    assert "`track.focal_px` is of one camera" in capsys.readouterr().err
    job = tmp_path / "job.yaml"
    entries = [{"video": f"{name}.mp4", "subject": name} for name in ("anna", "ben")]
    job.write_text(yaml.safe_dump({"identity": "joint", "sequences": entries}))
    assert cli.main(["run", str(job), "--out", str(tmp_path / "o")]) == 2
    assert "needs two or more sequences of one `subject`" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_masks_and_head_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of("run a.mp4 --out o --matting given --masks m --head my/head.npz")
    assert config.sequences[0].masks == str(tmp_path / "m")
    assert config.sequences[0].video == str(tmp_path / "a.mp4")
    assert config.head == str(tmp_path / "my/head.npz")
    assert config_of("run a.mp4 --out o --head default").head == "default"


def test_options_go_before_the_job_file_which_goes_before_defaults(tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text("sequences: [{video: a.mp4}]\ntrack: {seed: 4, rounds: 1}\nexport: {background_color: black}\n")
    config = config_of(f"run {job} --out o --seed 5")
    assert (config.track.seed, config.track.rounds, config.export.background_color) == (5, 1, "black")
    assert config_of(f"run {job} --out o").track.seed == 4


def test_videos_of_one_name_get_names_of_their_own():
    names = [sequence.key.sequence for sequence in config_of("run x/take.mp4 y/take.mp4 --out o").sequences]
    assert names == ["take", "take-2"]


@pytest.mark.parametrize("footage", ["ben.v2", "x/ben.v2/", "take.1.MOV", "assets:demo/demo.mp4", "a b.webm", "."])
def test_footage_has_one_name_however_it_is_named(tmp_path, monkeypatch, footage):
    (tmp_path / "ben.v2").mkdir()
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump({"sequences": [{"video": footage}]}))
    (named,) = cli.job_config(tyro.cli(cli.Command, args=["run", footage, "--out", "o"])).sequences
    (listed,) = config_of(f"run {job} --out o").sequences
    assert named.key == listed.key
    assert named.key.sequence in {"ben.v2", "take.1", "demo", "a_b", tmp_path.name}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run --out o", "nothing to do"),
        ("run a.yaml b.mp4 --out o", "one job file or videos"),
        ("run a.mp4 b.mp4 --masks m --out o", "--masks goes with one video"),
        ("run a.mp4 --matting selfie --masks m --out o", "matting 'selfie' uses none"),
        ("run a.mp4 --matting none --masks m --out o", "matting 'none' uses none"),
        ("run none.yaml --out o", "cannot be read"),
        ("run a.mp4 --out o --downsample-scales 1", "downsample_scales must be 2 or more"),
        ("run a.mp4 --out o --target-fps 0", "target_fps must lie between 0.01 and 1000.0"),
        ("run a.mp4 --out o --target-fps inf", "target_fps must lie between"),
        ("run a.mp4 --out o --target-fps nan", "target_fps must lie between"),
        ("run a.mp4 --out o --cpus 0", "cpus must be at least 1"),
    ],
)
def test_mistakes_are_explained(line, message, capsys):
    with pytest.raises(ConfigError, match=message):
        config_of(line)
    assert cli.main(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["", "fly", "run a.mp4", "run a.mp4 --out o --colour red", "run a.mp4 --out o --matting magic"]
)
def test_usage_errors_exit_with_2(line):
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 2


def test_unknown_regions_and_heads_are_usage_errors(tmp_path, capsys):
    assert cli.main(["run", "a.mp4", "--out", str(tmp_path / "o"), "--occluded", "beard"]) == 2
    assert "no region 'beard'" in capsys.readouterr().err
    assert cli.main(["run", "a.mp4", "--out", str(tmp_path / "o"), "--head", str(tmp_path / "none.npz")]) == 2
    assert "neither 'default' nor a file" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_unknown_keys_of_a_job_file_exit_with_2(tmp_path, capsys):
    job = tmp_path / "job.yaml"
    job.write_text("sequences: [{video: a.mp4}]\ntrack: {sede: 4}\n")
    assert cli.main(["run", str(job), "--out", str(tmp_path / "o")]) == 2
    assert "unknown key 'sede' under 'track'; known keys: " in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written_exits_with_2(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["run", "a.mp4", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_loads_no_heavy_package(arguments):
    code = (
        "import sys\nfrom raytrack.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'ray', 'numba', 'cv2', 'numpy', 'pyarrow', 'av', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: raytrack" in done.stdout


@pytest.mark.parametrize("name", ["demo.yaml", "monocular.yaml"])
def test_shipped_jobs_are_valid(repository, name):
    config = config_of(f"run {repository / 'jobs' / name} --out o")
    assert len(config.sequences) >= 1
    assert set(yaml.safe_load((repository / "jobs" / name).read_text())) <= set(RunConfig.__dataclass_fields__)


def test_the_demo_job_uses_shipped_files_only(repository):
    (sequence,) = config_of(f"run {repository / 'jobs' / 'demo.yaml'} --out o").sequences
    assert sequence.video.startswith("assets:")
    assert sequence.ground_truth.startswith("assets:")


def test_status_of_a_folder_without_a_run(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "not a folder that raytrack wrote" in capsys.readouterr().err


def test_purge_of_an_unknown_subject(tmp_path, capsys):
    assert cli.main(["purge", str(tmp_path), "--subject", "nobody"]) == 2
    assert "holds nothing about a subject 'nobody'" in capsys.readouterr().err


def test_a_folder_that_another_run_writes_to(tmp_path, capsys):
    out = tmp_path / "out"
    (out / ".work").mkdir(parents=True)
    with sole_writer(out):
        assert cli.main(["run", "a.mp4", "--out", str(out), "--sequential"]) == 2
    assert f"is being written by process {os.getpid()} of " in capsys.readouterr().err


def test_a_clip_that_is_not_there(tmp_path, capsys):
    assert cli.main(["run", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "o"), "--sequential"]) == 1
    printed = capsys.readouterr().out
    assert "none.mp4: no such file or folder" in printed
    assert "to try again: raytrack run" in printed
