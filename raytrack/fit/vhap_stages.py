"""The `vhap` preset: VHAP's Adam schedule (Qian, 2024) for one camera or a calibrated rig, to compare with.

Terms, weights, stages and rates are VHAP's, on any head. What differs, on purpose:

- Adam's state is row-wise: frames outside a batch neither move nor age.
- Frames without a face take no part and are interpolated: the first batch is of frames with a face, and "previous"
  means the tracked frame before.
- Every batch of the sequential pass starts from the last tracked frame, the last one of the sequence included.
- Expressions that a head switches off stay at zero.
- In a rig's world, whose origin may be anywhere, the head starts from the rigid pose that its landmarks give.

Dynamic offsets are off, as in VHAP's default outputs. Principal components of albedo are used where they are asked for
(`track.texture_model: pca`). The matte is not used.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from raytrack.errors import NotConvergedError
from raytrack.fit.albedo import AlbedoBasis
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.head_renderer import fit_device, make_head_renderer
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.landmark_stage import check_rig, starting_rows
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.shared import SharedParameters
from raytrack.fit.vhap_objective import VhapObjective, VhapProblem
from raytrack.fit.vhap_regions import Gates, VhapRegions, with_ibug_points
from raytrack.fit.vhap_schedule import FrameOrder, Unit, VhapStage, units, vhap_schedule
from raytrack.fit.vhap_solver import StageSolver
from raytrack.fit.vhap_views import VhapView
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE

logger = logging.getLogger(__name__)
_CPU = torch.device("cpu")

OnProgress = Callable[[str, float, int, float], None]
"""Called with the name of a stage, the stages done (with the share of the one under way), their total, and the mean
colour error of the last finished one."""


def run_vhap(
    views: SequenceViews | SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    *,
    checkpoint: Checkpoint | None = None,
    on_progress: OnProgress | None = None,
) -> FitState:
    """Fit a sequence, from its last checkpoint on.

    Args:
        views: Pictures and landmarks; at least one frame has a face.
        head: The head model.
        config: Read are `vhap`, static offsets or not, landmarks only or not, occluded regions, first focal length,
            renderer, seed.
        checkpoint: Where the state is kept.
        on_progress: Called after each unit of work.

    Raises:
        AssetError: The head lacks the landmarks.
        ConfigError: A region does not exist.
        InputError: The calibration of a rig contradicts what its cameras see.
        NotConvergedError: The parameters are no longer finite.
    """
    fit = VhapFit(views, head, config)
    state = (checkpoint.load() if checkpoint else None) or fit.start()
    total, saved_s = len(fit.schedule), time.monotonic()
    while state.stages_done < total:
        stage = fit.schedule[state.stages_done]
        state = fit.run_unit(state)
        if state.units_done == 0:
            logger.info("%s: colour error %.4f", stage.name, state.photo_error)
        if on_progress:
            done = state.stages_done + state.units_done / len(fit.units(stage, state.stages_done))
            on_progress(stage.name, done, total, state.photo_error)
        if checkpoint and time.monotonic() - saved_s >= config.vhap.checkpoint_interval_s:
            checkpoint.save(state.to(_CPU))
            saved_s = time.monotonic()
    state = state.to(_CPU)
    if checkpoint:
        checkpoint.save(state)
    return state


class VhapFit:
    """One fit: its constant parts, and how the next unit of work is done."""

    def __init__(self, views: SequenceViews | SequenceObservation, head: HeadModel, config: TrackConfig) -> None:
        self.views = views if isinstance(views, SequenceViews) else SequenceViews.of(views)
        self.head, self.config = head, config
        self.vhap = config.vhap.for_rig() if self.views.is_rig else config.vhap
        self.active = self.views.detected
        basis = AlbedoBasis.create(head, config)
        self.schedule = vhap_schedule(
            self.vhap,
            static_offset=config.static_offset,
            landmarks_only=config.landmarks_only,
            components=basis is not None,
            calibrated=self.views.is_rig,
        )
        self.device = fit_device(config.renderer)
        self.longer_side_px = max(self.views.first.size_hw)
        texture_size = config.texture_size if config.landmarks_only else self.vhap.texture_size
        self.first_shared = SharedParameters.start(
            head, torch.zeros(head.num_shapes), config.focal_ratio * self.longer_side_px, texture_size
        )
        if basis:
            zeros = torch.zeros(basis.num_components)
            self.first_shared = self.first_shared.with_values(texture_coefficients=zeros)
        self.problem = self._problem(head, texture_size, basis)
        self.gates = {stage.name: Gates.of_stage(stage, head, config).to(self.device) for stage in self.schedule}
        self._solver: StageSolver | None = None

    def _problem(self, head: HeadModel, texture_size: int, basis: AlbedoBasis | None) -> VhapProblem:
        picked, picks = with_ibug_points(head, self.views.first.landmark_set)
        numbers = np.flatnonzero(self.active)
        contour = () if picked.contour is None else ("contour",)
        return VhapProblem(
            head=picked.to(self.device),
            landmark_head=picked.landmark_subset("ibug", *contour).to(self.device),
            regions=VhapRegions.create(picked, self.vhap.weights, texture_size).to(self.device),
            views=tuple(
                VhapView.create(view, numbers, picks, self.vhap, self.device, self.views.num_views)
                for view in self.views.observations
            ),
            base_texture=self.first_shared.texture.to(self.device),
            renderer=make_head_renderer(head, self.config.renderer, self.config.num_threads),
            config=self.vhap,
            albedo_basis=basis and basis.to(self.device),
        )

    def start(self) -> FitState:
        """The resting head in white light: at the world's origin, or where a rig's cameras see it.

        Raises:
            InputError: The calibration of a rig contradicts what its cameras see.
        """
        rows = torch.zeros(len(self.active), NUM_POSE + self.head.num_expressions)
        if self.views.is_rig:
            check_rig(self.views, self.head, self.config)
            rows = starting_rows(self.views, self.head)
        return FitState(
            rows=rows, shared=self.first_shared, stages_done=0,
            photo_error=float("nan"), rows_error=float("inf"), converged=False,
        )  # fmt: skip

    def units(self, stage: VhapStage, index: int) -> tuple[Unit, ...]:
        """The units of the stage with some index on this sequence."""
        return units(stage, int(self.active.sum()), self.vhap.batch_size, (self.config.seed, index))

    def run_unit(self, state: FitState) -> FitState:
        """The next unit of the stage under way; after its last one the state is that of the finished stage.

        Units of one fit are to be run in order: Adam's state stays with the fit, and its copy in the state is read only
        when the fit goes on from a checkpoint.

        Raises:
            NotConvergedError: The parameters are no longer finite.
        """
        index, number = state.stages_done, state.units_done
        stage, tracked = self.schedule[index], torch.from_numpy(self.active)
        plan = self.units(stage, index)
        solver, state = self._solver_of(stage, state), state.to(self.device)
        seed = (self.config.seed, index, number)
        own_rows, shared, error = solver.run(state.rows[tracked.to(self.device)], state.shared, plan[number], seed)
        if not all(bool(torch.isfinite(value).all()) for value in (own_rows, shared.shape, shared.log_focal)):
            raise NotConvergedError(f"{stage.name}: the fit diverged; the detections or the pictures are inconsistent")
        rows = state.rows.clone()
        rows[tracked.to(self.device)] = own_rows
        errors = (*state.unit_errors, error)
        if number + 1 < len(plan):
            adam = {} if plan[number + 1].new_optimiser else solver.state()
            return replace(state, rows=rows, shared=shared, units_done=number + 1, unit_errors=errors, adam=adam)
        self._solver = None
        return replace(
            state, rows=interpolate_missing(rows.cpu(), self.active).to(self.device), shared=shared, adam={},
            photo_error=_stage_error(stage, errors), stages_done=index + 1, units_done=0, unit_errors=(),
        )  # fmt: skip

    def _solver_of(self, stage: VhapStage, state: FitState) -> StageSolver:
        if self._solver is None or state.units_done == 0:
            objective = VhapObjective(self.problem, stage, self.gates[stage.name])
            self._solver = StageSolver(objective, int(self.active.sum()), self.longer_side_px)
            self._solver.restore(state.adam)
        return self._solver


def _stage_error(stage: VhapStage, errors: tuple[float, ...]) -> float:
    """Of all batches where each unit is one, else of the last unit."""
    return float(np.mean(errors)) if stage.order is FrameOrder.SEQUENTIAL else errors[-1]
