"""Outlines of a render and a matte: neither a smaller nor a larger head scores better."""

import dataclasses

import cv2
import numpy as np
import pytest

from raytrack.export.outline import (
    matte_agreement,
    outline_error,
    outline_scores,
    person_at,
    signed_distance_px,
    without_holes,
)

SIZE_HW = (160, 140)
EVERYWHERE = np.ones(SIZE_HW, bool)
FACE_PX = np.array([[50.0, 40.0], [90.0, 40.0], [70.0, 100.0], [70.0, 70.0]], np.float32)


def disc(radius: float, centre: tuple[float, float] = (70.0, 75.0)) -> np.ndarray:
    rows, columns = np.mgrid[0 : SIZE_HW[0], 0 : SIZE_HW[1]] + 0.5
    return np.hypot(columns - centre[0], rows - centre[1]) < radius


def pictures(covered: np.ndarray, error: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """A frame, and a render over it that is off by the same everywhere."""
    frame = np.full((*SIZE_HW, 3), 100, np.uint8)
    return frame, np.where(covered[..., None], frame + np.uint8(error), frame).astype(np.uint8)


def agreement(covered: np.ndarray, matte: np.ndarray, above: np.ndarray = EVERYWHERE):
    return matte_agreement(*pictures(covered), covered, matte, above, FACE_PX)


@pytest.mark.parametrize("grown_px", [-6, -3, -1, 1, 3, 6])
def test_a_shrunken_and_a_grown_head_are_both_worse_by_as_much_as_they_are(grown_px):
    matte = disc(45)
    right, wrong = agreement(matte, matte), agreement(disc(45 + grown_px), matte)
    assert right.outline.distance_px == 0
    assert right.outline.bias_px == 0
    assert right.outline.ring_l1 == pytest.approx(10 / 255)
    assert wrong.outline.distance_px == pytest.approx(abs(grown_px), abs=0.35)
    assert wrong.outline.bias_px == pytest.approx(grown_px, abs=0.35)
    assert wrong.outline.ring_l1 > 0.2


def test_the_ring_gets_worse_the_further_the_head_shrinks_or_grows():
    matte = disc(45)
    smaller = [agreement(disc(45 - step), matte).outline.ring_l1 for step in range(0, 12, 2)]
    larger = [agreement(disc(45 + step), matte).outline.ring_l1 for step in range(0, 12, 2)]
    assert smaller == sorted(smaller)
    assert larger == sorted(larger)
    assert min(np.diff(smaller)) > 0.01
    assert min(np.diff(larger)) > 0.01


def test_shrinking_gains_nothing_where_the_colours_are_bad():
    """The photometric error alone rewards it: what is left out counts nothing there."""
    matte, shrunk = disc(45), disc(38)
    frame, render = pictures(matte)
    render[matte & ~shrunk] = 255
    whole = outline_error(frame, render, matte, matte, EVERYWHERE, 2.0)
    left_out = outline_error(frame, np.where(shrunk[..., None], render, frame), shrunk, matte, EVERYWHERE, 2.0)
    assert whole.ring_l1 < left_out.ring_l1


def test_coverage_and_overreach_are_apart():
    matte = disc(40)
    small, large = agreement(disc(20), matte), agreement(disc(50), matte)
    assert small.above_chin_share == pytest.approx(0.25, abs=0.01)
    assert small.overreach_share == 0
    assert large.above_chin_share == 1
    assert large.overreach_share == pytest.approx(1 - (40 / 50) ** 2, abs=0.01)


def test_the_body_counts_for_the_whole_alone():
    above = np.arange(SIZE_HW[0])[:, None] + np.zeros(SIZE_HW[1]) < 100
    body = np.zeros(SIZE_HW, bool)
    body[100:, 10:130] = True
    head = disc(40)
    alone = agreement(head, head | body, above)
    assert alone.above_chin_share == 1
    assert alone.whole_share < 0.6
    assert alone.outline.distance_px < 0.5
    assert alone.outline.ring_l1 == pytest.approx(10 / 255, abs=0.02)


def test_another_person_in_the_matte_is_left_alone():
    head, other = disc(30), disc(15, (125.0, 20.0))
    assert agreement(head, head | other) == agreement(head, head)
    assert agreement(head, other) is None
    np.testing.assert_array_equal(person_at(head | other, FACE_PX), head)


def test_a_hole_in_the_matte_is_no_outline():
    matte = disc(45)
    holed = matte & ~disc(5)
    np.testing.assert_array_equal(without_holes(holed), matte)
    assert agreement(matte, holed).outline.distance_px == 0


def test_the_border_of_the_picture_is_no_outline():
    centre = (70.0, 20.0)
    matte, render = disc(45, centre), disc(43, centre)
    assert agreement(render, matte).outline.distance_px == pytest.approx(2, abs=0.3)
    everything = np.ones(SIZE_HW, bool)
    assert agreement(disc(30), everything).outline is None


def test_distances_are_those_to_the_outline():
    mask = np.zeros(SIZE_HW, bool)
    mask[:, 60:] = True
    np.testing.assert_allclose(signed_distance_px(mask)[50], np.arange(SIZE_HW[1]) + 0.5 - 60)


def test_percentages_are_of_the_face_and_means_over_frames():
    first, second = agreement(disc(42), disc(45)), agreement(disc(49), disc(45))
    scores = outline_scores([first, second])
    face = 60
    expected = 50 * (first.outline.distance_px + second.outline.distance_px) / face
    assert scores["outline_error_face_percent"] == pytest.approx(expected)
    assert scores["outline_bias_face_percent"] == pytest.approx(100 * 0.5 / face, abs=0.3)
    assert scores["coverage_above_chin_share"] == pytest.approx((first.above_chin_share + 1) / 2)
    hidden = dataclasses.replace(first, outline=None)
    assert outline_scores([hidden, second])["ring_l1"] == second.outline.ring_l1
    assert set(outline_scores([]).values()) == {None}


def test_the_score_does_not_depend_on_the_size_of_the_pictures():
    def at(factor: int) -> float:
        def enlarged(mask: np.ndarray) -> np.ndarray:
            return cv2.resize(mask.astype(np.uint8), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) > 0

        covered, matte = enlarged(disc(41)), enlarged(disc(45))
        frame = np.zeros((*covered.shape, 3), np.uint8)
        found = matte_agreement(frame, frame, covered, matte, np.ones(covered.shape, bool), factor * FACE_PX)
        return outline_scores([found])["outline_error_face_percent"]

    assert at(3) == pytest.approx(at(1), rel=0.06)
