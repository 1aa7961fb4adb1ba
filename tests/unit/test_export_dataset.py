import dataclasses
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_track import head, make_alpha, make_image, make_track, make_views, read_png

from raytrack.errors import InputError
from raytrack.export.config import ExportConfig
from raytrack.export.formats import write_dataset
from raytrack.export.head_files import read_obj_vertices
from raytrack.export.layout import Dataset
from raytrack.export.scene import ScenePicture
from raytrack.export.splits import num_train_timesteps
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel

SIZE_HW = (120, 96)
FRAME_KEYS = {
    "timestep_index",
    "timestep_index_original",
    "timestep_id",
    "camera_index",
    "camera_id",
    "cx",
    "cy",
    "fl_x",
    "fl_y",
    "h",
    "w",
    "camera_angle_x",
    "camera_angle_y",
    "transform_matrix",
    "file_path",
    "fg_mask_path",
}


def write(
    folder: Path, track: Track, config: ExportConfig | None = None, model: HeadModel | None = None, **options
) -> Dataset:
    num_threads = options.pop("num_threads", 1)
    views = make_views(track, **options)
    return write_dataset(track, model or head(), folder, config or ExportConfig(), views=views, num_threads=num_threads)


def transforms(folder: Path, split: str = "") -> dict:
    return json.loads((folder / f"transforms{split}.json").read_text(encoding="utf-8"))


def flame_like(model: HeadModel) -> HeadModel:
    return dataclasses.replace(model, name="flame2023", family="flame")


def test_layout_of_a_head_that_is_not_flame(tmp_path):
    result = write(tmp_path / "s", make_track(num_frames=3))
    assert (result.num_frames, result.num_train, result.num_test) == (3, 3, 0)
    names = {path.relative_to(tmp_path / "s").as_posix() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    per_timestep = {
        name.format(t)
        for t in range(3)
        for name in (
            "images/{:05d}_00.png",
            "fg_masks/{:05d}_00.png",
            "head_param/{:05d}.npz",
            "meshes/{:05d}.obj",
            "expressions/{:05d}.txt",
        )
    }
    splits = {f"transforms{split}.json" for split in ("", "_train", "_val", "_test")}
    assert names == per_timestep | splits | {"canonical_head_param.npz", "canonical.obj"}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_layout_of_flame(tmp_path):
    write(tmp_path / "s", make_track(num_frames=2), model=flame_like(head()))
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "canonical_flame_param.npz",
        "fg_masks",
        "flame_param",
        "images",
        "transforms.json",
        "transforms_test.json",
        "transforms_train.json",
        "transforms_val.json",
    ]
    frame = transforms(tmp_path / "s")["frames"][1]
    assert set(frame) == FRAME_KEYS | {"flame_param_path"}
    assert frame["flame_param_path"] == "flame_param/00001.npz"


def test_frame_keys_and_intrinsics(tmp_path):
    track = make_track(num_frames=4, untracked=(0,))
    write(tmp_path / "s", track)
    document = transforms(tmp_path / "s")
    for index, frame in enumerate(document["frames"]):
        assert set(frame) == FRAME_KEYS | {"head_param_path", "mesh_path", "exp_path"}
        assert frame["timestep_index"] == index
        assert frame["timestep_index_original"] == index + 1
        assert frame["timestep_id"] == f"{index + 1:06d}"
        for key in [key for key in frame if key.endswith("_path")]:
            assert (tmp_path / "s" / frame[key]).is_file(), key
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y"):
            assert frame[key] == document[key], key
    assert document["fl_x"] == pytest.approx(track.focal_px)
    assert document["fl_y"] == document["fl_x"]
    assert (document["cx"], document["cy"], document["w"], document["h"]) == (48, 60, 96, 120)
    assert document["camera_angle_x"] == pytest.approx(2 * math.atan(48 / track.focal_px))
    assert document["camera_angle_y"] == pytest.approx(2 * math.atan(60 / track.focal_px))
    assert document["timestep_indices"] == [0, 1, 2]
    assert document["camera_indices"] == [0]


def test_the_mean_head_is_the_origin_and_the_camera_moved_with_it(tmp_path):
    track = make_track(num_frames=5)
    result = write(tmp_path / "s", track)
    mean = track.parameters.translation.double().mean(dim=0).numpy()
    np.testing.assert_allclose(result.origin_m, mean, atol=1e-9)
    translations = [np.load(path)["translation"] for path in sorted((tmp_path / "s" / "head_param").iterdir())]
    np.testing.assert_allclose(np.mean(translations, axis=0), 0, atol=1e-7)
    matrix = np.array(transforms(tmp_path / "s")["frames"][2]["transform_matrix"])
    np.testing.assert_allclose(matrix[:3, :3], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(matrix[:3, 3], np.array([0, 0, 1]) - mean, atol=1e-6)
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])


def test_parameter_files_hold_what_readers_expect(tmp_path):
    track = make_track(num_frames=2, offset=False)
    write(tmp_path / "s", track)
    arrays = np.load(tmp_path / "s" / "head_param" / "00001.npz", allow_pickle=False)
    assert {name: arrays[name].shape for name in arrays.files} == {
        "translation": (1, 3),
        "rotation": (1, 3),
        "neck_pose": (1, 3),
        "jaw_pose": (1, 3),
        "eyes_pose": (1, 6),
        "shape": (150,),
        "expr": (1, head().num_expressions),
        "static_offset": (1, head().num_vertices, 3),
    }
    assert not arrays["static_offset"].any()
    np.testing.assert_array_equal(arrays["jaw_pose"], track.parameters.jaw_pose[1:].numpy())
    np.testing.assert_array_equal(arrays["expr"], track.parameters.expression[1:].numpy())


def test_the_canonical_head_rests_with_its_mouth_open(tmp_path):
    track = make_track(num_frames=2)
    write(tmp_path / "s", track, ExportConfig(canonical_jaw_rad=0.25))
    arrays = np.load(tmp_path / "s" / "canonical_head_param.npz")
    np.testing.assert_array_equal(arrays["jaw_pose"], np.array([[0.25, 0, 0]], np.float32))
    for name in ("translation", "rotation", "neck_pose", "eyes_pose", "expr"):
        assert not arrays[name].any(), name
    np.testing.assert_array_equal(arrays["shape"], track.shape.numpy())
    np.testing.assert_array_equal(arrays["static_offset"], track.static_offset.numpy())
    assert ExportConfig().canonical_jaw_rad == 0.3
    texts = (tmp_path / "s" / "canonical.obj").read_text().splitlines()
    assert sum(line.startswith("vt ") for line in texts) == len(head().uv)
    assert sum(line.startswith("f ") for line in texts) == len(head().faces)


def test_frames_are_named_by_their_place_in_the_recording(tmp_path):
    track = make_track(num_frames=4, untracked=(2,))
    (view,) = make_views(track)
    every_other = dataclasses.replace(view, source_index=np.arange(3, 11, 2))
    write_dataset(track, head(), tmp_path / "s", ExportConfig(), views=[every_other])
    frames = transforms(tmp_path / "s")["frames"]
    assert [frame["timestep_index"] for frame in frames] == [0, 1, 2]
    assert [frame["timestep_index_original"] for frame in frames] == [3, 5, 9]
    for frame, row in zip(frames, (0, 1, 3), strict=True):
        rotation = np.load(tmp_path / "s" / frame["head_param_path"])["rotation"]
        np.testing.assert_array_equal(rotation[0], track.parameters.rotation[row].numpy())


def test_frames_without_a_face_are_left_out(tmp_path):
    track = make_track(num_frames=5, untracked=(1, 4))
    seen = []

    def load_image(index: int) -> np.ndarray:
        seen.append(index)
        return make_image(index, SIZE_HW)

    write(tmp_path / "s", track, load_image=load_image)
    frames = transforms(tmp_path / "s")["frames"]
    assert [frame["timestep_index"] for frame in frames] == [0, 1, 2]
    assert [frame["timestep_index_original"] for frame in frames] == [0, 2, 3]
    assert seen == [0, 2, 3]
    rotation = np.load(tmp_path / "s" / frames[1]["head_param_path"])["rotation"]
    np.testing.assert_array_equal(rotation[0], track.parameters.rotation[2].numpy())
    mean = track.parameters.translation[[0, 2, 3]].double().mean(dim=0)
    np.testing.assert_allclose(frames[0]["transform_matrix"][0][3], -float(mean[0]), atol=1e-6)


def test_nothing_to_export_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no frame"):
        write(tmp_path / "s", make_track(num_frames=2, untracked=(0, 1)))


@pytest.mark.parametrize(("count", "train"), [(1, 1), (2, 2), (3, 3), (4, 3), (10, 7), (30, 21), (190, 133)])
def test_split_rounds_the_training_share_up(count, train):
    assert num_train_timesteps(count, 0.3) == train
    assert train == -(-7 * count // 10)


def test_splits_are_the_first_and_the_last_timesteps(tmp_path):
    write(tmp_path / "s", make_track(num_frames=5), ExportConfig(test_fraction=0.5))
    whole = transforms(tmp_path / "s")["frames"]
    train, val, test = (transforms(tmp_path / "s", split) for split in ("_train", "_val", "_test"))
    assert train["frames"] == whole[:3]
    assert test["frames"] == whole[3:]
    assert val["frames"] == []
    assert (train["timestep_indices"], test["timestep_indices"]) == ([0, 1, 2], [3, 4])


def test_each_background_is_applied(tmp_path):
    track = make_track(num_frames=2)
    pictures = {}
    for color in ("white", "black", "transparent"):
        write(tmp_path / color, track, ExportConfig(background_color=color))
        pictures[color] = read_png(tmp_path / color / "images" / "00001_00.png")
    alpha = read_png(tmp_path / "white" / "fg_masks" / "00001_00.png")
    image, outside, inside = make_image(1, SIZE_HW), alpha == 0, alpha == 255
    assert outside.any()
    assert inside.any()
    assert (pictures["white"][outside] == 255).all()
    assert (pictures["black"][outside] == 0).all()
    for color in ("white", "black"):
        np.testing.assert_array_equal(pictures[color][inside], image[inside])
    np.testing.assert_array_equal(pictures["transparent"][..., :3], image)
    np.testing.assert_array_equal(pictures["transparent"][..., 3], alpha)


def test_half_transparent_pixels_mix_with_the_background():
    picture = ScenePicture(image=np.full((1, 1, 3), 100, np.uint8), alpha=np.full((1, 1), 51, np.uint8))
    assert picture.over("white")[0, 0].tolist() == [224] * 3
    assert picture.over("black")[0, 0].tolist() == [20] * 3


def test_alpha_is_the_matte_faded_below_the_neck_line(tmp_path):
    track = make_track(num_frames=1)
    write(tmp_path / "matted", track)
    write(tmp_path / "unmatted", track, matted=False)
    write(tmp_path / "wide", track, ExportConfig(neck_fade=0.3), matted=False)
    alphas = {name: read_png(tmp_path / name / "fg_masks" / "00000_00.png") for name in ("matted", "unmatted", "wide")}
    neck = alphas["unmatted"]
    assert (neck[: SIZE_HW[0] // 2] == 255).all()
    assert (neck[-1] == 0).any()
    np.testing.assert_allclose(alphas["matted"], make_alpha(0, SIZE_HW) * (neck / 255.0), atol=1)

    def width_of_ramp(alpha: np.ndarray) -> int:
        return int(((alpha > 0) & (alpha < 255)).sum(axis=0).max())

    assert 2 <= width_of_ramp(neck) <= 5
    assert 25 <= width_of_ramp(alphas["wide"]) <= 35


def test_meshes_are_the_tracked_vertices_in_the_datasets_world(tmp_path):
    track = make_track(num_frames=3)
    result = write(tmp_path / "s", track)
    expected = head().vertices(track.parameters, track.shape, track.static_offset[0]) - torch.tensor(result.origin_m)
    for index, frame in enumerate(transforms(tmp_path / "s")["frames"]):
        mesh = read_obj_vertices(tmp_path / "s" / frame["mesh_path"])
        np.testing.assert_allclose(mesh, expected[index].numpy(), atol=1e-6)
        coefficients = np.loadtxt(tmp_path / "s" / frame["exp_path"])
        np.testing.assert_allclose(coefficients, track.parameters.expression[index].numpy(), atol=1e-6)


def test_bytes_are_the_same_every_time_and_old_files_go(tmp_path):
    write(tmp_path / "first", make_track(num_frames=3))
    write(tmp_path / "second", make_track(num_frames=4, seed=1))
    write(tmp_path / "second", make_track(num_frames=3))

    def content(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_an_interrupted_export_leaves_the_old_one(tmp_path):
    write(tmp_path / "s", make_track(num_frames=2))

    def stop(index: int) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", make_track(num_frames=4), load_image=stop)
    assert len(transforms(tmp_path / "s")["frames"]) == 2


@pytest.mark.parametrize(
    "values", [{"test_fraction": 1.0}, {"neck_fade": -0.1}, {"png_compression": 10}, {"preview_width_px": 5}]
)
def test_config_refuses_values_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ExportConfig(**values)


def test_nothing_depends_on_the_number_of_threads(tmp_path):
    track = make_track(num_frames=9, untracked=(2,))
    threads: set[int] = set()
    together = threading.Barrier(2, timeout=30)

    def load_image(index: int) -> np.ndarray:
        threads.add(threading.get_ident())
        if index < 2:
            together.wait()  # two timesteps are under way at once
        return make_image(index, track.size_hw)

    one = write(tmp_path / "1", track)
    three = write(tmp_path / "3", track, load_image=load_image, num_threads=3)
    assert one == three
    assert len(threads) > 1
    content = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("1", "3")
    ]
    assert content[0] == content[1]


def test_a_fault_ends_the_work(tmp_path):
    asked: list[int] = []

    def load_image(index: int) -> np.ndarray:
        asked.append(index)
        if index == 1:
            raise InputError("the picture is gone")
        return make_image(index, SIZE_HW)

    with pytest.raises(InputError, match="gone"):
        write(tmp_path / "s", make_track(num_frames=40), load_image=load_image, num_threads=2)
    assert len(asked) < 40
    assert not (tmp_path / "s").exists()
