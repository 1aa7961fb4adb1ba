"""NeRSemble v1 and v2 as sequences of calibrated cameras: what is read is what the cameras saw, corrected once.

Where a dot is seen after reading must be where the camera that comes with it projects its point: that holds only if
intrinsics, downsampling and distortion are each applied, and applied once.
"""

import numpy as np
import pytest
import torch
from nersemble_files import (
    POINTS,
    SIZE_HW,
    as_camera,
    camera_params,
    centroids,
    dots,
    flat,
    intrinsics,
    make_v1,
    make_v2,
    numbered,
    pose,
    timestep_of,
    write_json,
)

from raytrack.datasets.config import CameraSubsetConfig, CaptureConfig, SubsetConfig
from raytrack.datasets.nersemble_layout import rig
from raytrack.datasets.nersemble_v1 import nersemble_v1_sequence
from raytrack.datasets.registry import calibrated_recording
from raytrack.errors import ConfigError, InputError
from raytrack.media.config import ExtractConfig

BARREL = [-0.9, 0.4, 0.004, -0.003, 0.0]
MAKERS = {"nersemble-v1": (make_v1, "EMO-1"), "nersemble-v2": (make_v2, "EMO-1-shout+laugh")}
KINDS = pytest.mark.parametrize("kind", list(MAKERS))
SERIALS = rig()["cameras"]


def read(kind, root, capture=None, extract=None, **more):
    return calibrated_recording(kind, root, "074", MAKERS[kind][1], capture=capture, extract=extract, **more)


def simple_params(*names: str) -> dict:
    return camera_params({name: pose(10.0 * i) for i, name in enumerate(names)}, intrinsics())


def dot_error_px(sequence, camera: int) -> float:
    """Largest distance from a dot to its point's projection, in pixels of what was read."""
    (picture,) = sequence.read(0, 1, camera=camera)
    calibrated = as_camera(sequence.cameras[camera].calibration)
    assert calibrated.size_hw == sequence.size_hw == picture.rgb.shape[:2]
    expected = calibrated.project(torch.from_numpy(POINTS).float()).numpy()
    scale = picture.rgb.shape[0] / SIZE_HW[0]
    return float(np.linalg.norm(centroids(picture.rgb, expected, 14 * scale) - expected, axis=1).max())


@KINDS
@pytest.mark.parametrize("factor", [1, 3, 4])
def test_dots_are_where_the_cameras_say(tmp_path, kind, factor):
    poses = {"1001": pose(-25), "1002": pose(0), "1003": pose(30)}
    matrices = {"1001": intrinsics(7000, 60, -80), "1002": intrinsics(8000), "1003": intrinsics(8800, -90, 100)}
    lenses = {"1001": BARREL, "1002": [0.0] * 5, "1003": [-c for c in BARREL]}
    params = camera_params(poses, matrices, distortion=lenses)

    def paint(camera, timestep):
        return dots(matrices[camera], poses[camera], lenses[camera])

    MAKERS[kind][0](tmp_path, params, paint, timesteps=(0,))
    sequence = read(kind, tmp_path, CaptureConfig(downsample=factor))
    assert [camera.name for camera in sequence.cameras] == ["1001", "1002", "1003"]
    for camera in range(3):
        assert dot_error_px(sequence, camera) * factor < 0.5

    # The test would notice if something were left out, or done twice.
    bent = read(kind, tmp_path, CaptureConfig(downsample=factor, undistort=False))
    assert dot_error_px(bent, 0) * factor > 1.5
    assert dot_error_px(bent, 1) * factor < 0.5
    (straight,) = sequence.read(0, 1, camera=0)
    twice = sequence.cameras[0].correction.undistortion.apply(straight.rgb)
    expected = as_camera(sequence.cameras[0].calibration).project(torch.from_numpy(POINTS).float()).numpy()
    assert np.linalg.norm(centroids(twice, expected, 14 / factor) - expected, axis=1).max() * factor > 1.5
    swapped = sequence.cameras[2].calibration.intrinsics - sequence.cameras[0].calibration.intrinsics
    assert np.abs(swapped[:2]).max() * factor > 10
    assert sequence.cameras[1].correction.undistortion is None


@KINDS
def test_downsampling_shrinks_pictures_and_intrinsics_once(tmp_path, kind):
    MAKERS[kind][0](tmp_path, simple_params("1"), numbered((840, 576)), timesteps=(0,))
    sizes, focals = [], []
    for factor in (1, 2, 4):
        sequence = read(kind, tmp_path, CaptureConfig(downsample=factor))
        (picture,) = sequence.read()
        assert picture.rgb.shape[:2] == sequence.size_hw
        sizes.append(sequence.size_hw)
        focals.append(sequence.cameras[0].calibration.intrinsics[0, 0])
    assert sizes == [(840, 576), (420, 288), (210, 144)]
    np.testing.assert_allclose(focals, [8000 * 576 / 2200 / factor for factor in (1, 2, 4)])


def affine(gain: float, offset: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = [[gain, 0.05, 0.0], [0.1, 0.8, -0.05], [-0.1, 0.0, 1.1]]
    matrix[:3, 3] = offset
    return matrix


def test_v1_colours_are_corrected_once(tmp_path):
    colours = {"1": (180, 120, 90), "2": (60, 140, 200)}
    corrections = {"1": affine(0.7, (0.05, -0.02, 0.1)), "2": affine(1.2, (-0.06, 0.04, 0.0))}
    make_v1(tmp_path, simple_params("1", "2"), flat(colours), timesteps=(0,), colours=corrections)
    sequence = read("nersemble-v1", tmp_path)
    for index, name in enumerate(colours):
        matrix, before = corrections[name], np.array(colours[name]) / 255

        def once(rgb, matrix=matrix):
            # Written out: output channel c is the sum over input channels k of rgb[k] · A[k, c], plus A[c, 3].
            return np.array([sum(rgb[k] * matrix[k, c] for k in range(3)) + matrix[c, 3] for c in range(3)])

        (picture,) = sequence.read(camera=index)
        seen = picture.rgb.reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(seen, once(before) * 255, atol=3)
        assert np.abs(seen - before * 255).max() > 10
        assert np.abs(seen - once(once(before)) * 255).max() > 10
        assert np.abs(seen - (matrix[:3, :3] @ before + matrix[:3, 3]) * 255).max() > 10, "A from the wrong side"
        plate = sequence.cameras[index].read_clean_plate()
        np.testing.assert_array_equal(plate.rgb, picture.rgb)
    (plain,) = read("nersemble-v1", tmp_path, CaptureConfig(color_correction=False)).read()
    np.testing.assert_allclose(plain.rgb.reshape(-1, 3).mean(axis=0), colours["1"], atol=2)


def linear(encoded: np.ndarray) -> np.ndarray:
    return np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in encoded])


def encoded(values: np.ndarray) -> np.ndarray:
    return np.array([c * 12.92 if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in np.clip(values, 0, 1)])


def test_v2_colours_are_corrected_once_in_linear_light(tmp_path):
    colours = {"1": (180, 120, 90), "2": (60, 140, 200)}
    rng = np.random.default_rng(0)
    corrections = {}
    for name, gain in (("1", 0.6), ("2", 1.5)):
        corrections[name] = rng.normal(0, 0.04, (3, 11))
        corrections[name][:, :3] += gain * np.eye(3)
    make_v2(tmp_path, simple_params("1", "2"), flat(colours), timesteps=(0,), colours=corrections)
    sequence = read("nersemble-v2", tmp_path)

    def mixed(rgb, matrix):
        r, g, b = rgb
        return matrix @ np.array([r, g, b, r * g, r * b, g * b, r * r, g * g, b * b, r * g * b, 1.0])

    for index, name in enumerate(colours):
        before, matrix = np.array(colours[name]) / 255, corrections[name]

        def once(rgb, matrix=matrix):
            return encoded(mixed(linear(rgb), matrix))

        (picture,) = sequence.read(camera=index)
        seen = picture.rgb.reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(seen, once(before) * 255, atol=3)
        assert np.abs(seen - before * 255).max() > 10
        assert np.abs(seen - once(once(before)) * 255).max() > 10
        assert np.abs(seen - np.clip(mixed(before, matrix), 0, 1) * 255).max() > 10, "not in linear light"
    (plain,) = read("nersemble-v2", tmp_path, CaptureConfig(color_correction=False)).read()
    np.testing.assert_allclose(plain.rgb.reshape(-1, 3).mean(axis=0), colours["1"], atol=2)


@KINDS
@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({}, range(20)),
        ({"only": 7}, [7]),
        ({"only": -1}, [19]),
        ({"start": 5, "stop": 9}, [5, 6, 7, 8]),
        ({"start": 17}, [17, 18, 19]),
        ({"every": 6}, [0, 6, 12, 18]),
        ({"start": 2, "stop": 12, "every": 4}, [2, 6, 10]),
        ({"count": 3}, [0, 10, 19]),
        ({"count": 1}, [0]),
        ({"count": 99}, range(20)),
    ],
)
def test_the_timesteps_asked_for_are_read(tmp_path, kind, subset, expected):
    MAKERS[kind][0](tmp_path, simple_params("1", "2"), numbered(), timesteps=tuple(range(20)))
    sequence = read(kind, tmp_path, CaptureConfig(timesteps=SubsetConfig(**subset)))
    expected = list(expected)
    assert sequence.source_index.tolist() == expected
    assert [int(name) for name in sequence.frame_ids] == expected
    np.testing.assert_allclose(sequence.timestamps_s, (np.array(expected) - expected[0]) / 73)
    for camera in (0, 1):
        assert [timestep_of(picture.rgb) for picture in sequence.read(camera=camera)] == expected
    last = len(expected)
    assert [timestep_of(picture.rgb) for picture in sequence.read(last - 1, last)] == expected[-1:]


def test_rate_and_number_apply_to_what_the_subset_leaves(tmp_path):
    make_v2(tmp_path, simple_params("1"), numbered(), timesteps=tuple(range(20)))
    capture = CaptureConfig(timesteps=SubsetConfig(start=4))
    sequence = read("nersemble-v2", tmp_path, capture, ExtractConfig(target_fps=73 / 5, max_frames=3))
    assert [timestep_of(picture.rgb) for picture in sequence.read()] == [4, 9, 14]
    np.testing.assert_allclose(sequence.timestamps_s, [0, 5 / 73, 10 / 73])


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({}, range(16)),
        ({"division": "train"}, [0, 1, 2, 4, 5, 7, 8, 9, 10, 12, 13, 14]),
        ({"division": "val"}, [3, 6, 11, 15]),
        ({"division": "front"}, [8]),
        ({"division": "side"}, [0]),
        ({"division": "six"}, [0, 3, 6, 8, 12, 15]),
        ({"division": "six", "every": 2}, [0, 6, 12]),
        ({"only": 8}, [8]),
        ({"start": 4, "stop": 6}, [4, 5]),
        ({"every": 5}, [0, 5, 10, 15]),
        ({"count": 4}, [0, 5, 10, 15]),
        ({"names": ("222200037", "222200042")}, [0, 8]),
    ],
)
def test_the_cameras_asked_for_are_read(tmp_path, subset, expected):
    # The file's order is not the rig's.
    params = camera_params({name: pose(SERIALS.index(name)) for name in sorted(SERIALS)}, intrinsics())
    make_v1(tmp_path, params, numbered(), timesteps=(0,))
    sequence = read("nersemble-v1", tmp_path, CaptureConfig(cameras=CameraSubsetConfig(**subset)))
    expected = list(expected)
    assert [camera.index for camera in sequence.cameras] == expected
    assert [camera.name for camera in sequence.cameras] == [SERIALS[index] for index in expected]
    for camera in sequence.cameras:
        np.testing.assert_allclose(camera.calibration.cam_from_world, pose(camera.index)[:3])


def test_cameras_keep_their_places_when_others_were_not_downloaded(tmp_path):
    params = camera_params({name: pose(0) for name in SERIALS}, intrinsics())
    make_v1(tmp_path, params, numbered(), timesteps=(0,))
    for name in SERIALS:
        if name not in ("222200036", "222200037"):
            (tmp_path / "074" / "EMO-1" / "images" / f"cam_{name}_00000.jpg").unlink()
    sequence = read("nersemble-v1", tmp_path)
    assert [(camera.index, camera.name) for camera in sequence.cameras] == [(4, "222200036"), (8, "222200037")]
    with pytest.raises(ConfigError, match="takes none of the cameras"):
        read("nersemble-v1", tmp_path, CaptureConfig(cameras=CameraSubsetConfig(division="side")))
    with pytest.raises(ConfigError, match="no camera '222200042'"):
        read("nersemble-v1", tmp_path, CaptureConfig(cameras=CameraSubsetConfig(names=("222200042",))))


def test_v1_pictures_have_true_times_and_all_cameras_the_same_ones(tmp_path):
    make_v1(tmp_path, simple_params("1", "2"), numbered(), timesteps=(3, 6, 9, 30))
    (tmp_path / "074" / "EMO-1" / "images" / "cam_2_00006.jpg").unlink()
    sequence = read("nersemble-v1", tmp_path)
    assert sequence.frame_ids == ("00003", "00009", "00030")
    np.testing.assert_allclose(sequence.timestamps_s, [0, 6 / 73, 27 / 73])
    for camera in (0, 1):
        assert [timestep_of(picture.rgb) for picture in sequence.read(camera=camera)] == [3, 9, 30]


def test_pictures_that_are_passed_over_are_not_read(tmp_path):
    make_v1(tmp_path, simple_params("1"), numbered(), timesteps=tuple(range(10)))
    sequence = read("nersemble-v1", tmp_path, CaptureConfig(timesteps=SubsetConfig(every=3)))
    for timestep in (1, 2, 4, 5, 7, 8):
        (tmp_path / "074" / "EMO-1" / "images" / f"cam_1_{timestep:05d}.jpg").unlink()
    assert [timestep_of(picture.rgb) for picture in sequence.read()] == [0, 3, 6, 9]
    assert [timestep_of(picture.rgb) for picture in sequence.read(1, 3)] == [3, 6]


def test_v1_videos(tmp_path):
    make_v1(tmp_path, simple_params("1", "2"), numbered(), timesteps=tuple(range(5)), videos=True)
    sequence = read("nersemble-v1", tmp_path, CaptureConfig(downsample=3))
    assert (sequence.num_frames, sequence.size_hw) == (5, (35, 24))
    assert [timestep_of(picture.rgb) for picture in sequence.read(1, 4, camera=1)] == [1, 2, 3]
    np.testing.assert_allclose(sequence.timestamps_s, np.arange(5) / 73)
    assert (sequence.key.dataset, sequence.key.subject, sequence.key.sequence) == ("nersemble-v1", "074", "074_EMO-1")
    assert nersemble_v1_sequence(tmp_path, "074", "EMO-1", name="x").key.sequence == "x"


def test_a_camera_with_more_frames_loses_the_last_ones(tmp_path):
    make_v2(tmp_path, simple_params("1", "2"), numbered(), timesteps=tuple(range(5)))
    short = tmp_path / "short"
    make_v2(short, simple_params("1", "2"), numbered(), timesteps=tuple(range(3)))
    name = "074/sequences/EMO-1-shout+laugh/images/cam_2.mp4"
    (short / name).replace(tmp_path / name)
    assert read("nersemble-v2", tmp_path).num_frames == 3


def test_hidden_regions_come_from_the_table(tmp_path):
    make_v1(tmp_path, simple_params("1"), numbered())
    table = tmp_path / "hidden.yaml"
    table.write_text('"074": [neck_lower, hair]\n"018": [neck_lower]\n')
    assert read("nersemble-v1", tmp_path).occluded == ()
    assert read("nersemble-v1", tmp_path, CaptureConfig(occlusions=str(table))).occluded == ("neck_lower", "hair")


def _params_with(**changes):
    return {**simple_params("1"), **changes}


MIRRORED = np.diag([1.0, 1.0, -1.0, 1.0])
FAR = np.eye(4)
FAR[2, 3] = 1000.0


@KINDS
@pytest.mark.parametrize(
    ("params", "message"),
    [
        (_params_with(intrinsics=[[1, 2], [3, 4]]), "intrinsics must be 3×3"),
        (_params_with(intrinsics={"2": np.eye(3).tolist()}), "camera 1: intrinsics must be 3×3"),
        (_params_with(world_2_cam={"1": MIRRORED.tolist()}), "must be rigid"),
        (_params_with(world_2_cam={"1": (2 * np.eye(4)).tolist()}), "must be rigid"),
        (_params_with(world_2_cam={"1": FAR.tolist()}), "cannot be metres"),
        (_params_with(world_2_cam={}), "needs `world_2_cam`"),
        (_params_with(width=100, height=100), "principal point inside"),
        (_params_with(width="wide"), "positive whole numbers"),
        (_params_with(distortion=[0.1, 0.2]), "distortion must be 4 or 5"),
        (_params_with(width=3208, height=2200), "neither cropped nor turned"),
    ],
)
def test_calibrations_that_cannot_be_right(tmp_path, kind, params, message):
    MAKERS[kind][0](tmp_path, {**params, "world_2_cam": params["world_2_cam"] or {}}, numbered(), timesteps=(0,))
    with pytest.raises(InputError, match=message):
        read(kind, tmp_path)


def test_stated_picture_size_is_taken(tmp_path):
    matrix = np.array([[500.0, 0, 36], [0, 500.0, 52.5], [0, 0, 1]])
    make_v1(tmp_path, camera_params({"1": pose(0)}, matrix, width=72, height=105), numbered(), timesteps=(0,))
    np.testing.assert_allclose(read("nersemble-v1", tmp_path).cameras[0].calibration.intrinsics, matrix)


def test_missing_or_unusable_parts(tmp_path):
    make_v1(tmp_path / "a", simple_params("1"), numbered())
    colour = tmp_path / "a" / "color_correction" / "074" / "1.npy"
    np.save(colour, affine(1.0, (20.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="another scale"):
        read("nersemble-v1", tmp_path / "a")
    np.save(colour, np.eye(2))
    with pytest.raises(InputError, match="3×4 or 4×4"):
        read("nersemble-v1", tmp_path / "a")
    colour.unlink()
    with pytest.raises(InputError, match=r"1\.npy: cannot be read .*color_correction: false"):
        read("nersemble-v1", tmp_path / "a")
    assert read("nersemble-v1", tmp_path / "a", CaptureConfig(color_correction=False)).num_frames == 3
    make_v2(tmp_path / "b", simple_params("1"), numbered())
    path = tmp_path / "b" / "074" / "calibration" / "color_calibration.json"
    for data, message in (
        ({"2": np.eye(3).tolist()}, "no camera 1"),
        ({"1": np.ones((3, 6)).tolist()}, "3 rows of"),
        ({"1": "x"}, "3 rows of"),
        ([], "expected a mapping"),
    ):
        write_json(path, data)
        with pytest.raises(InputError, match=message):
            read("nersemble-v2", tmp_path / "b")
    (tmp_path / "b" / "074" / "sequences" / "EMO-1-shout+laugh" / "images" / "cam_1.mp4").unlink()
    with pytest.raises(InputError, match="no footage"):
        read("nersemble-v2", tmp_path / "b")
    with pytest.raises(ConfigError, match="takes none of the 3 timesteps"):
        read("nersemble-v1", tmp_path / "a", CaptureConfig(color_correction=False, timesteps=SubsetConfig(start=3)))
    with pytest.raises(ConfigError, match="unknown dataset 'x'"):
        calibrated_recording("x", tmp_path, "074", "EMO-1")
