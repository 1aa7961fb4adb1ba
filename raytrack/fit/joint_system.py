"""Normal equations of some frames' rows and of what they share, from pictures that are compared with each other.

What colour a point of the skin has is unknown: instead of taking it from a texture, which was painted under the present
geometry and so speaks for it, every point's colour is one more unknown, and eliminated at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.row_terms import SMALLEST_RESIDUAL
from raytrack.fit.skin_points import SeenPoints

_DOUBTFUL = 0.1
"""Colour error from which a point is rather something else."""
_COLOUR_TURNS = 3
_LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, kw_only=True)
class FrameEquations:
    """One frame's part."""

    seen: SeenPoints
    jacobian: Float[np.ndarray, "points 2 columns"]
    """Pixels per unit of the frame's row, then of what is shared."""
    matrix: Float[Tensor, "columns columns"]
    """Of all terms but colours: Σ Jᵀ M J."""
    gradient: Float[Tensor, " columns"]


class JointSystem:
    """Equations of all frames at one state, in double precision."""

    def __init__(self, frames: Sequence[FrameEquations], num_columns: int, photo_weight: float) -> None:
        """Add the frames up and eliminate the points' colours.

        Args:
            frames: Of at least two frames.
            num_columns: Of each frame's row.
            photo_weight: Of colours.
        """
        num_shared = frames[0].gradient.shape[0] - num_columns
        first_shared = num_columns * len(frames)
        size = first_shared + num_shared
        self.num_frames, self.num_columns, self.first_shared = len(frames), num_columns, first_shared
        self.matrix, self.gradient = torch.zeros(size, size).double(), torch.zeros(size).double()
        share = np.stack([frame.seen.share for frame in frames])
        error = np.stack([frame.seen.error for frame in frames])
        shading = np.stack([frame.seen.shading for frame in frames])
        compared = (share > 0).sum(axis=0) > 1
        weight, left = _weights(share, error, shading)
        weight = photo_weight * weight
        self.colour_error = float((share * np.abs(left))[:, compared].sum() / len(frames))
        total = np.maximum((weight * shading**2).sum(axis=0)[compared], _LEAST_WEIGHT)
        coupling, pull = torch.zeros(int(compared.sum()), size), torch.zeros(int(compared.sum()))
        for number, frame in enumerate(frames):
            own = slice(number * num_columns, (number + 1) * num_columns)
            where = torch.cat([torch.arange(own.start, own.stop), torch.arange(first_shared, size)])
            slope = frame.seen.slope[compared, None].astype(np.float32)
            rates = torch.from_numpy(-(slope @ frame.jacobian[compared])[:, 0])
            own_weight, own_shading, own_error = (
                torch.from_numpy(values[number, compared].astype(np.float32)) for values in (weight, shading, error)
            )
            weighted = rates * own_weight[:, None]
            self.matrix[where[:, None], where] += (rates.T @ weighted + frame.matrix).double()
            self.gradient[where] += (weighted.T @ own_error + frame.gradient).double()
            lit = weighted * own_shading[:, None]
            coupling[:, own] += lit[:, :num_columns]
            coupling[:, first_shared:] += lit[:, num_columns:]
            pull += own_weight * own_shading * own_error
        root = torch.from_numpy(np.sqrt(total).astype(np.float32))
        coupling, pull = coupling / root[:, None], pull / root
        self.matrix -= (coupling.T @ coupling).double()
        self.gradient -= (coupling.T @ pull).double()

    def add_shared(self, curvature: Float[Tensor, " shared"], slope: Float[Tensor, " shared"]) -> None:
        """A prior on what is shared: its second and first derivatives."""
        where = torch.arange(self.first_shared, len(self.gradient))
        self.matrix[where, where] += curvature.double()
        self.gradient[where] += slope.double()

    def solve(
        self, row_damping: float, shared_damping: float
    ) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, " shared"]]:
        """The step; each diagonal entry grows by the factor 1 + damping."""
        damping = torch.full_like(self.gradient, row_damping)
        damping[self.first_shared :] = shared_damping
        damped = self.matrix + torch.diag(damping * self.matrix.diagonal() + 1e-6)
        step = -torch.linalg.solve(damped, self.gradient).float()
        return step[: self.first_shared].view(self.num_frames, self.num_columns), step[self.first_shared :]


def _weights(
    share: Float[np.ndarray, "frames points"],
    error: Float[np.ndarray, "frames points"],
    shading: Float[np.ndarray, "frames points"],
) -> tuple[Float[np.ndarray, "frames points"], Float[np.ndarray, "frames points"]]:
    """Robust weights of the errors that the best colours leave, and those errors."""
    left, weight = error, share
    for _ in range(_COLOUR_TURNS):
        weight = share / np.maximum(np.abs(left), SMALLEST_RESIDUAL) / (1 + (left / _DOUBTFUL) ** 2)
        total = np.maximum((weight * shading**2).sum(axis=0), _LEAST_WEIGHT)
        left = error - shading * ((weight * shading * error).sum(axis=0) / total)
    return weight, left
