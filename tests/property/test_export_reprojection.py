"""What was exported, read back by its own account, lands where the track said."""

import json

import cv2
import numpy as np
import pytest
import torch
from synthetic_track import head, make_image, make_track, make_views

from raytrack.export.cameras import camera_from_record, intrinsics_record, world_from_camera_gl
from raytrack.export.config import ExportConfig
from raytrack.export.formats import write_dataset
from raytrack.export.head_files import read_obj_vertices
from raytrack.export.worlds import Placement
from raytrack.fit.painting import FramePainter
from raytrack.geometry.camera import Camera
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.parameters import FrameParameters

SUBPIXEL_BITS, FINER = 4, 5


def filled(vertices_px: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Union of the projected front faces, by OpenCV rather than by raytrack's renderer."""
    # OpenCV also fills the pixels that an outline touches: finer pixels make that half a pixel of no account.
    fine = np.zeros((size_hw[0] * FINER, size_hw[1] * FINER), np.uint8)
    triangles = vertices_px[head().faces.numpy()] * FINER - 0.5
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    # Counter-clockwise with y up is clockwise with y down.
    front = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    for triangle in np.round(triangles[front] * 2**SUBPIXEL_BITS).astype(np.int32):
        cv2.fillConvexPoly(fine, triangle, 1, shift=SUBPIXEL_BITS)
    return fine[FINER // 2 :: FINER, FINER // 2 :: FINER] > 0


@pytest.mark.parametrize(("size_hw", "seed"), [((361, 288), 0), ((256, 320), 1), ((301, 299), 2)])
def test_exported_meshes_cover_the_rendered_mask(tmp_path, size_hw, seed):
    track = make_track(num_frames=3, size_hw=size_hw, seed=seed, untracked=(1,))
    write_dataset(
        track,
        head(),
        tmp_path / "s",
        ExportConfig(),
        views=make_views(track),
    )
    painter = FramePainter(track, head())
    frames = json.loads((tmp_path / "s" / "transforms.json").read_text())["frames"]
    assert len(frames) == 2
    for frame in frames:
        painted = painter.paint(frame["timestep_index_original"], make_image(0, size_hw))
        camera = camera_from_record(frame)
        vertices = torch.from_numpy(read_obj_vertices(tmp_path / "s" / frame["mesh_path"])).float()
        mask = filled(camera.project(vertices).numpy(), size_hw)
        overlap = (mask & painted.mask).sum() / (mask | painted.mask).sum()
        assert overlap >= 0.98
        np.testing.assert_allclose(camera.project(vertices).numpy(), projected(track, painted), atol=0.01)


def projected(track, painted) -> np.ndarray:
    return track.camera.project(torch.from_numpy(painted.vertices)).numpy()


def test_parameter_files_pose_the_head_into_its_mesh(tmp_path):
    track = make_track(num_frames=2)
    write_dataset(track, head(), tmp_path / "s", ExportConfig(), views=make_views(track, matted=False))
    for frame in json.loads((tmp_path / "s" / "transforms.json").read_text())["frames"]:
        with np.load(tmp_path / "s" / frame["head_param_path"], allow_pickle=False) as archive:
            arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
        parameters = FrameParameters(
            expression=arrays["expr"],
            **{name: arrays[name] for name in ("rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose")},
        )
        vertices = head().vertices(parameters, arrays["shape"], arrays["static_offset"][0])[0]
        mesh = read_obj_vertices(tmp_path / "s" / frame["mesh_path"])
        np.testing.assert_allclose(vertices.numpy(), mesh, atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_any_camera_survives_its_record(seed):
    random = torch.Generator().manual_seed(seed)
    turn = matrix_from_axis_angle(torch.randn(3, generator=random, dtype=torch.float64))
    shift = torch.randn(3, 1, generator=random, dtype=torch.float64) + torch.tensor([[0], [0], [5.0]])
    intrinsics = torch.tensor([[500.0, 0, 210], [0, 520, 140], [0, 0, 1]])
    camera = Camera(intrinsics=intrinsics, cam_from_world=torch.cat([turn, shift], dim=1).float(), size_hw=(300, 400))
    placement = Placement(
        rotation=matrix_from_axis_angle(torch.randn(3, generator=random, dtype=torch.float64)).numpy(),
        translation=np.array([0.1, -0.2, 0.3]),
    )
    record = {
        **intrinsics_record(camera),
        "transform_matrix": world_from_camera_gl(camera, placement).tolist(),
    }
    read = camera_from_record(json.loads(json.dumps(record)))
    points = torch.randn(20, 3, generator=random)
    moved = torch.from_numpy(placement(points.numpy())).float()
    torch.testing.assert_close(read.cam_points(moved), camera.cam_points(points), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read.intrinsics, camera.intrinsics)
    assert read.size_hw == camera.size_hw


def test_record_is_in_opengl_axes():
    camera = make_track(num_frames=1).camera
    matrix = world_from_camera_gl(camera, Placement(rotation=np.eye(3), translation=np.zeros(3)))
    # The monocular camera is at (0, 0, 1), looking down −z with y up: OpenGL's axes are the world's.
    np.testing.assert_allclose(matrix, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], atol=1e-7)
    assert "-0.0" not in json.dumps(matrix.tolist())
