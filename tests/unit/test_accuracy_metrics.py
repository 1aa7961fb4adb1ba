"""What the accuracy suite measures, on cases made by hand."""

import numpy as np
import pytest

from benchmarks.accuracy import metrics
from benchmarks.accuracy.page import rewritten
from benchmarks.accuracy.scripts import NUM_FRAMES, make_script
from benchmarks.accuracy.tables import MEASURES, main_table, perturbation_gain, summary
from raytrack.geometry.rotation import matrix_from_axis_angle

TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def directions(*degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([np.sin(angle), np.zeros(len(angle)), np.cos(angle)], axis=-1)


def test_gaze_is_the_angle_between_directions_of_open_eyes():
    truth, tracked = directions(0, 10, 0)[:, None], directions(3, 15, 90)[:, None]
    seen = np.array([[True], [True], [False]])
    assert metrics.gaze_error_deg(tracked, truth, seen) == pytest.approx(4.0, abs=1e-6)
    assert metrics.gaze_error_deg(tracked, truth, np.zeros((3, 1), bool)) is None


def test_apertures_are_relative_to_the_eyes_width():
    landmarks = np.zeros((1, 478, 3))
    landmarks[0, metrics.FOREHEAD, 1] = 3.0
    for side, (inner, outer) in metrics.EYE_CORNERS.items():
        landmarks[0, outer, 0] = 2.0
        assert inner != outer
        for upper, _ in metrics.EYES[side]:
            landmarks[0, upper, 1] = 0.5 if side == "left" else -0.1
    assert metrics.lid_apertures(landmarks) == pytest.approx(np.array([[0.25, -0.05]]))
    turned = 3 * landmarks[..., [1, 2, 0]]
    assert metrics.lid_apertures(turned) == pytest.approx(np.array([[0.25, -0.05]]))


def test_blinks_are_counted_eye_by_eye_and_in_between_is_neither():
    truth = np.array([0.3, 0.3, 0.01, 0.01, 0.09, 0.3, 0.3, 0.3])[:, None]
    tracked = np.array([0.4, 0.4, 0.02, 0.30, 0.02, 0.05, 0.4, 0.4])[:, None]
    assert metrics.blink_counts(tracked, truth) == (1, 1, 1)
    assert metrics.f1(1, 1, 1) == pytest.approx(0.5)
    assert metrics.blink_counts(2 * truth, truth) == (2, 0, 0)
    assert metrics.f1(2, 0, 0) == 1.0
    assert metrics.f1(0, 0, 0) is None


def test_added_jitter_is_what_the_truth_does_not_have():
    rng = np.random.default_rng(0)
    truth = np.cumsum(rng.normal(0, 5, (12, 3, 2)), axis=0)
    valid = np.ones(12, bool)
    steady = truth + np.arange(12)[:, None, None] * [0.3, -0.1]  # an error that drifts does not shake
    assert metrics.added_jitter_px(steady, truth, valid) == pytest.approx(0, abs=1e-9)
    shaking = truth.copy()
    shaking[::2, :, 0] += 0.1  # second differences of ±0.2
    assert metrics.added_jitter_px(shaking, truth, valid) == pytest.approx(0.2)
    assert metrics.added_jitter_px(shaking, truth, np.array([True, True, False] * 4)) is None


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64] - 31.5
    return np.hypot(rows, columns) < radius


@pytest.mark.parametrize("change", [-4, -2, 0, 3])
def test_the_outline_of_a_disc_is_off_by_the_difference_of_radii(change):
    labels = np.where(disc(20), 2, 0).astype(np.uint8)
    error = metrics.silhouette_error_px(labels, disc(20 + change), label=2, background=0)
    assert error == pytest.approx(abs(change), abs=0.25)


def test_only_outlines_before_the_background_count():
    labels = np.zeros((64, 64), np.uint8)
    labels[10:30, 10:50], labels[30:60, 10:50] = 2, 5  # hair above, clothes below
    drawn = np.zeros((64, 64), bool)
    drawn[10:22, 10:50] = True  # the render ends 8 rows above the clothes
    exact = metrics.silhouette_error_px(labels, labels == 2, label=2, background=0)
    short = metrics.silhouette_error_px(labels, drawn, label=2, background=0)
    assert exact == 0
    assert 0.5 < short < 2.0  # at the sides of the missing rows only, never along the border to the clothes
    assert metrics.silhouette_error_px(labels, drawn, label=3, background=0) is None
    assert metrics.silhouette_error_px(labels, np.zeros((64, 64), bool), label=2, background=0) is None


def test_a_single_camera_may_be_aligned_and_a_rig_may_not():
    import torch

    turn = matrix_from_axis_angle(torch.tensor([0.2, -0.4, 0.1])).double().numpy()
    truth = np.stack([TETRAHEDRON, TETRAHEDRON + 0.1])
    tracked = np.stack([1.3 * frame @ turn.T + [0.2, 0.1, -3] for frame in truth])
    every = np.ones(4, bool)
    for metric, expected in ((False, 0.0), (True, 1.0)):
        align = metrics.alignments(tracked, truth, every, metric=metric)
        placed = np.stack([one(frame) for one, frame in zip(align, tracked, strict=True)])
        errors = metrics.surface_errors_mm(placed, truth, FACES, {"face": every})
        assert (errors["face_mm"] > 500) == bool(expected)
        assert (errors["face_vertex_mm"] > 500) == bool(expected)


def test_sliding_along_the_surface_is_seen_vertex_by_vertex_only():
    flat = np.array([[x, y, 0.0] for x in range(5) for y in range(5)])
    faces = np.array(
        [[a, a + 1, a + 5] for a in range(19) if a % 5 < 4] + [[a + 1, a + 6, a + 5] for a in range(19) if a % 5 < 4]
    )
    inner = np.array([0 < x < 4 and 0 < y < 4 for x in range(5) for y in range(5)])
    errors = metrics.surface_errors_mm((flat + np.array([0.25, 0, 0]))[None], flat[None], faces, {"skull": inner})
    assert errors["skull_mm"] == pytest.approx(0, abs=1e-6)
    assert errors["skull_vertex_mm"] == pytest.approx(250)


def result(**scores: float) -> dict:
    return {"clip": "mono-x", "failure": "", "scores": scores}


def test_tables_show_median_worst_and_all_blinks_together():
    clips = [
        result(face_mm=1.0, blink_f1=1.0, blink_hits=3, blink_false_alarms=0, blink_misses=0),
        result(face_mm=3.0, blink_f1=0.0, blink_hits=0, blink_false_alarms=0, blink_misses=1),
        result(face_mm=1.5, blink_f1=None, blink_hits=0, blink_false_alarms=0, blink_misses=0),
    ]
    found = summary(clips)
    assert found["face_mm"] == {"median": 1.5, "worst": 3.0}
    assert found["blink_f1"] == {"median": pytest.approx(6 / 7), "worst": 0.0}
    assert found["gaze_deg"] == {"median": None, "worst": None}
    table = main_table(clips, [])
    assert "| face mm | 1.50 | 3.00 | ≤ 1.5 | – | – | ≤ 0.7 |" in table
    assert table.count("\n") == len(MEASURES) + 1
    failed = {"clip": "mono-y", "failure": "no face", "scores": {}}
    assert "4 clips, 1 of them without a track" in main_table([*clips, failed], [])


def test_the_gain_of_perturbation_is_in_percent_of_the_error_without():
    text = perturbation_gain([result(hair_outline_px=1.0)], [result(hair_outline_px=4.0)])
    assert text == "hair 4.00 → 1.00 px (75 % less)"
    assert perturbation_gain([result(neck_outline_px=3.0)], [result(neck_outline_px=2.0)]).endswith("(50 % more)")


def test_blocks_of_the_page_are_replaced_and_the_rest_stays():
    page = "a\n<!-- one: x -->\nold\n<!-- end of one -->\nb\n"
    once = rewritten(page, {"one": "new \\1"})
    assert "old" not in once
    assert once.startswith("a\n")
    assert once.endswith("\nb\n")
    assert rewritten(once, {"one": "new \\1"}) == once
    with pytest.raises(ValueError, match="two"):
        rewritten(page, {"two": ""})


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_script_has_blinks_a_wide_mouth_a_pucker_and_turns_to_both_sides(seed):
    script = make_script(seed, 28)
    assert {"wide", "pucker", "closed", "smile"} <= set(script.speech.values())
    assert len(script.blinks) == 2
    yaws = [turn[0] for turn in script.turns_deg.values()]
    assert max(yaws) > 20
    assert min(yaws) < -20
    assert script.num_frames == NUM_FRAMES
    assert max(script.speech) == NUM_FRAMES - 1
