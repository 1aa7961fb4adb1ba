"""From the videos of cameras that nobody calibrated to a dataset, by one command."""

import json

import numpy as np
import pytest
import rendered_rig as rig
import yaml
from scipy.spatial.transform import Rotation
from test_pipeline_recordings import FAST, raytrack

from raytrack.fit.track import Track
from raytrack.geometry.similarity import best_similarity
from raytrack.media.encode import write_video
from raytrack.tables.store import read_table

CAMERAS = {"left": "222200041", "middle": "222200037", "right": "222200047"}
SIZE_HW = (320, 234)


def write_videos(folder):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, serial in CAMERAS.items():
        lens = rig.pinhole(rig.LENSES[serial], SIZE_HW)
        frames = [rig.drawn(lens, vertices, rig.room(serial, SIZE_HW)) for vertices in rig.truth(rig.SEQUENCES[0])]
        paths.append(folder / f"anna_{name}.mp4")
        write_video(paths[-1], frames, 25)
    return paths


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uncalibrated")
    job = folder / "job.yaml"
    videos = [str(path) for path in write_videos(folder / "videos")]
    job.write_text(yaml.safe_dump({"track": {**FAST, "focal_ratio": 2.3}, "sequences": [{"videos": videos}]}))
    said = raytrack("run", job, "--out", folder / "out", "--sequential")
    assert "anna: " in said
    assert "3 cameras, worst " in said
    assert "cameras solved from the head (left f " in said
    return folder / "out"


def test_the_summary_tells_of_every_camera(out):
    entry = json.loads((out / "summary.json").read_text())["sequences"]["anna"]
    assert entry["cameras_solved"] is True
    assert list(entry["cameras"]) == list(CAMERAS)
    for name, scores in entry["cameras"].items():
        true_px = float(rig.pinhole(rig.LENSES[CAMERAS[name]], SIZE_HW).intrinsics[0, 0])
        assert scores["focal_px"] == pytest.approx(true_px, rel=0.4), "five frames say little of focal lengths"
        assert scores["landmark_error_px"] < 4
        assert scores["psnr_db"] > 22


def test_the_track_holds_the_cameras(out):
    track = Track.load(out / "tracks/anna/tracked_params.npz")
    assert [view.id for view in track.rig] == list(CAMERAS)
    assert track.gains is not None
    rows = read_table(out, "track_cameras").to_pylist()
    for view, row in zip(track.rig, rows, strict=True):
        np.testing.assert_allclose(row["cam_from_world"], view.camera.cam_from_world.numpy(), rtol=1e-6)
    assert np.isnan(np.array([row["intrinsics"] for row in read_table(out, "cameras").to_pylist()])).all()
    truth = [rig.pinhole(rig.LENSES[serial], SIZE_HW).cam_from_world[:, :3].numpy() for serial in CAMERAS.values()]
    own = [view.camera.cam_from_world[:, :3].numpy() for view in track.rig]
    for first, second in ((0, 1), (1, 2)):
        wrong = (own[first] @ own[second].T).T @ (truth[first] @ truth[second].T)
        assert np.rad2deg(Rotation.from_matrix(wrong).magnitude()) < 6


def test_the_face_is_found_but_for_place_and_scale(out):
    track = Track.load(out / "tracks/anna/tracked_params.npz")
    face = rig.head().region("face") & ~rig.head().region("mouth_interior")
    own = rig.head().vertices(track.parameters, track.shape, track.static_offset[0])[:, face].double()
    true = rig.truth(rig.SEQUENCES[0])[:, face].double()
    moved = best_similarity(own.reshape(-1, 3).numpy(), true.reshape(-1, 3).numpy())(own.reshape(-1, 3).numpy())
    assert 1000 * np.linalg.norm(moved - true.reshape(-1, 3).numpy(), axis=1).mean() < 4


def test_every_camera_is_drawn_and_exported(out):
    document = json.loads((out / "export/anna/transforms.json").read_text())
    assert {frame["camera_id"] for frame in document["frames"]} == set(CAMERAS)
    for name in CAMERAS:
        assert len(list((out / f"render/anna/color/cam_{name}").glob("*.png"))) == rig.NUM_FRAMES
        assert len(list((out / f"frames/anna/images/cam_{name}").glob("*.png"))) == rig.NUM_FRAMES
    assert (out / "preview/anna.mp4").stat().st_size > 1000


def test_again_there_is_nothing_to_do(out):
    track = (out / "tracks/anna/tracked_params.npz").stat().st_mtime_ns
    raytrack("run", out.parent / "job.yaml", "--out", out, "--sequential")
    assert (out / "tracks/anna/tracked_params.npz").stat().st_mtime_ns == track


def test_videos_that_are_no_rig_are_refused_in_words(out, tmp_path):
    first, second, _ = write_videos(tmp_path)
    frames = [np.full((*SIZE_HW, 3), 90, np.uint8)] * rig.NUM_FRAMES
    write_video(tmp_path / "anna_wall.mp4", frames, 25)
    said = raytrack(
        "track",
        first,
        second,
        tmp_path / "anna_wall.mp4",
        "--rig",
        "--out",
        tmp_path / "out",
        "--sequential",
        expected=1,
    )
    assert "camera wall cannot be placed: it sees the face in no frame; leave it out" in said
