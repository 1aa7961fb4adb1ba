"""The `vhap` preset: VHAP's Adam schedule for one camera (Qian, 2024), for comparison with the default tracker.

Terms, weights, stages and rates are VHAP's, on any head. What differs, on purpose:

- Adam's state is row-wise: frames outside a batch neither move nor age.
- Frames without a face take no part and are interpolated: the first batch is of frames with a face, and "previous"
  means the tracked frame before.
- Every batch of the sequential pass starts from the last tracked frame, the last one of the sequence included.
- Expressions that a head switches off stay at zero.

Dynamic offsets are off, as in VHAP's default outputs. Head files hold no principal components of texture, so that term
is absent. The matte is not used.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from raytrack.errors import NotConvergedError
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.shared import SharedParameters
from raytrack.fit.vhap_checkpoint import SHARED_NAMES, StageCheckpoint, StageState
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_images import TargetImages
from raytrack.fit.vhap_objective import VhapObjective, VhapProblem
from raytrack.fit.vhap_regions import Gates, VhapRegions, with_ibug_points
from raytrack.fit.vhap_schedule import FrameOrder, VhapStage, units, vhap_schedule
from raytrack.fit.vhap_solver import StageSolver
from raytrack.fit.vhap_terms import ndc_from_px
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE
from raytrack.render.protocol import Renderer, Topology
from raytrack.render.registry import make_renderer, resolve_name

logger = logging.getLogger(__name__)

OnStage = Callable[[str, int, int, float], None]
"""Called with a finished stage's name, the number of stages done, their total, and the mean colour error."""


def run_vhap(
    observation: SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    vhap: VhapConfig,
    *,
    checkpoint: Checkpoint | None = None,
    on_stage: OnStage | None = None,
) -> FitState:
    """Fit a sequence, from its last checkpoint on.

    Args:
        observation: Pictures and Face Mesh landmarks; at least one frame has a face.
        head: The head model.
        config: Static offsets or not, landmarks only or not, occluded regions, focal length, renderer, seed.
        vhap: Sizes, steps, weights and rates.
        checkpoint: Where the state is kept.
        on_stage: Called after each stage.

    Raises:
        AssetError: The head lacks the landmarks.
        ConfigError: A region does not exist.
        NotConvergedError: The parameters are no longer finite.
    """
    return VhapFit(observation, head, config, vhap).run(checkpoint, on_stage)


class VhapFit:
    """One fit: its constant parts, and how a stage is run."""

    def __init__(
        self, observation: SequenceObservation, head: HeadModel, config: TrackConfig, vhap: VhapConfig
    ) -> None:
        self.config, self.vhap = config, vhap
        self.active = observation.detected
        self.schedule = vhap_schedule(vhap, static_offset=config.static_offset, landmarks_only=config.landmarks_only)
        self.device = torch.device("cuda" if resolve_name(config.renderer) == "nvdiffrast" else "cpu")
        self.longer_side_px = max(observation.size_hw)
        texture_size = config.texture_size if config.landmarks_only else vhap.texture_size
        self.first_shared = SharedParameters.start(
            head, torch.zeros(head.num_shapes), config.focal_ratio * self.longer_side_px, texture_size
        )
        self.problem = self._problem(observation, head, texture_size)
        self.gates = {stage.name: Gates.of_stage(stage, self.problem.head, config) for stage in self.schedule}

    def _problem(self, observation: SequenceObservation, head: HeadModel, texture_size: int) -> VhapProblem:
        picked, picks = with_ibug_points(head)
        numbers = np.flatnonzero(self.active)
        height, width = observation.size_hw
        scale = min(1.0, (self.vhap.image_size_px or self.longer_side_px) / self.longer_side_px)
        size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        landmarks = torch.from_numpy(observation.landmarks_px[numbers][:, picks].astype(np.float32))
        return VhapProblem(
            head=picked.to(self.device),
            landmark_head=picked.landmark_subset("ibug").to(self.device),
            regions=VhapRegions.create(picked, self.vhap.weights, texture_size).to(self.device),
            images=TargetImages(
                observation.load_image,
                numbers,
                size_hw,
                memory_bytes=self.vhap.image_memory_gib * 2**30,
                device=self.device,
            ),
            detected_ndc=ndc_from_px(landmarks, observation.size_hw).to(self.device),
            scale=scale,
            base_texture=self.first_shared.texture.to(self.device),
            renderer=self._renderer(head),
            config=self.vhap,
        )

    def _renderer(self, head: HeadModel) -> Renderer:
        shape, name = head.topology(), resolve_name(self.config.renderer)
        topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
        options = {"num_threads": self.config.num_threads} if name == "numba" else {"device": self.device}
        return make_renderer(self.config.renderer, topology, **options)

    def run(self, checkpoint: Checkpoint | None, on_stage: OnStage | None) -> FitState:
        """All stages from the last checkpoint on."""
        state = (checkpoint.load() if checkpoint else None) or self._start()
        partial = StageCheckpoint(checkpoint.folder, self.vhap.checkpoint_interval_s) if checkpoint else None
        for index, stage in enumerate(self.schedule):
            if state.stages_done > index:
                continue
            started = time.perf_counter()
            state = self._stage(stage, index, state, partial)
            logger.info("%s: colour error %.4f, %.1f s", stage.name, state.photo_error, time.perf_counter() - started)
            if checkpoint:
                checkpoint.save(state)
            if on_stage:
                on_stage(stage.name, state.stages_done, len(self.schedule), state.photo_error)
        if partial:
            partial.discard()
        return state

    def _start(self) -> FitState:
        """The resting head at the world's origin, in white light."""
        columns = NUM_POSE + self.problem.head.num_expressions
        return FitState(
            rows=torch.zeros(len(self.active), columns), shared=self.first_shared, stages_done=0,
            photo_error=float("nan"), rows_error=float("inf"), converged=False,
        )  # fmt: skip

    def _stage(self, stage: VhapStage, index: int, state: FitState, partial: StageCheckpoint | None) -> FitState:
        tracked = torch.from_numpy(self.active)
        objective = VhapObjective(self.problem, stage, self.gates[stage.name])
        solver = StageSolver(objective, int(tracked.sum()), self.longer_side_px)
        inner = partial.load(index) if partial else None
        if inner is None:
            inner = StageState(
                stage_index=index, units_done=0, rows=state.rows[tracked], shared=state.shared, errors=()
            )
        else:
            solver.restore(inner.optimiser)
        inner = self._units(stage, solver, _moved(inner, self.device), partial)
        inner = _moved(inner, torch.device("cpu"))
        rows = torch.zeros_like(state.rows)
        rows[tracked] = inner.rows
        return replace(
            state,
            rows=interpolate_missing(rows, self.active),
            shared=inner.shared,
            stages_done=index + 1,
            photo_error=_stage_error(stage, inner.errors),
        )

    def _units(
        self, stage: VhapStage, solver: StageSolver, state: StageState, partial: StageCheckpoint | None
    ) -> StageState:
        """The units that are left; a checkpoint after one of them now and then."""
        seed = (self.config.seed, state.stage_index)
        plan = units(stage, len(state.rows), self.vhap.batch_size, seed)
        for number in range(state.units_done, len(plan)):
            rows, shared, error = solver.run(state.rows, state.shared, plan[number], (*seed, number))
            if not all(bool(torch.isfinite(value).all()) for value in (rows, shared.shape, shared.log_focal)):
                raise NotConvergedError(
                    f"{stage.name}: the fit diverged; the detections or the pictures are inconsistent"
                )
            state = replace(state, units_done=number + 1, rows=rows, shared=shared, errors=(*state.errors, error))
            if partial and partial.is_due and number + 1 < len(plan):
                partial.save(replace(state, optimiser=solver.state()))
        return state


def _stage_error(stage: VhapStage, errors: tuple[float, ...]) -> float:
    """Of all batches where each unit is one, else of the last unit."""
    return float(np.mean(errors)) if stage.order is FrameOrder.SEQUENTIAL else errors[-1]


def _moved(state: StageState, device: torch.device) -> StageState:
    """A state's rows and shared values on another device; the optimiser's copy is dropped."""
    shared = {name: getattr(state.shared, name).to(device) for name in SHARED_NAMES}
    return replace(state, rows=state.rows.to(device), shared=SharedParameters(**shared), optimiser={})
