"""Datasets of FLAME heads, read the way their readers do."""

import json
import math
from pathlib import Path

import flame_files
import numpy as np
import pytest
import torch
from synthetic_track import make_views, read_png

from raytrack.export.config import ExportConfig
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.nerf import write_dataset
from raytrack.fit.config import TrackConfig
from raytrack.fit.npz import read_npz
from raytrack.fit.painting import FramePainter
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.track import Track
from raytrack.geometry.camera import GL_FROM_CV, Camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.flame.importer import FlameFiles, import_flame
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

NUM_FRAMES, SIZE_HW = 5, (128, 128)
PARAMETER_SHAPES = {
    "translation": (1, 3),
    "rotation": (1, 3),
    "neck_pose": (1, 3),
    "jaw_pose": (1, 3),
    "eyes_pose": (1, 6),
    "shape": (300,),
    "expr": (1, 100),
    "static_offset": (1, 5143, 3),
}


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> HeadModel:
    folder = tmp_path_factory.mktemp("flame")
    model, masks = flame_files.write_files(folder)
    return import_flame(FlameFiles(model=model, masks=masks), name="mine", shipped=load_head(), find_landmarks=None)


def make_track(head: HeadModel, *, offset: bool = True) -> Track:
    random = torch.Generator().manual_seed(0)

    def noise(*shape: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=random)

    parameters = FrameParameters(
        rotation=noise(NUM_FRAMES, 3, scale=0.2),
        translation=noise(NUM_FRAMES, 3, scale=0.02),
        neck_pose=noise(NUM_FRAMES, 3, scale=0.05),
        jaw_pose=noise(NUM_FRAMES, 3, scale=0.05),
        eyes_pose=noise(NUM_FRAMES, 6, scale=0.05),
        expression=noise(NUM_FRAMES, 100, scale=0.02),
    )
    return Track(
        parameters=parameters,
        shape=noise(300, scale=0.02),
        static_offset=noise(1, 5143, 3, scale=2e-4) if offset else None,
        texture=torch.full((16, 16, 3), 0.5),
        lights=white_light(),
        focal_px=2.2 * SIZE_HW[1],
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{index:06d}" for index in range(NUM_FRAMES)),
        tracked=torch.ones(NUM_FRAMES, dtype=torch.bool),
        head_name=head.name,
        head_sha256=head.asset_sha256,
    )


@pytest.fixture(scope="module")
def exported(head, tmp_path_factory) -> tuple[Track, Path]:
    folder = tmp_path_factory.mktemp("export") / "s"
    track = make_track(head)
    painter = FramePainter(track, head)
    grey = np.full((*SIZE_HW, 3), 128, np.uint8)
    write_dataset(
        track,
        head,
        folder,
        ExportConfig(neck_fade=0.0),
        views=make_views(
            track,
            load_image=lambda _: grey,
            load_alpha=lambda index: painter.paint(index, grey).mask.astype(np.uint8) * 255,
        ),
    )
    return track, folder


def test_a_track_has_the_names_and_shapes_of_its_readers(tmp_path, head):
    make_track(head).save(tmp_path / "t.npz", base_albedo=head.albedo)
    arrays = read_npz(tmp_path / "t.npz")
    shapes = {
        "rotation": (NUM_FRAMES, 3),
        "translation": (NUM_FRAMES, 3),
        "neck_pose": (NUM_FRAMES, 3),
        "jaw_pose": (NUM_FRAMES, 3),
        "eyes_pose": (NUM_FRAMES, 6),
        "shape": (300,),
        "expr": (NUM_FRAMES, 100),
        "static_offset": (1, 5143, 3),
        "tex_extra": (3, 16, 16),
        "lights": (9, 3),
        "focal_length": (1,),
    }
    for name, shape in shapes.items():
        assert (arrays[name].shape, arrays[name].dtype) == (shape, np.float32), name
    assert arrays["timestep_id"].dtype.kind == "U"
    assert (arrays["image_size"].dtype.kind, arrays["n_processed_frames"].dtype.kind) == ("i", "i")


def test_folder_holds_flame_parameters_and_no_meshes(exported):
    _, folder = exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "canonical_flame_param.npz",
        "fg_masks",
        "flame_param",
        "images",
        "transforms.json",
        "transforms_test.json",
        "transforms_train.json",
        "transforms_val.json",
    ]
    assert sorted(path.name for path in (folder / "flame_param").iterdir()) == [f"{t:05d}.npz" for t in range(5)]


class AvatarReader:
    """Takes of a dataset what programs of the GaussianAvatars family take, and poses FLAME as they do.

    They know nothing of raytrack: joints are regressed from the vertices with identity, offset and expression.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "canonical_flame_param.npz").exists():
            raise FileNotFoundError("canonical_flame_param.npz")
        self.frames = {
            split: json.loads((folder / f"transforms_{split}.json").read_text())["frames"]
            for split in ("train", "val", "test")
        }
        self.parameters = {}
        for frame in self.frames["train"] + self.frames["test"]:
            with np.load(folder / frame["flame_param_path"], allow_pickle=False) as archive:
                self.parameters[frame["timestep_index"]] = {name: archive[name] for name in archive.files}
        self.num_timesteps = max(self.parameters) + 1

    @staticmethod
    def camera(frame: dict) -> Camera:
        """Square pixels and a centred principal point, from camera_angle_x alone."""
        width, height = frame["w"], frame["h"]
        focal = width / (2 * math.tan(frame["camera_angle_x"] / 2))
        world_from_cam = np.array(frame["transform_matrix"]) @ np.diag([*GL_FROM_CV.diagonal().tolist(), 1])
        pose = np.linalg.inv(world_from_cam)[:3]
        return Camera(
            intrinsics=torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]),
            cam_from_world=torch.from_numpy(pose).float(),
            size_hw=(height, width),
        )

    def vertices(self, timestep: int, head: HeadModel, regressor: torch.Tensor) -> torch.Tensor:
        values = {name: torch.from_numpy(array) for name, array in self.parameters[timestep].items()}
        neutral = head.identity(values["shape"])[0] + values["static_offset"][0]
        expressed = neutral + (values["expr"] @ head.expression_basis.flatten(1)).reshape(-1, 3)
        names = ("rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose")
        pose = FrameParameters(**{name: values[name] for name in names}, expression=values["expr"])
        return head.pose(neutral, regressor @ expressed, pose)[0]


def test_avatar_readers_find_what_they_need(exported):
    _, folder = exported
    reader = AvatarReader(folder)
    assert 0 in reader.parameters
    assert reader.num_timesteps == len(reader.parameters) == NUM_FRAMES
    for values in [*reader.parameters.values(), read_npz(folder / "canonical_flame_param.npz")]:
        assert {name: array.shape for name, array in values.items()} == PARAMETER_SHAPES
        assert all(array.dtype == np.float32 for array in values.values())
    assert reader.frames["val"] == []
    assert [len(reader.frames[split]) for split in ("train", "test")] == [4, 1]
    for frame in reader.frames["train"]:
        assert frame["file_path"].endswith(".png")
        assert (folder / frame["file_path"]).is_file()
        assert {"camera_index", "camera_id", "timestep_index"} <= frame.keys()
        assert (frame["cx"], frame["cy"]) == (64, 64)
        assert frame["fl_x"] == frame["fl_y"]


def test_offsets_are_zeros_where_the_track_has_none(head, tmp_path):
    grey = np.full((*SIZE_HW, 3), 128, np.uint8)
    track = make_track(head, offset=False)
    views = make_views(track, load_image=lambda _: grey, matted=False)
    write_dataset(track, head, tmp_path / "s", ExportConfig(), views=views)
    offset = read_npz(tmp_path / "s" / "flame_param" / "00000.npz")["static_offset"]
    assert offset.shape == (1, 5143, 3)
    assert not offset.any()


def test_canonical_pose_has_an_open_jaw(exported):
    canonical = read_npz(exported[1] / "canonical_flame_param.npz")
    np.testing.assert_allclose(canonical["jaw_pose"], [[0.3, 0, 0]])
    assert not canonical["rotation"].any()


def test_mesh_of_an_avatar_reader_covers_the_masks(head, exported):
    track, folder = exported
    model = flame_files.model()
    regressor = torch.zeros(5, 5143)
    regressor[:, :5023] = torch.from_numpy(model["J_regressor"].toarray()).float()
    reader, points = AvatarReader(folder), neck_line_points(head)
    shape = head.topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    renderer = make_renderer("numba", topology, num_threads=1)
    origin = track.parameters.translation.mean(dim=0)
    for frame in reader.frames["train"]:
        camera, timestep = reader.camera(frame), frame["timestep_index"]
        vertices = reader.vertices(timestep, head, regressor)
        ours = head.vertices(track.parameters.select([timestep]), track.shape, track.static_offset[0])[0] - origin
        assert float((vertices - ours).norm(dim=1).max()) < 5e-4, "half a millimetre"
        seen = renderer.rasterize(camera.clip(vertices[None]), SIZE_HW).coverage[0].numpy()
        seen &= projected_neck_line_mask(vertices.numpy(), points, camera, fade=0) > 0.5
        mask = read_png(folder / frame["fg_mask_path"]) > 127
        assert (mask & seen).sum() / (mask | seen).sum() >= 0.97


def test_nerfstudio_reads_true_intrinsics(exported):
    _, folder = exported
    document = json.loads((folder / "transforms.json").read_text())
    for frame in document["frames"]:
        for name in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            assert document[name] == frame[name], "what stands above overrides the frames'"


def test_flames_expressions_are_no_units(head):
    prior = RowPrior.create(head, TrackConfig().weights)
    assert not prior.expression_unit
    assert RowPrior.create(load_head(), TrackConfig().weights).expression_unit
