import dataclasses
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from synthetic_track import head, make_alpha, make_image, make_track, read_png

from raytrack.errors import InputError
from raytrack.export.config import ExportConfig
from raytrack.export.drawing import draw_sequence, mean_frame_rate
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.sequence_scores import SequenceScores
from raytrack.export.truth import GroundTruth
from raytrack.fit.npz import write_npz
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter
from raytrack.fit.track import Track
from raytrack.tables.schemas import SCORE_NAMES

SIZE_HW = (91, 77)
NUM_FRAMES, LOST = 5, 3


def track() -> Track:
    return make_track(num_frames=NUM_FRAMES, size_hw=SIZE_HW, untracked=(LOST,))


def observation(result: Track, *, matted: bool = True, shift_px: tuple[float, float] = (3, 4)) -> SequenceObservation:
    vertices = head().vertices(result.parameters, result.shape, result.static_offset[0])
    landmarks = result.camera.project(head().landmarks_world(vertices)).numpy()
    scores = np.ones(NUM_FRAMES, np.float32)
    scores[LOST] = 0
    return SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=result.timestep_ids,
        timestamps_s=np.arange(NUM_FRAMES) / 12.5,
        load_image=lambda index: make_image(index, SIZE_HW),
        load_alpha=(lambda index: make_alpha(index, SIZE_HW)) if matted else None,
        landmarks_px=(landmarks + np.array(shift_px)).astype(np.float32),
        scores=scores,
    )


def draw(folder: Path, seen: SequenceObservation | None = None, **options) -> SequenceScores:
    result = options.pop("track", track())
    folder.mkdir(parents=True, exist_ok=True)
    return draw_sequence(
        result,
        head(),
        (seen or observation(result),),
        render_folder=folder / "render",
        preview_path=folder / "preview.mp4",
        config=ExportConfig(preview_width_px=400),
        **options,
    )


def truth_of(result: Track) -> GroundTruth:
    vertices = head().vertices(result.parameters, result.shape, result.static_offset[0])
    ids = np.flatnonzero(head().region("face").numpy())
    return GroundTruth(
        vertex_ids=ids,
        points=vertices[:, ids].numpy(),
        landmarks_px=result.camera.project(head().landmarks_world(vertices)).numpy(),
        head_sha256=head().asset_sha256,
    )


def test_one_pair_of_pictures_for_every_input_frame(tmp_path):
    draw(tmp_path)
    expected = [f"{index:06d}.png" for index in range(NUM_FRAMES)]
    for name in ("color", "mask"):
        assert sorted(path.name for path in (tmp_path / "render" / name).iterdir()) == expected
    painter = FramePainter(track(), head())
    for index in range(NUM_FRAMES):
        color = read_png(tmp_path / "render" / "color" / f"{index:06d}.png")
        mask = read_png(tmp_path / "render" / "mask" / f"{index:06d}.png")
        assert color.shape == (*SIZE_HW, 3)
        assert mask.shape == SIZE_HW
        if index == LOST:
            np.testing.assert_array_equal(color, make_image(index, SIZE_HW))
            assert not mask.any()
        else:
            painted = painter.paint(index, make_image(index, SIZE_HW))
            np.testing.assert_array_equal(color, painted.color)
            np.testing.assert_array_equal(mask, painted.mask * np.uint8(255))


def test_scores_follow_from_the_pictures(tmp_path):
    scores = draw(tmp_path).scores
    assert set(scores) == {*SCORE_NAMES, "frames"}
    rows, shares = [], []
    vertices = head().vertices(track().parameters, track().shape, track().static_offset[0]).numpy()
    for index in set(range(NUM_FRAMES)) - {LOST}:
        color = read_png(tmp_path / "render" / "color" / f"{index:06d}.png")
        mask = read_png(tmp_path / "render" / "mask" / f"{index:06d}.png") > 127
        error = (make_image(index, SIZE_HW).astype(float) - color)[mask] / 255
        rows.append([np.abs(error).mean(), (error**2).mean()])
        above = projected_neck_line_mask(vertices[index], neck_line_points(head()), track().camera, fade=0) > 0
        person = (make_alpha(index, SIZE_HW) > 127) & above
        shares.append((mask & person).sum() / person.sum())
    l1, mse = np.mean(rows, axis=0)
    assert scores["l1"] == pytest.approx(l1)
    assert scores["worst_l1"] == pytest.approx(max(row[0] for row in rows))
    assert scores["psnr_db"] == pytest.approx(-10 * np.log10(mse))
    assert scores["coverage"] == pytest.approx(np.mean(shares))
    assert scores["landmark_error_px"] == pytest.approx(5.0, abs=1e-3)
    assert scores["frames"] == NUM_FRAMES


def test_jitter_is_that_of_the_tracked_run(tmp_path):
    landmarks = observation(track(), shift_px=(0, 0)).landmarks_px.astype(np.float64)
    second = landmarks[2] - 2 * landmarks[1] + landmarks[0]
    assert draw(tmp_path).scores["jitter_px"] == pytest.approx(np.sqrt((second**2).sum(-1).mean()), rel=1e-3)


def test_without_mattes_there_is_no_coverage(tmp_path):
    scores = draw(tmp_path, observation(track(), matted=False)).scores
    assert scores["coverage"] is None
    assert scores["psnr_db"] is not None


def test_nothing_depends_on_the_number_of_threads(tmp_path):
    one, three = draw(tmp_path / "1", num_threads=1), draw(tmp_path / "3", num_threads=3)
    assert one == three

    def content(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}

    assert content(tmp_path / "1") == content(tmp_path / "3")
    assert len(content(tmp_path / "1")) == 2 * NUM_FRAMES


def test_the_preview_plays_every_frame_at_the_clips_rate(tmp_path):
    draw(tmp_path)
    with av.open(str(tmp_path / "preview.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == pytest.approx(12.5, rel=0.01)
    assert len(frames) == NUM_FRAMES
    height, width = frames[0].shape[:2]
    assert width <= 400
    assert height > SIZE_HW[0]
    left = slice(2, 74)
    shown, expected = frames[0][-SIZE_HW[0] :, left].astype(float), make_image(0, SIZE_HW)
    assert shown.mean() == pytest.approx(expected.mean(), rel=0.2)


def test_against_its_own_truth_a_track_is_perfect(tmp_path):
    result = draw(tmp_path, truth=truth_of(track()))
    assert result.ground_truth is not None
    assert result.ground_truth["face_error_mm"] == pytest.approx(0, abs=1e-3)
    assert result.ground_truth["landmark_error_px"] == pytest.approx(0, abs=1e-3)
    assert result.ground_truth["psnr_db"] == result.scores["psnr_db"]
    assert result.scores["jitter_px"] == pytest.approx(0, abs=1e-4)


def test_68_points_are_scored_against_68_and_truth_against_its_own(tmp_path):
    seen = observation(track())
    vertices = head().vertices(track().parameters, track().shape, track().static_offset[0])
    points = track().camera.project(head().landmarks_world(vertices, "ibug")).numpy()
    seen = dataclasses.replace(seen, landmarks_px=points + np.float32(2), landmark_set="ibug")
    result = draw(tmp_path, seen, truth=truth_of(track()))
    assert result.scores["landmark_error_px"] == pytest.approx(np.sqrt(8), rel=1e-3)
    assert result.scores["jitter_px"] == pytest.approx(0, abs=1e-4)
    assert result.ground_truth is not None
    assert result.ground_truth["landmark_error_px"] == pytest.approx(0, abs=1e-3)


def test_truth_elsewhere_shows(tmp_path):
    truth = truth_of(track())
    deeper = truth.points * np.array([1, 1, 1.3], np.float32)
    moved = dataclasses.replace(truth, points=deeper, landmarks_px=truth.landmarks_px + np.float32(2))
    result = draw(tmp_path, truth=moved).ground_truth
    assert result is not None
    assert 0.5 < result["face_error_mm"] < 20
    assert result["landmark_error_px"] == pytest.approx(np.sqrt(8), rel=1e-3)


def test_truth_of_another_head_or_clip(tmp_path):
    other = dataclasses.replace(truth_of(track()), head_sha256="0" * 64)
    result = draw(tmp_path, truth=other).ground_truth
    assert result is not None
    assert result["face_error_mm"] is None
    assert result["landmark_error_px"] == pytest.approx(0, abs=1e-3)
    truth = truth_of(track())
    short = dataclasses.replace(truth, points=truth.points[:2], landmarks_px=truth.landmarks_px[:2])
    with pytest.raises(InputError, match="another clip"):
        draw(tmp_path, truth=short)


def test_the_truth_of_the_frames_that_were_taken(tmp_path):
    own, taken = truth_of(track()), np.arange(NUM_FRAMES) * 3 + 1
    clip = dataclasses.replace(
        own,
        points=np.full((3 * NUM_FRAMES, *own.points.shape[1:]), np.nan, np.float32),
        landmarks_px=np.full((3 * NUM_FRAMES, *own.landmarks_px.shape[1:]), np.nan, np.float32),
    )
    clip.points[taken], clip.landmarks_px[taken] = own.points, own.landmarks_px
    result = draw(tmp_path, truth=clip.of_frames(taken)).ground_truth
    assert result is not None
    assert result["face_error_mm"] == pytest.approx(0, abs=1e-3)
    assert result["landmark_error_px"] == pytest.approx(0, abs=1e-3)
    with pytest.raises(InputError, match="of another clip"):
        own.of_frames(taken)


def test_truth_is_read_from_the_demos_file(tmp_path):
    truth = truth_of(track())
    arrays = {
        "vertex_ids": truth.vertex_ids.astype(np.int32),
        "vertices_q": np.round(truth.points / 1e-5).astype(np.int16),
        "vertex_quantum_m": np.array(1e-5),
        "landmarks_px": truth.landmarks_px,
        "head_sha256": np.array(truth.head_sha256),
        "turn_deg": np.zeros(3),
    }
    write_npz(tmp_path / "truth.npz", arrays)
    loaded = GroundTruth.load(tmp_path / "truth.npz")
    np.testing.assert_allclose(loaded.points, truth.points, atol=0.6e-5)
    assert loaded.head_sha256 == truth.head_sha256
    write_npz(tmp_path / "other.npz", {"vertex_ids": arrays["vertex_ids"]})
    with pytest.raises(InputError, match="lacks vertices_q"):
        GroundTruth.load(tmp_path / "other.npz")


def test_one_frame_is_enough(tmp_path):
    result = make_track(num_frames=1, size_hw=SIZE_HW)
    seen = dataclasses.replace(
        observation(track()),
        timestep_ids=result.timestep_ids,
        timestamps_s=np.zeros(1),
        landmarks_px=np.zeros((1, 478, 2), np.float32),
        scores=np.ones(1),
    )
    scores = draw(tmp_path, seen, track=result).scores
    assert scores["jitter_px"] is None
    assert scores["frames"] == 1


def test_no_face_at_all_still_leaves_pictures(tmp_path):
    result = dataclasses.replace(track(), tracked=torch.zeros(NUM_FRAMES, dtype=torch.bool))
    scores = draw(tmp_path, track=result).scores
    assert len(list((tmp_path / "render" / "mask").iterdir())) == NUM_FRAMES
    assert {scores[name] for name in ("psnr_db", "l1", "worst_l1", "landmark_error_px", "jitter_px")} == {None}


def test_mean_frame_rate():
    assert mean_frame_rate(np.array([1.0, 1.04, 1.08])) == pytest.approx(25)
    assert mean_frame_rate(np.array([0.0, 0.1, 0.4])) == pytest.approx(5)
    assert mean_frame_rate(np.array([3.0])) == 25
    assert mean_frame_rate(np.array([3.0, 3.0])) == 25


def test_held_out_frames_are_scored_apart(tmp_path):
    odd = torch.arange(NUM_FRAMES) % 2 == 1
    scores = draw(tmp_path, track=dataclasses.replace(track(), held_out=odd)).scores
    mse = {}
    for index in set(range(NUM_FRAMES)) - {LOST}:
        color = read_png(tmp_path / "render" / "color" / f"{index:06d}.png")
        mask = read_png(tmp_path / "render" / "mask" / f"{index:06d}.png") > 127
        mse[index] = (((make_image(index, SIZE_HW).astype(float) - color)[mask] / 255) ** 2).mean()
    assert scores["psnr_held_out_frames_db"] == pytest.approx(-10 * np.log10(mse[1]))
    assert scores["psnr_odd_frames_db"] == scores["psnr_held_out_frames_db"]
    assert scores["psnr_fitted_frames_db"] == pytest.approx(-10 * np.log10((mse[0] + mse[2] + mse[4]) / 3))
    assert scores["held_out_frames"] == 2
    usual = draw(tmp_path).scores
    assert usual["psnr_held_out_frames_db"] is None
    assert usual["psnr_fitted_frames_db"] == usual["psnr_db"]


def test_the_outline_is_scored_above_the_chin_of_the_detection(tmp_path):
    result = track()
    painter = FramePainter(result, head())

    def own_mask(index: int) -> np.ndarray:
        return painter.paint(index, make_image(index, SIZE_HW)).mask * np.uint8(255)

    seen = dataclasses.replace(observation(result, shift_px=(0, 0)), load_alpha=own_mask)
    scores = draw(tmp_path, seen).scores
    assert scores["outline_error_px"] == scores["outline_bias_face_percent"] == 0
    assert scores["coverage_above_chin_share"] == scores["coverage_whole_share"] == 1
    larger = dataclasses.replace(seen, load_alpha=lambda index: cv2.dilate(own_mask(index), np.ones((5, 5), np.uint8)))
    shrunk = draw(tmp_path, larger).scores
    assert 1.5 < shrunk["outline_error_px"] < 2.5
    assert shrunk["outline_bias_face_percent"] < -3
    assert shrunk["coverage_above_chin_share"] < 0.92
    assert shrunk["psnr_db"] == scores["psnr_db"], "which is why it says nothing of outlines"
