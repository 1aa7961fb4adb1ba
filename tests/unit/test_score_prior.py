"""Expression scores of a detector as a prior on the mouth's units."""

import dataclasses

import numpy as np
import torch

from raytrack.fit.config import Weights
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.score_prior import ScorePrior
from raytrack.fit.views import SequenceViews
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE
from raytrack.observe.facemesh_layout import EXPRESSION_NAMES

NUM_FRAMES = 20


def observation(scores, detected=None):
    points = np.random.default_rng(0).uniform(20, 80, (NUM_FRAMES, 478, 2)).astype(np.float32)
    return SequenceObservation(
        size_hw=(100, 100),
        timestep_ids=tuple(f"{index:06d}" for index in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda index: np.zeros((100, 100, 3), np.uint8),
        load_alpha=None,
        landmarks_px=points,
        scores=np.ones(NUM_FRAMES) if detected is None else detected.astype(float),
        expression_scores=scores,
    )


def scores_of(**columns):
    scores = np.zeros((NUM_FRAMES, len(EXPRESSION_NAMES)), np.float32)
    for name, values in columns.items():
        scores[:, EXPRESSION_NAMES.index(name)] = values
    return scores


def views_of(*observations):
    return dataclasses.replace(SequenceViews.of(observations[0]), observations=observations)


def prior_of(*observations, weights=None):
    found = ScorePrior.create(views_of(*observations), load_head("default"), weights or Weights())
    assert found is not None
    return found


def column(name):
    return NUM_POSE + load_head("default").expression_names.index(name)


def test_what_a_resting_face_scores_is_taken_off_and_a_limit_kept():
    once = np.zeros(NUM_FRAMES)
    once[3] = 0.7
    prior = prior_of(observation(scores_of(mouthPucker=0.15 + once, mouthSmileLeft=0.6)))
    expected = prior.expected
    np.testing.assert_allclose(expected[3, column("mouthPucker")], 0.7, atol=1e-5)
    assert float(expected[4, column("mouthPucker")].abs()) < 1e-6
    # A smile that stays all through the clip is no resting face.
    np.testing.assert_allclose(expected[:, column("mouthSmileLeft")], 0.4, atol=1e-5)


def test_only_the_mouths_units_are_spoken_for():
    prior = prior_of(observation(scores_of(mouthPucker=0.9, eyeBlinkLeft=0.9, jawOpen=0.9, browInnerUp=0.9)))
    spoken_for = set(np.flatnonzero(prior.squares.numpy()))
    assert {column("mouthPucker"), column("mouthRollLower"), column("jawForward")} <= spoken_for
    assert not spoken_for & {column("eyeBlinkLeft"), column("browInnerUp"), column("mh_mouth_parling"), 9}
    assert not prior.expected[:, [column("eyeBlinkLeft"), column("browInnerUp"), 9]].any()


def test_a_row_without_other_evidence_ends_where_the_scores_are_and_one_with_it_is_let_go():
    values = np.zeros(NUM_FRAMES)
    values[5] = 0.8
    scores = prior_of(observation(scores_of(mouthPucker=values)))
    row = torch.zeros(len(scores.squares))
    pucker = column("mouthPucker")
    for _ in range(3):
        curvature, slope = scores.quadratic(row, 5)
        row = row - slope / curvature.clamp_min(1e-12)
    np.testing.assert_allclose(row[pucker], 0.8, atol=1e-4)
    assert float(row.abs().sum()) < 0.801
    pull = {}
    for value in (0.6, -2.0):
        row = torch.zeros(len(scores.squares))
        row[pucker] = value
        pull[value] = float(scores.quadratic(row, 5)[1][pucker].abs())
    assert 0 < 5 * pull[-2.0] < pull[0.6]
    # At the other frames nothing is expected of a resting face.
    assert not scores.quadratic(torch.zeros(len(scores.squares)), 6)[1].any()


def test_views_without_the_face_say_nothing_and_all_views_need_scores():
    seen = np.ones(NUM_FRAMES, bool)
    half_seen = seen.copy()
    half_seen[10:] = False
    pucker = np.where(np.arange(NUM_FRAMES) % 2, 0.8, 0.0)
    first = observation(scores_of(mouthPucker=pucker), seen)
    second = observation(scores_of(mouthPucker=np.full(NUM_FRAMES, np.nan)), np.zeros(NUM_FRAMES, bool))
    third = observation(scores_of(), half_seen)
    expected = prior_of(first, second, third).expected[:, column("mouthPucker")]
    np.testing.assert_allclose(expected[[1, 11]], [0.4, 0.8], atol=1e-5)
    without = views_of(first, dataclasses.replace(first, expression_scores=None))
    assert ScorePrior.create(without, load_head("default"), Weights()) is None


def test_weights_scale_it():
    weak, strong = (
        prior_of(observation(scores_of()), weights=Weights(expression_score=weight)) for weight in (0.5, 2.0)
    )
    torch.testing.assert_close(strong.squares, 4 * weak.squares)
