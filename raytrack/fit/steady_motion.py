"""Motion without shaking: rows of a stretch of frames, given what each picture says and that heads have inertia.

What a picture says of its row is a quadratic form; where it says much, the row stays, and directions that it is silent
about are filled in from the frames before and after. What is held against a row is the acceleration that it brings to
points of the surface, in millimetres, by parts of the head. The cost grows ever more slowly with the acceleration
(Cauchy): to a saccade, a blink or a plosive it is a small price.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE, FrameParameters, block_slices

_USUAL_MM = 0.3
"""Acceleration (mm per step²) from which more of it costs less and less."""
_PARTS = ("lips", "eyelids", "face", "eyeballs")
_MOST_POINTS = 200
_STEP = 1e-3
_ITERATIONS = 6
_UNSEEN_MM = {
    "rotation": 50.0,
    "translation": 1000.0,
    "neck_pose": 50.0,
    "jaw_pose": 30.0,
    "eyes_pose": 10.0,
    "expression": 3.0,
}
"""What a unit of each block is worth, in millimetres, where it moves no point of the face."""
_UNSEEN = 1e-3


@dataclass(frozen=True, kw_only=True)
class MotionMetrics:
    """Matrices M so that xᵀ M x is the mean squared way (mm²) of a part's points when the row changes by x."""

    parts: Float[np.ndarray, "parts columns columns"]
    """The head as a whole, and what moves in it."""
    unseen: Float[np.ndarray, " columns"]
    """A little for every column, whatever it moves."""

    @classmethod
    def create(cls, head: HeadModel) -> "MotionMetrics":
        """Of the mean head at rest.

        Args:
            head: On the CPU.
        """
        rates_mm = _rates_mm(head)
        blocks = block_slices(head.num_expressions)
        whole = np.zeros(len(rates_mm), bool)
        for name in ("rotation", "translation", "neck_pose"):
            whole[blocks[name]] = True
        eyes = np.zeros(len(rates_mm), bool)
        eyes[blocks["eyes_pose"]] = True
        parts = [_metric(rates_mm, _points(head, "face"), whole)]
        for name in _PARTS:
            points = _points(head, name)
            if len(points):
                parts.append(_metric(rates_mm, points, eyes if name == "eyeballs" else ~whole & ~eyes))
        unseen = np.concatenate(
            [np.full(columns.stop - columns.start, _UNSEEN * _UNSEEN_MM[name] ** 2) for name, columns in blocks.items()]
        )
        return cls(parts=np.stack(parts), unseen=unseen)


def _points(head: HeadModel, region: str) -> np.ndarray:
    numbers = np.flatnonzero(head.region(region).numpy())
    return numbers[:: max(1, -(-len(numbers) // _MOST_POINTS))]


@torch.no_grad()
def _rates_mm(head: HeadModel) -> Float[np.ndarray, "columns vertices 3"]:
    """How vertices move with each column."""
    steps = _STEP * torch.eye(NUM_POSE + head.num_expressions)
    shape = torch.zeros(head.num_shapes)
    ahead, behind = (head.vertices(FrameParameters.unpack(rows), shape, None) for rows in (steps, -steps))
    return (1000 * (ahead - behind) / (2 * _STEP)).double().numpy()


def _metric(rates_mm: np.ndarray, points: np.ndarray, moving: np.ndarray) -> np.ndarray:
    flat = np.where(moving[:, None, None], rates_mm[:, points], 0.0).reshape(len(rates_mm), -1)
    # Torch's product: numpy's may depend on how many threads there are.
    product = torch.from_numpy(flat) @ torch.from_numpy(flat).T
    return product.numpy() / max(len(points), 1)


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    """What each frame's picture says of a change of its row: ½ δᵀ H δ + gᵀ δ."""

    matrices: Float[np.ndarray, "frames columns columns"]
    gradients: Float[np.ndarray, "frames columns"]


def steady_steps(
    rows: Float[np.ndarray, "frames columns"],
    said: Quadratic,
    middle: Bool[np.ndarray, " frames"],
    metrics: MotionMetrics,
    pull: float,
) -> Float[np.ndarray, "frames columns"]:
    """Changes of the rows that minimise what pictures and accelerations cost together.

    Args:
        rows: Of frames at equal steps in time where `middle` says so.
        said: At these rows.
        middle: Frames between whose two neighbours an acceleration means something; not the first and the last one.
        metrics: Of the head.
        pull: Weight of a part's mean squared acceleration (mm² per step⁴), where that is small.
    """
    centres = np.flatnonzero(middle)
    steps = np.zeros_like(rows)
    for _ in range(_ITERATIONS):
        accelerations = _accelerations(rows + steps, centres)
        forces = np.einsum("ka,pab->pkb", accelerations, metrics.parts)
        squared_mm = np.einsum("pkb,kb->pk", forces, accelerations)
        trust = 1 / (1 + squared_mm / _USUAL_MM**2)
        coupling = pull * (np.einsum("pk,pab->kab", trust, metrics.parts) + np.diag(metrics.unseen))
        forces = np.einsum("kab,kb->ka", coupling, _accelerations(rows, centres))
        gradients = said.gradients.copy()
        for offset, factor in _STENCIL:
            np.add.at(gradients, centres + offset, factor * forces)
        steps = -_solve(said.matrices, gradients, coupling, centres)
    return steps


_STENCIL: Sequence[tuple[int, float]] = ((-1, 1.0), (0, -2.0), (1, 1.0))


def _accelerations(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return rows[centres - 1] - 2 * rows[centres] + rows[centres + 1]


def _solve(matrices: np.ndarray, right: np.ndarray, coupling: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The solution of the block-pentadiagonal system."""
    num_frames, num_columns = right.shape
    blocks = np.zeros((3, num_frames, num_columns, num_columns))
    blocks[0] = matrices + 1e-9 * np.eye(num_columns)
    for row, (first, one) in enumerate(_STENCIL):
        for second, other in _STENCIL[: row + 1]:
            np.add.at(blocks[first - second], centres + second, one * other * coupling)
    return solve_pentadiagonal(torch.from_numpy(blocks), torch.from_numpy(right)).numpy()


def solve_pentadiagonal(
    blocks: Float[Tensor, "3 frames columns columns"], right: Float[Tensor, "frames columns"]
) -> Float[Tensor, "frames columns"]:
    """Solve a symmetric positive definite system by block Cholesky factorisation.

    Args:
        blocks: [d, t] is block (t + d, t) of the matrix; those beyond its end are not read.
        right: The right-hand side.
    """
    num_frames = len(right)
    factors = torch.zeros_like(blocks)
    half = torch.zeros_like(right)
    for t in range(num_frames):
        own, next_one, rest = blocks[0, t], blocks[1, t], right[t]
        if t > 0:
            own = own - factors[1, t - 1] @ factors[1, t - 1].T
            next_one = next_one - factors[2, t - 1] @ factors[1, t - 1].T
            rest = rest - factors[1, t - 1] @ half[t - 1]
        if t > 1:
            own = own - factors[2, t - 2] @ factors[2, t - 2].T
            rest = rest - factors[2, t - 2] @ half[t - 2]
        factors[0, t] = torch.linalg.cholesky(own)
        below = torch.stack([next_one, blocks[2, t]])
        factors[1:, t] = torch.linalg.solve_triangular(factors[0, t].T, below, upper=True, left=False)
        half[t] = torch.linalg.solve_triangular(factors[0, t], rest[:, None], upper=False)[:, 0]
    solution = torch.zeros_like(right)
    for t in reversed(range(num_frames)):
        rest = half[t]
        for distance in range(1, min(3, num_frames - t)):
            rest = rest - factors[distance, t].T @ solution[t + distance]
        solution[t] = torch.linalg.solve_triangular(factors[0, t].T, rest[:, None], upper=True)[:, 0]
    return solution
