"""Track one sequence: landmarks, then colours, then the final texture. Knows nothing of where it runs.

A sequence is what one camera saw, whose focal length is then found with the head unless it is given, or what the
cameras of a rig saw at the same timesteps. With a calibration the head is tracked in the rig's world, in true metres;
without one the cameras are found first, by the head that they all see, whose size gives the metres.

`track_sequence` works in a notebook as it does on a cluster. With a checkpoint folder it saves its state every few
seconds and continues from there, bit for bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from raytrack.errors import ConfigError, NoFaceError
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.finished_track import track_of
from raytrack.fit.held_out import held_out_frames, with_held_out_rows, without_held_out_cameras
from raytrack.fit.identity import Identity, known_identity
from raytrack.fit.neighbours import usual_step_s
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig_solver import solved_views
from raytrack.fit.rig_trial import photo_error_of_cameras
from raytrack.fit.stage_loop import Progress, fitting, run_stages
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.track import Track
from raytrack.fit.vhap_stages import run_vhap
from raytrack.fit.views import SequenceViews, frames_of
from raytrack.head.model import HeadModel


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
