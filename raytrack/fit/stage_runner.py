"""How each kind of stage is carried out, in units small enough to be checkpointed in between.

A unit depends on the state before it and on the seed alone, so a fit that was interrupted ends like one that was not.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from raytrack.errors import ConfigError
from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.alignment import Alignment, occluded_vertices, trusted_landmarks
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.gauss_newton import REFERENCE_FACE_PX, RowProblem, RowSolver, solving_order
from raytrack.fit.head_renderer import make_head_renderer
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.schedule import RowStage, SharedStage, Stage, TextureStage, default_schedule
from raytrack.fit.shared import resampled_texture
from raytrack.fit.shared_stage import LEARNING_RATES, RegionPerturbation, SharedOptimiser, SharedProblem
from raytrack.fit.surface import SurfaceModel
from raytrack.head.model import HeadModel
from raytrack.render.protocol import Renderer

_CONVERGED = 0.003
"""Relative decrease of the mean colour error from round to round below which further rounds are skipped."""
_FEWEST_LANDMARKS = 20
_FRAMES_PER_UNIT = 64
_LONGEST_LINK = 5.0
"""Frames further apart in time than so many usual steps do not pull at each other."""
_TEXTURE_STEPS_PER_UNIT = 40
_LAST_ERRORS = 10


class StageRunner:
    """Carries out stages on one sequence. Holds its pictures and nothing that a unit changes."""

    def __init__(self, observation: SequenceObservation, head: HeadModel, config: TrackConfig) -> None:
        self.observation = observation
        self.head = head
        self.config = config
        self.alignment = Alignment.create(head, config)
        self.prior = RowPrior.create(head, config.weights)
        self.active = observation.detected
        self.landmark_weights = trusted_landmarks(
            head, self.active, occluded_vertices(head, config), landmark_set(observation.landmark_set)
        )
        self.surface = SurfaceModel.create(head)
        if (self.landmark_weights[self.active] > 0).sum(axis=1).min() < _FEWEST_LANDMARKS:
            raise ConfigError(f"occluded: {', '.join(config.occluded)} leave too few landmarks to track anything")
        self.albedo_basis = AlbedoBasis.create(head, config)
        self._frames: TrackingFrames | None = None
        self._row_solver: RowSolver | None = None
        self._cached_renderer: Renderer | None = None

    def schedule(self) -> tuple[Stage, ...]:
        """The stages that follow the fit to landmarks."""
        if self.config.landmarks_only:
            return ()
        return default_schedule(self.config, int(self.active.sum()), components=self.albedo_basis is not None)

    @property
    def frames(self) -> TrackingFrames:
        """The pictures at tracking size, read on first use."""
        if self._frames is None:
            self._frames = TrackingFrames.load(self.observation, self.config.tracking_size_px)
        return self._frames

    def num_units(self, stage: Stage) -> int:
        """How many units a stage has on this sequence."""
        if isinstance(stage, RowStage):
            return len(solving_order(self.active, _FRAMES_PER_UNIT))
        if isinstance(stage, SharedStage):
            steps_per_epoch = len(self._batches(stage, np.flatnonzero(self.active)))
            return -(-self._num_steps(stage) // steps_per_epoch)
        return -(-self._num_steps(stage) // _TEXTURE_STEPS_PER_UNIT)

    def run_unit(self, stage: Stage, state: FitState, index: int) -> FitState:
        """The next unit of a stage; after the last one the state is that of the finished stage.

        Args:
            stage: The stage under way.
            state: `units_done` tells which unit is next.
            index: Number of the stage in its schedule; part of the seed.
        """
        unit, count = state.units_done, self.num_units(stage)
        if isinstance(stage, RowStage):
            state = self._rows(stage, state, unit)
        elif isinstance(stage, SharedStage):
            state = self._shared(stage, state, unit, index)
        else:
            state = self._texture(stage, state, unit, index)
        if unit + 1 < count:
            return replace(state, units_done=unit + 1)
        return self._finished(stage, state)

    def _finished(self, stage: Stage, state: FitState) -> FitState:
        error = float(np.mean(state.unit_errors))
        if isinstance(stage, RowStage):
            stalled = stage.round_index > 0 and state.rows_error - error < _CONVERGED * state.rows_error
            rows = interpolate_missing(state.rows, self.active)
            state = replace(state, rows=rows, rows_error=error, converged=state.converged or stalled)
        else:
            error = state.unit_errors[-1]
        return replace(
            state, photo_error=error, units_done=0, unit_errors=(), adam={}, stages_done=state.stages_done + 1
        )

    def _rows(self, stage: RowStage, state: FitState, unit: int) -> FitState:
        block = solving_order(self.active, _FRAMES_PER_UNIT)[unit]
        scale = self.frames.face_size_px / REFERENCE_FACE_PX
        result = self._solver().solve(
            state.rows,
            with_whole_texture(state.shared, self.albedo_basis),
            block,
            [scale * blur for blur in stage.blur_schedule_px],
            round_index=stage.round_index,
        )
        return replace(state, rows=result.rows, unit_errors=(*state.unit_errors, *result.last_error.tolist()))

    def _solver(self) -> RowSolver:
        if self._row_solver is None:
            problem = RowProblem(
                head=self.head,
                surface=self.surface,
                frames=self.frames,
                weights=self.config.weights,
                prior=self.prior,
                landmark_weights=self.landmark_weights,
                link_weights=link_weights(self.observation.timestamps_s, self.active),
                ignored_faces=self.alignment.unaligned_faces.numpy(),
                ignored_outline=self.alignment.held_outline.numpy(),
                make_renderer=lambda: make_head_renderer(self.head, self.config.renderer),
                num_threads=self.config.num_threads,
                seed=self.config.seed,
            )
            self._row_solver = RowSolver(problem)
        return self._row_solver

    def _shared(self, stage: SharedStage, state: FitState, unit: int, index: int) -> FitState:
        generator = self._generator(index, unit)
        rates = {**LEARNING_RATES, "texture": stage.texture_rate}
        optimiser = self._optimiser(self.frames, rates, state)
        configured = self.config.weights
        weights = replace(configured, offset_laplacian=stage.offset_laplacian * configured.offset_laplacian)
        batches = self._batches(stage, generator.permutation(np.flatnonzero(self.active)))
        left = self._num_steps(stage) - unit * len(batches)
        shared, errors = state.shared, []
        for batch in batches[:left]:
            shared, error = optimiser.step(
                state.rows,
                shared,
                batch,
                stage.optimise,
                scale=stage.first_scale * stage.decay**unit,
                generator=generator,
                weights=weights,
                colours_only=stage.colours_only,
            )
            errors.append(error)
        mean = float(torch.stack(errors).mean())
        return replace(state, shared=shared, adam=optimiser.state(), unit_errors=(*state.unit_errors, mean))

    def _texture(self, stage: TextureStage, state: FitState, unit: int, index: int) -> FitState:
        generator, total = self._generator(index, unit), self._num_steps(stage)
        texture = resampled_texture(state.shared.texture, self.config.final_texture_size)
        shared = state.shared.with_values(texture=texture)
        numbers = np.flatnonzero(self.active)
        configured = self.config.weights
        weights = replace(configured, texture_variation=stage.texture_variation * configured.texture_variation)
        optimiser: SharedOptimiser | None = None
        errors: list[torch.Tensor] = []
        for step in range(unit * _TEXTURE_STEPS_PER_UNIT, min((unit + 1) * _TEXTURE_STEPS_PER_UNIT, total)):
            batch = np.sort(generator.choice(numbers, min(stage.batch_size, len(numbers)), replace=False))
            # Pictures at this size may not all fit into memory: only the batch is read.
            frames = TrackingFrames.load(self.observation, self.config.texture_image_size_px, batch)
            if optimiser is None:
                optimiser = self._optimiser(frames, {**LEARNING_RATES, "texture": stage.texture_rate}, state)
            optimiser.problem = replace(optimiser.problem, frames=frames)
            shared, error = optimiser.step(
                state.rows[torch.from_numpy(batch)],
                shared,
                np.arange(len(batch)),
                ("texture", "light"),
                scale=1 - step / total + 0.03,
                generator=generator,
                weights=weights,
                colours_only=True,
            )
            errors.append(error)
        mean = float(torch.stack(errors[-_LAST_ERRORS:]).mean())
        adam = optimiser.state() if optimiser else state.adam
        return replace(state, shared=shared, adam=adam, unit_errors=(*state.unit_errors, mean))

    def _optimiser(self, frames: TrackingFrames, rates: dict[str, float], state: FitState) -> SharedOptimiser:
        problem = SharedProblem(
            head=self.head,
            frames=frames,
            weights=self.config.weights,
            landmark_weights=self.landmark_weights,
            offsets=self.alignment.offsets,
            held_outline=self.alignment.held_outline,
            occluded=self.alignment.occluded,
            unaligned_faces=self.alignment.unaligned_faces,
            inside_mouth=self.alignment.inside_mouth,
            perturbation=None if frames.has_matte else RegionPerturbation.create(self.head),
            renderer=self._renderer(),
            albedo_basis=self.albedo_basis,
        )
        optimiser = SharedOptimiser(problem, rates)
        optimiser.restore(state.adam)
        return optimiser

    def _renderer(self) -> Renderer:
        if self._cached_renderer is None:
            self._cached_renderer = make_head_renderer(self.head, self.config.renderer, self.config.num_threads)
        return self._cached_renderer

    def _num_steps(self, stage: SharedStage | TextureStage) -> int:
        return max(1, round(stage.num_epochs * int(self.active.sum()) / stage.batch_size))

    def _batches(self, stage: SharedStage, order: np.ndarray) -> list[np.ndarray]:
        return [np.sort(order[start : start + stage.batch_size]) for start in range(0, len(order), stage.batch_size)]

    def _generator(self, index: int, unit: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, index, unit])


def link_weights(
    timestamps_s: Float[np.ndarray, " frames"], active: Bool[np.ndarray, " frames"]
) -> Float[np.ndarray, " links"]:
    """How much neighbouring frames should be alike: 1 at the usual distance in time, less beyond, 0 without a face.

    Args:
        timestamps_s: True times, ascending.
        active: Frames with a face.
    """
    steps = np.diff(timestamps_s.astype(np.float64))
    usual = float(np.median(steps)) if len(steps) else 1.0
    ratio = np.where(steps > 0, usual / np.maximum(steps, 1e-9), 1.0) if usual > 0 else np.ones(len(steps))
    weights = np.where(ratio < 1 / _LONGEST_LINK, 0.0, np.minimum(ratio, 1.0))
    return weights * (active[1:] & active[:-1])
