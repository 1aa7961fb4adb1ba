"""What of a matte the head is asked to fill, what of a picture is its rim, and what the final texture minimises."""

import numpy as np
import pytest
import torch

from raytrack.fit.config import TrackConfig
from raytrack.fit.frames import REACH_OF_HAIR, TrackingFrames
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.schedule import RowStage, SharedStage, default_schedule
from raytrack.fit.shared_terms import LARGEST_SQUARED, matte_term, texture_colour_term

SIZE, FACE_PX = 200, 100.0


def frames(matte: np.ndarray) -> TrackingFrames:
    """One picture with a matte."""
    return TrackingFrames(
        images=np.zeros((1, SIZE, SIZE, 3), np.uint8),
        size_hw=(SIZE, SIZE),
        full_size_hw=(SIZE, SIZE),
        crop_xyxy=(0, 0, SIZE, SIZE),
        matte_steps=matte[None],
        distance_steps=None,
        matte_valid=np.ones(1, bool),
        present=np.ones(1, bool),
        chin_line=np.array([[0.0, 0.0, 1.0]]),
        mouth_open=np.zeros(1, bool),
        landmarks_px=np.zeros((1, 478, 2), np.float32),
        landmarks=landmark_set("facemesh"),
        face_size_px=FACE_PX,
    )


def test_a_matte_that_ends_nearby_is_to_be_filled_and_one_that_goes_on_is_not():
    matte = np.zeros((SIZE, SIZE), np.uint8)
    matte[20:180, 20:180] = 255
    reachable = frames(matte).reachable(0)
    reach = REACH_OF_HAIR * FACE_PX
    assert reachable[100, 20 + int(reach / 3)] > 0.95
    assert reachable[100, 20 + int(3 * reach)] < 0.05
    assert (np.diff(reachable[100, 20:100]) <= 1e-6).all(), "less and less inwards"


def test_hair_beyond_reach_pulls_no_outline_but_background_still_pushes():
    alpha, rendered = torch.ones(1, 4, 4), torch.full((1, 4, 4), 0.5)
    common = {
        "above_chin": torch.ones(1, 4, 4, dtype=torch.bool),
        "valid": torch.ones(1, dtype=torch.bool),
        "coverage": torch.ones(1, 4, 4, dtype=torch.bool),
        "trust": torch.ones(1, 4, 4),
    }
    near, far = torch.ones(1, 4, 4), torch.zeros(1, 4, 4)
    assert float(matte_term(rendered, alpha, reachable=near, **common)) == pytest.approx(0.5)
    assert float(matte_term(rendered, alpha, reachable=far, **common)) == 0
    assert float(matte_term(rendered, 0 * alpha, reachable=far, **common)) == pytest.approx(0.5)


def test_the_rim_is_as_wide_as_the_face_asks_for_and_soft_pixels_belong_to_it():
    matte = np.zeros((SIZE, SIZE), np.uint8)
    matte[20:180, 20:180] = 255
    matte[20:180, 20:30] = 200
    inner = frames(matte).inner(0)
    assert set(np.unique(inner)) == {0.0, 1.0}
    assert inner[100, 100] == 1
    assert inner[100, 170] == 1
    assert inner[100, 179] == 0
    assert inner[100, 29] == 0


def test_the_final_texture_takes_the_mean_of_what_is_usual_and_shrugs_at_what_is_not():
    seen = torch.tensor([0.50, 0.52, 0.58, 1.0])[:, None, None, None].expand(-1, 1, 1, 3)
    ones, covered = torch.ones(4, 1, 1), torch.ones(4, 1, 1, dtype=torch.bool)

    def loss(value: float) -> float:
        return float(texture_colour_term(torch.full((4, 1, 1, 3), value), seen, ones, covered))

    values = np.linspace(0.45, 0.75, 301)
    best = values[np.argmin([loss(value) for value in values])]
    # Where the derivative is zero: three squares, and one constant pull of the largest that counts as one.
    assert best == pytest.approx((0.50 + 0.52 + 0.58 + LARGEST_SQUARED) / 3, abs=2e-3)


def test_the_last_rounds_are_fine_and_are_never_all_left_out():
    stages = default_schedule(TrackConfig(), 100)
    rows = [stage for stage in stages if isinstance(stage, RowStage) and stage.name.startswith("rows_")]
    assert [stage.fine for stage in rows] == [False] * 3 + [True] * 4
    assert [stage.comparable for stage in rows] == [False, True, True, False, True, True, False]
    shared = [stage for stage in stages if isinstance(stage, SharedStage) and stage.name.startswith("shared_")]
    first_fine = next(stage for stage in shared if stage.fine)
    assert first_fine.always
    assert not shared[-1].always
