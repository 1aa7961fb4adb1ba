"""Pose, joints and expression of each frame by Gauss–Newton on colours, outline and landmarks.

Every frame is its own small least-squares problem (iteratively reweighted for L1 costs) while the shared parameters
stand still: the sum of its views' terms (`raytrack.fit.row_terms`). A blur schedule, coarse to fine, widens the basin.

Of many views only some are drawn in an iteration, in turn; landmarks, which cost little, count in every view and
iteration. Frames are solved in two passes, even ones first, so that each pass only reads neighbours that nobody writes:
the result does not depend on how many threads work.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.fit.drawing import Drawing, SurfaceMasks, draw
from raytrack.fit.evidence import evidence
from raytrack.fit.row_priors import longest_step, smoothness_weights
from raytrack.fit.row_problem import RowProblem, Setting
from raytrack.fit.row_terms import ViewShares, ViewTerms
from raytrack.fit.shared import SharedParameters
from raytrack.fit.surface_jacobian import PosedSurface
from raytrack.render.protocol import Renderer

DAMPING = 1e-2
VIEWS_PER_ITERATION = 6
"""More views than this take turns in being drawn."""
_SAMPLES_OF_ALL_VIEWS = 6000


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """Rows after a call, and each solved frame's mean colour error before its first and its last iteration."""

    rows: Float[Tensor, "frames columns"]
    first_error: Float[np.ndarray, " solved"]
    last_error: Float[np.ndarray, " solved"]


def solving_order(active: Bool[np.ndarray, " frames"], block_size: int) -> list[list[int]]:
    """Blocks of frames to solve one after the other: even frames first, then odd ones."""
    numbers = np.flatnonzero(active)
    blocks = []
    for parity in (0, 1):
        chosen = numbers[numbers % 2 == parity].tolist()
        blocks.extend(chosen[start : start + block_size] for start in range(0, len(chosen), block_size))
    return blocks


class RowSolver:
    """Solves rows on a thread pool, one renderer per thread."""

    def __init__(self, problem: RowProblem) -> None:
        self.problem = problem
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(problem.num_threads, initializer=_single_thread)
        head = problem.head
        self._masks = SurfaceMasks.create(
            head, problem.landmarks.embedding, problem.ignored_faces, problem.ignored_outline
        )
        self._smooth = smoothness_weights(head.num_expressions, problem.weights)
        self._longest_step = longest_step(head.num_expressions)

    def solve(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        numbers: Sequence[int],
        blur_schedule_px: Sequence[float],
        *,
        smooth: bool = True,
        round_index: int = 0,
    ) -> RowResult:
        """Solve some frames, none next to another.

        A frame whose colour error grew by more than half and by more than 0.02 keeps its row. Less is let pass: the
        outline, landmarks, priors and neighbours have their say, and a better place can cost colours something.

        Args:
            rows: Packed parameters of every frame; those of the other frames come back unchanged.
            shared: Held fixed.
            numbers: Frames to solve: a stretch of `solving_order`.
            blur_schedule_px: Gaussian σ of each iteration, in pixels of a reference face.
            smooth: Pull towards the neighbouring frames.
            round_index: Part of the seed of the pixel samples.

        Raises:
            ValueError: Two of the frames are neighbours, so the result would depend on which is solved first; or no
                view shows the head in one of them.
        """
        if any(number + 1 in set(numbers) for number in numbers):
            raise ValueError("frames solved together must not be neighbours")
        if hidden := [number for number in numbers if not self._views_of(number)]:
            raise ValueError(f"no view shows the head in frames {hidden}")
        setting = Setting.create(self.problem, shared)
        result = rows.clone()
        first, last = np.zeros(len(numbers)), np.zeros(len(numbers))

        def one(frame: int) -> tuple[Tensor, list[float]]:
            links = self._links(frame, len(rows)) if smooth else []
            return self._solve_frame(setting, rows, frame, links, blur_schedule_px, round_index)

        for index, (row, errors) in enumerate(self._pool.map(one, numbers)):
            result[numbers[index]], first[index], last[index] = row, errors[0], errors[-1]
        return RowResult(rows=result, first_error=first, last_error=last)

    def linearised(
        self, setting: Setting, rows: Float[Tensor, "frames columns"], numbers: Sequence[int], round_index: int
    ) -> list[tuple[Tensor, Tensor, float]]:
        """Curvature, gradient (both without the pull of neighbours) and colour error of some frames, in doubles."""

        def one(frame: int) -> tuple[Tensor, Tensor, float]:
            generator = np.random.default_rng([self.problem.seed, round_index, frame])
            surface, views = self._pose(setting, rows[frame]), self._views_of(frame)
            matrix, gradient, error = self._normal_equations(setting, surface, frame, views, 0.0, generator)
            curvature, slope = self.problem.prior_at(rows[frame], frame)
            return matrix.double() + curvature.double(), (gradient + slope).double(), error

        return list(self._pool.map(one, numbers))

    def colour_errors(
        self, setting: Setting, rows: Float[Tensor, "frames columns"], numbers: Sequence[int]
    ) -> list[float]:
        """Mean colour error of some frames, over the views that show the head."""

        def one(frame: int) -> float:
            surface = self._pose(setting, rows[frame])
            errors = [self._draw(setting, surface, view, frame).mean_error for view in self._views_of(frame)]
            return float(np.mean(errors))

        return list(self._pool.map(one, numbers))

    def _links(self, frame: int, num_frames: int) -> list[tuple[int, float]]:
        """Neighbouring frames and how strongly they pull."""
        around = [(k, self.problem.link_weights[min(k, frame)]) for k in (frame - 1, frame + 1) if 0 <= k < num_frames]
        return [(k, float(weight)) for k, weight in around if weight > 0]

    def _renderer(self) -> Renderer:
        if not hasattr(self._local, "renderer"):
            self._local.renderer = self.problem.make_renderer()
        return self._local.renderer

    def _solve_frame(
        self,
        setting: Setting,
        before: Float[Tensor, "frames columns"],
        frame: int,
        links: list[tuple[int, float]],
        blur_schedule_px: Sequence[float],
        round_index: int,
    ) -> tuple[Float[Tensor, " columns"], list[float]]:
        """A frame's new row, and its colour error before each iteration and at the end.

        The first error and the last one are those of the same views.
        """
        row, errors = before[frame].clone(), []
        generator = np.random.default_rng([self.problem.seed, round_index, frame])
        turns = view_turns(self._views_of(frame), len(blur_schedule_px), frame)
        for drawn_views, blur_px in zip(turns, blur_schedule_px, strict=True):
            surface = self._pose(setting, row)
            matrix, gradient, error = self._normal_equations(setting, surface, frame, drawn_views, blur_px, generator)
            curvature, slope = self.problem.prior_at(row, frame)
            for neighbour, weight in links:
                curvature = curvature + torch.diag(weight * self._smooth)
                slope = slope + weight * self._smooth * (row - before[neighbour])
            matrix = matrix.double() + curvature.double()
            damped = matrix + torch.diag(DAMPING * matrix.diagonal() + 1e-6)
            step = torch.linalg.solve(damped, (gradient + slope).double()).float()
            row = row - torch.minimum(torch.maximum(step, -self._longest_step), self._longest_step)
            errors.append(error)
        surface = self._pose(setting, row)
        errors.append(float(np.mean([self._draw(setting, surface, view, frame).mean_error for view in turns[0]])))
        if not errors[-1] <= max(1.5 * errors[0], errors[0] + 0.02):
            return before[frame].clone(), [errors[0], errors[0]]
        return row, errors

    def _views_of(self, frame: int) -> list[int]:
        """Views that show the head."""
        return [number for number, view in enumerate(self.problem.views) if view.frames.present[frame]]

    def _pose(self, setting: Setting, row: Float[Tensor, " columns"]) -> PosedSurface:
        (surface,), _ = self.problem.surface.pose(row[None], setting.neutral, setting.joints)
        return surface

    def _draw(self, setting: Setting, surface: PosedSurface, view: int, frame: int) -> Drawing:
        frames = self.problem.views[view].frames
        camera, target = setting.camera(view, frame), frames.targets([frame])
        light = setting.shared.light_in(int(self.problem.groups.light[frame]), frames.place)
        return draw(self._renderer(), camera, surface, setting.shared, target, light)

    def _normal_equations(
        self,
        setting: Setting,
        surface: PosedSurface,
        frame: int,
        drawn_views: Sequence[int],
        blur_px: float,
        generator: np.random.Generator,
    ) -> tuple[Tensor, Tensor, float]:
        """Sums over the frame's views, and the mean colour error of those that are drawn."""
        problem, every = self.problem, self._views_of(frame)
        seeing = [view for view in every if problem.views[view].sees_landmarks(frame)]
        shares = ViewShares(
            colours=float(evidence(len(every))) / max(len(drawn_views), 1),
            landmarks=float(evidence(len(seeing))) / max(len(seeing), 1),
        )
        num_samples = min(problem.num_samples, _SAMPLES_OF_ALL_VIEWS // max(len(drawn_views), 1))
        matrix, gradient, errors = torch.zeros(()), torch.zeros(()), []
        for number in sorted({*drawn_views, *seeing}):
            view = problem.views[number]
            terms = ViewTerms(view=view, frame=frame, camera=setting.camera(number, frame), surface=surface,
                              masks=self._masks, weights=problem.weights, shares=shares)  # fmt: skip
            drawing = self._draw(setting, surface, number, frame) if number in drawn_views else None
            own = terms.normal_equations(drawing, view.unit_px * blur_px, num_samples, generator)
            matrix, gradient = matrix + own[0], gradient + own[1]
            if drawing is not None:
                errors.append(drawing.mean_error)
        return matrix, gradient, float(np.mean(errors))


def view_turns(views: Sequence[int], num_iterations: int, first: int) -> list[list[int]]:
    """Which views are drawn in each iteration: an evenly spread part of them, then the next, all in the last one.

    Args:
        views: The views that show the head.
        num_iterations: One or more.
        first: Where the turns begin; frames begin with different views.
    """
    if len(views) <= VIEWS_PER_ITERATION:
        return [list(views)] * num_iterations
    stride = -(-len(views) // VIEWS_PER_ITERATION)
    turns = [list(views[(first + turn) % stride :: stride]) for turn in range(num_iterations - 1)]
    return [*turns, list(views)] if turns else [list(views)]


def _single_thread() -> None:
    """Keep torch from starting threads of its own inside a worker thread."""
    torch.set_num_threads(1)
