"""The loop over the stages of a fit, with a checkpoint every few seconds."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from raytrack.errors import NotConvergedError
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.landmark_stage import landmark_stage
from raytrack.fit.rig import packed
from raytrack.fit.schedule import CameraStage, OcclusionStage, RowStage, SharedStage, Stage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_runner import StageRunner

logger = logging.getLogger(__name__)
CHECKPOINT_INTERVAL_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a fit has come."""

    stage: str
    done: float
    """Stages finished, with the finished share of the one under way."""
    total: int
    photo_error: float
    """Mean absolute colour error over the covered pixels, 0 to 1; NaN before colours are used."""


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """Leave the cores to the fit's own threads, and say in words what a singular system means.

    Raises:
        NotConvergedError: The footage shows too little.
    """
    threads = torch.get_num_threads()
    try:
        # Torch's threads would fight the fit's for the cores.
        torch.set_num_threads(1)
        yield
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise NotConvergedError(
            f"the fit ran into a singular system ({error}): the footage shows too little"
        ) from error
    finally:
        torch.set_num_threads(threads)


def run_stages(
    runner: StageRunner,
    checkpoint: Checkpoint | None,
    on_progress: Callable[[Progress], None] | None,
    *,
    start: FitState | None = None,
    stop: Callable[[tuple[Stage, ...]], int] = len,
) -> FitState:
    """Stages of a fit, from the last checkpoint on.

    Args:
        runner: Carries them out.
        checkpoint: Where the state is kept.
        on_progress: Called after each unit of work.
        start: The state to begin with, where there is no checkpoint; by default the landmarks are fitted first.
        stop: How many of the photometric stages are to be done in the end.
    """
    saved_at = time.monotonic()

    kept = checkpoint.load() if checkpoint else None
    found = kept if kept is not None and len(kept.rows) == runner.views.num_frames else None
    state = found or start or landmark_state(runner)
    schedule = () if runner.config.landmarks_only else runner.schedule(state)
    total = 1 + stop(schedule)

    def report(state: FitState, name: str, share: float) -> None:
        if on_progress:
            done = state.stages_done - before + share
            on_progress(Progress(stage=name, done=done, total=total - before, photo_error=state.photo_error))

    before = 0 if start is None else start.stages_done
    if found is None and start is None:
        report(state, "landmarks", 0.0)
    while state.stages_done < total:
        stage = schedule[state.stages_done - 1]
        if state.converged and _is_refinement(stage):
            state = replace(state, stages_done=state.stages_done + 1)
            continue
        state = runner.run_unit(stage, state, state.stages_done)
        if not state.is_finite():
            raise NotConvergedError(f"the fit diverged in stage {stage.name}: please report the footage's kind")
        report(state, stage.name, state.units_done / max(1, runner.num_units(stage, state)))
        if state.units_done == 0:
            logger.info("%s: colour error %.4f", stage.name, state.photo_error)
        if checkpoint and time.monotonic() - saved_at > CHECKPOINT_INTERVAL_S:
            checkpoint.save(state)
            saved_at = time.monotonic()
    if checkpoint:
        checkpoint.save(state)
    return state


def _is_refinement(stage: Stage) -> bool:
    """Stages of a round, which a converged fit leaves out."""
    return isinstance(stage, RowStage | CameraStage | SharedStage | OcclusionStage) and not stage.always


def landmark_state(runner: StageRunner) -> FitState:
    """What the landmarks alone say: the state that the photometric stages begin with.

    Raises:
        NotConvergedError: They could not be fitted.
    """
    identity = runner.identity
    shape = None if identity is None else identity.shape
    head = runner.head if identity is None else identity.resting_head(runner.head)
    solution = landmark_stage(runner.views, head, runner.config, runner.landmark_weights, shape)
    rows = interpolate_missing(solution.rows, runner.active, runner.views.group)
    if not bool(torch.isfinite(rows).all()):
        raise NotConvergedError("the landmarks could not be fitted: the detections contradict each other")
    shared = SharedParameters.start(
        runner.head, solution.shape, solution.focal_px.tolist(), runner.config.texture_size, runner.groups.num_lights
    )
    if identity is not None:
        shared = identity.placed_in(shared, runner.config.texture_size)
    if runner.albedo_basis:
        shared = shared.with_values(texture_coefficients=torch.zeros(runner.albedo_basis.num_components))
    state = FitState(
        rows=rows,
        shared=shared,
        stages_done=1,
        photo_error=float("nan"),
        rows_error=float("inf"),
        converged=False,
    )
    if runner.views.solved:
        cameras = packed([view.camera for view in runner.views.rig])
        state = replace(state, shared=shared.with_values(cameras=cameras, gains=torch.ones(len(cameras), 3)))
    return replace(state, first_rows=rows, first_shape=solution.shape) if runner.views.is_rig else state
