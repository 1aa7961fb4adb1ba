"""A long sequence tracked in segments: in parts that run on different machines, with the very result of one piece.

First what all frames share is fitted to some of them, chosen from the whole sequence. Then each segment finds the rows
of its own frames, and of the few beside it that they depend on. Then the segments are joined, and the final texture is
painted. No part holds more pictures than those of its own frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import NoFaceError
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.finished_track import track_of
from raytrack.fit.frame_choice import Segment
from raytrack.fit.identity import Identity, known_identity
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.occlusion import HiddenSpots
from raytrack.fit.schedule import OcclusionStage, RowStage, Stage, SteadyStage
from raytrack.fit.stage_loop import Progress, fitting, run_stages
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.track import Track
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class SegmentRows:
    """Packed rows of a segment's own frames, and what stands before the head in them."""

    segment: Segment
    rows: Float[Tensor, "frames columns"]
    hidden: HiddenSpots = field(default_factory=HiddenSpots.none)
    """Its timesteps are those of the whole sequence."""


def fit_shared(
    observation: SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    *,
    identity: Identity | None = None,
    checkpoint_folder: Path | None = None,
    on_progress: OnProgress | None = None,
) -> FitState:
    """The first part: rows of every frame from its landmarks, and what all frames share.

    Args:
        observation: The whole sequence, seen by one camera.
        head: The head model.
        config: As for `track_sequence`, with the default preset.
        identity: See `track_sequence`; the same for all parts.
        checkpoint_folder: See `track_sequence`.
        on_progress: See `track_sequence`.

    Raises:
        NoFaceError: No frame has a face.
        NotConvergedError: The landmarks could not be fitted, or the fit diverged.
        InputError: The identity is of another head.
        ConfigError: As of `track_sequence`.
    """
    identity = known_identity(config, identity, head)
    runner = StageRunner(_views_with_a_face(observation), head, config, identity=identity)
    with fitting():
        return run_stages(runner, _checkpoint(checkpoint_folder), on_progress, stop=_num_before_segments)


def fit_segment(
    observation: SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    state: FitState,
    segment: Segment,
    *,
    identity: Identity | None = None,
    checkpoint_folder: Path | None = None,
    on_progress: OnProgress | None = None,
) -> SegmentRows:
    """A part that needs the first one alone: the rows of one segment.

    Args:
        observation: The whole sequence; only pictures in and beside the segment are read.
        head: The head model.
        config: That of the first part.
        state: What the first part ended with.
        segment: Which frames.
        identity: See `track_sequence`; the same for all parts.
        checkpoint_folder: See `track_sequence`; each segment needs its own.
        on_progress: See `track_sequence`.

    Raises:
        NotConvergedError: The fit diverged.
        InputError: The identity is of another head.
        ConfigError: As of `track_sequence`.
    """
    views, identity = _views_with_a_face(observation), known_identity(config, identity, head)
    schedule = StageRunner(views, head, config, identity=identity).schedule(state)
    stages = schedule[_num_before_segments(schedule) : _num_with_segments(schedule)]
    runner = StageRunner(views, head, config, _needed(segment, stages, views.num_frames), identity)
    with fitting():
        checkpoint = _checkpoint(checkpoint_folder)
        found = run_stages(runner, checkpoint, on_progress, start=state, stop=_num_with_segments)
    own = found.hidden.within(segment.mask(views.num_frames))
    return SegmentRows(segment=segment, rows=found.rows[segment.start : segment.stop], hidden=own)


def join_segments(
    observation: SequenceObservation,
    head: HeadModel,
    config: TrackConfig,
    state: FitState,
    parts: Sequence[SegmentRows],
    *,
    identity: Identity | None = None,
    checkpoint_folder: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Track:
    """The last part: the rows of all segments, and the final texture.

    Args:
        observation: The whole sequence.
        head: The head model.
        config: That of the other parts.
        state: What the first part ended with.
        parts: The rows of all segments, in order.
        identity: See `track_sequence`; the same for all parts.
        checkpoint_folder: See `track_sequence`.
        on_progress: See `track_sequence`.

    Raises:
        NotConvergedError: The fit diverged.
        InputError: The identity is of another head.
        ConfigError: As of `track_sequence`.
        ValueError: The segments are not those of the sequence.
    """
    bounds = [(part.segment.start, part.segment.stop) for part in parts]
    ends = [0, *(stop for _, stop in bounds)]
    if [start for start, _ in bounds] != ends[:-1] or ends[-1] != observation.num_frames:
        raise ValueError(f"the segments {bounds} do not make up {observation.num_frames} frames one after the other")
    views, identity = _views_with_a_face(observation), known_identity(config, identity, head)
    runner = StageRunner(views, head, config, identity=identity)
    rows = interpolate_missing(torch.cat([part.rows for part in parts]), views.detected, views.group)
    done = 1 + _num_with_segments(runner.schedule(state))
    with fitting():
        hidden = HiddenSpots.joined([part.hidden for part in parts])
        state = replace(state, rows=rows, hidden=hidden, stages_done=done)
        state = run_stages(runner, _checkpoint(checkpoint_folder), on_progress, start=state)
    return track_of(state, views, head, config, identity)


def _views_with_a_face(observation: SequenceObservation) -> SequenceViews:
    """The views of one sequence.

    Raises:
        NoFaceError: No frame has a face.
        ValueError: They do not belong together.
    """
    sequence = SequenceViews.of(observation)
    if not sequence.detected.any():
        raise NoFaceError
    return sequence


def _needed(segment: Segment, stages: tuple[Stage, ...], num_frames: int) -> Segment:
    """The segment with the frames beside it that its rows depend on."""
    for stage in reversed(stages):
        if isinstance(stage, SteadyStage):
            segment = segment.widened_to_windows(num_frames)
        elif isinstance(stage, RowStage):
            segment = segment.widened(1, num_frames)
    return segment


def _checkpoint(folder: Path | None) -> Checkpoint | None:
    return None if folder is None else Checkpoint(folder)


def _num_before_segments(schedule: tuple[Stage, ...]) -> int:
    """Stages that see none but the frames that what is shared is fitted to, before any sees others."""
    return next(number for number, stage in enumerate(schedule) if _of_all(stage))


def _num_with_segments(schedule: tuple[Stage, ...]) -> int:
    """Those, and the stages that see all frames which follow."""
    return 1 + max(number for number, stage in enumerate(schedule) if _of_all(stage))


def _of_all(stage: Stage) -> bool:
    of_frames = isinstance(stage, RowStage | OcclusionStage) and stage.frames != "shared"
    return of_frames or isinstance(stage, SteadyStage)
