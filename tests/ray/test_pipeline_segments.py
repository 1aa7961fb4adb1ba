"""A sequence tracked in segments: the very track of one piece, also when a run is killed in a segment."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_pipeline import contents

from raytrack.fit.track import Track
from raytrack.tables.store import read_table

NUM_FRAMES, NUM_SEGMENTS = 11, 4
JOB = f"""
sequences: [{{video: "assets:demo/demo.mp4", name: demo, dataset: raytrack}}]
extract: {{max_frames: {NUM_FRAMES}}}
matting: none
track:
  rounds: 1
  num_key_frames: 3
  texture_size: 64
  final_texture_size: 64
  tracking_size_px: 96
  texture_image_size_px: 96
  shared_frames: 5
  segment_frames: 3
"""


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "raytrack", *map(str, arguments)]


def raytrack(*arguments) -> str:
    """Run the command line in a process of its own."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    path.write_text(JOB)
    return path


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    raytrack("track", job, "--out", out, "--sequential")
    return out


def test_segments_and_one_piece_give_the_same_track(undisturbed, job, out):
    assert len(list(undisturbed.glob("tables/track_segments/*/*/*/part-*.parquet"))) == NUM_SEGMENTS
    assert read_table(undisturbed, "track_segments")["frame"].to_pylist() == list(range(NUM_FRAMES))
    whole = job.with_name("whole.yaml")
    whole.write_text(job.read_text().replace("segment_frames: 3", "segment_frames: 0"))
    shutil.copytree(undisturbed, out)
    assert "6 stages; 5 cached, 1 to run" in raytrack("track", whole, "--out", out, "--sequential")
    assert not list(out.glob("tables/track_s[eh]*/*/*/*/*")), "what was made for segments stays behind"
    name = "tracks/demo/tracked_params.npz"
    assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert float(np.abs(np.diff(Track.load(out / name).parameters.rotation.numpy(), axis=0)).max()) > 1e-4


def test_killed_in_a_segment_and_run_again_on_ray_gives_the_same_bytes(undisturbed, job, out):
    driver = subprocess.Popen(
        command("track", job, "--out", out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("tables/track_segments/*/*/*/part-*.parquet")) and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert driver.poll() is None, "the run ended before it could be killed"
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait(timeout=60)
    assert not (out / "tracks/demo/tracked_params.npz").exists()
    printed = raytrack("track", job, "--out", out)
    assert "track_shared done" not in printed
    assert "track_segments done" in printed
    assert contents(out) == contents(undisturbed)
    assert "0 to run" in raytrack("track", job, "--out", out, "--sequential")
    said = raytrack("status", out)
    assert "track_segments done" in said
