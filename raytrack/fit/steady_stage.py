"""The stage that solves rows of neighbouring frames together, unit by unit."""

from dataclasses import replace

from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.checkpoint import FitState
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.occlusion import HiddenSpots
from raytrack.fit.picture_cache import PictureCache
from raytrack.fit.row_solvers import RowSolvers
from raytrack.fit.schedule import SteadyStage
from raytrack.fit.steady_solver import SteadySolver, middle_frames
from raytrack.fit.views import SequenceViews


class SteadyRows:
    """Carries it out. A state's rows are those that it began with until the last unit is done."""

    def __init__(
        self,
        pictures: PictureCache,
        views: SequenceViews,
        row_solvers: RowSolvers,
        albedo_basis: AlbedoBasis | None,
        *,
        usual_step_s: float | None,
        num_pictures: int,
    ) -> None:
        """Prepare a sequence.

        Args:
            pictures: Of the sequence.
            views: The whole sequence.
            row_solvers: Of rows by themselves.
            albedo_basis: Where the texture has components.
            usual_step_s: Time between neighbouring frames; by default that of these.
            num_pictures: Of one unit, about.
        """
        self._pictures, self._views, self._row_solvers = pictures, views, row_solvers
        self._albedo_basis, self._usual_step_s = albedo_basis, usual_step_s
        self._num_frames = num_pictures // views.num_views
        self._known: tuple[HiddenSpots, SteadySolver] | None = None

    def num_units(self, state: FitState) -> int:
        """How many units the stage has."""
        return len(self._solver(state).blocks(self._num_frames))

    def run(self, stage: SteadyStage, state: FitState, unit: int) -> FitState:
        """A unit of the stage, counted from 0."""
        solver = self._solver(state)
        start, stop = solver.blocks(self._num_frames)[unit]
        shared = with_whole_texture(state.shared, self._albedo_basis)
        result = solver.solve(state.rows, shared, start, stop, round_index=stage.round_index)
        new_rows = (state.new_rows if unit else state.rows).clone()
        new_rows[start:stop] = result.rows[start:stop]
        return replace(state, new_rows=new_rows, unit_errors=(*state.unit_errors, *result.last_error.tolist()))

    def finished(self, state: FitState) -> FitState:
        """The state with the new rows, after the last unit."""
        rows = interpolate_missing(state.new_rows, self._views.detected, self._views.group)
        return replace(state, rows=rows, new_rows=rows.new_zeros(0, 0))

    def _solver(self, state: FitState) -> SteadySolver:
        if self._known is None or self._known[0] is not state.hidden:
            problem = self._row_solvers.of(state, "all", fine=True).problem
            solved = self._pictures.solved(state, "all", fine=True)
            middle = middle_frames(self._views.first.timestamps_s, solved, self._views.group, self._usual_step_s)
            self._known = state.hidden, SteadySolver(problem, middle)
        return self._known[1]
