"""How each kind of stage is carried out, in units small enough to be checkpointed in between.

A unit depends on the state before it and on the seed alone, so a fit that was interrupted ends like one that was not.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from raytrack.fit.adam_stages import AdamStages
from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.alignment import Alignment, landmark_trust
from raytrack.fit.camera_fit import FocalPrior, focal_px_of
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.eye_centres import centred_eyes
from raytrack.fit.frame_choice import Segment, choose_shared_frames
from raytrack.fit.groups import FrameGroups
from raytrack.fit.identity import Identity
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.joint_stage import solve_stage
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.occlusion_stage import Looks
from raytrack.fit.picture_cache import PictureCache
from raytrack.fit.row_solver import solving_order
from raytrack.fit.row_solvers import RowSolvers
from raytrack.fit.schedule import (
    CameraStage,
    JointStage,
    OcclusionStage,
    RowStage,
    SharedStage,
    Stage,
    SteadyStage,
    default_schedule,
)
from raytrack.fit.steady_stage import SteadyRows
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

_CONVERGED = 0.003
"""Relative change of the mean colour error from round to round below which further rounds are skipped."""
_PICTURES_PER_UNIT = 64
_LANDMARKS_OF_SOLVED_RIG = 5.0
"""Factor on the weight of landmarks where the cameras were found from what they see. Colours of cameras that are a
little off are painted into a texture that suits them all, and nothing but the landmarks says that it is wrong."""
_IRIS_SEEN = 0.5
"""Trust in an iris from which gaze is known."""


class StageRunner:
    """Carries out stages on one sequence. It holds nothing that a unit changes but copies that it makes anew."""

    def __init__(
        self,
        views: SequenceViews,
        head: HeadModel,
        config: TrackConfig,
        segment: Segment | None = None,
        identity: Identity | None = None,
        *,
        usual_step_s: float | None = None,
        mattes_decided: bool = False,
    ) -> None:
        """Prepare a sequence.

        Args:
            views: The whole sequence.
            head: The head model.
            config: Sizes, weights, seed.
            segment: The only frames whose rows are moved by stages that move all, or those that share nothing.
            identity: Shape, offset and texture, where they are known.
            usual_step_s: Time between neighbouring frames, where this is a part of a sequence.
            mattes_decided: Whether a single camera's mattes can be believed is what the state says, not what the
                pictures of these frames say.
        """
        if views.solved:
            weights = replace(config.weights, landmark=_LANDMARKS_OF_SOLVED_RIG * config.weights.landmark)
            config = replace(config, weights=weights)
        usual_step_s = views.first.usual_step_s if usual_step_s is None else usual_step_s
        self.views, self.head, self.config = views, head, config
        self.alignment = Alignment.create(head, config)
        self.active = views.detected
        self.groups = FrameGroups.of(views.group)
        self.landmarks = landmark_set(views.first.landmark_set)
        self.landmark_weights = landmark_trust(views, head, config)
        """Trust in each view's points, before it is known which of them a rig's cameras see."""
        self.albedo_basis = None if identity else AlbedoBasis.create(head, config)
        self.identity = identity
        self.shared_frames = choose_shared_frames(views, config.shared_frames, self.groups)
        self.pictures = PictureCache(
            views,
            head,
            config,
            self.landmark_weights,
            self.shared_frames,
            segment,
            mattes_decided=mattes_decided,
        )
        self.adam = AdamStages(
            self.pictures,
            head,
            config,
            alignment=self.alignment,
            landmarks=self.landmarks,
            groups=self.groups,
            albedo_basis=self.albedo_basis,
        )
        self._row_solvers = RowSolvers(
            self.pictures,
            views,
            head,
            config,
            alignment=self.alignment,
            landmarks=self.landmarks,
            groups=self.groups,
            usual_step_s=usual_step_s,
        )
        self._steady_rows = SteadyRows(
            self.pictures,
            views,
            self._row_solvers,
            self.albedo_basis,
            usual_step_s=usual_step_s,
            num_pictures=_PICTURES_PER_UNIT,
        )
        self._looks = Looks(self.pictures, head, config, self.groups, self.albedo_basis)

    @property
    def is_long(self) -> bool:
        """Whether there are frames that what is shared is not fitted to."""
        return self.pictures.is_long

    def schedule(self, state: FitState) -> tuple[Stage, ...]:
        """The photometric stages."""
        rig = self.views.is_rig
        num_pictures = self.pictures.of(state).num_per_epoch if rig else int(self.shared_frames.sum())
        return default_schedule(
            self.config,
            num_pictures,
            calibrated=self.views.is_rig,
            solved=self.views.solved,
            components=self.albedo_basis is not None,
            long=self.is_long,
            known_identity=self.identity is not None,
        )

    def num_units(self, stage: Stage, state: FitState) -> int:
        """How many units a stage has on this sequence."""
        if isinstance(stage, RowStage):
            return len(self._row_blocks(stage, state))
        if isinstance(stage, CameraStage | JointStage):
            return 1
        if isinstance(stage, SteadyStage):
            return self._steady_rows.num_units(state)
        if isinstance(stage, OcclusionStage):
            return self._looks.num_units(stage, state)
        return self.adam.num_units(stage, state)

    def _row_blocks(self, stage: RowStage, state: FitState) -> list[list[int]]:
        moved = self.pictures.solved(state, stage.frames, stage.fine)
        if stage.frames == "others":
            moved = moved & ~self.shared_frames
        return solving_order(moved, max(1, _PICTURES_PER_UNIT // self.views.num_views))

    def run_unit(self, stage: Stage, state: FitState, index: int) -> FitState:
        """The next unit of a stage; after the last one the state is that of the finished stage.

        Args:
            stage: The stage under way.
            state: `units_done` tells which unit is next.
            index: Number of the stage in its schedule; part of the seed.
        """
        unit, count = state.units_done, self.num_units(stage, state)
        if count == 0:
            return replace(state, stages_done=state.stages_done + 1)
        # A look takes no part in the count: a clip in which nothing is hidden is fitted as if nobody had looked.
        index -= sum(isinstance(earlier, OcclusionStage) for earlier in self.schedule(state)[: index - 1])
        if isinstance(stage, RowStage):
            state = self._rows(stage, state, unit)
        elif isinstance(stage, CameraStage):
            state = self._cameras(stage, state)
        elif isinstance(stage, JointStage):
            state = self._joint(stage, state)
        elif isinstance(stage, SteadyStage):
            state = self._steady_rows.run(stage, state, unit)
        elif isinstance(stage, OcclusionStage):
            state = self._looks.run(stage, state, unit)
        else:
            state = self.adam.run(stage, state, unit, index)
        if unit + 1 < count:
            return replace(state, units_done=unit + 1)
        return self._finished(stage, state)

    def _finished(self, stage: Stage, state: FitState) -> FitState:
        error = float(np.mean(state.unit_errors))
        if isinstance(stage, SteadyStage):
            state = self._steady_rows.finished(state)
        state = replace(state, mattes_refused=self.pictures.mattes_refused(state))
        if isinstance(stage, RowStage):
            # An error that rises is no sign of rest: offsets that were just freed can cost rows something at first.
            stalled = stage.comparable and abs(state.rows_error - error) < _CONVERGED * state.rows_error
            rows = interpolate_missing(state.rows, self.active, self.views.group)
            state = replace(state, rows=rows, rows_error=error, converged=state.converged or stalled)
        elif not isinstance(stage, SteadyStage):
            error = error if isinstance(stage, OcclusionStage) else state.unit_errors[-1]
            if isinstance(stage, SharedStage) and "offset" in stage.optimise:
                state = self._with_centred_eyes(state)
        return replace(
            state, photo_error=error, units_done=0, unit_errors=(), adam={}, stages_done=state.stages_done + 1
        )

    def look_at(self, state: FitState, frames: Bool[np.ndarray, " frames"]) -> FitState:
        """What stands before the head in some frames alone, by the levels that the state knows."""
        return self._looks.at(state, frames)

    def solve_rows(self, stage: RowStage, state: FitState, frames: Bool[np.ndarray, " frames"]) -> FitState:
        """A row stage on some frames alone, all the others and what is shared held; `unit_errors` are theirs.

        Args:
            stage: Which iterations.
            state: Rows of all frames.
            frames: No two of them next to each other. Those in which no view shows the head keep their rows.
        """
        numbers = np.flatnonzero(frames & self.pictures.solved(state, "all", stage.fine)).tolist()
        stage = replace(stage, frames="all")
        return self._solved_rows(stage, replace(state, unit_errors=()), numbers) if numbers else state

    def _with_centred_eyes(self, state: FitState) -> FitState:
        irises = [point for eye in self.landmarks.eyes for point in eye.iris]
        # The rows of others know no colours yet.
        seen = self.shared_frames & (self.landmark_weights[..., irises].max(axis=(0, 2), initial=0) > _IRIS_SEEN)
        rows, offset = centred_eyes(self.head, state.rows, state.shared.offset, seen)
        return replace(state, rows=rows, shared=state.shared.with_values(offset=offset))

    def _rows(self, stage: RowStage, state: FitState, unit: int) -> FitState:
        return self._solved_rows(stage, state, self._row_blocks(stage, state)[unit])

    def _solved_rows(self, stage: RowStage, state: FitState, numbers: list[int]) -> FitState:
        result = self._row_solvers.of(state, stage.frames, fine=stage.fine).solve(
            state.rows,
            with_whole_texture(state.shared, self.albedo_basis),
            numbers,
            stage.blur_schedule_px,
            round_index=stage.round_index,
        )
        return replace(state, rows=result.rows, unit_errors=(*state.unit_errors, *result.last_error.tolist()))

    def _cameras(self, stage: CameraStage, state: FitState) -> FitState:
        numbers = np.flatnonzero(self.pictures.solved(state, "shared", fine=False))
        chosen = np.unique(np.linspace(0, len(numbers) - 1, min(stage.num_frames, len(numbers))).round().astype(int))
        result = self._row_solvers.of(state, "shared").solve_cameras(
            state.rows,
            with_whole_texture(state.shared, self.albedo_basis),
            numbers[chosen].tolist(),
            stage.blur_schedule_px,
            FocalPrior(first_px=tuple(focal_px_of(view.camera) for view in self.views.rig)),
            hold_shape=self.identity is not None,
            round_index=stage.round_index,
        )
        shared = state.shared.with_values(cameras=result.cameras, shape=result.shape)
        return replace(state, rows=result.rows, shared=shared, unit_errors=(result.last_error,))

    def _joint(self, stage: JointStage, state: FitState) -> FitState:
        shared = with_whole_texture(state.shared, self.albedo_basis)
        problem = self._row_solvers.of(state, "shared").problem
        solved = self.pictures.solved(state, "shared", fine=False)
        state = solve_stage(stage, state, shared, problem, self.views, solved)
        return replace(state, unit_errors=(state.photo_error,))
