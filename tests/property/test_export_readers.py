"""Datasets as their readers see them: meshes that these project must cover the masks that were rendered."""

import dataclasses
import json
from pathlib import Path

import flame_files
import numpy as np
import pytest
import torch
from dataset_readers import (
    GaussianAvatarsReader,
    ImavatarReader,
    InstantNgpReader,
    InstaReader,
    NerfstudioReader,
    Pinhole,
    overlap,
    read_image,
    read_obj,
)
from synthetic_track import head, make_rig, make_track, make_view

from raytrack.errors import ConfigError, InputError
from raytrack.export.cameras import camera_from_record
from raytrack.export.config import ExportConfig, UnionConfig, dataset_path
from raytrack.export.formats import FORMATS, check_export, write_datasets
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.union import union_datasets
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

MIN_OVERLAP = 0.97
YAWS_DEG = (-45, 0, 35)
SIZES_HW = ((150, 120), (120, 140))


def shipped_track(num_frames: int = 3) -> Track:
    return make_track(num_frames=num_frames, size_hw=(150, 128), untracked=(1,) if num_frames > 2 else ())


def flame_track(num_frames: int = 3, seed: int = 0) -> Track:
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=random)

    model = flame_files.imported_head()
    return dataclasses.replace(
        make_track(num_frames=num_frames, size_hw=(150, 128)),
        parameters=FrameParameters(
            rotation=noise(num_frames, 3, scale=0.2),
            translation=noise(num_frames, 3, scale=0.01),
            neck_pose=noise(num_frames, 3, scale=0.05),
            jaw_pose=noise(num_frames, 3, scale=0.05),
            eyes_pose=noise(num_frames, 6, scale=0.05),
            expression=noise(num_frames, 100, scale=0.02),
        ),
        shape=noise(300, scale=0.02),
        static_offset=noise(1, 5143, 3, scale=2e-4),
        focal_px=3.0 * 150,
        head_name=model.name,
        head_sha256=model.asset_sha256,
    )


def rig(track: Track, **options) -> Track:
    return make_rig(track, YAWS_DEG, sizes_hw=SIZES_HW, **options)


def rendered_views(track: Track, model: HeadModel) -> tuple[SequenceObservation, ...]:
    """What each camera sees of the head itself, with the render's own mask."""
    views = []
    for camera, seen_by in enumerate(track.cameras):
        painter = FramePainter(track, model, view=camera)
        grey = np.full((*seen_by.camera.size_hw, 3), 90, np.uint8)
        painted = [painter.paint(frame, grey) for frame in range(track.num_frames)]
        views.append(
            make_view(
                track,
                camera=camera,
                load_image=lambda frame, painted=painted: painted[frame].color,
                load_alpha=lambda frame, painted=painted: painted[frame].mask.astype(np.uint8) * np.uint8(255),
            )
        )
    return tuple(views)


def export(out: Path, track: Track, model: HeadModel, name: str = "s", **options) -> Path:
    """Write one format; its folder."""
    config = ExportConfig(neck_fade=0.0, **options)
    (written,) = write_datasets(track, model, out, name, config, views=rendered_views(track, model))
    assert written.path == dataset_path(config.formats[0], name)
    return out / written.path


def seen(camera: Pinhole, vertices: np.ndarray, model: HeadModel) -> np.ndarray:
    """Pixels that the head covers, above the neck line."""
    record = {"fl_x": camera.fl_x, "fl_y": camera.fl_y, "cx": camera.cx, "cy": camera.cy}
    record |= {"w": camera.width, "h": camera.height, "transform_matrix": camera.world_from_camera.tolist()}
    line = projected_neck_line_mask(vertices, neck_line_points(model), camera_from_record(record), fade=0.0)
    return camera.covered(vertices, model.faces.numpy()) & (line > 0)


def assert_covers(camera: Pinhole, vertices: np.ndarray, model: HeadModel, mask: np.ndarray) -> None:
    shown = mask > 127
    assert shown.mean() > 0.05, "the head is in the picture"
    assert overlap(seen(camera, vertices, model), shown) >= MIN_OVERLAP


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(("world", "head_centric"), [("head", None), ("head", True), ("capture", None)])
def test_nerfstudio(tmp_path, calibrated, world, head_centric):
    track = rig(shipped_track()) if calibrated else shipped_track()
    folder = export(tmp_path, track, head(), world=world, head_centric=head_centric)
    reader = NerfstudioReader(folder / "transforms.json")
    assert len(reader.frames) == 2 * len(track.cameras)
    if calibrated:
        off_centre = [abs(camera.cx - camera.width / 2) / camera.width for camera in reader.cameras]
        assert min(off_centre) > 0.05, "or this tests no principal point"
    for index, frame in enumerate(reader.frames):
        vertices, _ = read_obj(folder / frame["mesh_path"])
        assert reader.image(index).shape[2] == 3
        assert_covers(reader.cameras[index], vertices, head(), read_image(folder / frame["fg_mask_path"]))


def test_nerfstudio_looks_at_masks_only_if_told_to(tmp_path):
    track = rig(shipped_track())
    reader = NerfstudioReader(export(tmp_path / "a", track, head()) / "transforms.json")
    assert not reader.has_masks
    assert reader.keep(0).all()
    for split in ("", "_train", "_val", "_test"):
        folder = export(tmp_path / "b", track, head(), mask_path=True)
        masked = NerfstudioReader(folder / f"transforms{split}.json")
        for index, frame in enumerate(masked.frames):
            np.testing.assert_array_equal(masked.keep(index), read_image(folder / frame["fg_mask_path"]) > 0)
            assert 0.05 < masked.keep(index).mean() < 0.8


@pytest.mark.parametrize(
    ("calibrated", "background", "world"),
    [(False, "white", "head"), (True, "transparent", "head"), (True, "white", "capture")],
)
def test_gaussian_avatars(tmp_path, calibrated, background, world):
    model = flame_files.imported_head()
    track = rig(flame_track(), focal_ratio=2.2) if calibrated else flame_track()
    folder = export(tmp_path, track, model, formats=("gaussian-avatars",), background_color=background, world=world)
    reader = GaussianAvatarsReader(folder)
    assert reader.num_timesteps == track.num_frames
    assert [len(reader.frames[split]) for split in reader.SPLITS] == ([6, 3, 0] if calibrated else [3, 0, 0])
    assert reader.extent() > 0.05
    for frame in reader.frames["train"] + reader.frames["val"]:
        vertices = flame_files.posed(reader.parameters[frame["timestep_index"]])
        mask = read_image(folder / frame["fg_mask_path"])
        assert_covers(reader.camera(frame), vertices, model, mask)
        # What it learns from is the head over a background of its own choice.
        shown = reader.image(frame, background=0.0 if background == "transparent" else 1.0)
        outside = shown[mask == 0]
        assert (outside == (0 if background == "transparent" else 1)).all()
    whole = json.loads((folder / "transforms.json").read_text())["frames"]
    for frame in whole:
        assert (frame["cx"], frame["cy"]) == (frame["w"] / 2, frame["h"] / 2)
        assert frame["fl_x"] == frame["fl_y"]


def test_what_is_not_centred_would_not_do_for_gaussian_avatars(tmp_path):
    model, track = flame_files.imported_head(), rig(flame_track(), focal_ratio=2.2)
    reader = GaussianAvatarsReader(export(tmp_path, track, model))
    overlaps = [
        overlap(
            seen(reader.camera(frame), flame_files.posed(reader.parameters[frame["timestep_index"]]), model),
            read_image(reader.folder / frame["fg_mask_path"]) > 127,
        )
        for frame in reader.frames["train"]
    ]
    assert max(overlaps) < 0.9


def test_centring_loses_nothing_of_a_picture(tmp_path):
    model, track = flame_files.imported_head(), rig(flame_track(1), focal_ratio=2.2)
    plain = json.loads((export(tmp_path, track, model) / "transforms.json").read_text())["frames"]
    folder = export(tmp_path, track, model, formats=("gaussian-avatars",))
    for before, after in zip(plain, json.loads((folder / "transforms.json").read_text())["frames"], strict=True):
        areas = [
            (read_image(base / frame["fg_mask_path"]) > 127).sum()
            for base, frame in ((tmp_path / "export" / "s", before), (folder, after))
        ]
        stretched = after["fl_x"] * after["fl_y"] / (before["fl_x"] * before["fl_y"])
        assert areas[1] == pytest.approx(areas[0] * stretched, rel=0.02)
        assert (after["w"], after["h"]) > (before["w"], before["h"])


def test_a_still_camera_moves_around_a_still_head(tmp_path):
    model, track = flame_files.imported_head(), flame_track(4)
    centric = GaussianAvatarsReader(export(tmp_path / "a", track, model, formats=("gaussian-avatars",)))
    for values in centric.parameters.values():
        assert not values["rotation"].any()
        assert not values["translation"].any()
        assert values["neck_pose"].any()
    still = export(tmp_path / "b", track, model, formats=("gaussian-avatars",), head_centric=False)
    reader = GaussianAvatarsReader(still)
    assert reader.extent() == 0, "its reader would never move a Gaussian"
    assert reader.parameters[2]["rotation"].any()
    matrices = [np.array(frame["transform_matrix"]) for frame in reader.frames["train"]]
    np.testing.assert_array_equal(matrices[0], matrices[2])
    # A rig keeps still, for it has an extent; and so does a camera whose own world is asked for.
    of_rig = GaussianAvatarsReader(export(tmp_path / "c", rig(track), model, formats=("gaussian-avatars",)))
    assert of_rig.parameters[2]["rotation"].any()
    own = export(tmp_path / "d", track, model, formats=("gaussian-avatars",), world="capture")
    np.testing.assert_array_equal(GaussianAvatarsReader(own).parameters[2]["rotation"][0], track.parameters.rotation[2])


def test_heads_that_are_not_flame_are_refused_before_anything_is_tracked(tmp_path):
    config = ExportConfig(formats=("nerf", "gaussian-avatars"))
    with pytest.raises(ConfigError, match=r"'gaussian-avatars'.*'default' is no FLAME head.*import-flame"):
        check_export(head(), config)
    with pytest.raises(InputError, match="is no FLAME head"):
        export(tmp_path, shipped_track(), head(), formats=("gaussian-avatars",))
    small = dataclasses.replace(
        flame_files.imported_head(), shape_basis=torch.zeros(10, 5143, 3), joint_shape_basis=torch.zeros(10, 5, 3)
    )
    with pytest.raises(ConfigError, match="has 5143, 10 and 100"):
        check_export(small, config)
    check_export(flame_files.imported_head(), config)
    check_export(head(), ExportConfig(formats=("nerf", "insta")))


@pytest.mark.parametrize("calibrated", [False, True])
def test_insta(tmp_path, calibrated):
    track = rig(shipped_track()) if calibrated else shipped_track()
    folder = export(tmp_path, track, head(), formats=("insta",))
    reader = InstaReader(folder / "transforms.json")
    assert ("x_fov" in reader.document) is not calibrated
    assert reader.depth_scale == 1 / 1000
    for index, frame in enumerate(reader.frames):
        camera, vertices, mask = reader.camera(index), reader.mesh(index), read_image(folder / frame["fg_mask_path"])
        assert_covers(camera, vertices, head(), mask)
        np.testing.assert_array_equal(reader.image(index)[..., 3], mask)
        expected = track.parameters.expression[frame["timestep_index_original"]].numpy()
        np.testing.assert_allclose(reader.expression(index), expected, atol=1e-6)
        cube = reader.in_cube(vertices)
        half = (reader.aabb_scale - 1) / 2
        assert (cube > -half).all()
        assert (cube < 1 + half).all()
        depth_m = reader.depth_m(index)
        np.testing.assert_array_equal(depth_m > 0, mask > 0)
        # The tip of the nose is the nearest thing there is where it shows.
        tip = vertices[np.flatnonzero(head().region("nose").numpy())]
        pixels, depths = camera.project(tip), -camera.in_camera(tip)[:, 2]
        nearest = int(depths.argmin())
        column, row = pixels[nearest].astype(int)
        assert depth_m[row, column] == pytest.approx(depths[nearest], abs=0.006)
        labels = reader.labels(index)
        assert set(np.unique(labels)) <= {0, 1, 4, 5, 7, 8, 10, 11, 12, 14, 16, 17}
        np.testing.assert_array_equal(labels > 0, mask > 0)
        rows, columns = np.nonzero(labels == 10)
        assert len(rows) > 20
        assert (np.abs(columns - pixels[:, 0].mean()) <= np.ptp(pixels[:, 0])).all()
        assert pixels[:, 1].min() - 1 <= rows.min() < rows.max() <= pixels[:, 1].max() + 1


@pytest.mark.parametrize("stated", [("fl_x", "fl_y"), ("camera_angle_x", "camera_angle_y")])
@pytest.mark.parametrize("calibrated", [False, True])
def test_instant_ngp_takes_either_way_to_say_a_focal_length(tmp_path, calibrated, stated):
    track = rig(shipped_track()) if calibrated else shipped_track()
    folder = export(tmp_path, track, head(), background_color="transparent")
    document = json.loads((folder / "transforms.json").read_text())
    for values in (document, *document["frames"]):
        for key in {"fl_x", "fl_y", "camera_angle_x", "camera_angle_y"} - set(stated):
            values.pop(key, None)
    (folder / "half.json").write_text(json.dumps(document))
    reader = InstantNgpReader(folder / "half.json")
    for index, frame in enumerate(reader.frames):
        vertices, _ = read_obj(folder / frame["mesh_path"])
        assert_covers(reader.camera(index), vertices, head(), reader.image(index)[..., 3])


@pytest.mark.parametrize("head_centric", [False, True])
def test_imavatar(tmp_path, head_centric):
    model, track = flame_files.imported_head(), flame_track(4)
    shape, expression = track.shape.clone(), track.parameters.expression.clone()
    # What these readers take of FLAME is all that the track uses.
    shape[100:], expression[:, 50:] = 0, 0
    parameters = dataclasses.replace(track.parameters, expression=expression)
    track = dataclasses.replace(track, shape=shape, parameters=parameters, static_offset=None)
    folder = export(tmp_path, track, model, formats=("imavatar",), head_centric=head_centric)
    assert (folder / "image" / "1.png").is_file()
    counts = [len(ImavatarReader(folder / f"flame_params{split}.json").frames) for split in ("", "_train", "_test")]
    assert counts == [4, 3, 1]
    reader = ImavatarReader(folder / "flame_params.json")
    assert reader.intrinsics[0] < 0 < reader.intrinsics[1]
    for index in range(4):
        values = reader.parameters(index)
        assert bool(values["rotation"].any()) is not head_centric
        mask, labels = reader.picture(index, "mask") > 127, reader.picture(index, "semantic")
        assert mask.mean() > 0.05
        assert overlap(reader.covered(index, flame_files.posed(values), model.faces.numpy()) & mask, mask) >= 0.97
        covered = reader.covered(index, flame_files.posed(values), model.faces.numpy())
        assert (covered & ~mask).sum() < 0.03 * mask.sum() + below_the_neck(track, model, index)
        np.testing.assert_array_equal(labels > 0, mask)
        assert reader.picture(index, "image").shape == (150, 128, 3)
    with pytest.raises(InputError, match="one camera"):
        export(tmp_path, rig(track), model, formats=("imavatar",))
    with pytest.raises(ConfigError, match="'imavatar' datasets of these cameras"):
        check_export(model, ExportConfig(formats=("imavatar",)), of_rigs=True)
    check_export(model, ExportConfig(formats=("imavatar",)))


def test_imavatar_of_every_other_frame(tmp_path):
    """Poses are those of the frames taken, whatever these are called in the recording."""
    model, track = flame_files.imported_head(), flame_track(4)
    views = rendered_views(track, model)
    written = {}
    for name, index in (("all", None), ("taken", np.arange(2, 10, 2))):
        chosen = [dataclasses.replace(view, source_index=index) for view in views]
        write_datasets(track, model, tmp_path, name, ExportConfig(formats=("imavatar",)), views=chosen)
        written[name] = json.loads((tmp_path / dataset_path("imavatar", name) / "flame_params.json").read_text())
    assert written["taken"] == written["all"]
    assert len({tuple(frame["pose"]) for frame in written["taken"]["frames"]}) == 4


def below_the_neck(track: Track, model: HeadModel, frame: int) -> int:
    """Pixels of the head that the neck line takes away."""
    painted = FramePainter(track, model).paint(frame, np.zeros((*track.size_hw, 3), np.uint8))
    line = projected_neck_line_mask(painted.vertices, neck_line_points(model), track.camera, fade=0.0)
    return int((painted.mask & (line == 0)).sum())


def test_every_format_lies_apart_and_side_by_side(tmp_path):
    model = flame_files.imported_head()
    track = flame_track(2)
    views = rendered_views(track, model)
    config = ExportConfig(formats=tuple(FORMATS))
    for name in ("EMO-1", "insta"):
        written = write_datasets(track, model, tmp_path, name, config, views=views)
        assert [one.format for one in written] == ["nerf", "gaussian-avatars", "insta", "imavatar"]
    for folder in ("export", "export-gaussian-avatars", "export-insta"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == ["EMO-1", "insta"]
        assert (tmp_path / folder / "EMO-1" / "transforms_train.json").is_file()


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_union_of_gaussian_avatars_datasets_is_one(tmp_path, calibrated):
    model = flame_files.imported_head()
    tracks = {name: flame_track(num_frames, seed=num_frames) for name, num_frames in (("A", 3), ("B", 2), ("C", 2))}
    if calibrated:
        tracks = {name: rig(track, focal_ratio=2.2) for name, track in tracks.items()}
        tracks["B"] = dataclasses.replace(tracks["B"], rig=tracks["B"].rig[:2])
    for name, track in tracks.items():
        export(tmp_path, track, model, name, formats=("gaussian-avatars",))
    parent = tmp_path / "export-gaussian-avatars"
    result = union_datasets([parent / name for name in tracks], parent / "UNION", UnionConfig(mode="last"))
    assert not result.same_identity
    reader = GaussianAvatarsReader(parent / "UNION")
    assert reader.num_timesteps == 7
    assert {frame["timestep_index"] for frame in reader.frames["test"]} == {5, 6}
    cameras = {
        frame["camera_id"] for split in ("train", "val") for frame in reader.frames[split] if frame["sequence"] == "B"
    }
    assert len(cameras) == (2 if calibrated else 1)
    for split in reader.SPLITS:
        for frame in reader.frames[split]:
            values = reader.parameters[frame["timestep_index"]]
            np.testing.assert_array_equal(values["shape"], tracks[frame["sequence"]].shape.numpy())
            mask = read_image(reader.folder / frame["fg_mask_path"])
            assert_covers(reader.camera(frame), flame_files.posed(values), model, mask)
            assert reader.image(frame, 1.0).shape == (frame["h"], frame["w"], 3)
