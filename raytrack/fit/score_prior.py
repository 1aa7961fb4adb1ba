"""What a detector's expression scores say of the mouth: where its units should be before any picture is compared.

Landmarks and colours tell the mouth's outline, which many mixtures of units can make; which of them a face uses, the
detector has learnt from many faces. Its scores are off by as much for the whole of a clip, so what a face at rest
scores is taken off first.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import Weights
from raytrack.fit.views import SequenceViews
from raytrack.head.expressions import parameters_from_scores
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE
from raytrack.observe.facemesh_layout import EXPRESSION_NAMES

_UNITS = ("mouth", "jaw", "cheekPuff")
"""Beginnings of the names of the units that scores speak for. How far the jaw is turned, landmarks tell better."""
_TOLERANCE = 0.3
"""Beyond such a difference the pull becomes weaker, not stronger."""
_RESTING_QUANTILE, _MOST_AT_REST = 0.1, 0.2
"""What this share of a clip's frames stays below counts as the face at rest, up to a limit."""


@dataclass(frozen=True, kw_only=True)
class ScorePrior:
    """A robust pull to what the scores say."""

    expected: Float[Tensor, "frames columns"]
    """Parameters that the scores describe; 0 in columns that they do not speak for, and without scores."""
    squares: Float[Tensor, " columns"]
    """Weights of small squared differences; 0 in those columns."""

    @classmethod
    def create(cls, views: SequenceViews, head: HeadModel, weights: Weights) -> "ScorePrior | None":
        """Of a sequence; None where no scores were kept, or the head's expressions have no names."""
        scores = _mean_scores(views)
        if scores is None or not head.has_named_expressions:
            return None
        rest = np.quantile(scores[views.detected], _RESTING_QUANTILE, axis=0)
        cleared = np.clip(scores - np.minimum(rest, _MOST_AT_REST), 0, 1)
        described = parameters_from_scores(head, EXPRESSION_NAMES, torch.from_numpy(cleared.astype(np.float32)))
        known = torch.zeros(NUM_POSE + head.num_expressions, dtype=torch.bool)
        for index, name in enumerate(head.expression_names):
            spoken_for = name.startswith(_UNITS) and name in EXPRESSION_NAMES
            known[NUM_POSE + index] = spoken_for and bool(head.expression_enabled[index])
        squares = known * (weights.expression_score / head.num_expressions)
        return cls(expected=described.pack() * known, squares=squares)

    def quadratic(
        self, row: Float[Tensor, " columns"], frame: int
    ) -> tuple[Float[Tensor, " columns"], Float[Tensor, " columns"]]:
        """Diagonal curvature and gradient at one row: differences that the pictures insist on weigh less.

        Args:
            row: Packed parameters.
            frame: Whose scores.
        """
        difference = row - self.expected[frame]
        curvature = 2 * self.squares / (1 + (difference / _TOLERANCE).square()).square()
        return curvature, curvature * difference


def _mean_scores(views: SequenceViews) -> Float[np.ndarray, "frames scores"] | None:
    """Over the views that see the face; 0 in frames without one. None unless every view has all scores."""
    total = np.zeros((views.num_frames, len(EXPRESSION_NAMES)))
    for observation in views.observations:
        scores = observation.expression_scores
        if scores is None or scores.shape[1] != len(EXPRESSION_NAMES):
            return None
        total += np.where(observation.detected[:, None], np.nan_to_num(scores), 0)
    return total / np.maximum(views.detected_by_view.sum(axis=0), 1)[:, None]
