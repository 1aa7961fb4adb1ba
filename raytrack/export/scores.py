"""How good a track is: photometry inside the covered pixels, landmarks, jitter, coverage, and truth where it is known.

Colours are compared as 8-bit pictures scaled to 0 … 1, pixels in those of the input frame. Frames without a face take
no part in any score.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from raytrack.export.truth import GroundTruth
from raytrack.geometry.closest import distance_to_surface
from raytrack.geometry.similarity import best_similarity
from raytrack.head.model import HeadModel

logger = logging.getLogger(__name__)

PERFECT_PSNR_DB = 100.0
"""Stands for a render without any error, whose PSNR is infinite (which JSON cannot say)."""


@dataclass(frozen=True, kw_only=True)
class FramePhotometry:
    """One frame's colour error inside the pixels that the render covers."""

    l1: float
    """Mean absolute error over covered pixels and channels."""
    mse: float
    covered_share: float | None
    """Share of the matte above the neck line that the render covers; None without a matte."""


def frame_photometry(
    frame: UInt8[np.ndarray, "height width 3"],
    render: UInt8[np.ndarray, "height width 3"],
    covered: Bool[np.ndarray, "height width"],
    person: Bool[np.ndarray, "height width"] | None = None,
) -> FramePhotometry | None:
    """Compare a render with its frame; None where the render covers nothing.

    Args:
        frame: The input frame.
        render: The render over the input frame.
        covered: Pixels that the render covers.
        person: The person's pixels above the neck line.
    """
    if not covered.any():
        return None
    error = (frame[covered].astype(np.float64) - render[covered]) / 255
    share = None if person is None or not person.any() else float((covered & person).sum() / person.sum())
    return FramePhotometry(l1=float(np.abs(error).mean()), mse=float((error**2).mean()), covered_share=share)


def photometric_scores(frames: Sequence[FramePhotometry | None]) -> dict[str, float | None]:
    """`psnr_db` (of the mean over frames of their mean squared errors), `l1`, `worst_l1` (of a frame), `coverage`.

    Each is None when no frame has it.
    """
    drawn = [frame for frame in frames if frame is not None]
    shares = [frame.covered_share for frame in drawn if frame.covered_share is not None]
    if not drawn:
        return {"psnr_db": None, "l1": None, "worst_l1": None, "coverage": None}
    return {
        "psnr_db": psnr_db(float(np.mean([frame.mse for frame in drawn]))),
        "l1": float(np.mean([frame.l1 for frame in drawn])),
        "worst_l1": max(frame.l1 for frame in drawn),
        "coverage": float(np.mean(shares)) if shares else None,
    }


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio of colours in 0 … 1, at most `PERFECT_PSNR_DB`."""
    return PERFECT_PSNR_DB if mse <= 0 else min(PERFECT_PSNR_DB, -10 * math.log10(mse))


def landmark_error_px(
    model_px: Float[np.ndarray, "frames points 2"],
    reference_px: Float[np.ndarray, "frames points 2"],
    valid: Bool[np.ndarray, " frames"],
) -> float | None:
    """Mean distance of projected model landmarks to detections (or to truth) over the valid frames.

    Points that are not finite in the reference are left out. None when nothing is left.
    """
    distance = np.linalg.norm(model_px[valid].astype(np.float64) - reference_px[valid], axis=-1)
    finite = np.isfinite(distance)
    return float(distance[finite].mean()) if finite.any() else None


def jitter_px(
    model_px: Float[np.ndarray, "frames points 2"],
    valid: Bool[np.ndarray, " frames"],
    truth_px: Float[np.ndarray, "frames points 2"] | None = None,
    group: Int[np.ndarray, " frames"] | None = None,
) -> float | None:
    """RMS length of the second time difference of projected landmarks, less that of the truth where it is given.

    Only runs of three valid frames without a cut count (`group`: which stretch between cuts a frame belongs to); None
    when there is none. Below zero, the track is smoother than the truth.
    """
    triples = valid[:-2] & valid[1:-1] & valid[2:]
    if group is not None:
        triples &= (group[:-2] == group[1:-1]) & (group[1:-1] == group[2:])
    if not triples.any():
        return None
    jitter = _second_difference_rms(model_px, triples)
    return jitter if truth_px is None else jitter - _second_difference_rms(truth_px, triples)


def _second_difference_rms(points_px: np.ndarray, triples: np.ndarray) -> float:
    points = points_px.astype(np.float64)
    second = (points[2:] - 2 * points[1:-1] + points[:-2])[triples]
    return float(np.sqrt((second**2).sum(axis=-1).mean()))


def face_error_mm(
    tracked_vertices: Float[np.ndarray, "frames vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    true_points: Float[np.ndarray, "frames points 3"],
    vertex_ids: Int[np.ndarray, " points"],
    valid: Bool[np.ndarray, " frames"],
    *,
    metric: bool = False,
) -> float | None:
    """Mean distance of the true face to the tracked surface, each frame aligned by its best similarity.

    The alignment takes tracked vertices onto true ones, vertex by vertex: a similarity, for a single view cannot know
    the head's size. A calibrated rig knows it, and where the head is: `metric` aligns nothing.

    Args:
        tracked_vertices: Metres.
        faces: Of the tracked surface.
        true_points: Where some of the vertices truly are, metres; the result's unit comes from these.
        vertex_ids: Which vertices these are.
        valid: Frames to compare; None is returned when there is none.
        metric: Compare them where they are.
    """
    errors = []
    for frame in np.flatnonzero(valid):
        tracked, truth = tracked_vertices[frame].astype(np.float64), true_points[frame].astype(np.float64)
        placed = tracked if metric else best_similarity(tracked[vertex_ids], truth)(tracked)
        errors.append(distance_to_surface(truth, placed, faces).mean() * 1000)
    return float(np.mean(errors)) if errors else None


def ground_truth_scores(
    truth: GroundTruth,
    head: HeadModel,
    *,
    vertices: Float[np.ndarray, "frames vertices 3"],
    landmarks_px: Float[np.ndarray, "frames landmarks 2"] | None,
    valid: Bool[np.ndarray, " frames"],
) -> dict[str, float | int | None]:
    """`face_error_mm` and `landmark_error_px` of a track against the truth.

    Args:
        truth: Of the same frames.
        head: The head that was tracked; with another than the truth's, vertices do not correspond and the face error is
            None.
        vertices: The track's, metres.
        landmarks_px: The track's, projected; None for a rig, which is compared in metres and has no landmark error.
        valid: Frames to compare.
    """
    face_error = None
    if head.asset_sha256 == truth.head_sha256:
        faces = head.topology().faces
        metric = landmarks_px is None
        face_error = face_error_mm(vertices, faces, truth.points, truth.vertex_ids, valid, metric=metric)
    else:
        logger.warning("the ground truth was made with another head than %s: no face error", head.name)
    landmark_error = None
    if landmarks_px is not None and truth.landmarks_px is not None:
        landmark_error = landmark_error_px(landmarks_px, truth.landmarks_px, valid)
    return {"face_error_mm": face_error, "landmark_error_px": landmark_error}
