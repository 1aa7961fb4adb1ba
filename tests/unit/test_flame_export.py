"""Datasets of FLAME heads, read the way their readers do."""

import json
from pathlib import Path

import flame_files
import numpy as np
import pytest
import torch
from synthetic_track import make_views

from raytrack.export.config import ExportConfig
from raytrack.export.formats import write_dataset
from raytrack.fit.config import TrackConfig
from raytrack.fit.npz import read_npz
from raytrack.fit.painting import FramePainter
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.track import Track
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

NUM_FRAMES, SIZE_HW = 5, (128, 128)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return flame_files.imported_head()


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
