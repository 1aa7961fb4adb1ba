"""The real pipeline on a few frames of the demo clip: what it leaves, that it resumes exactly, and what options do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from tiny_pipeline import contents

from raytrack.tables.schemas import SCORE_NAMES
from raytrack.tables.store import read_table

NUM_FRAMES = 8
SIZE_HW = (448, 448)
JOB = f"""
sequences: [{{video: "assets:demo/demo.mp4", name: demo, dataset: raytrack}}]
extract: {{max_frames: {NUM_FRAMES}}}
track:
  rounds: 1
  num_key_frames: 3
  texture_size: 64
  final_texture_size: 64
  tracking_size_px: 96
  texture_image_size_px: 96
"""
STAGES = ("probe", "frames", "downsample", "alphas", "landmarks", "track", "render", "export")


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "raytrack", *map(str, arguments)]


def raytrack(*arguments, expected=0) -> str:
    """Run the command line in a process of its own, without shape checks."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    path.write_text(JOB)
    return path


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    """Output folder of a run in one process that nothing interrupted."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    raytrack("run", job, "--out", out, "--sequential")
    return out


@pytest.fixture
def copied(undisturbed, out):
    """A finished output folder to change."""
    shutil.copytree(undisturbed, out)
    return out


def test_a_run_leaves_what_it_promises(undisturbed):
    for pattern, count in {
        "frames/demo/images/*.png": NUM_FRAMES,
        "frames/demo/alpha_maps/*.png": NUM_FRAMES,
        "render/demo/color/*.png": NUM_FRAMES,
        "render/demo/mask/*.png": NUM_FRAMES,
        "tracks/demo/*": 1,
        "preview/demo.mp4": 1,
        "export/demo/transforms.json": 1,
        "summary.json": 1,
    }.items():
        assert len(list(undisturbed.glob(pattern))) == count, pattern
    for folder, channels in (("color", 3), ("mask", None)):
        image = cv2.imread(str(undisturbed / f"render/demo/{folder}/000000.png"), cv2.IMREAD_UNCHANGED)
        assert image.shape == (SIZE_HW if channels is None else (*SIZE_HW, channels))
    assert {path.name for path in (undisturbed / "tables").iterdir()} == {
        *("sequences", "frames", "alphas", "landmarks", "track", "track_static", "exports", "scores", "runs", "events"),
        "downsampled",
    }
    assert read_table(undisturbed, "track").num_rows == NUM_FRAMES
    assert set(read_table(undisturbed, "exports")["kind"].to_pylist()) == {"render", "preview", "dataset"}


def test_the_summary_has_exactly_the_promised_keys(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary) == {"run", "sequences"}
    assert set(summary["run"]) == {"seconds"}
    (entry,) = summary["sequences"].values()
    assert set(entry) == {*SCORE_NAMES, "frames", "seconds"}
    assert tuple(entry["seconds"]) == STAGES
    assert entry["frames"] == NUM_FRAMES
    assert entry["psnr_db"] > 20
    assert entry["landmark_error_px"] < 4


def test_no_output_names_a_path_of_this_machine(undisturbed, job):
    for path in undisturbed.rglob("*"):
        relative = path.relative_to(undisturbed).as_posix()
        if path.is_file() and not relative.startswith(("config.yaml", ".work")):
            data = path.read_bytes()
            assert str(undisturbed).encode() not in data, relative
            assert str(job).encode() not in data, relative


def stop(driver, how) -> str:
    """Ctrl-C as a terminal sends it, a polite end, or a sudden one; what the driver said."""
    if how is signal.SIGINT:
        os.killpg(driver.pid, how)
    else:
        os.kill(driver.pid, how)
    _, said = driver.communicate(timeout=60)
    return said


def test_interrupted_and_killed_and_run_again_on_ray_gives_the_same_bytes(undisturbed, job, out):
    moments = (
        (signal.SIGTERM, lambda: list((out / "frames/demo/images").glob("*.png"))),
        (signal.SIGINT, lambda: list((out / ".work/demo").glob("track-*/state.npz"))),
        (signal.SIGKILL, lambda: list((out / "render").glob(".tmp-demo/color/*.png"))),
    )
    for how, reached in moments:
        driver = subprocess.Popen(
            command("run", job, "--out", out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 300
        while not reached() and driver.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        said = stop(driver, how)
        if how is not signal.SIGKILL:
            assert driver.returncode == 130, said
            assert f"interrupted; to go on: raytrack run {job} --out {out}" in said
    printed = raytrack("run", job, "--out", out)
    assert "0 cached" not in printed
    assert contents(out) == contents(undisturbed)
    assert read_table(out, "failures") is None, "an interruption is nobody's failure"
    summary = json.loads((out / "summary.json").read_text())
    assert tuple(summary["sequences"]["demo"]["seconds"]) == STAGES, "seconds of stages of earlier runs are known"


def changed_by(copied, job, *options, upto="track") -> set[str]:
    """Top folders and tables whose files an option changes, as far as the stage `upto`."""
    before = contents(copied)
    raytrack(upto, job, "--out", copied, "--sequential", *options)
    after = contents(copied)
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return {"/".join(name.split("/")[: 2 if name.startswith("tables") else 1]) for name in names}


@pytest.mark.parametrize("background", ["black", "transparent"])
def test_background_color_changes_the_dataset_only(copied, job, background):
    before, runs = contents(copied), read_table(copied, "runs").num_rows
    assert raytrack("run", job, "--out", copied, "--sequential", "--quiet", "--background-color", background) == ""
    after = contents(copied)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed
    assert all(name.startswith("export/demo/images/") or "/part-export-" in name for name in changed), changed
    assert read_table(copied, "runs").num_rows == runs + 1
    for path in sorted((copied / "export/demo/images").iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(path.parents[1] / "fg_masks" / path.name), cv2.IMREAD_UNCHANGED)
        assert (mask == 0).any()
        if background == "transparent":
            np.testing.assert_array_equal(image[..., 3], mask)
            source = cv2.imread(str(copied / f"frames/demo/images/0{path.name[:5]}.png"))
            np.testing.assert_array_equal(image[..., :3], source)
        else:
            assert (image[mask == 0] == 0).all()


def test_no_static_offset(copied, job):
    with np.load(copied / "tracks/demo/tracked_params.npz") as arrays:
        assert "static_offset" in arrays.files
    changed = changed_by(copied, job, "--no-static-offset")
    assert changed >= {"tracks", "tables/track"}
    assert "frames" not in changed
    with np.load(copied / "tracks/demo/tracked_params.npz") as arrays:
        assert "static_offset" not in arrays.files


@pytest.mark.parametrize("options", [("--landmarks-only",), ("--occluded", "hair"), ("--seed", "1")])
def test_options_of_the_tracker_change_the_track_only(copied, job, options):
    changed = changed_by(copied, job, *options)
    assert "tracks" in changed
    assert not changed & {"frames", "tables/frames", "tables/landmarks", "tables/alphas"}


def test_matting_changes_what_follows_from_it(copied, job):
    changed = changed_by(copied, job, "--matting", "none")
    assert changed >= {"frames", "tables/alphas", "tracks"}
    assert "tables/landmarks" not in changed


def test_a_dataset_names_the_frames_of_the_recording(out, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(JOB.replace(f"{{max_frames: {NUM_FRAMES}}}", "{every: 2, max_frames: 3}"))
    raytrack("export", job, "--out", out, "--sequential", "--formats", "nerf")
    frames = json.loads((out / "export/demo/transforms.json").read_text())["frames"]
    assert [frame["timestep_index"] for frame in frames] == [0, 1, 2]
    assert [frame["timestep_index_original"] for frame in frames] == [0, 2, 4]
    assert read_table(out, "frames")["source_frame"].to_pylist() == [0, 2, 4]


def test_truth_is_compared_with_the_frames_that_are_taken(copied, job, tmp_path):
    with_truth = tmp_path / "truth.yaml"
    with_truth.write_text(JOB.replace("name: demo,", 'name: demo, ground_truth: "assets:demo/ground_truth.npz",'))
    raytrack("run", with_truth, "--out", copied, "--sequential")
    (entry,) = json.loads((copied / "summary.json").read_text())["sequences"].values()
    assert 0 < entry["ground_truth"]["landmark_error_px"] < 4
    assert 0 < entry["ground_truth"]["face_error_mm"] < 5
