"""Datasets of calibrated rigs: files, keys, splits, and each camera's own intrinsics."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_track import CAPTURE_FROM_WORLD, head, make_rig, make_track, make_view, make_views, read_png

from raytrack.errors import InputError
from raytrack.export.cameras import camera_from_record
from raytrack.export.config import ExportConfig
from raytrack.export.formats import write_dataset
from raytrack.export.head_files import read_obj_vertices
from raytrack.export.layout import Dataset
from raytrack.fit.track import Track
from raytrack.geometry.camera import GL_FROM_CV
from raytrack.head.parameters import FrameParameters

SIZES_HW = ((120, 96), (90, 100))


def rig(num_frames: int = 4, *, untracked: tuple[int, ...] = (1,), **options) -> Track:
    options.setdefault("sizes_hw", SIZES_HW)
    return make_rig(make_track(num_frames=num_frames, untracked=untracked), **options)


def write(folder: Path, track: Track, **options) -> Dataset:
    return write_dataset(track, head(), folder, ExportConfig(**options), views=make_views(track))


def transforms(folder: Path, split: str = "") -> dict:
    return json.loads((folder / f"transforms{split}.json").read_text(encoding="utf-8"))


def test_files_are_named_by_timestep_and_place_in_the_rig(tmp_path):
    track = rig(indices=(3, 8, 15))
    result = write(tmp_path / "s", track)
    assert (result.num_timesteps, result.num_frames) == (3, 9)
    expected = [f"{timestep:05d}_{index:02d}.png" for timestep in range(3) for index in (3, 8, 15)]
    for name in ("images", "fg_masks"):
        assert sorted(path.name for path in (tmp_path / "s" / name).iterdir()) == expected
    frames = transforms(tmp_path / "s")["frames"]
    assert [Path(frame["file_path"]).name for frame in frames] == expected
    assert [frame["camera_index"] for frame in frames] == [3, 8, 15] * 3
    assert [frame["camera_id"] for frame in frames] == ["222003", "222008", "222015"] * 3
    assert [frame["timestep_index"] for frame in frames] == [0] * 3 + [1] * 3 + [2] * 3
    assert [frame["timestep_index_original"] for frame in frames] == [0] * 3 + [2] * 3 + [3] * 3
    assert len(list((tmp_path / "s" / "head_param").iterdir())) == 3
    assert {frame["mesh_path"] for frame in frames} == {f"meshes/{timestep:05d}.obj" for timestep in range(3)}


def test_every_camera_keeps_its_own_intrinsics_and_size(tmp_path):
    track = rig()
    write(tmp_path / "s", track)
    for split in ("", "_train", "_val", "_test"):
        assert not transforms(tmp_path / "s", split).keys() & {"fl_x", "cx", "w", "camera_angle_x"} or split == "_val"
    for frame in transforms(tmp_path / "s")["frames"]:
        camera = track.cameras[frame["camera_index"]].camera
        matrix = camera.intrinsics.numpy()
        np.testing.assert_allclose(
            [frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"]], matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
        )
        assert (frame["h"], frame["w"]) == camera.size_hw
        assert read_png(tmp_path / "s" / frame["file_path"]).shape == (*camera.size_hw, 3)
        assert frame["camera_angle_x"] == pytest.approx(2 * np.arctan(frame["w"] / (2 * frame["fl_x"])))


def test_one_camera_stands_above_where_it_is_that_of_all_frames(tmp_path):
    write(tmp_path / "s", rig())
    val = transforms(tmp_path / "s", "_val")
    assert {frame["camera_index"] for frame in val["frames"]} == {2}
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        assert {val[key]} == {frame[key] for frame in val["frames"]}


@pytest.mark.parametrize(("indices", "validating"), [((0, 1, 2), 2), ((0, 8, 15), 8), ((8,), None)])
def test_splits(tmp_path, indices, validating):
    yaws = (-30, 0, 30)[: len(indices)]
    result = write(tmp_path / "s", rig(num_frames=5, untracked=(), yaws_deg=yaws, indices=indices))
    splits = {name: transforms(tmp_path / "s", f"_{name}") for name in ("train", "val", "test")}
    learning = [index for index in indices if index != validating]
    assert {frame["camera_index"] for frame in splits["train"]["frames"]} == set(learning)
    assert splits["train"]["camera_indices"] == learning
    assert splits["val"]["camera_indices"] == ([] if validating is None else [validating])
    assert splits["test"]["camera_indices"] == list(indices)
    assert splits["train"]["timestep_indices"] == [0, 1, 2, 3]
    assert splits["val"]["timestep_indices"] == ([] if validating is None else [0, 1, 2, 3])
    assert splits["test"]["timestep_indices"] == [4]
    counts = [len(splits[name]["frames"]) for name in ("train", "val", "test")]
    assert [result.num_train, result.num_val, result.num_test] == counts
    assert sum(counts) == result.num_frames == 5 * len(indices)


def test_every_camera_shows_its_own_picture_above_its_own_neck_line(tmp_path):
    track = rig(num_frames=1, untracked=(), focal_ratio=1.1)
    views = tuple(
        make_view(track, camera=camera, load_image=lambda _, level=camera: grey(track, level), matted=False)
        for camera in range(3)
    )
    write_dataset(track, head(), tmp_path / "s", ExportConfig(background_color="black"), views=views)
    points = head().points
    vertices = head().vertices(track.parameters, track.shape, track.static_offset[0])[0]
    for frame in transforms(tmp_path / "s")["frames"]:
        camera = track.cameras[frame["camera_index"]].camera
        shown = read_png(tmp_path / "s" / frame["file_path"])
        alpha = read_png(tmp_path / "s" / frame["fg_mask_path"])
        assert set(np.unique(shown[alpha == 255])) == {100 + frame["camera_index"]}
        bust, nose = camera.project(vertices[[points["bust_front_lowest"], int(vertices[:, 2].argmax())]]).numpy()
        assert 60 < alpha[int(bust[1]), int(bust[0])] < 200, "the line goes through the bust's lowest point"
        assert alpha[int(nose[1]), int(nose[0])] == 255


def grey(track: Track, camera: int) -> np.ndarray:
    return np.full((*track.cameras[camera].camera.size_hw, 3), 100 + camera, np.uint8)


def test_meshes_project_alike_before_and_after(tmp_path):
    track = rig()
    write(tmp_path / "s", track)
    expected = head().vertices(track.parameters, track.shape, track.static_offset[0])
    for frame in transforms(tmp_path / "s")["frames"]:
        mesh = torch.from_numpy(read_obj_vertices(tmp_path / "s" / frame["mesh_path"])).float()
        before = track.cameras[frame["camera_index"]].camera.project(expected[frame["timestep_index_original"]])
        np.testing.assert_allclose(camera_from_record(frame).project(mesh).numpy(), before.numpy(), atol=0.01)


def test_the_captures_world_is_the_calibrations_own(tmp_path):
    track = rig(num_frames=2, untracked=())
    result = write(tmp_path / "s", track, world="capture")
    assert result.origin_m == (0, 0, 0)
    for frame in transforms(tmp_path / "s")["frames"]:
        # What the calibration said: cameras in the capture's world, OpenCV axes.
        camera = track.cameras[frame["camera_index"]].camera
        cam_from_capture = camera.cam_from_world[:, :3] @ CAPTURE_FROM_WORLD.T, camera.cam_from_world[:, 3]
        matrix = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(matrix[:3, :3] @ GL_FROM_CV.numpy(), cam_from_capture[0].T.numpy(), atol=1e-6)
        position = -cam_from_capture[0].T @ cam_from_capture[1]
        np.testing.assert_allclose(matrix[:3, 3], position.numpy(), atol=1e-6)
        mesh = read_obj_vertices(tmp_path / "s" / frame["mesh_path"])
        posed = posed_from_file(tmp_path / "s" / frame["head_param_path"])
        np.testing.assert_allclose(posed, mesh, atol=3e-6)
        tracked = head().vertices(track.parameters, track.shape, track.static_offset[0])
        expected = tracked[frame["timestep_index"]] @ CAPTURE_FROM_WORLD.T
        np.testing.assert_allclose(mesh, expected.numpy(), atol=2e-6)


def posed_from_file(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    names = ("rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose")
    parameters = FrameParameters(expression=arrays["expr"], **{name: arrays[name] for name in names})
    return head().vertices(parameters, arrays["shape"], arrays["static_offset"][0])[0].numpy()


def test_the_captures_world_must_be_known(tmp_path):
    track = dataclasses.replace(rig(), capture_from_world=None)
    with pytest.raises(InputError, match="does not know the world of its capture"):
        write(tmp_path / "s", track, world="capture")
    # A single camera's own world is the tracker's.
    single = make_track(num_frames=2)
    write(tmp_path / "s", single, world="capture")
    matrix = transforms(tmp_path / "s")["frames"][0]["transform_matrix"]
    np.testing.assert_allclose(matrix, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], atol=1e-7)


def test_a_tracks_file_keeps_the_captures_world(tmp_path):
    track = rig()
    track.save(tmp_path / "t.npz", base_albedo=head().albedo)
    loaded = Track.load(tmp_path / "t.npz")
    assert loaded.capture_from_world is not None
    torch.testing.assert_close(loaded.capture_from_world, CAPTURE_FROM_WORLD)
    assert Track.load(tmp_path / "t.npz").cameras[1].id == "222001"
    make_track(num_frames=2).save(tmp_path / "m.npz", base_albedo=head().albedo)
    assert Track.load(tmp_path / "m.npz").capture_from_world is None


def test_views_must_be_those_of_the_cameras(tmp_path):
    track = rig()
    with pytest.raises(ValueError, match="3 cameras, but 2 views"):
        write_dataset(track, head(), tmp_path / "s", ExportConfig(), views=make_views(track)[:2])
    views = make_views(track)
    with pytest.raises(ValueError, match="camera 222000 is"):
        write_dataset(track, head(), tmp_path / "s", ExportConfig(), views=(views[1], views[0], views[2]))


def test_nothing_depends_on_the_number_of_threads(tmp_path):
    track = rig(num_frames=6)
    for threads in (1, 3):
        write_dataset(
            track, head(), tmp_path / str(threads), ExportConfig(), views=make_views(track), num_threads=threads
        )
    content = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("1", "3")
    ]
    assert content[0] == content[1]
    assert len(content[0]) == 5 * (3 * 2 + 3) + 4 + 2


def test_head_centric_cameras_and_the_captures_world_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        ExportConfig(head_centric=True, world="capture")
