"""Pictures, preview and scores of calibrated rigs."""

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from synthetic_track import CAPTURE_FROM_WORLD, head, make_image, make_rig, make_track, make_view, read_png

from raytrack.export.config import ExportConfig
from raytrack.export.drawing import draw_sequence
from raytrack.export.mosaic import DrawnView, MosaicLayout, mosaic_picture, most_frontal
from raytrack.export.sequence_scores import SequenceScores
from raytrack.export.truth import GroundTruth
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter
from raytrack.fit.track import Track
from raytrack.tables.schemas import CAMERA_SCORE_NAMES

NUM_FRAMES, LOST = 4, 3
SIZES_HW = ((91, 77), (80, 90))
SHIFTS_PX = (3.0, 5.0, 13.0)


def track() -> Track:
    return make_rig(make_track(num_frames=NUM_FRAMES, untracked=(LOST,)), sizes_hw=SIZES_HW)


def vertices_of(result: Track) -> torch.Tensor:
    return head().vertices(result.parameters, result.shape, result.static_offset[0])


def views_of(result: Track) -> tuple[SequenceObservation, ...]:
    """Each camera's landmarks are off by another distance; the last camera saw the face in one frame only."""
    world = head().landmarks_world(vertices_of(result))
    views = []
    for camera, seen_by in enumerate(result.cameras):
        landmarks = seen_by.camera.project(world).numpy() + np.float32([SHIFTS_PX[camera], 0])
        scores = np.ones(NUM_FRAMES, np.float32)
        scores[LOST] = 0
        if camera == 2:
            scores[1:] = 0
        view = make_view(result, camera=camera, load_image=lambda index, c=camera: picture(result, index, c))
        views.append(dataclasses.replace(view, landmarks_px=landmarks, scores=scores))
    return tuple(views)


def picture(result: Track, index: int, camera: int) -> np.ndarray:
    return make_image(100 * camera + index, result.cameras[camera].camera.size_hw)


def draw(folder: Path, **options) -> SequenceScores:
    result = options.pop("track", track())
    folder.mkdir(parents=True, exist_ok=True)
    return draw_sequence(
        result,
        head(),
        views_of(result),
        render_folder=folder / "render",
        preview_path=folder / "preview.mp4",
        config=ExportConfig(preview_width_px=400),
        **options,
    )


def test_pictures_lie_by_camera(tmp_path):
    draw(tmp_path)
    expected = [f"{index:06d}.png" for index in range(NUM_FRAMES)]
    for name in ("color", "mask"):
        folders = sorted((tmp_path / "render" / name).iterdir())
        assert [path.name for path in folders] == ["cam_222000", "cam_222001", "cam_222002"]
        assert all(sorted(path.name for path in folder.iterdir()) == expected for folder in folders)
    for camera in range(3):
        painted = FramePainter(track(), head(), view=camera).paint(1, picture(track(), 1, camera))
        name = f"cam_22200{camera}/000001.png"
        np.testing.assert_array_equal(read_png(tmp_path / "render" / "color" / name), painted.color)
        np.testing.assert_array_equal(read_png(tmp_path / "render" / "mask" / name) > 0, painted.mask)
        lost = read_png(tmp_path / "render" / "color" / f"cam_22200{camera}/{LOST:06d}.png")
        np.testing.assert_array_equal(lost, picture(track(), LOST, camera))


def test_scores_by_camera_and_of_all(tmp_path):
    result = draw(tmp_path)
    assert [camera.camera_id for camera in result.per_camera] == ["222000", "222001", "222002"]
    assert [camera.camera_index for camera in result.per_camera] == [0, 1, 2]
    errors = [camera.scores["landmark_error_px"] for camera in result.per_camera]
    np.testing.assert_allclose(errors, SHIFTS_PX, atol=1e-3)
    # Three detections in two cameras, one in the third.
    assert result.scores["landmark_error_px"] == pytest.approx((3 * 3 + 3 * 5 + 13) / 7, abs=1e-3)
    l1, mse = [], []
    for camera in range(3):
        for index in range(3):
            name = f"cam_22200{camera}/{index:06d}.png"
            mask = read_png(tmp_path / "render" / "mask" / name) > 127
            difference = picture(track(), index, camera).astype(float) - read_png(tmp_path / "render" / "color" / name)
            l1.append(np.abs(difference[mask] / 255).mean())
            mse.append(((difference[mask] / 255) ** 2).mean())
        own = result.per_camera[camera].scores
        assert own["l1"] == pytest.approx(np.mean(l1[-3:]))
        assert own["worst_l1"] == pytest.approx(max(l1[-3:]))
        assert own["psnr_db"] == pytest.approx(-10 * np.log10(np.mean(mse[-3:])))
    assert result.scores["l1"] == pytest.approx(np.mean(l1))
    assert result.scores["worst_l1"] == pytest.approx(max(l1))
    assert result.scores["psnr_db"] == pytest.approx(-10 * np.log10(np.mean(mse)))
    coverages = [camera.scores["coverage"] for camera in result.per_camera]
    assert result.scores["coverage"] == pytest.approx(np.mean(coverages))
    assert result.scores["frames"] == NUM_FRAMES
    assert result.scores["jitter_px"] is not None


def test_a_single_view_has_scores_of_one_camera(tmp_path):
    single = make_track(num_frames=2, size_hw=(60, 50))
    result = draw_sequence(
        single,
        head(),
        (make_view(single),),
        render_folder=tmp_path / "render",
        preview_path=tmp_path / "preview.mp4",
        config=ExportConfig(),
    )
    (camera,) = result.per_camera
    assert (camera.camera_index, camera.camera_id) == (0, "0")
    assert all(camera.scores[name] == result.scores[name] for name in CAMERA_SCORE_NAMES)
    assert (tmp_path / "render" / "color" / "000001.png").is_file()


def truth_of(result: Track) -> GroundTruth:
    ids = np.flatnonzero(head().region("face").numpy())
    points = vertices_of(result)[:, ids] @ CAPTURE_FROM_WORLD.T
    return GroundTruth(vertex_ids=ids, points=points.numpy(), landmarks_px=None, head_sha256=head().asset_sha256)


def test_truth_of_a_rig_is_compared_in_metres_where_it_is(tmp_path):
    own = truth_of(track())
    exact = draw(tmp_path / "a", truth=own).ground_truth
    assert exact is not None
    assert exact["face_error_mm"] == pytest.approx(0, abs=2e-3)
    assert exact["landmark_error_px"] is None
    assert exact["psnr_db"] is not None
    # A similarity would forgive these.
    farther = dataclasses.replace(own, points=own.points * np.float32(1.05))
    larger = draw(tmp_path / "b", truth=farther).ground_truth
    assert larger is not None
    assert 2 < larger["face_error_mm"] < 10


def test_the_preview_shows_all_cameras(tmp_path):
    draw(tmp_path)
    with av.open(str(tmp_path / "preview.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == NUM_FRAMES
    height, width = frames[0].shape[:2]
    assert width <= 400
    assert height % 2 == width % 2 == 0
    layout = MosaicLayout.fit([view.camera.size_hw for view in track().cameras], 1, 400)
    assert frames[0].shape[:2] == layout.size_hw


def test_the_most_frontal_camera_is_found():
    still = make_track(num_frames=3)
    turned = dataclasses.replace(
        still, parameters=dataclasses.replace(still.parameters, rotation=torch.tensor([[0.0, 0.7, 0.0]] * 3))
    )
    faced = dataclasses.replace(still, parameters=dataclasses.replace(still.parameters, rotation=torch.zeros(3, 3)))
    yaws = (-60, 40, 0)
    assert most_frontal(make_rig(faced, yaws), head()) == 2
    # Turned to its left, towards +x, where the camera at 40 degrees stands.
    assert most_frontal(make_rig(turned, yaws), head()) == 1
    nobody = dataclasses.replace(faced, tracked=torch.zeros(3, dtype=torch.bool))
    assert most_frontal(make_rig(nobody, yaws), head()) == 2


@pytest.mark.parametrize("num_cameras", [1, 2, 5, 9, 16, 33])
@pytest.mark.parametrize("max_width_px", [320, 1600])
def test_mosaics_are_even_and_within_the_width(num_cameras, max_width_px):
    sizes = [((802, 550), (550, 802), (31, 50))[camera % 3] for camera in range(num_cameras)]
    layout = MosaicLayout.fit(sizes, 0, max_width_px)
    height, width = layout.size_hw
    assert height % 2 == width % 2 == 0
    assert width <= max_width_px
    views = [
        DrawnView(image=np.full((*size, 3), 40 + index, np.uint8), painted=None, detected_px=None, caption=str(index))
        for index, size in enumerate(sizes)
    ]
    picture = mosaic_picture(views, 0, layout, "000000")
    assert picture.shape == (height, width, 3)
    columns = layout.columns
    assert layout.tile_hw[1] >= (100 if max_width_px == 1600 else 30)
    for index in (0, num_cameras - 1):
        row, column = divmod(index, columns)
        top = layout.panels.size_hw[0] + row * layout.cell_hw[0] + layout.caption_px
        left = column * layout.cell_hw[1]
        level = picture[top + 2, left + layout.tile_hw[1] // 2].astype(int)
        assert np.ptp(level) == 0
        assert level[0] == pytest.approx(round((40 + index) * 0.35 + 12), abs=1)
