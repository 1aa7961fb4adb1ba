"""Sequences of one subject: one identity, found when all have been observed and held in each of their tracks."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from tiny_pipeline import contents

from raytrack.assets import asset_path
from raytrack.errors import ConfigError
from raytrack.export.union import union_datasets
from raytrack.fit.identity import Identity
from raytrack.fit.track import Track
from raytrack.job import load_job
from raytrack.tables.store import read_table

NUM_FRAMES = 5
OPTIONS = f"""
extract: {{max_frames: {NUM_FRAMES}}}
matting: none
track:
  rounds: 1
  num_key_frames: 3
  texture_size: 64
  final_texture_size: 64
  tracking_size_px: 96
  texture_image_size_px: 96
"""


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "raytrack", *map(str, arguments)]


def raytrack(*arguments, expected=0) -> str:
    """Run the command line in a process of its own."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Footage: the demo clip, a later part of it in pictures of another size, and an empty room."""
    folder = tmp_path_factory.mktemp("job")
    clip = cv2.VideoCapture(str(asset_path("demo/demo.mp4")))
    clip.set(cv2.CAP_PROP_POS_FRAMES, 40)
    for name in ("later", "empty"):
        (folder / name).mkdir()
    for frame in range(NUM_FRAMES):
        found, picture = clip.read()
        assert found
        cv2.imwrite(str(folder / f"later/{frame:06d}.png"), picture[24:-24])
        cv2.imwrite(str(folder / f"empty/{frame:06d}.png"), np.full_like(picture, 90))
    return folder


def written_job(folder, **sequences) -> str:
    """A job of videos of one subject, by name."""
    path = folder / f"{'-'.join(sequences)}.yaml"
    entries = [{"video": video, "name": name, "subject": "someone"} for name, video in sequences.items()]
    path.write_text(f"sequences: {json.dumps(entries)}\n{OPTIONS}")
    return path


@pytest.fixture(scope="module")
def job(folder):
    return written_job(folder, first="assets:demo/demo.mp4", later="later")


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    raytrack("run", job, "--out", out, "--sequential")
    return out


def track_of(out, name) -> Track:
    return Track.load(out / f"tracks/{name}/tracked_params.npz")


def test_both_tracks_and_their_datasets_have_one_identity(undisturbed, tmp_path):
    identity = Identity.load(undisturbed / "tracks/identity_someone/identity.npz")
    (row,) = read_table(undisturbed, "identities").to_pylist()
    assert row["members"] == ["first", "later"]
    assert float(identity.shape.abs().max()) > 0.01
    tracks = [track_of(undisturbed, name) for name in ("first", "later")]
    for track in tracks:
        assert np.array_equal(track.shape, identity.shape)
        assert np.array_equal(track.static_offset, identity.static_offset)
        assert np.array_equal(track.texture, identity.texture)
    assert not np.array_equal(tracks[0].lights, tracks[1].lights)
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["sequences"]) == {"first", "later"}
    assert all(entry["landmark_error_px"] < 4 for entry in summary["sequences"].values())
    assert union_datasets(
        [undisturbed / "export/first", undisturbed / "export/later"], undisturbed / "export/both"
    ).same_identity


def test_a_run_killed_in_the_joint_fit_ends_with_the_same_bytes(undisturbed, job, out):
    driver = subprocess.Popen(
        command("track", job, "--out", out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list((out / ".work/identity_someone").glob("progress-*")) and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert driver.poll() is None, "the run ended before it could be killed"
    assert not list(out.glob("tracks/*/tracked_params.npz")), "a track did not wait for its identity"
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait(timeout=60)
    raytrack("track", job, "--out", out)
    for name in ("identity_someone/identity.npz", "first/tracked_params.npz", "later/tracked_params.npz"):
        assert (out / "tracks" / name).read_bytes() == (undisturbed / "tracks" / name).read_bytes()
    assert "0 to run" in raytrack("track", job, "--out", out, "--sequential")
    assert contents(out).keys() < contents(undisturbed).keys()


def test_a_sequence_without_a_face_does_not_keep_the_others_from_theirs(folder, out):
    job = written_job(folder, later="later", room="empty")
    said = raytrack("track", job, "--out", out, "--sequential", expected=3)
    assert "room" in said
    (row,) = read_table(out, "identities").to_pylist()
    assert row["members"] == ["later"]
    assert np.array_equal(
        track_of(out, "later").shape, Identity.load(out / "tracks/identity_someone/identity.npz").shape
    )


def test_a_given_identity_is_held_and_another_one_tracks_anew(undisturbed, folder, out):
    given = undisturbed / "tracks/identity_someone/identity.npz"
    job = folder / "given.yaml"
    job.write_text(f"sequences: [{{video: later, name: later}}]\n{OPTIONS}  identity: {given}\n")
    raytrack("track", job, "--out", out, "--sequential")
    mine, joint = track_of(out, "later"), track_of(undisturbed, "later")
    assert np.array_equal(mine.parameters.pack(), joint.parameters.pack())
    assert not (out / "tracks/identity_someone").exists()
    job.write_text(job.read_text().replace(str(given), str(folder / "nothing.npz")))
    assert "cannot be read" in raytrack("track", job, "--out", out, "--sequential", expected=2)


@pytest.mark.parametrize(("option", "why"), [("preset: vhap", "vhap"), ("identity: x.npz", "leave one of them out")])
def test_a_joint_identity_is_refused_where_it_cannot_be_had(job, option, why):
    config = load_job(job)
    assert config.identity == "auto"
    path = job.with_name("refused.yaml")
    path.write_text(f"identity: joint\n{job.read_text()}  {option}\n")
    with pytest.raises(ConfigError, match=why):
        load_job(path).check_identity()
