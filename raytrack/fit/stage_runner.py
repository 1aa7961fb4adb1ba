"""How each kind of stage is carried out, in units small enough to be checkpointed in between.

A unit depends on the state before it and on the seed alone, so a fit that was interrupted ends like one that was not.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool

from raytrack.errors import ConfigError
from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.alignment import Alignment, occluded_vertices, trusted_landmarks
from raytrack.fit.camera_fit import FocalPrior, focal_px_of
from raytrack.fit.camera_solver import CameraSolver
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.eye_centres import centred_eyes
from raytrack.fit.eye_texture import EyeRings
from raytrack.fit.frame_choice import Segment, choose_shared_frames
from raytrack.fit.gaze import iris_trust
from raytrack.fit.groups import FrameGroups
from raytrack.fit.head_renderer import fit_device, make_head_renderer, row_renderer
from raytrack.fit.identity import Identity
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.joint_stage import solve_stage
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.neighbours import link_weights
from raytrack.fit.occlusion import HiddenSpots
from raytrack.fit.occlusion_stage import OcclusionSearch
from raytrack.fit.pictures import Pictures
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.row_solver import RowProblem, solving_order
from raytrack.fit.schedule import (
    CameraStage,
    FrameChoice,
    JointStage,
    OcclusionStage,
    RowStage,
    SharedStage,
    Stage,
    TextureStage,
    default_schedule,
)
from raytrack.fit.score_prior import ScorePrior
from raytrack.fit.shared import resampled_texture
from raytrack.fit.shared_problem import RegionPerturbation, SharedProblem
from raytrack.fit.shared_stage import LEARNING_RATES, SharedOptimiser
from raytrack.fit.surface import SurfaceModel
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

_CONVERGED = 0.003
"""Relative change of the mean colour error from round to round below which further rounds are skipped."""
_FEWEST_LANDMARKS = 20
_PICTURES_PER_UNIT = 64
_PICTURES_PER_LOOK = 256
_TEXTURE_STEPS_PER_UNIT = 40
_LAST_ERRORS = 10
_LOOKS_FOR_TEXTURE = 400
"""Pictures among which the most square look at each face is searched for."""
_LANDMARKS_OF_SOLVED_RIG = 5.0
"""Factor on the weight of landmarks where the cameras were found from what they see. Colours of cameras that are a
little off are painted into a texture that suits them all, and nothing but the landmarks says that it is wrong."""
_IRIS_SEEN = 0.5
"""Trust in an iris from which gaze is known."""
_CPU = torch.device("cpu")
PictureSet = tuple[bool, bool]
"""Whether pictures are of the shared frames only, and whether they are fine."""


class StageRunner:
    """Carries out stages on one sequence. Holds its pictures and nothing that a unit changes."""

    def __init__(
        self,
        views: SequenceViews,
        head: HeadModel,
        config: TrackConfig,
        segment: Segment | None = None,
        identity: Identity | None = None,
        *,
        usual_step_s: float | None = None,
    ) -> None:
        """Prepare a sequence.

        Args:
            views: The whole sequence.
            head: The head model.
            config: Sizes, weights, seed.
            segment: The only frames whose rows are moved by stages that move all, or those that share nothing.
            identity: Shape, offset and texture, where they are known.
            usual_step_s: Time between neighbouring frames, where this is a part of a sequence.
        """
        if views.solved:
            weights = replace(config.weights, landmark=_LANDMARKS_OF_SOLVED_RIG * config.weights.landmark)
            config = replace(config, weights=weights)
        self.views = views
        self._usual_step_s = views.first.usual_step_s if usual_step_s is None else usual_step_s
        self.head = head
        self.config = config
        self.alignment = Alignment.create(head, config)
        self.prior = RowPrior.create(head, config.weights)
        self.active = views.detected
        self.groups = FrameGroups.of(views.group)
        self.landmarks = landmark_set(views.first.landmark_set)
        occluded = occluded_vertices(head, config)
        self.landmark_weights = np.stack(
            [
                trusted_landmarks(head, seen, occluded, self.landmarks)
                * iris_trust(views.landmarks_px(view), self.landmarks)
                for view, seen in enumerate(views.detected_by_view)
            ]
        )
        """Trust in each view's points, before it is known which of them a rig's cameras see."""
        self.surface = SurfaceModel.create(head)
        if (self.landmark_weights.max(axis=0)[self.active] > 0).sum(axis=1).min() < _FEWEST_LANDMARKS:
            raise ConfigError(f"occluded: {', '.join(config.occluded)} leave too few landmarks to track anything")
        self.albedo_basis = None if identity else AlbedoBasis.create(head, config)
        self._segment, self.identity = segment, identity
        self.shared_frames = choose_shared_frames(views, config.shared_frames, self.groups)
        self.is_long = int(self.shared_frames.sum()) < int(self.active.sum())
        self._pictures: dict[PictureSet, Pictures] = {}
        self._unhidden: dict[PictureSet, tuple[HiddenSpots, Pictures]] = {}
        self._search: tuple[int, OcclusionSearch] | None = None
        self._row_solvers: dict[PictureSet, CameraSolver] = {}
        self._cached_problem: SharedProblem | None = None
        self._device = fit_device(config.renderer)

    def pictures(self, state: FitState, frames: FrameChoice = "shared", *, fine: bool = False) -> Pictures:
        """The pictures at tracking size, with what is known to stand before the head in them.

        Args:
            state: Where the fit stands.
            frames: Which frames they are of; those for `others` are those for `all`.
            fine: In the size of the last rounds.
        """
        key = self._only_shared(frames), fine
        known = self._unhidden.get(key)
        if known is None or known[0] is not state.hidden:
            known = state.hidden, self._plain_pictures(state, frames, fine=fine).with_hidden(state.hidden)
            self._unhidden[key] = known
            self._row_solvers.pop(key, None)
        return known[1]

    def _plain_pictures(self, state: FitState, frames: FrameChoice = "shared", *, fine: bool = False) -> Pictures:
        """Read on first use; those of a rig depend on how the fit began."""
        only_shared, factor = self._only_shared(frames), self.config.last_rounds_scale if fine else 1.0
        if (only_shared, fine) not in self._pictures:
            size = round(factor * self.config.tracking_size_px)
            if self.views.is_rig:
                start = state.first_rows, state.first_shape
                found = Pictures.of_rig(self.views, self.landmark_weights, size, self.head, *start)
            else:
                chosen, use_mattes = self.shared_frames, None
                if not only_shared:
                    chosen, use_mattes = self._in_segment(), not state.mattes_refused
                found = Pictures.of_detections(self.views, self.landmark_weights, size, chosen, use_mattes)
            self._pictures[only_shared, fine] = found
        return self._pictures[only_shared, fine]

    def _only_shared(self, frames: FrameChoice) -> bool:
        """Whether the pictures that a stage needs are those that what frames share is fitted to."""
        return frames == "shared" or (self._segment is None and not self.is_long)

    def _in_segment(self) -> Bool[np.ndarray, " frames"]:
        return self.active if self._segment is None else self.active & self._segment.mask(len(self.active))

    def schedule(self, state: FitState) -> tuple[Stage, ...]:
        """The photometric stages."""
        rig = self.views.is_rig
        num_pictures = self.pictures(state).num_per_epoch if rig else int(self.shared_frames.sum())
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
        if isinstance(stage, OcclusionStage):
            return -(-len(self._plain_pictures(state).pairs) // _PICTURES_PER_LOOK)
        steps = self._num_steps(stage, state)
        if isinstance(stage, SharedStage):
            return -(-steps // -(-self.pictures(state).num_per_epoch // stage.batch_size))
        return -(-steps // _TEXTURE_STEPS_PER_UNIT)

    def _row_blocks(self, stage: RowStage, state: FitState) -> list[list[int]]:
        moved = self._solved(state, stage.frames, stage.fine)
        if stage.frames == "others":
            moved = moved & ~self.shared_frames
        return solving_order(moved, max(1, _PICTURES_PER_UNIT // self.views.num_views))

    def _solved(self, state: FitState, frames: FrameChoice, fine: bool) -> Bool[np.ndarray, " frames"]:
        """Frames whose rows colours can move; one whose head no view shows keeps the row that its landmarks gave."""
        return self.active & self.pictures(state, frames, fine=fine).shown

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
        elif isinstance(stage, OcclusionStage):
            state = self._look(state, unit, index)
        elif isinstance(stage, SharedStage):
            state = self._shared(stage, state.to(self._device), unit, index).to(_CPU)
        else:
            state = self._texture(stage, state.to(self._device), unit, index).to(_CPU)
        if unit + 1 < count:
            return replace(state, units_done=unit + 1)
        return self._finished(stage, state)

    def _finished(self, stage: Stage, state: FitState) -> FitState:
        error = float(np.mean(state.unit_errors))
        if (True, False) in self._pictures:
            state = replace(state, mattes_refused=not self._pictures[True, False].has_mattes)
        if isinstance(stage, RowStage):
            # An error that rises is no sign of rest: offsets that were just freed can cost rows something at first.
            stalled = stage.comparable and abs(state.rows_error - error) < _CONVERGED * state.rows_error
            rows = interpolate_missing(state.rows, self.active, self.views.group)
            state = replace(state, rows=rows, rows_error=error, converged=state.converged or stalled)
        else:
            error = state.unit_errors[-1]
            if isinstance(stage, SharedStage) and "offset" in stage.optimise:
                state = self._with_centred_eyes(state)
        return replace(
            state, photo_error=error, units_done=0, unit_errors=(), adam={}, stages_done=state.stages_done + 1
        )

    def _look(self, state: FitState, unit: int, index: int) -> FitState:
        pictures = self._plain_pictures(state)
        if self._search is None or self._search[0] != index:
            shared = with_whole_texture(state.shared, self.albedo_basis)
            renderer = make_head_renderer(self.head, row_renderer(self.config.renderer), self.config.num_threads)
            self._search = index, OcclusionSearch(pictures, self.head, renderer, state.rows, shared, self.groups)
        pairs = pictures.pairs[unit * _PICTURES_PER_LOOK : (unit + 1) * _PICTURES_PER_LOOK]
        hidden, errors = self._search[1].look(pairs, state.hidden if unit else HiddenSpots.none())
        return replace(state, hidden=hidden, unit_errors=(*state.unit_errors, float(np.mean(errors))))

    def solve_rows(self, stage: RowStage, state: FitState, frames: Bool[np.ndarray, " frames"]) -> FitState:
        """A row stage on some frames alone, all the others and what is shared held; `unit_errors` are theirs.

        Args:
            stage: Which iterations.
            state: Rows of all frames.
            frames: No two of them next to each other. Those in which no view shows the head keep their rows.
        """
        numbers = np.flatnonzero(frames & self._solved(state, "all", stage.fine)).tolist()
        stage = replace(stage, frames="all")
        return self._solved_rows(stage, replace(state, unit_errors=()), numbers) if numbers else state

    def _with_centred_eyes(self, state: FitState) -> FitState:
        irises = [point for eye in self.landmarks.eyes for point in eye.iris]
        seen = self.active & (self.landmark_weights[..., irises].max(axis=(0, 2), initial=0) > _IRIS_SEEN)
        rows, offset = centred_eyes(self.head, state.rows, state.shared.offset, seen)
        return replace(state, rows=rows, shared=state.shared.with_values(offset=offset))

    def _rows(self, stage: RowStage, state: FitState, unit: int) -> FitState:
        return self._solved_rows(stage, state, self._row_blocks(stage, state)[unit])

    def _solved_rows(self, stage: RowStage, state: FitState, numbers: list[int]) -> FitState:
        result = self._solver(state, stage.frames, fine=stage.fine).solve(
            state.rows,
            with_whole_texture(state.shared, self.albedo_basis),
            numbers,
            stage.blur_schedule_px,
            round_index=stage.round_index,
        )
        return replace(state, rows=result.rows, unit_errors=(*state.unit_errors, *result.last_error.tolist()))

    def _cameras(self, stage: CameraStage, state: FitState) -> FitState:
        numbers = np.flatnonzero(self._solved(state, "shared", fine=False))
        chosen = np.unique(np.linspace(0, len(numbers) - 1, min(stage.num_frames, len(numbers))).round().astype(int))
        result = self._solver(state, "shared").solve_cameras(
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
        problem, solved = self._solver(state, "shared").problem, self._solved(state, "shared", fine=False)
        state = solve_stage(stage, state, shared, problem, self.views, solved)
        return replace(state, unit_errors=(state.photo_error,))

    def _solver(self, state: FitState, frames: FrameChoice, *, fine: bool = False) -> CameraSolver:
        key, pictures = (self._only_shared(frames), fine), self.pictures(state, frames, fine=fine)
        if key not in self._row_solvers:
            problem = RowProblem(
                head=self.head,
                surface=self.surface,
                views=pictures.row_views,
                landmarks=self.landmarks,
                groups=self.groups,
                weights=self.config.weights,
                prior=self.prior,
                link_weights=link_weights(
                    self.views.first.timestamps_s,
                    self._solved(state, frames, fine),
                    self.views.group,
                    self._usual_step_s,
                ),
                ignored_faces=self.alignment.unaligned_faces.numpy(),
                ignored_outline=self.alignment.held_outline.numpy(),
                make_renderer=lambda: make_head_renderer(self.head, row_renderer(self.config.renderer)),
                num_threads=self.config.num_threads,
                score_prior=ScorePrior.create(self.views, self.head, self.config.weights),
                seed=self.config.seed,
            )
            self._row_solvers[key] = CameraSolver(problem)
        return self._row_solvers[key]

    def _shared(self, stage: SharedStage, state: FitState, unit: int, index: int) -> FitState:
        generator, pictures = self._generator(index, unit), self.pictures(state, fine=stage.fine)
        rates = {**LEARNING_RATES, "texture": stage.texture_rate, "light": stage.light_rate}
        optimiser = self._optimiser(rates, state)
        configured = self.config.weights
        weights = replace(configured, offset_laplacian=stage.offset_laplacian * configured.offset_laplacian)
        batches = pictures.epoch(generator, stage.batch_size)
        left = self._num_steps(stage, state) - unit * len(batches)
        rows, shared, errors = state.rows, state.shared, []
        for batch in batches[:left]:
            rows, shared, error = optimiser.step(
                rows,
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
        errors_so_far = (*state.unit_errors, mean)
        return replace(state, rows=rows, shared=shared, adam=optimiser.state(), unit_errors=errors_so_far)

    def _texture(self, stage: TextureStage, state: FitState, unit: int, index: int) -> FitState:
        generator, pictures = self._generator(index, unit), self.pictures(state)
        total = self._num_steps(stage, state)
        texture = resampled_texture(state.shared.texture, self.config.final_texture_size)
        shared = state.shared.with_values(texture=texture)
        configured = self.config.weights
        weights = replace(configured, texture_variation=stage.texture_variation * configured.texture_variation)
        rates = {**LEARNING_RATES, "texture": stage.texture_rate}
        looks = pictures.evenly(_LOOKS_FOR_TEXTURE, stage.batch_size)
        best = self._optimiser(rates, state).best_cosines(state.rows, shared, looks)
        optimiser = SharedOptimiser(replace(self._shared_problem(), best_cosine=best), rates)
        optimiser.restore(state.adam)
        errors: list[torch.Tensor] = []
        for step in range(unit * _TEXTURE_STEPS_PER_UNIT, min((unit + 1) * _TEXTURE_STEPS_PER_UNIT, total)):
            _, shared, error = optimiser.step(
                state.rows,
                shared,
                pictures.sample(generator, stage.batch_size, self.config.texture_image_size_px),
                ("texture", "light", "gains") if len(shared.gains) else ("texture", "light"),
                scale=1 - step / total + 0.03,
                generator=generator,
                weights=weights,
                colours_only=True,
            )
            errors.append(error)
        mean = float(torch.stack(errors[-_LAST_ERRORS:]).mean())
        return replace(state, shared=shared, adam=optimiser.state(), unit_errors=(*state.unit_errors, mean))

    def _optimiser(self, rates: dict[str, float], state: FitState) -> SharedOptimiser:
        optimiser = SharedOptimiser(self._shared_problem(), rates)
        optimiser.restore(state.adam)
        return optimiser

    def _shared_problem(self) -> SharedProblem:
        if self._cached_problem is None:
            problem = SharedProblem(
                head=self.head,
                landmarks=self.landmarks,
                weights=self.config.weights,
                groups=self.groups,
                offsets=self.alignment.offsets,
                held_outline=self.alignment.held_outline,
                occluded=self.alignment.occluded,
                unaligned_faces=self.alignment.unaligned_faces,
                loose=self.alignment.loose,
                inside_mouth=self.alignment.inside_mouth,
                perturbation=RegionPerturbation.create(self.head) if self.config.perturbation else None,
                renderer=make_head_renderer(self.head, self.config.renderer, self.config.num_threads),
                albedo_basis=self.albedo_basis,
                eye_rings=EyeRings.create(self.head, self.config.texture_size),
            )
            self._cached_problem = problem.to(self._device)
        return self._cached_problem

    def _num_steps(self, stage: SharedStage | TextureStage, state: FitState) -> int:
        return max(1, round(stage.num_epochs * self.pictures(state).num_per_epoch / stage.batch_size))

    def _generator(self, index: int, unit: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, index, unit])
