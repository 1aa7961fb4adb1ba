"""The real stages on footage that cannot be used, and on footage that is merely odd."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import yaml

from raytrack import assets, cli
from raytrack.config import RunConfig, SequenceConfig
from raytrack.job import load_job
from raytrack.mapping import to_mapping
from raytrack.media.config import ExtractConfig
from raytrack.media.encode import write_video
from raytrack.pipeline import disk, stages_observe
from raytrack.pipeline.run import plan_job
from raytrack.pipeline.stages import all_stages
from raytrack.tables.schemas import from_vectors
from raytrack.tables.store import read_table


def noise(count=6, height=64, width=96):
    values = np.random.default_rng(0).integers(0, 255, (count, height // 8, width // 8, 3), np.uint8)
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST) for image in values]


@pytest.fixture
def clip(tmp_path):
    """A video without a face."""
    path = tmp_path / "clip.mp4"
    write_video(path, noise(), 25)
    return path


def preprocess(out, *arguments) -> int:
    return cli.main(["preprocess", *map(str, arguments), "--out", str(out), "--sequential"])


def failure(out) -> dict:
    (row,) = read_table(out, "failures").to_pylist()
    return row


def write_audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 44100, Fraction(1, 44100), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


BAD = {
    "text.mp4": (lambda path: path.write_text("not a video " * 99), "not a video"),
    "zero.mp4": (lambda path: path.write_bytes(b""), "zero bytes"),
    "sound.mp4": (write_audio, "no video in this file"),
    "headless.mp4": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(4000)), "not a video"),
    "empty_folder": (lambda path: path.mkdir(), "no image"),
}


@pytest.mark.parametrize("name", BAD)
def test_footage_that_cannot_be_used(tmp_path, out, clip, name, capsys):
    make, words = BAD[name]
    make(tmp_path / name)
    assert preprocess(out, clip, tmp_path / name) == 3
    row = failure(out)
    assert (row["sequence"], row["stage"], row["kind"], row["final"]) == (name.split(".")[0], "probe", "input", True)
    assert words in row["error"]
    printed = capsys.readouterr().out
    assert f"probe failed (input): {row['error']}" in printed
    assert "to try again: raytrack preprocess " in printed
    assert "1 of 2 sequences finished" in printed
    assert set(read_table(out, "landmarks")["sequence"].to_pylist()) == {"clip"}


def test_a_clip_that_is_cut_off_is_used_as_far_as_it_goes(tmp_path, out, capsys):
    whole = tmp_path / "whole.mkv"
    frames = noise(40)
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "5"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert preprocess(out, cut) == 0
    count = read_table(out, "frames").num_rows
    assert 10 < count < 40
    assert len(list((out / "frames/cut/images").iterdir())) == count


def test_no_face_anywhere(out, clip, capsys):
    assert cli.main(["track", str(clip), "--out", str(out), "--sequential"]) == 1
    row = failure(out)
    assert (row["stage"], row["kind"]) == ("track", "input")
    assert "no face was found in any frame" in row["error"]
    table = read_table(out, "landmarks")
    assert table["face"].to_pylist() == [-1] * 6
    assert np.isnan(from_vectors(table["landmarks"], (478, 2))).all()
    assert not (out / "tracks").exists()


def test_damaged_assets(out, clip, monkeypatch, capsys):
    digests = dict(assets._digests(assets.assets_folder()))
    monkeypatch.setattr(assets, "_digests", lambda folder: digests | {"facemesh/face_detector.npz": "0" * 64})
    assets.asset_path.cache_clear()
    stages_observe._detector.cache_clear()
    assert preprocess(out, clip) == 1
    assets.asset_path.cache_clear()
    printed = capsys.readouterr().err
    assert "face_detector.npz is damaged" in printed
    assert "install raytrack again" in printed
    assert read_table(out, "runs") is None, "found before any work"


def test_one_frame_of_odd_size_grey_sixteen_bits_and_alpha(tmp_path, out):
    colour = noise(1, 45, 67)[0]
    alpha = np.full((45, 67, 1), 128, np.uint8)
    alpha[:, :20] = 0
    pictures = {
        "grey": colour[..., 0],
        "deep": colour.astype(np.uint16) * 257,
        "alpha": np.concatenate([colour, alpha], axis=2),
        "opaque": np.concatenate([colour, np.full_like(alpha, 255)], axis=2),
    }
    for name, picture in pictures.items():
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "7.png"), picture)
    assert preprocess(out, *(tmp_path / name for name in pictures)) == 0
    for name in pictures:
        image = cv2.imread(str(out / "frames" / name / "images/000000.png"), cv2.IMREAD_UNCHANGED)
        assert image.shape == (45, 67, 3)
    table = read_table(out, "alphas")
    methods = dict(zip(table["sequence"].to_pylist(), table["method"].to_pylist(), strict=True))
    assert methods == {"grey": "selfie", "deep": "selfie", "alpha": "footage", "opaque": "selfie"}
    matte = cv2.imread(str(out / "frames/alpha/alpha_maps/000000.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(matte, alpha[..., 0])


def test_smaller_copies(out, clip):
    assert preprocess(out, clip, "--downsample-scales", 2, 4) == 0
    assert cv2.imread(str(out / "frames/clip/images_2/000005.png")).shape == (32, 48, 3)
    assert cv2.imread(str(out / "frames/clip/images_4/000005.png")).shape == (16, 24, 3)
    copies = read_table(out, "downsampled").to_pylist()
    assert {(row["frame"], row["scale"]) for row in copies} == {
        (frame, scale) for frame in range(6) for scale in (2, 4)
    }
    assert len(copies) == 12
    assert (out / copies[0]["image"]).is_file()
    assert read_table(out, "exports") is None
    runs = read_table(out, "runs").num_rows
    assert preprocess(out, clip, "--downsample-scales", 2) == 0
    assert read_table(out, "runs").num_rows == runs + 1, "other sizes change nothing but the copies"
    assert not (out / "frames/clip/images_4").exists()


def test_duration(tmp_path, out, clip):
    one = tmp_path / "one.mp4"
    write_video(one, noise(1), 25)
    assert preprocess(out, clip, one) == 0
    rows = {row["sequence"]: row["duration_s"] for row in read_table(out, "sequences").to_pylist()}
    assert rows == pytest.approx({"clip": 6 / 25, "one": 1 / 25})


def test_target_fps(out, clip):
    assert preprocess(out, clip, "--target-fps", 12.5) == 0
    assert read_table(out, "frames")["source_frame"].to_pylist() == [0, 2, 4]
    assert len(list((out / "frames/clip/images").iterdir())) == 3


def test_matting_none_and_given(tmp_path, out, clip):
    masks = tmp_path / "masks"
    masks.mkdir()
    for frame in range(6):
        cv2.imwrite(str(masks / f"{frame}.png"), np.full((64, 96), 10 * frame, np.uint8))
    assert preprocess(out, clip, "--matting", "given", "--masks", masks) == 0
    matte = cv2.imread(str(out / "frames/clip/alpha_maps/000003.png"), cv2.IMREAD_UNCHANGED)
    assert (matte == 30).all()
    assert preprocess(out, clip, "--matting", "none") == 0
    assert set(read_table(out, "alphas")["method"].to_pylist()) == {"none"}
    assert not (out / "frames/clip/alpha_maps").exists(), "mattes of another method do not stay"
    (masks / "4.png").unlink()
    assert preprocess(out, clip, "--matting", "given", "--masks", masks) == 1
    assert "no mask for frame '000004'" in failure(out)["error"]


def test_given_matting_takes_the_footages_own_alpha(tmp_path, out, clip):
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:30] = 200
    (tmp_path / "cut_out").mkdir()
    for frame, image in enumerate(noise(3)):
        cv2.imwrite(str(tmp_path / f"cut_out/{frame}.png"), np.dstack([image, alpha]))
    assert preprocess(out, tmp_path / "cut_out", clip, "--matting", "given") == 3
    matte = cv2.imread(str(out / "frames/cut_out/alpha_maps/000002.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(matte, alpha)
    row = failure(out)
    assert (row["sequence"], row["stage"], row["kind"]) == ("clip", "alphas", "input")
    assert "matting 'given' needs masks" in row["error"]


@pytest.mark.parametrize("option", [("--target-fps", "inf"), ("--target-fps", "1e-300")])
def test_rates_without_sense_are_refused(out, clip, option):
    assert preprocess(out, clip, *option) == 2
    assert not out.exists()


def test_status_and_purge(out, clip, capsys):
    preprocess(out, clip)
    capsys.readouterr()
    assert cli.main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "nobody is working on it" in printed
    assert "clip (subject clip, dataset monocular): probe done" in printed
    assert "landmarks done" in printed
    assert "track to do" in printed
    assert cli.main(["purge", str(out), "--subject", "clip"]) == 0
    assert not list(out.rglob("*clip*"))
    assert not (out / "config.yaml").exists()


def held(out, word) -> list[str]:
    """Files and folders whose path or content has the word in it, scratch included."""
    found = [path for path in out.rglob("*") if path.name != "lock"]
    return [str(path) for path in found if word in path.name or (path.is_file() and word.encode() in path.read_bytes())]


@pytest.mark.parametrize("scratch", [True, False])
def test_purge_takes_one_subject_and_leaves_the_others(tmp_path, out, clip, capsys, scratch):
    shutil.copy(clip, tmp_path / "cheery.mp4")
    job = tmp_path / "job.yaml"
    job.write_text(
        "sequences:\n"
        "- {video: cheery.mp4, name: cheery, subject: anna}\n"
        "- {video: clip.mp4, name: gloomy, subject: anna_b}\n"
        "extract: {max_frames: 2}\n"
    )
    assert preprocess(out, job) == 0
    (out / "summary.json").write_text(json.dumps({"run": {"seconds": 1}, "sequences": {"cheery": {}, "gloomy": {}}}))
    leftovers = ("render/.tmp-cheery", "export/.tmp-cheery", ".work/cheery", "preview")
    for folder in leftovers:
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "preview/.tmp-77-cheery.mp4").write_text("half")
    (out / "preview/.tmp-77-not-cheery.mp4").write_text("another's")
    if not scratch:
        shutil.rmtree(out / ".work")
    for unknown in ("anna b", "Anna", "ann*", ""):
        assert cli.main(["purge", str(out), "--subject", unknown]) == 2
        assert "subjects: anna, anna_b" in capsys.readouterr().err
    assert cli.main(["purge", str(out), "--subject", "anna"]) == 0
    (out / "preview/.tmp-77-not-cheery.mp4").unlink()
    assert held(out, "cheery") == []
    assert set(read_table(out, "landmarks")["subject"].to_pylist()) == {"anna_b"}
    assert list(json.loads((out / "summary.json").read_text())["sequences"]) == ["gloomy"]
    assert [sequence.key.subject for sequence in load_job(out / "config.yaml").sequences] == ["anna_b"]
    runs = read_table(out, "runs").num_rows
    assert preprocess(out, out / "config.yaml") == 0
    assert read_table(out, "runs").num_rows == runs, "what is left is still whole"


def test_purge_of_a_subject_whose_work_has_only_begun(out, clip):
    (out / ".work").mkdir(parents=True)
    config = RunConfig(sequences=(SequenceConfig(video=str(clip), subject="anna"),))
    (out / "config.yaml").write_text(yaml.safe_dump(to_mapping(config)))
    (out / "frames/clip/images").mkdir(parents=True)
    assert cli.main(["purge", str(out), "--subject", "anna"]) == 0
    assert held(out, "clip") == held(out, "anna") == []


def test_the_resolved_configuration_is_a_job_file(tmp_path, out, clip, monkeypatch):
    assert preprocess(out, clip, "--seed", 9, "--target-fps", 12.5) == 0
    runs, resolved = read_table(out, "runs").num_rows, (out / "config.yaml").read_text()
    assert load_job(out / "config.yaml").track.seed == 9
    monkeypatch.chdir(tmp_path.parent)
    assert preprocess(out, out / "config.yaml") == 0
    assert read_table(out, "runs").num_rows == runs, "nothing is left to do"
    assert (out / "config.yaml").read_text() == resolved
    assert preprocess(tmp_path / "elsewhere", out / "config.yaml") == 0
    assert read_table(tmp_path / "elsewhere", "frames").num_rows == 3


def test_quiet_says_only_what_failed(tmp_path, out, clip, capfd):
    assert preprocess(out, clip, "--quiet") == 0
    assert capfd.readouterr().out == ""
    assert preprocess(tmp_path / "other", tmp_path / "none.mp4", "--quiet") == 1
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "none.mp4: no such file or folder" in lines[0]
    assert lines[1].startswith("to try again: raytrack preprocess ")


def test_the_truth_of_another_clip_is_found_before_any_work(tmp_path, out, clip):
    demo = "assets:demo/ground_truth.npz"
    (tmp_path / "text.npz").write_text("no archive")
    config = RunConfig(
        sequences=(
            SequenceConfig(video="assets:demo/demo.mp4", name="right", ground_truth=demo),
            SequenceConfig(video=str(clip), name="other", ground_truth=demo),
            SequenceConfig(video=str(clip), name="damaged", ground_truth=str(tmp_path / "text.npz")),
        ),
        extract=ExtractConfig(every=7),
    )
    plans, unreadable = plan_job(config, out, all_stages(config))
    assert [plan.name for plan in plans] == ["right"]
    words = {key.sequence: str(error) for key, error in unreadable.items()}
    assert "the ground truth has 90 frames, the footage 6" in words["other"]
    assert "text.npz" in words["damaged"]


def test_a_reader_that_leaves_does_not_end_the_run(out, clip):
    command = [sys.executable, "-m", "raytrack", "preprocess", str(clip), "--out", str(out), "--sequential"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline().startswith("1 sequence, ")
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait() == 0
    assert read_table(out, "landmarks").num_rows == 6


@pytest.fixture
def room(monkeypatch):
    """Sets how much room the disk claims to have."""

    def claim(free: float) -> None:
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=int(free)))

    return claim


def test_room_on_the_disk_is_looked_at_before_any_work(out, clip, room, capsys):
    needed = 6 * 64 * 96 * (1.5 + 0.06)
    room(needed * 0.9)
    assert preprocess(out, clip) == 2
    printed = capsys.readouterr().err
    assert "GB are free" in printed
    assert "--target-fps" in printed
    assert read_table(out, "frames") is None
    room(needed * 1.1)
    assert preprocess(out, clip) == 0
    assert "warning: " in capsys.readouterr().out
    room(0)
    assert preprocess(out, clip) == 0, "nothing is left to do"
    (out / "frames/clip/images/000000.png").unlink()
    room(needed * 0.6)
    assert preprocess(out, clip) == 0, "most of it is there already"


def test_plenty_of_room_is_not_worth_a_word(out, clip, capsys):
    assert preprocess(out, clip) == 0
    assert "warning" not in capsys.readouterr().out


def test_expected_bytes_follow_the_options():
    plain, size = RunConfig(), (512, 512)
    expected = disk.expected_bytes(plain, 1500, size)
    assert 1.5e9 < sum(expected.values()) < 3e9, "a minute takes about two gigabytes"
    smaller = RunConfig(extract=ExtractConfig(downsample_scales=(2, 4)), matting="none")
    changed = disk.expected_bytes(smaller, 1500, size)
    assert changed["downsample"] == pytest.approx(expected["frames"] * (1 / 4 + 1 / 16))
    assert changed["alphas"] == expected["downsample"] == 0
