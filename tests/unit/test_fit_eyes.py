"""Gaze, lids and what pixels of eyes and mouth are worth: small parts of the tracker."""

import numpy as np
import pytest
import torch

from raytrack.fit.config import Weights
from raytrack.fit.eye_centres import centred_eyes
from raytrack.fit.eye_texture import EyeRings
from raytrack.fit.gaze import eye_openings, height_trust, iris_trust
from raytrack.fit.landmark_sets import LANDMARK_SETS
from raytrack.fit.pixel_samples import sample_pixels
from raytrack.fit.point_terms import glint_trust
from raytrack.fit.row_priors import smoothness_weights
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE, FrameParameters

SIZE_HW = (200, 200)
FACEMESH = LANDMARK_SETS["facemesh"]


@pytest.fixture(scope="module")
def head():
    return load_head("default")


def rows_of(head, count):
    rows = torch.zeros(count, NUM_POSE + head.num_expressions)
    rows[:, 5] = 0.3
    return rows


def landmarks_px(head, rows, focal_px=400.0):
    vertices = head.vertices(FrameParameters.unpack(rows), torch.zeros(head.num_shapes))
    return monocular_camera(torch.tensor(focal_px), SIZE_HW).project(head.landmarks_world(vertices))


def test_closed_lids_silence_their_own_iris(head):
    rows = rows_of(head, 3)
    left, right = (NUM_POSE + head.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right"))
    rows[1, left] = rows[2, left] = rows[2, right] = 1.0
    detected = landmarks_px(head, rows).numpy()
    openings, trust = eye_openings(detected, FACEMESH), iris_trust(detected, FACEMESH)
    assert (openings[0] > 0.2).all()
    assert openings[1, 0] > 0.2
    assert openings[1, 1] < 0.1
    right_iris, left_iris = slice(468, 473), slice(473, 478)
    assert (trust[0] == 1).all()
    assert (trust[1, right_iris] == 1).all()
    assert (trust[1, left_iris] == 0).all()
    assert (trust[2, 468:] == 0).all()
    assert (trust[:, :468] == 1).all()


def test_heights_of_irises_alone_are_trusted_less():
    trust = height_trust(LANDMARK_SETS["facemesh"])
    assert (trust[:468] == 1).all()
    assert (trust[468:] < 0.5).all()
    assert (height_trust(LANDMARK_SETS["ibug"]) == 1).all()


def test_sets_without_irises_are_trusted_as_they_are():
    points = np.random.default_rng(0).normal(size=(4, 68, 2)).astype(np.float32)
    assert (iris_trust(points, LANDMARK_SETS["ibug"]) == 1).all()


def test_blinks_are_linked_to_their_neighbours_no_more_than_other_expressions(head):
    weights = smoothness_weights(head.num_expressions, Weights())
    expression = weights[NUM_POSE:]
    assert (expression == expression[head.expression_names.index("eyeBlinkLeft")]).all()
    assert 0 < expression[0] < 1e-2
    assert (weights[12:18] > 0).all()


def test_an_off_centre_iris_becomes_round_and_skin_stays(head):
    rings = EyeRings.create(head, 128)
    own = torch.zeros(128 * 128, dtype=torch.bool)
    own[rings.texels] = True
    texture = torch.rand(128, 128, 3, generator=torch.Generator().manual_seed(1))
    round_texture = rings.symmetric(texture)
    torch.testing.assert_close(round_texture.flatten(0, 1)[~own], texture.flatten(0, 1)[~own])
    iris = rings.symmetry[:, 0] == 1
    before, after = texture.flatten(0, 1)[rings.texels[iris]], round_texture.flatten(0, 1)[rings.texels[iris]]
    assert after.std() < 0.5 * before.std()
    assert (rings.symmetry == 0).any()
    plain = torch.full((128, 128, 3), 0.3)
    torch.testing.assert_close(rings.symmetric(plain), plain)


def test_rings_refuse_maps_of_another_size(head):
    with pytest.raises(ValueError, match="128 texels along a side, got 64"):
        EyeRings.create(head, 128).symmetric(torch.zeros(64, 64, 3))


def test_a_gaze_that_is_always_low_lowers_the_eyeballs_and_keeps_the_irises_in_place(head):
    rows = rows_of(head, 5)
    rows[:, [12, 15]] = torch.tensor([0.08, 0.1, 0.12, 0.1, 1.0])[:, None]
    offset = torch.zeros(head.num_vertices, 3)
    seen = np.array([True, True, True, True, False])
    moved_rows, moved = centred_eyes(head, rows, offset, seen)
    assert moved_rows[1, 12] == pytest.approx(0.05, abs=1e-4)
    eyeballs = head.region("eyeballs")
    assert (moved[eyeballs, 1] < -0.0005).all()
    assert (moved[~eyeballs] == 0).all()

    def irises(row, shift):
        vertices = head.vertices(FrameParameters.unpack(row[None]), torch.zeros(head.num_shapes), shift)
        return head.landmarks_world(vertices)[0, 468:, :2]

    assert (irises(moved_rows[1], moved) - irises(rows[1], offset)).abs().max() < 2e-4
    assert (irises(moved_rows[1], offset) - irises(rows[1], offset)).abs().max() > 5e-4
    again_rows, again = centred_eyes(head, moved_rows, moved, seen)
    torch.testing.assert_close(again_rows, moved_rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(again, moved, atol=1e-6, rtol=0)


def test_eyeballs_go_no_further_than_anatomy_allows(head):
    rows = rows_of(head, 3)
    rows[:, [13, 16]] = 0.6
    _, moved = centred_eyes(head, rows, torch.zeros(head.num_vertices, 3), np.ones(3, bool))
    assert 0.0008 < moved[head.region("eyeballs"), 0].max() < 0.0015


def test_samples_are_fair_and_leave_no_fine_pixel_out():
    candidates = np.ones((40, 40), bool)
    candidates[:3] = False
    fine = np.zeros((40, 40), bool)
    fine[10:14, 10:20] = True
    values = np.random.default_rng(0).normal(size=1600) + 5 * fine.ravel()
    means = []
    for seed in range(200):
        pixels, shares = sample_pixels(candidates, fine, 300, np.random.default_rng(seed))
        assert len(pixels) == 300
        assert len(np.unique(pixels)) == 300
        assert shares.sum() == pytest.approx(1)
        assert np.isin(np.flatnonzero(fine), pixels).all()
        assert candidates.ravel()[pixels].all()
        means.append((shares * values[pixels]).sum())
    assert np.mean(means) == pytest.approx(values[candidates.ravel()].mean(), abs=0.01)


@pytest.mark.parametrize("num_samples", [1, 7, 5000])
def test_samples_of_small_and_large_numbers(num_samples):
    pixels, shares = sample_pixels(
        np.ones((20, 20), bool), np.ones((20, 20), bool), num_samples, np.random.default_rng(0)
    )
    assert len(pixels) == min(num_samples, 400)
    assert shares.sum() == pytest.approx(1)


def test_only_bright_spots_lose_trust():
    error = np.array([[0.0, 0.0, 0.0], [0.4, 0.4, 0.4], [-0.4, -0.4, -0.4], [-0.05, -0.05, -0.05]])
    trust = glint_trust(error)
    assert trust[[0, 1, 3]].tolist() == [1, 1, 1]
    assert trust[2] < 0.2
