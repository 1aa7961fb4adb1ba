import dataclasses

import numpy as np
import pytest
import torch
from synthetic_track import FOCAL_RATIO, head, make_track

from raytrack.errors import InputError
from raytrack.fit.identity import Identity
from raytrack.fit.npz import read_npz, write_npz
from raytrack.fit.rig import RigCamera
from raytrack.fit.track import Track, resized_albedo
from raytrack.geometry.camera import monocular_camera


def test_read_back_equals_written(tmp_path):
    track = make_track(untracked=(1,))
    track.save(tmp_path / "track.npz", base_albedo=head().albedo)
    loaded = Track.load(tmp_path / "track.npz")
    for field in dataclasses.fields(track.parameters):
        written, read = getattr(track.parameters, field.name), getattr(loaded.parameters, field.name)
        assert torch.equal(written, read), field.name
    for name in ("shape", "static_offset", "lights", "tracked"):
        assert torch.equal(getattr(track, name), getattr(loaded, name)), name
    for name in ("size_hw", "timestep_ids", "head_name", "head_sha256"):
        assert getattr(track, name) == getattr(loaded, name), name
    assert (track.texture - loaded.texture).abs().max() <= 0.5 / 65535 + 1e-7
    assert loaded.focal_px == pytest.approx(track.focal_px, rel=1e-7)


def test_a_loaded_track_saves_to_the_same_bytes_and_values(tmp_path):
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    make_track().save(first, base_albedo=head().albedo)
    loaded = Track.load(first)
    loaded.save(second, base_albedo=head().albedo)
    assert first.read_bytes() == second.read_bytes()
    assert torch.equal(Track.load(second).texture, loaded.texture)
    assert Track.load(second).focal_px == loaded.focal_px


def test_paths_may_be_strings(tmp_path):
    make_track().save(str(tmp_path / "track.npz"), base_albedo=head().albedo)
    name = str(tmp_path / "track.npz")
    assert torch.equal(Track.load(name).shape, Identity.load(name).shape)


def test_lengths_that_do_not_agree_are_refused():
    track = make_track()
    wrong = {"held_out": torch.zeros(track.num_frames + 1, dtype=torch.bool), "gains": torch.ones(2, 3)}
    for name, values in wrong.items():
        changed = dataclasses.replace(track)
        object.__setattr__(changed, name, values)  # Tests check shapes of arguments, other runs do not.
        with pytest.raises(ValueError, match=name):
            changed.__post_init__()


@pytest.mark.parametrize("missing", ["texture", "head_name", "shape"])
def test_half_an_identity_is_refused(tmp_path, missing):
    Identity.of_track(make_track()).save(tmp_path / "whole.npz")
    arrays = read_npz(tmp_path / "whole.npz")
    del arrays[missing]
    write_npz(tmp_path / "half.npz", arrays)
    with pytest.raises(InputError, match="neither a raytrack track nor an identity"):
        Identity.load(tmp_path / "half.npz")


def test_names_and_shapes_are_those_of_the_layout(tmp_path):
    track = make_track(num_frames=4, texture_size=64)
    track.save(tmp_path / "track.npz", base_albedo=head().albedo)
    with np.load(tmp_path / "track.npz", allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive.files}
        focal, size, frames = archive["focal_length"], archive["image_size"], archive["n_processed_frames"]
        base, texture = resized_albedo(head().albedo, 64), archive["texture"] / 65535
        np.testing.assert_allclose(archive["tex_extra"].transpose(1, 2, 0), texture - base.numpy(), atol=1e-6)
        floats = {name: archive[name].dtype for name in archive.files if archive[name].dtype.kind == "f"}
    num_vertices, num_expressions = head().num_vertices, head().num_expressions
    assert shapes == {
        "rotation": (4, 3),
        "translation": (4, 3),
        "neck_pose": (4, 3),
        "jaw_pose": (4, 3),
        "eyes_pose": (4, 6),
        "shape": (150,),
        "expr": (4, num_expressions),
        "static_offset": (1, num_vertices, 3),
        "tex_extra": (3, 64, 64),
        "lights": (9, 3),
        "focal_length": (1,),
        "timestep_id": (4,),
        "image_size": (2,),
        "n_processed_frames": (),
        "tracked": (4,),
        "texture": (64, 64, 3),
        "head_name": (),
        "head_sha256": (),
        "format_version": (),
    }
    assert set(floats.values()) == {np.dtype(np.float32)}
    assert focal[0] == np.float32(FOCAL_RATIO)
    assert size.tolist() == [120, 96]
    assert frames == 4


def test_no_offset_is_no_entry(tmp_path):
    make_track(offset=False).save(tmp_path / "track.npz", base_albedo=head().albedo)
    with np.load(tmp_path / "track.npz") as archive:
        assert "static_offset" not in archive.files
    assert Track.load(tmp_path / "track.npz").static_offset is None


def test_bytes_do_not_depend_on_the_clock(tmp_path, monkeypatch):
    arrays = {"a": np.arange(5.0), "scalar": np.array(3)}
    write_npz(tmp_path / "now.npz", arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    write_npz(tmp_path / "later.npz", arrays)
    assert (tmp_path / "now.npz").read_bytes() == (tmp_path / "later.npz").read_bytes()
    with np.load(tmp_path / "now.npz") as archive:
        assert archive["scalar"].shape == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["later.npz", "now.npz"]


def test_pickled_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_npz(tmp_path / "a.npz", {"a": np.array([{}], dtype=object)})
    np.savez(tmp_path / "b.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="not a readable"):
        Track.load(tmp_path / "b.npz")


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "other"])
def test_a_bad_file_is_an_input_error(tmp_path, damage):
    path = tmp_path / "track.npz"
    make_track().save(path, base_albedo=head().albedo)
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        write_npz(path, {"rotation": np.zeros((1, 3), np.float32)})
    with pytest.raises(InputError, match="track"):
        Track.load(path)


def test_fields_must_agree_on_the_number_of_frames():
    with pytest.raises(ValueError, match="same number of frames"):
        dataclasses.replace(make_track(num_frames=3), timestep_ids=("0", "1"))


def test_camera_is_the_monocular_one():
    camera = make_track(size_hw=(120, 96)).camera
    centre = camera.project(torch.zeros(1, 3))
    assert centre[0].tolist() == [48.0, 60.0]
    assert camera.intrinsics[0, 0] == pytest.approx(FOCAL_RATIO * 120)


def rig_of_two() -> tuple[RigCamera, ...]:
    first = monocular_camera(torch.tensor(130.0), (120, 96))
    turned = dataclasses.replace(first, cam_from_world=first.cam_from_world + 0.25, size_hw=(96, 120))
    return (RigCamera(index=3, id="left", camera=first), RigCamera(index=8, id="right", camera=turned))


def test_a_rig_is_read_back_as_written(tmp_path):
    track = dataclasses.replace(make_track(), focal_px=None, rig=rig_of_two())
    track.save(tmp_path / "track.npz", base_albedo=head().albedo)
    loaded = Track.load(tmp_path / "track.npz")
    assert loaded.focal_px is None
    for written, read in zip(track.cameras, loaded.cameras, strict=True):
        assert (written.index, written.id, written.camera.size_hw) == (read.index, read.id, read.camera.size_hw)
        assert torch.equal(written.camera.intrinsics, read.camera.intrinsics)
        assert torch.equal(written.camera.cam_from_world, read.camera.cam_from_world)
    with np.load(tmp_path / "track.npz") as arrays:
        assert "focal_length" not in arrays


def test_a_track_has_a_focal_length_or_a_rig():
    with pytest.raises(ValueError, match="either a focal length or"):
        dataclasses.replace(make_track(), rig=rig_of_two())
