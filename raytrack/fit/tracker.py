"""Track one sequence: landmarks, then colours, then the final texture. Knows nothing of where it runs.

A sequence is what one camera saw, whose focal length is then found with the head, or what the calibrated cameras of a
rig saw at the same timesteps: the head is then tracked in the rig's world, in true metres.

`track_sequence` works in a notebook as it does on a cluster. With a checkpoint folder it saves its state every few
seconds and continues from there, bit for bit.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from raytrack.errors import NoFaceError, NotConvergedError
from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.landmark_stage import landmark_stage
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import OcclusionStage, RowStage, SharedStage, Stage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.track import Track
from raytrack.fit.vhap_stages import run_vhap
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

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


def track_sequence(
    views: SequenceObservation | Sequence[SequenceObservation],
    head: HeadModel,
    config: TrackConfig,
    *,
    checkpoint_folder: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Track:
    """Fit the head to every timestep at which a view sees the face; interpolate the rest.

    Args:
        views: Pictures, landmarks and mattes of one camera, or of the calibrated cameras of a rig, whose frames are the
            same timesteps. A rig's views need not all see the face: what they show of the head counts all the same.
        head: The head model.
        config: Preset, regions, sizes, seed.
        checkpoint_folder: Where the state is kept; one found there is continued. The caller keeps one folder per
            combination of input and configuration.
        on_progress: Called after each unit of work.

    Raises:
        NoFaceError: No frame has a face.
        InputError: The calibration of a rig contradicts what its cameras see.
        NotConvergedError: The landmarks could not be fitted, or the fit diverged.
        ConfigError: The configuration names a region that the head does not have, or occludes the whole face.
        ValueError: A picture is not of the observation's size, or the views do not belong together
            (`SequenceViews.of`).
    """
    sequence = SequenceViews.of(views)
    if not sequence.detected.any():
        raise NoFaceError
    checkpoint = None if checkpoint_folder is None else Checkpoint(checkpoint_folder)
    threads = torch.get_num_threads()
    try:
        # The fit's own threads do the work; torch's would fight them for the cores.
        torch.set_num_threads(1)
        if config.preset == "vhap":
            state = run_vhap(sequence, head, config, checkpoint=checkpoint, on_progress=_reporter(on_progress))
        else:
            state = _fit(StageRunner(sequence, head, config), checkpoint, on_progress)
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise NotConvergedError(
            f"the fit ran into a singular system ({error}): the footage shows too little"
        ) from error
    finally:
        torch.set_num_threads(threads)
    return _track(state, sequence, head, config)


def _reporter(on_progress: Callable[[Progress], None] | None) -> Callable[[str, float, int, float], None]:
    def report(stage: str, done: float, total: int, photo_error: float) -> None:
        if on_progress:
            on_progress(Progress(stage=stage, done=done, total=total, photo_error=photo_error))

    return report


def _fit(
    runner: StageRunner, checkpoint: Checkpoint | None, on_progress: Callable[[Progress], None] | None
) -> FitState:
    """All stages, from the last checkpoint on."""
    saved_at = time.monotonic()

    kept = checkpoint.load() if checkpoint else None
    found = kept if kept is not None and len(kept.rows) == runner.views.num_frames else None
    state = _landmarks(runner) if found is None else found
    schedule = () if runner.config.landmarks_only else runner.schedule(state)
    total = 1 + len(schedule)

    def report(state: FitState, name: str, share: float) -> None:
        if on_progress:
            done = state.stages_done + share
            on_progress(Progress(stage=name, done=done, total=total, photo_error=state.photo_error))

    if found is None:
        report(state, "landmarks", 0.0)
    while state.stages_done < total:
        stage = schedule[state.stages_done - 1]
        if state.converged and _is_refinement(stage):
            state = replace(state, stages_done=state.stages_done + 1)
            continue
        state = runner.run_unit(stage, state, state.stages_done)
        if not state.is_finite():
            raise NotConvergedError(f"the fit diverged in stage {stage.name}: please report the footage's kind")
        report(state, stage.name, state.units_done / runner.num_units(stage, state))
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
    return isinstance(stage, RowStage | SharedStage | OcclusionStage) and not stage.always


def _landmarks(runner: StageRunner) -> FitState:
    solution = landmark_stage(runner.views, runner.head, runner.config, runner.landmark_weights)
    rows = interpolate_missing(solution.rows, runner.active)
    if not bool(torch.isfinite(rows).all()):
        raise NotConvergedError("the landmarks could not be fitted: the detections contradict each other")
    shared = SharedParameters.start(runner.head, solution.shape, solution.focal_px, runner.config.texture_size)
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
    return replace(state, first_rows=rows, first_shape=solution.shape) if runner.views.is_rig else state


def _track(state: FitState, views: SequenceViews, head: HeadModel, config: TrackConfig) -> Track:
    basis = AlbedoBasis.create(head, config)
    shared, coefficients = with_whole_texture(state.shared, basis), state.shared.texture_coefficients
    has_offset = config.static_offset and not config.landmarks_only
    return Track(
        parameters=FrameParameters.unpack(state.rows),
        shape=shared.shape,
        static_offset=shared.offset[None] if has_offset else None,
        texture=shared.texture.clamp(0, 1),
        texture_coefficients=None if basis is None else coefficients,
        lights=shared.light,
        focal_px=None if views.is_rig else shared.focal_px,
        size_hw=views.first.size_hw,
        timestep_ids=views.first.timestep_ids,
        tracked=torch.from_numpy(views.detected.copy()),
        head_name=head.name,
        head_sha256=head.asset_sha256,
        rig=views.rig,
    )
