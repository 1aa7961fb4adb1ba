"""Scores of a whole sequence, from what drawing its frames left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from raytrack.errors import InputError
from raytrack.export.picture_scores import ScoredPicture, picture_scores
from raytrack.export.region_scores import offset_scores
from raytrack.export.scores import ground_truth_scores, jitter_px, landmark_error_px, photometric_scores
from raytrack.export.truth import TRUTH_LANDMARKS, GroundTruth
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel

Scores = dict[str, float | int | None]


@dataclass(frozen=True, kw_only=True)
class CameraScores:
    """How well a track explains one camera's pictures; None where there is nothing to measure."""

    camera_index: int
    camera_id: str
    scores: Scores
    """landmark_error_px, and those of `raytrack.export.picture_scores`."""


@dataclass(frozen=True, kw_only=True)
class SequenceScores:
    """How good a track is."""

    scores: Scores
    """By the names of `raytrack.tables.schemas.SCORE_NAMES`, and `frames`; None where there is nothing to measure.
    Of a rig: over all cameras' pictures and detections; the worst l1 is that of one picture, jitter_px the mean over
    cameras."""
    ground_truth: Scores | None
    """face_error_mm, landmark_error_px, psnr_db; None without truth."""
    per_camera: tuple[CameraScores, ...]
    """In the track's order; one for a single view."""


@dataclass(frozen=True, kw_only=True)
class DrawnFrame:
    """What the scores need of a drawn frame."""

    pictures: tuple[ScoredPicture | None, ...]
    """By view; None where the head is not drawn."""
    landmarks_px: tuple[Float[np.ndarray, "points 2"], ...]
    """By view: of the track, of the view's landmark set; interpolated where the frame has no face."""
    vertices: Float[np.ndarray, "vertices 3"] | None
    """World vertices in metres; kept where there is truth to compare with."""


def sequence_scores(
    track: Track,
    head: HeadModel,
    views: Sequence[SequenceObservation],
    drawn: Sequence[DrawnFrame],
    truth: GroundTruth | None,
) -> SequenceScores:
    """Scores of a sequence from what drawing its frames left, in order.

    Raises:
        InputError: The truth has another number of frames.
    """
    if truth is not None and truth.num_frames != track.num_frames:
        raise InputError(
            f"the ground truth has {truth.num_frames} frames, the track {track.num_frames}: of another clip"
        )
    landmarks = [np.stack([frame.landmarks_px[view] for frame in drawn]) for view in range(len(views))]
    errors = [
        landmark_error_px(points, view.landmarks_px, track.tracked.numpy() & view.detected)
        for points, view in zip(landmarks, views, strict=True)
    ]
    scores = {
        **_all_cameras(track, views, drawn, landmarks, errors),
        **_held_out(track, drawn),
        **offset_scores(head, track.static_offset),
    }
    against_truth: Scores | None = None
    if truth is not None and track.rig:
        against_truth = _rig_truth(track, head, drawn, truth, scores)
    elif truth is not None:
        scores, against_truth = _single_view_truth(track, head, views[0], drawn, truth, scores)
    per_camera = tuple(
        CameraScores(
            camera_index=camera.index,
            camera_id=camera.id,
            scores={
                **picture_scores([frame.pictures[view] for frame in drawn]),
                "landmark_error_px": errors[view],
            },
        )
        for view, camera in enumerate(track.cameras)
    )
    return SequenceScores(scores=scores, ground_truth=against_truth, per_camera=per_camera)


def _all_cameras(
    track: Track,
    views: Sequence[SequenceObservation],
    drawn: Sequence[DrawnFrame],
    landmarks: Sequence[Float[np.ndarray, "frames points 2"]],
    errors: Sequence[float | None],
) -> Scores:
    """`SequenceScores.scores`, without truth.

    Args:
        track: The track.
        views: What its cameras saw.
        drawn: All frames.
        landmarks: Of the track, by view.
        errors: Of the landmarks in pixels, by view.
    """
    tracked = track.tracked.numpy()
    counts = [int((tracked & view.detected).sum()) * view.landmarks_px.shape[1] for view in views]
    return {
        **picture_scores([picture for frame in drawn for picture in frame.pictures]),
        "landmark_error_px": _mean(errors, counts),
        "jitter_px": _mean([jitter_px(points, tracked, None, _group(track)) for points in landmarks]),
        "frames": track.num_frames,
    }


def _group(track: Track) -> Int[np.ndarray, " frames"] | None:
    return None if track.group is None else track.group.numpy()


def _held_out(track: Track, drawn: Sequence[DrawnFrame]) -> Scores:
    """PSNR of frames apart: even and odd ones, and those that what is shared has seen, or has not."""
    number = np.arange(track.num_frames)
    held_out = np.zeros(track.num_frames, bool) if track.held_out is None else track.held_out.numpy()
    cameras = np.array([camera.id in track.held_out_cameras for camera in track.cameras])

    def psnr(frames: np.ndarray, views: np.ndarray) -> float | None:
        chosen = [
            picture
            for frame, wanted in zip(drawn, frames, strict=True)
            for picture, own in zip(frame.pictures, views, strict=True)
            if wanted and own
        ]
        return photometric_scores([None if one is None else one.photometry for one in chosen])["psnr_db"]

    return {
        "psnr_even_frames_db": psnr(number % 2 == 0, ~cameras),
        "psnr_odd_frames_db": psnr(number % 2 == 1, ~cameras),
        "psnr_fitted_frames_db": psnr(~held_out, ~cameras),
        "psnr_held_out_frames_db": psnr(held_out, ~cameras),
        "psnr_held_out_cameras_db": psnr(~held_out, cameras),
        "held_out_frames": int(held_out.sum()),
    }


def _mean(values: Sequence[float | None], weights: Sequence[int] | None = None) -> float | None:
    """The mean of those values that there are."""
    weights = [1] * len(values) if weights is None else weights
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if len(pairs) == 1:
        return pairs[0][0]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None


def _single_view_truth(
    track: Track,
    head: HeadModel,
    view: SequenceObservation,
    drawn: Sequence[DrawnFrame],
    truth: GroundTruth,
    scores: Scores,
) -> tuple[Scores, Scores]:
    """Scores, with jitter as that above the truth's, and scores against the truth."""
    vertices, tracked = _vertices(drawn), track.tracked.numpy()
    landmarks = np.stack([frame.landmarks_px[0] for frame in drawn])
    if view.landmark_set != TRUTH_LANDMARKS:
        world = head.landmarks_world(torch.from_numpy(vertices), TRUTH_LANDMARKS)
        landmarks = track.frame_cameras().project(world).numpy()
    against = ground_truth_scores(truth, head, vertices=vertices, landmarks_px=landmarks, valid=tracked)
    jitter = jitter_px(landmarks, tracked, truth.landmarks_px, _group(track))
    return {**scores, "jitter_px": jitter}, {**against, "psnr_db": scores["psnr_db"]}


def _rig_truth(
    track: Track, head: HeadModel, drawn: Sequence[DrawnFrame], truth: GroundTruth, scores: Scores
) -> Scores:
    """Scores of a rig against the truth: in metres of the capture's world, for a rig knows size and place."""
    vertices = _vertices(drawn)
    if track.capture_from_world is not None:
        vertices = vertices @ track.capture_from_world.numpy().T
    against = ground_truth_scores(truth, head, vertices=vertices, landmarks_px=None, valid=track.tracked.numpy())
    return {**against, "psnr_db": scores["psnr_db"]}


def _vertices(drawn: Sequence[DrawnFrame]) -> Float[np.ndarray, "frames vertices 3"]:
    return np.stack([frame.vertices for frame in drawn if frame.vertices is not None])
