"""What a fit to frames of several sequences is given."""

import dataclasses

import numpy as np
import pytest

from raytrack.fit.joint_identity import joined_frames
from raytrack.fit.observation import SequenceObservation


def observation(value: float, num_frames: int = 3, num_expressions: int = 4) -> SequenceObservation:
    return SequenceObservation(
        size_hw=(8, 8),
        timestep_ids=tuple(f"{frame:06d}" for frame in range(num_frames)),
        timestamps_s=np.arange(num_frames) / 25,
        load_image=lambda frame: np.full((8, 8, 3), frame, np.uint8),
        load_alpha=None,
        landmarks_px=np.zeros((num_frames, 478, 2), np.float32),
        scores=np.ones(num_frames, np.float32),
        expression_scores=np.full((num_frames, num_expressions), value, np.float32),
    )


def test_expression_scores_go_with_their_frames():
    joined = joined_frames([observation(0.2), observation(0.7, num_frames=2)])
    assert joined.expression_scores is not None
    assert joined.expression_scores[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.7, 0.7])
    assert joined.num_frames == 5


def test_there_are_none_where_a_sequence_has_none():
    without = dataclasses.replace(observation(0.7), expression_scores=None)
    assert joined_frames([observation(0.2), without]).expression_scores is None
    assert joined_frames([observation(0.2), observation(0.7, num_expressions=5)]).expression_scores is None
