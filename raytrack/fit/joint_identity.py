"""One identity from several sequences of a subject: a fit to frames of all, each with a light and a lens of its own."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int

from raytrack.errors import ConfigError, NoFaceError
from raytrack.fit.config import TrackConfig
from raytrack.fit.frame_choice import choose_shared_frames
from raytrack.fit.groups import FrameGroups, numbered
from raytrack.fit.held_out import held_out_frames
from raytrack.fit.identity import Identity
from raytrack.fit.observation import ImageLoader, SequenceObservation
from raytrack.fit.stage_loop import Progress
from raytrack.fit.tracker import track_sequence
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

logger = logging.getLogger(__name__)
_FEWEST_OF_SEQUENCE = 16
_APART_S = 1e3
"""Sequences follow each other at such a distance."""


def fit_identity(
    observations: Sequence[SequenceObservation],
    head: HeadModel,
    config: TrackConfig,
    *,
    checkpoint_folder: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Identity:
    """Fit shape, offset and albedo to frames of all sequences at once.

    Every sequence, and every stretch between its cuts, has its own light and focal length. `config.shared_frames`
    are shared out evenly among the sequences; each gives a few at least.

    Args:
        observations: The subject's sequences, each seen by one camera. Those without a face are passed over.
        head: The head model.
        config: As for `track_sequence`, with the default preset.
        checkpoint_folder: See `track_sequence`.
        on_progress: See `track_sequence`.

    Raises:
        NoFaceError: No sequence has a face.
        NotConvergedError: The landmarks could not be fitted, or the fit diverged.
        ConfigError: The preset finds no identity of several sequences.
        ValueError: A sequence is a rig's, or they differ in their landmark sets.
    """
    if config.preset == "vhap":
        raise ConfigError("the preset `vhap` fits one sequence at a time: take the default preset for a joint identity")
    seen = [_without_held_out(observation, config) for observation in observations]
    with_face = [observation for observation in seen if observation.detected.any()]
    if not with_face:
        raise NoFaceError
    count = max(_FEWEST_OF_SEQUENCE, config.shared_frames // len(with_face))
    joined = joined_frames([_chosen(observation, count) for observation in with_face])
    whole = replace(config, shared_frames=max(2, joined.num_frames), segment_frames=0, held_out_every=0)
    track = track_sequence(joined, head, whole, checkpoint_folder=checkpoint_folder, on_progress=on_progress)
    return Identity.of_track(track)


def joined_frames(observations: Sequence[SequenceObservation]) -> SequenceObservation:
    """Frames of several sequences one after the other, each sequence a group of its own.

    Smaller pictures are widened to the size of the largest, evenly on all sides: then the focal length means the same
    and the principal point stays in the middle.

    Raises:
        ValueError: A sequence is a rig's, or they differ in their landmark sets.
    """
    first = next(iter(observations))
    if any(observation.calibrated is not None for observation in observations):
        raise ValueError("frames of a rig's cameras cannot be joined with others")
    if len({observation.landmark_set for observation in observations}) > 1:
        raise ValueError("sequences with different landmark sets cannot be joined")
    size_hw = (
        max(observation.size_hw[0] for observation in observations),
        max(observation.size_hw[1] for observation in observations),
    )
    padded = [_padded(observation, size_hw) for observation in observations]
    owners = np.repeat(np.arange(len(padded)), [observation.num_frames for observation in padded])
    starts = np.cumsum([0, *(observation.num_frames for observation in padded)])
    steps = [observation.usual_step_s for observation in padded if observation.usual_step_s]

    def loader(loaders: Sequence[ImageLoader]) -> ImageLoader:
        return lambda frame: loaders[owners[frame]](frame - int(starts[owners[frame]]))

    mattes = [observation.load_alpha for observation in padded if observation.load_alpha is not None]
    if 0 < len(mattes) < len(padded):
        logger.warning("some of the subject's sequences have no mattes: the identity is fitted without any")
    times = [observation.timestamps_s - observation.timestamps_s[0] for observation in padded]
    ends = np.cumsum([0.0, *(own[-1] + _APART_S for own in times)])
    return SequenceObservation(
        size_hw=size_hw,
        timestep_ids=tuple(f"{number:06d}" for number in range(len(owners))),
        timestamps_s=np.concatenate([own + start for own, start in zip(times, ends[:-1], strict=True)]),
        load_image=loader([observation.load_image for observation in padded]),
        load_alpha=loader(mattes) if len(mattes) == len(padded) else None,
        landmarks_px=np.concatenate([observation.landmarks_px for observation in padded]),
        scores=np.concatenate([observation.scores for observation in padded]),
        expression_scores=_joined_expressions(padded),
        landmark_set=first.landmark_set,
        group=_groups(padded),
        usual_step_s=min(steps, default=None),
    )


def _joined_expressions(
    observations: Sequence[SequenceObservation],
) -> Float[np.ndarray, "frames expressions"] | None:
    """None unless all sequences have scores of the same expressions."""
    scores = [one.expression_scores for one in observations if one.expression_scores is not None]
    same = len(scores) == len(observations) and len({own.shape[1] for own in scores}) == 1
    return np.concatenate(scores) if same else None


def _without_held_out(observation: SequenceObservation, config: TrackConfig) -> SequenceObservation:
    """The sequence as if no face were seen in the frames that nothing shared may be fitted to."""
    held_out = held_out_frames(SequenceViews.of(observation), config)
    return replace(observation, scores=np.where(held_out, 0, observation.scores))


def _chosen(observation: SequenceObservation, count: int) -> SequenceObservation:
    """Some frames of a sequence, as `choose_shared_frames` has them."""
    views = SequenceViews.of(observation)
    numbers = np.flatnonzero(choose_shared_frames(views, count, FrameGroups.of(views.group)))
    steps, load_alpha, expressions = np.diff(observation.timestamps_s), observation.load_alpha, None
    if observation.expression_scores is not None:
        expressions = observation.expression_scores[numbers]
    return replace(
        observation,
        timestep_ids=tuple(observation.timestep_ids[number] for number in numbers),
        timestamps_s=observation.timestamps_s[numbers],
        load_image=lambda frame: observation.load_image(int(numbers[frame])),
        load_alpha=None if load_alpha is None else lambda frame: load_alpha(int(numbers[frame])),
        landmarks_px=observation.landmarks_px[numbers],
        scores=observation.scores[numbers],
        expression_scores=expressions,
        group=views.group[numbers],
        source_index=None,
        usual_step_s=float(np.median(steps)) if len(steps) else None,
    )


def _padded(observation: SequenceObservation, size_hw: tuple[int, int]) -> SequenceObservation:
    """A sequence with wider pictures, whose edges are repeated."""
    (height, width), load_alpha = observation.size_hw, observation.load_alpha
    down, right = size_hw[0] - height, size_hw[1] - width
    if not down and not right:
        return observation

    def widened(picture: np.ndarray) -> np.ndarray:
        top, left = down // 2, right // 2
        return cv2.copyMakeBorder(picture, top, down - top, left, right - left, cv2.BORDER_REPLICATE)

    return replace(
        observation,
        size_hw=size_hw,
        load_image=lambda frame: widened(observation.load_image(frame)),
        load_alpha=None if load_alpha is None else lambda frame: widened(load_alpha(frame)),
        landmarks_px=observation.landmarks_px + np.array([right // 2, down // 2], np.float32),
    )


def _groups(observations: Sequence[SequenceObservation]) -> Int[np.ndarray, " frames"]:
    """Groups of frames, none of which two sequences have in common."""
    groups, first = [], 0
    for observation in observations:
        own = np.zeros(observation.num_frames, np.int64)
        if observation.group is not None:
            own = numbered(observation.group)
        groups.append(own + first)
        first += int(own.max()) + 1
    return np.concatenate(groups)
