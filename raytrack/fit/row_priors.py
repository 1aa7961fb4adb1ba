"""What a frame's parameters should look like before any picture is seen: quadratic terms for Gauss–Newton."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import Weights
from raytrack.fit.vhap_config import VhapWeights
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE, block_slices

_HELD = 1e6
"""Weight that holds a disabled expression at zero."""
_JAW_SIDEWAYS = 3.0
"""The jaw turns about y and z this much less readily than it opens."""
_JAW_CLOSING = 10.0
"""The jaw does not close beyond rest."""


@dataclass(frozen=True, kw_only=True)
class RowPrior:
    """Weighted squares of row parameters, of expressions beyond their range, and of the eyes' difference."""

    squares: Float[Tensor, " columns"]
    expression_range: float
    expression_unit: bool
    """Whether expression coefficients are named units (not principal components)."""
    expression_least: Float[Tensor, " expressions"]
    """Below it, and above 1, a unit is out of its range."""
    jaw_closing: float
    eyes_apart: float

    @classmethod
    def create(cls, head: HeadModel, weights: Weights) -> "RowPrior":
        """The prior of the photometric objective: every weight multiplies a mean over its block."""
        squares = torch.zeros(NUM_POSE + head.num_expressions)
        blocks = block_slices(head.num_expressions)
        squares[blocks["neck_pose"]] = weights.neck / 3
        squares[blocks["jaw_pose"]] = weights.jaw / 3
        squares[blocks["jaw_pose"]][1:] += weights.jaw * _JAW_SIDEWAYS / 2
        squares[blocks["eyes_pose"]] = weights.eyes / 6
        squares[blocks["expression"]] = weights.expression / head.num_expressions
        squares[blocks["expression"]][~head.expression_enabled] = _HELD
        least = torch.zeros(head.num_expressions) if head.expression_least is None else head.expression_least
        return cls(
            squares=squares,
            expression_range=weights.expression_range / head.num_expressions,
            expression_unit=head.has_named_expressions,
            expression_least=least.cpu(),
            jaw_closing=weights.jaw * _JAW_CLOSING,
            eyes_apart=weights.eyes_apart / 3,
        )

    def value(self, rows: Float[Tensor, "frames columns"]) -> Float[Tensor, " frames"]:
        """Cost of each row. Differentiable."""
        eyes = rows[:, 12:15] - rows[:, 15:18]
        total = (self.squares * rows.square()).sum(dim=1) + self.eyes_apart * eyes.square().sum(dim=1)
        total = total + self.jaw_closing * rows[:, 9].clamp_max(0).square()
        if self.expression_unit:
            expression = rows[:, NUM_POSE:]
            excess = (expression - self._in_range(expression)).square().sum(dim=1)
            total = total + self.expression_range * excess
        return total

    def _in_range(self, expression: Float[Tensor, "*frames expressions"]) -> Float[Tensor, "*frames expressions"]:
        return torch.maximum(expression, self.expression_least).clamp_max(1)

    def quadratic(
        self, row: Float[Tensor, " columns"]
    ) -> tuple[Float[Tensor, "columns columns"], Float[Tensor, " columns"]]:
        """Curvature matrix and gradient of `value` at one row."""
        curvature = 2 * self.squares
        gradient = curvature * row
        curvature = curvature.clone()
        curvature[12:18] += 2 * self.eyes_apart
        difference = 2 * self.eyes_apart * (row[12:15] - row[15:18])
        gradient[12:15] += difference
        gradient[15:18] -= difference
        if float(row[9]) < 0:
            curvature[9] += 2 * self.jaw_closing
            gradient[9] += 2 * self.jaw_closing * row[9]
        if self.expression_unit:
            outside = row[NUM_POSE:] - self._in_range(row[NUM_POSE:])
            curvature[NUM_POSE:] += 2 * self.expression_range * (outside != 0)
            gradient[NUM_POSE:] += 2 * self.expression_range * outside
        matrix = torch.diag(curvature)
        left, right = torch.arange(12, 15), torch.arange(15, 18)
        matrix[left, right] -= 2 * self.eyes_apart
        matrix[right, left] -= 2 * self.eyes_apart
        return matrix, gradient


def smoothness_weights(num_expressions: int, weights: Weights | VhapWeights) -> Float[Tensor, " columns"]:
    """Weight of each column's squared difference to a neighbouring frame: a block's weight over its width."""
    of_block = {
        "rotation": weights.smooth_rotation,
        "translation": weights.smooth_translation,
        "neck_pose": weights.smooth_neck,
        "jaw_pose": weights.smooth_jaw,
        "eyes_pose": weights.smooth_eyes,
        "expression": weights.smooth_expression,
    }
    result = torch.zeros(NUM_POSE + num_expressions)
    for name, columns in block_slices(num_expressions).items():
        result[columns] = of_block[name] / max(1, columns.stop - columns.start)
    return result


def longest_step(num_expressions: int) -> Float[Tensor, " columns"]:
    """Largest change of each parameter in one iteration."""
    limit = torch.full((NUM_POSE + num_expressions,), 1.0)
    limit[:NUM_POSE] = 0.3
    limit[block_slices(num_expressions)["translation"]] = 0.05
    return limit
