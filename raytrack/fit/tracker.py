"""Track one sequence: landmarks, then colours, then the final texture. Knows nothing of where it runs.

A sequence is what one camera saw, whose focal length is then found with the head unless it is given, or what the
cameras of a rig saw at the same timesteps. With a calibration the head is tracked in the rig's world, in true metres;
without one the cameras are found first, by the head that they all see, whose size gives the metres.

`track_sequence` works in a notebook as it does on a cluster. With a checkpoint folder it saves its state every few
seconds and continues from there, bit for bit.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raytrack.errors import ConfigError, NoFaceError, NotConvergedError
from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.groups import longest
from raytrack.fit.held_out import frames_of, held_out_frames, with_held_out_rows, without_held_out_cameras
from raytrack.fit.identity import Identity, known_identity
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.landmark_stage import landmark_stage
from raytrack.fit.neighbours import usual_step_s
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig import RigCamera, packed, unpacked
from raytrack.fit.rig_solver import solved_views
from raytrack.fit.schedule import CameraStage, OcclusionStage, RowStage, SharedStage, Stage
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
    identity: Identity | None = None,
    checkpoint_folder: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Track:
    """Fit the head to every timestep at which a view sees the face; interpolate the rest.

    Args:
        views: Pictures, landmarks and mattes of one camera, or of the cameras of a rig, whose frames are the same
            timesteps. A rig's views need not all see the face: what they show of the head counts all the same.
        head: The head model.
        config: Preset, regions, sizes, seed.
        identity: Shape, offset and albedo, where they are known, in place of those that the configuration names: they
            are held, which leaves light, focal length and each frame's own parameters to be found.
        checkpoint_folder: Where the state is kept; one found there is continued. The caller keeps one folder per
            combination of input and configuration.
        on_progress: Called after each unit of work.

    Raises:
        NoFaceError: No frame has a face.
        InputError: The calibration of a rig contradicts what its cameras see.
        NotConvergedError: The landmarks could not be fitted, or the fit diverged.
        ConfigError: The configuration names a region that the head does not have, or occludes the whole face, or an
            identity is given to the `vhap` preset, or a focal length to a rig.
        ValueError: A picture is not of the observation's size, or the views do not belong together
            (`SequenceViews.of`).
    """
    whole = SequenceViews.of(views)
    if config.focal_px is not None and (whole.num_views > 1 or whole.is_rig):
        raise ConfigError("track.focal_px is for clips of one uncalibrated camera: leave it out for a rig")
    sequence = without_held_out_cameras(whole, config)
    held_out = held_out_frames(sequence, config)
    if not sequence.detected[~held_out].any():
        raise NoFaceError
    identity = known_identity(config, identity, head)
    checkpoint = None if checkpoint_folder is None else Checkpoint(checkpoint_folder)
    with fitting():
        if sequence.is_unsolved:
            seen = frames_of(sequence, np.flatnonzero(~held_out)) if held_out.any() else sequence
            kept = None if checkpoint_folder is None else checkpoint_folder / "cameras.npz"
            step_s = _usual_step_s(sequence)
            trial = None if config.landmarks_only else partial(photo_error_of_cameras, head, usual_step_s=step_s)
            cameras = [found.camera for found in solved_views(seen, head, config, kept=kept, photo_error=trial).rig]
            whole = sequence = sequence.with_cameras(cameras)
        if config.preset == "vhap":
            state = run_vhap(sequence, head, config, checkpoint=checkpoint, on_progress=_reporter(on_progress))
        else:
            state = _fit_all(sequence, head, config, identity, checkpoint, on_progress)
    track = track_of(state, sequence, head, config, identity)
    return replace(
        track,
        rig=track.rig if sequence.solved else whole.rig,
        size_hw=whole.first.size_hw,
        held_out=torch.from_numpy(held_out) if held_out.any() else None,
        held_out_cameras=config.held_out_cameras,
    )


def views_with_a_face(views: SequenceObservation | Sequence[SequenceObservation]) -> SequenceViews:
    """The views of one sequence.

    Raises:
        NoFaceError: No frame has a face.
        ValueError: They do not belong together.
    """
    sequence = SequenceViews.of(views)
    if not sequence.detected.any():
        raise NoFaceError
    return sequence


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


def _fit_all(
    views: SequenceViews,
    head: HeadModel,
    config: TrackConfig,
    identity: Identity | None,
    checkpoint: Checkpoint | None,
    on_progress: Callable[[Progress], None] | None,
) -> FitState:
    """The fit, and then the rows of frames that are held out of it."""
    held_out = held_out_frames(views, config)
    if not held_out.any():
        return run_stages(StageRunner(views, head, config, identity=identity), checkpoint, on_progress)
    last: list[Progress] = []

    def report(progress: Progress) -> None:
        last[:] = [replace(progress, total=progress.total + 1)]
        if on_progress:
            on_progress(last[0])

    def report_rows(share: float) -> None:
        if on_progress and last:
            on_progress(replace(last[0], stage="rows_held_out", done=last[0].total - 1 + share))

    seen = frames_of(views, np.flatnonzero(~held_out))
    runner = StageRunner(seen, head, config, identity=identity, usual_step_s=_usual_step_s(views))
    state = run_stages(runner, checkpoint, report)
    return with_held_out_rows(state, views, head, config, identity, report_rows)


def _usual_step_s(views: SequenceViews) -> float:
    """Time between neighbouring frames of the recording."""
    known = views.first.usual_step_s
    return usual_step_s(views.first.timestamps_s) if known is None else known


def _reporter(on_progress: Callable[[Progress], None] | None) -> Callable[[str, float, int, float], None]:
    def report(stage: str, done: float, total: int, photo_error: float) -> None:
        if on_progress:
            on_progress(Progress(stage=stage, done=done, total=total, photo_error=photo_error))

    return report


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
    state = found or start or _landmarks(runner)
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


def photo_error_of_cameras(
    head: HeadModel, views: SequenceViews, config: TrackConfig, usual_step_s: float | None = None
) -> float:
    """Mean colour error of an uncalibrated rig when its cameras have been refined twice: tells whether they are right.

    Args:
        head: The head model.
        views: With cameras to try.
        config: Sizes.
        usual_step_s: Time between neighbouring frames, where the views are of a few that are far apart.
    """
    runner = StageRunner(views, head, config, usual_step_s=usual_step_s)
    return run_stages(runner, None, None, stop=_up_to_second_cameras).photo_error


def _up_to_second_cameras(schedule: tuple[Stage, ...]) -> int:
    return [number for number, stage in enumerate(schedule, 1) if isinstance(stage, CameraStage)][1]


def _landmarks(runner: StageRunner) -> FitState:
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


def _rig(shared: SharedParameters, views: SequenceViews) -> tuple[RigCamera, ...]:
    """The cameras as they are known in the end."""
    if not len(shared.cameras):
        return views.rig
    return tuple(
        replace(view, camera=unpacked(values, view.camera.size_hw))
        for view, values in zip(views.rig, shared.cameras, strict=True)
    )


def track_of(
    state: FitState, views: SequenceViews, head: HeadModel, config: TrackConfig, identity: Identity | None = None
) -> Track:
    """The track that a fit ended with."""
    basis = None if identity else AlbedoBasis.create(head, config)
    shared, coefficients = with_whole_texture(state.shared, basis), state.shared.texture_coefficients
    found = Identity(
        shape=shared.shape,
        static_offset=shared.offset[None] if config.static_offset and not config.landmarks_only else None,
        texture=shared.texture.clamp(0, 1),
        head_name=head.name,
        head_sha256=head.asset_sha256,
    )
    kept = identity or found
    return Track(
        parameters=FrameParameters.unpack(state.rows),
        shape=kept.shape,
        static_offset=kept.static_offset,
        texture=kept.texture,
        texture_coefficients=None if basis is None else coefficients,
        **_lights_and_focals(shared, views),
        size_hw=views.first.size_hw,
        timestep_ids=views.first.timestep_ids,
        tracked=torch.from_numpy(views.detected.copy()),
        head_name=head.name,
        head_sha256=head.asset_sha256,
        gains=shared.gains if len(shared.gains) else None,
        rig=_rig(shared, views),
    )


def _lights_and_focals(shared: SharedParameters, views: SequenceViews) -> dict[str, Any]:
    """Those of the longest group of frames, and those of each frame where there are several groups."""
    several = len(shared.light) > 1
    group = views.group if several else np.zeros(views.num_frames, np.int64)
    focals_px, main, index = shared.log_focal.exp(), longest(group), torch.from_numpy(group)
    return {
        "lights": shared.light[main],
        "focal_px": None if views.is_rig else float(focals_px[main]),
        "group": torch.from_numpy(views.group) if views.group.any() else None,
        "lights_per_frame": shared.light[index] if several else None,
        "focal_px_per_frame": focals_px[index] if several and not views.is_rig else None,
    }
