"""Track one sequence: landmarks, then colours, then the final texture. Knows nothing of where it runs.

`track_sequence` works in a notebook as it does on a cluster. With a checkpoint folder it saves its state after every stage
and continues from there, bit for bit.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import NoFaceError, NotConvergedError
from raytrack.fit.alignment import Alignment, occluded_vertices, trusted_landmarks
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.gauss_newton import RowProblem, RowSolver
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.landmark_stage import landmark_stage
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.schedule import RowStage, SharedStage, TextureStage, default_schedule
from raytrack.fit.shared import SharedParameters, resampled_texture
from raytrack.fit.shared_stage import LEARNING_RATES, RegionPerturbation, SharedOptimiser, SharedProblem
from raytrack.fit.surface import SurfaceModel
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Renderer, Topology
from raytrack.render.registry import make_renderer, resolve_name

logger = logging.getLogger(__name__)
_CONVERGED = 0.003
"""Relative decrease of the mean colour error from round to round below which further rounds are skipped."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a fit has come."""

    stage: str
    done: int
    """Stages finished."""
    total: int
    photo_error: float
    """Mean absolute colour error over the covered pixels, 0 to 1; NaN before colours are used."""


def track_sequence(
    observation: SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    *,
    checkpoint_folder: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Track:
    """Fit the head to every frame with a face; interpolate the rest.

    Args:
        observation: Pictures, landmarks and mattes.
        head: The head model.
        config: Preset, regions, sizes, seed.
        checkpoint_folder: Where the state is kept between stages; a state found there is continued. The caller keeps one
            folder per combination of input and configuration.
        on_progress: Called after each stage.

    Raises:
        NoFaceError: No frame has a face.
        NotConvergedError: The landmarks could not be fitted.
    """
    if not observation.detected.any():
        raise NoFaceError(
            "no face was found in any frame: check the footage, its rotation, and that the face is larger than about 40 px"
        )
    tracker = SequenceTracker(observation, head, config)
    return tracker.run(None if checkpoint_folder is None else Checkpoint(checkpoint_folder), on_progress)


class SequenceTracker:
    """One fit: its constant parts, and a method per kind of stage."""

    def __init__(self, observation: SequenceObservation, head: HeadModel, config: TrackConfig) -> None:
        self.observation = observation
        self.head = head
        self.config = config
        self.alignment = Alignment.create(head, config)
        self.prior = RowPrior.create(head, config.weights)
        self.active = observation.detected
        self.landmark_weights = trusted_landmarks(head, self.active, occluded_vertices(head, config))
        self.surface = SurfaceModel.create(head)
        self._frames: TrackingFrames | None = None

    @property
    def frames(self) -> TrackingFrames:
        """The pictures at tracking size, read on first use."""
        if self._frames is None:
            self._frames = TrackingFrames.load(self.observation, self.config.tracking_size_px)
        return self._frames

    def run(self, checkpoint: Checkpoint | None, on_progress: Callable[[Progress], None] | None) -> Track:
        """All stages from the last checkpoint on."""
        state = checkpoint.load() if checkpoint else None
        schedule = () if self.config.landmarks_only else default_schedule(self.config, int(self.active.sum()))
        total = 1 + len(schedule)

        def finish(new_state: FitState, name: str, started: float) -> FitState:
            logger.info("%s: colour error %.4f, %.1f s", name, new_state.photo_error, time.perf_counter() - started)
            if checkpoint:
                checkpoint.save(new_state)
            if on_progress:
                on_progress(
                    Progress(stage=name, done=new_state.stages_done, total=total, photo_error=new_state.photo_error)
                )
            return new_state

        if state is None:
            started = time.perf_counter()
            state = finish(self._landmarks(), "landmarks", started)
        for index, stage in enumerate(schedule, start=1):
            if state.stages_done > index:
                continue
            started = time.perf_counter()
            new_state = state if self._skips(stage, state) else self._run_stage(stage, state, index)
            state = finish(replace(new_state, stages_done=index + 1), stage.name, started)
        return self._track(state)

    def _skips(self, stage: object, state: FitState) -> bool:
        return state.converged and isinstance(stage, RowStage | SharedStage) and stage.name != "rows_final"

    def _run_stage(self, stage: RowStage | SharedStage | TextureStage, state: FitState, index: int) -> FitState:
        if isinstance(stage, RowStage):
            return self._rows(stage, state)
        if isinstance(stage, SharedStage):
            return self._shared(stage, state, index)
        return self._texture(stage, state, index)

    def _landmarks(self) -> FitState:
        solution = landmark_stage(self.observation, self.head, self.config, self.landmark_weights)
        rows = interpolate_missing(solution.rows, self.active)
        if not bool(torch.isfinite(rows).all()):
            raise NotConvergedError("the landmarks could not be fitted: the detections are inconsistent")
        shared = SharedParameters.start(self.head, solution.shape, solution.focal_px, self.config.texture_size)
        return FitState(
            rows=rows, shared=shared, stages_done=1, photo_error=float("nan"), rows_error=float("inf"), converged=False
        )

    def _rows(self, stage: RowStage, state: FitState) -> FitState:
        scale = max(self.frames.size_hw) / 256
        problem = RowProblem(
            head=self.head, surface=self.surface, frames=self.frames, weights=self.config.weights, prior=self.prior,
            landmark_weights=self.landmark_weights, ignored_faces=self.alignment.unaligned_faces.numpy(),
            ignored_outline=self.alignment.held_outline.numpy(), make_renderer=lambda: self._renderer(1),
            num_threads=self.config.num_threads, seed=self.config.seed,
        )  # fmt: skip
        result = RowSolver(problem).solve(
            state.rows,
            state.shared,
            self.active,
            [scale * blur for blur in stage.blur_schedule_px],
            round_index=stage.round_index,
        )
        rows = interpolate_missing(result.rows, self.active)
        error = float(result.last_error[self.active].mean())
        converged = stage.round_index > 0 and state.rows_error - error < _CONVERGED * state.rows_error
        return replace(state, rows=rows, photo_error=error, rows_error=error, converged=state.converged or converged)

    def _shared(self, stage: SharedStage, state: FitState, index: int) -> FitState:
        weights = replace(self.config.weights, offset_laplacian=stage.offset_laplacian)
        rates = {**LEARNING_RATES, "texture": stage.texture_rate}
        optimiser = SharedOptimiser(self._shared_problem(self.frames), rates)
        shared, error = optimiser.epochs(
            state.rows, state.shared, self.active, stage.optimise, num_epochs=stage.num_epochs, batch_size=stage.batch_size,
            generator=self._generator(index), first_scale=stage.first_scale, decay=stage.decay, weights=weights,
            colours_only=stage.colours_only,
        )  # fmt: skip
        return replace(state, shared=shared, photo_error=error)

    def _texture(self, stage: TextureStage, state: FitState, index: int) -> FitState:
        frames = TrackingFrames.load(self.observation, self.config.texture_image_size_px)
        texture = resampled_texture(state.shared.texture, self.config.final_texture_size)
        weights = replace(self.config.weights, texture_variation=stage.texture_variation)
        optimiser = SharedOptimiser(self._shared_problem(frames), {**LEARNING_RATES, "texture": stage.texture_rate})
        steps = max(1, round(stage.num_epochs * int(self.active.sum()) / stage.batch_size))
        shared, generator = state.shared.with_values(texture=texture), self._generator(index)
        numbers, errors = np.flatnonzero(self.active), []
        for step in range(steps):
            batch = np.sort(generator.choice(numbers, min(stage.batch_size, len(numbers)), replace=False))
            shared, error = optimiser.step(
                state.rows, shared, batch, ("texture", "light"), scale=1 - step / steps + 0.03, generator=generator,
                weights=weights, colours_only=True,
            )  # fmt: skip
            errors.append(error)
        return replace(state, shared=shared, photo_error=float(torch.stack(errors[-10:]).mean()))

    def _shared_problem(self, frames: TrackingFrames) -> SharedProblem:
        return SharedProblem(
            head=self.head, frames=frames, weights=self.config.weights, prior=self.prior,
            landmark_weights=self.landmark_weights, offsets=self.alignment.offsets, held_outline=self.alignment.held_outline, occluded=self.alignment.occluded,
            unaligned_faces=self.alignment.unaligned_faces, inside_mouth=self.alignment.inside_mouth,
            perturbation=RegionPerturbation.create(self.head) if frames.matte is None else None,
            renderer=self._renderer(self.config.num_threads),
        )  # fmt: skip

    def _renderer(self, num_threads: int) -> Renderer:
        shape = self.head.topology()
        topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
        options = {"num_threads": num_threads} if resolve_name(self.config.renderer) == "numba" else {}
        return make_renderer(self.config.renderer, topology, **options)

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, index])

    def _track(self, state: FitState) -> Track:
        shared = state.shared
        offset: Float[Tensor, "1 vertices 3"] | None = shared.offset[None] if self.config.static_offset else None
        return Track(
            parameters=FrameParameters.unpack(state.rows), shape=shared.shape, static_offset=offset,
            texture=shared.texture.clamp(0, 1), lights=shared.light, focal_px=shared.focal_px, size_hw=self.observation.size_hw,
            timestep_ids=self.observation.timestep_ids, tracked=torch.from_numpy(self.active.copy()), head_name=self.head.name,
            head_sha256=self.head.asset_sha256,
        )  # fmt: skip
