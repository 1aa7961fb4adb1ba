"""Rows of all frames once more, this time together: see `raytrack.fit.steady_motion`.

Frames far away hardly matter, so that frames are solved in short windows that begin at every sixteenth frame of the
sequence, each with a margin: a window's result depends on its own frames and its margin's alone, whoever else is there.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.fit.frame_choice import STEADY_MARGIN, STEADY_WINDOW
from raytrack.fit.neighbours import usual_step_s
from raytrack.fit.row_priors import longest_step
from raytrack.fit.row_problem import RowProblem, Setting
from raytrack.fit.row_solver import RowResult, RowSolver
from raytrack.fit.shared import SharedParameters
from raytrack.fit.steady_motion import MotionMetrics, Quadratic, steady_steps

_LANDMARKS = 0.2
"""Factor on the weight of landmarks. Detectors shake from frame to frame more than colours do."""
_NUM_SAMPLES = 6000
_EVENNESS = 0.1
"""Steps in time that differ by this share from the usual one are no step of a steady motion."""


def middle_frames(
    timestamps_s: Float[np.ndarray, " frames"],
    solved: Bool[np.ndarray, " frames"],
    group: Int[np.ndarray, " frames"],
    usual_s: float | None = None,
) -> Bool[np.ndarray, " frames"]:
    """Frames one usual step after one and before another that are solved too, with no cut in between.

    Args:
        timestamps_s: True times, ascending.
        solved: Frames whose rows are fitted.
        group: Which stretch between cuts each frame belongs to.
        usual_s: The usual distance in time; that of these frames by default.
    """
    usual = usual_step_s(timestamps_s) if usual_s is None else usual_s
    even = np.abs(np.diff(timestamps_s.astype(np.float64)) - usual) <= _EVENNESS * usual
    linked = even & solved[1:] & solved[:-1] & (group[1:] == group[:-1])
    middle = np.zeros(len(solved), bool)
    middle[1:-1] = linked[1:] & linked[:-1]
    return middle


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What the pictures of consecutive frames say, from frame `first` on."""

    first: int
    quadratic: Quadratic
    errors: Float[np.ndarray, " frames"]


class SteadySolver:
    """Solves rows of many frames together."""

    def __init__(self, problem: RowProblem, middle: Bool[np.ndarray, " frames"]) -> None:
        """Prepare a sequence.

        Args:
            problem: As for rows by themselves.
            middle: See `middle_frames`.
        """
        weights = replace(
            problem.weights, landmark=_LANDMARKS * problem.weights.landmark, gap=_LANDMARKS * problem.weights.gap
        )
        self._solver = RowSolver(replace(problem, weights=weights, num_samples=_NUM_SAMPLES))
        self._middle = middle
        self._pull = weights.steady
        self._metrics = MotionMetrics.create(problem.head)
        self._longest_step = longest_step(problem.head.num_expressions).double().numpy()
        self.moved = middle.copy()
        """Frames that any acceleration is known of; the others keep their rows."""
        self.moved[:-1] |= middle[1:]
        self.moved[1:] |= middle[:-1]

    def blocks(self, num_frames: int) -> list[tuple[int, int]]:
        """Stretches of windows, of about so many frames, with any frame to move: first and after the last."""
        size = max(1, num_frames // STEADY_WINDOW) * STEADY_WINDOW
        starts = np.unique(np.flatnonzero(self.moved) // size) * size
        return [(int(start), min(int(start) + size, len(self.moved))) for start in starts]

    def solve(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        start: int,
        stop: int,
        *,
        round_index: int = 0,
    ) -> RowResult:
        """Solve the frames from `start` to `stop` (exclusive).

        A frame that comes out worse than it went in keeps its row.

        Args:
            rows: Packed parameters of every frame, near to where they belong; others come back unchanged.
            shared: Held fixed.
            start: Of a window.
            stop: Of a window, or the sequence's end.
            round_index: Part of the seed of the pixel samples.
        """
        setting = Setting.create(self._solver.problem, shared)
        said = self._said(
            setting, rows, max(0, start - STEADY_MARGIN), min(len(rows), stop + STEADY_MARGIN), round_index
        )
        result = rows.clone()
        for window in range(start, stop, STEADY_WINDOW):
            own = slice(window, min(window + STEADY_WINDOW, stop))
            result[own] = self._window(rows, said, own)
        numbers = np.flatnonzero(self.moved[start:stop]) + start
        before = said.errors[numbers - said.first]
        after = np.array(self._solver.colour_errors(setting, result, numbers.tolist()))
        worse = ~(after <= np.maximum(1.5 * before, before + 0.02))
        result[numbers[worse]] = rows[numbers[worse]]
        return RowResult(rows=result, first_error=before, last_error=np.where(worse, before, after))

    def _window(self, rows: Tensor, said: _Said, own: slice) -> Tensor:
        first, last = max(0, own.start - STEADY_MARGIN), min(len(rows), own.stop + STEADY_MARGIN)
        middle = self._middle[first:last].copy()
        middle[[0, -1]] = False
        part = slice(first - said.first, last - said.first)
        quadratic = Quadratic(matrices=said.quadratic.matrices[part], gradients=said.quadratic.gradients[part])
        steps = steady_steps(rows[first:last].double().numpy(), quadratic, middle, self._metrics, self._pull)
        steps = np.clip(steps, -self._longest_step, self._longest_step)[own.start - first : own.stop - first]
        return rows[own] + torch.from_numpy(steps).float()

    def _said(self, setting: Setting, rows: Tensor, first: int, last: int, round_index: int) -> _Said:
        numbers = (np.flatnonzero(self.moved[first:last]) + first).tolist()
        columns = rows.shape[1]
        # Frames that nothing is known of stay: they are coupled to no other.
        matrices, gradients = np.tile(np.eye(columns), (last - first, 1, 1)), np.zeros((last - first, columns))
        errors = np.zeros(last - first)
        for number, (matrix, gradient, error) in zip(
            numbers, self._solver.linearised(setting, rows, numbers, round_index), strict=True
        ):
            matrices[number - first], gradients[number - first] = matrix.numpy(), gradient.numpy()
            errors[number - first] = error
        return _Said(first=first, quadratic=Quadratic(matrices=matrices, gradients=gradients), errors=errors)
