"""Trust in the inner lips of an open mouth."""

import numpy as np
import pytest

from raytrack.fit.landmark_sets import LANDMARK_SETS
from raytrack.fit.lip_trust import inner_lip_trust, opening_trust

SETS = sorted(LANDMARK_SETS)


def opened_by(landmarks, pixels):
    """Points in a row, the lower one of each gap below its upper one."""
    points = np.column_stack([np.arange(landmarks.num_points), np.zeros(landmarks.num_points)]).astype(np.float32)
    upper, lower = landmarks.gaps.T
    points[lower] = points[upper] + [0, pixels]
    return points


@pytest.mark.parametrize("name", SETS)
def test_an_opening_may_be_wider_than_detected_but_not_narrower(name):
    landmarks = LANDMARK_SETS[name]
    lips = np.arange(len(landmarks.gaps)) < landmarks.num_lip_gaps
    wider = opening_trust(opened_by(landmarks, 6.0), opened_by(landmarks, 4.0), landmarks)
    narrower = opening_trust(opened_by(landmarks, 3.0), opened_by(landmarks, 4.0), landmarks)
    assert (wider[lips] < 0.5).all()
    np.testing.assert_array_equal(wider[~lips], 1)
    np.testing.assert_array_equal(narrower, 1)


@pytest.mark.parametrize("name", SETS)
def test_lip_gaps_come_first_and_have_the_middle_of_the_lips_among_them(name):
    landmarks = LANDMARK_SETS[name]
    of_lips, of_lids = landmarks.gaps[: landmarks.num_lip_gaps], landmarks.gaps[landmarks.num_lip_gaps :]
    assert landmarks.inner_lips in {tuple(pair) for pair in of_lips.tolist()}
    lids = {tuple(pair) for eye in landmarks.eyes for pair in eye.lids}
    assert not landmarks.eyes or {tuple(pair) for pair in of_lids.tolist()} == lids
    less = np.flatnonzero(inner_lip_trust(landmarks) < 1)
    assert set(less.tolist()) == set(of_lips.ravel().tolist())
