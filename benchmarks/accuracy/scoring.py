"""Scores of a track against the truth of its clip."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.accuracy import metrics
from benchmarks.accuracy.suite import LABELS, Clip
from raytrack.export.scores import frame_photometry, jitter_px, landmark_error_px, photometric_scores
from raytrack.fit.bare_head import bare_offset
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter
from raytrack.fit.track import Track
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.geometry.similarity import Similarity
from raytrack.head.model import HeadModel

Scores = dict[str, float | None]
OUTLINED = ("hair", "ears", "neck")
"""Regions whose silhouettes are measured: those without landmarks."""
_NO_HEAD = tuple(LABELS.index(name) for name in ("room", "clothes", "prop"))


@torch.no_grad()
def score_track(track: Track, head: HeadModel, views: Sequence[SequenceObservation], clip: Clip) -> Scores:
    """All scores of a clip's track. A rig's is compared where it is, a single camera's after the best similarity."""
    tracked = head.vertices(track.parameters, track.shape, track.static_offset)
    landmarks = head.landmarks_world(tracked).numpy()
    vertices = tracked.numpy().astype(np.float64)
    aligned = metrics.alignments(vertices, clip.vertices, clip.parts["face"], metric=clip.is_rig)
    placed = np.stack([align(frame) for align, frame in zip(aligned, vertices, strict=True)])
    corners, weights = head.faces[head.landmarks["facemesh"].faces], head.landmarks["facemesh"].barycentric
    true_landmarks = np.einsum("lk,tlkc->tlc", weights.numpy(), clip.vertices[:, corners.numpy()])
    apertures, true_apertures = metrics.lid_apertures(landmarks), metrics.lid_apertures(true_landmarks)
    open_share = true_apertures / np.percentile(true_apertures, 75, axis=0)
    gaze = np.stack([directions @ align.rotation.T for align, directions in zip(aligned, gaze_of(track), strict=True)])
    hits, false_alarms, misses = metrics.blink_counts(apertures, true_apertures)
    return {
        **metrics.surface_errors_mm(placed, clip.vertices, head.topology().faces, clip.parts),
        **_bare_errors_mm(track, head, clip, aligned),
        "gaze_deg": metrics.gaze_error_deg(gaze, clip.gaze, open_share > metrics.TRULY_OPEN),
        "blink_f1": metrics.f1(hits, false_alarms, misses),
        "blink_hits": hits,
        "blink_false_alarms": false_alarms,
        "blink_misses": misses,
        "focal_percent": _focal_percent(track, clip),
        "offset_mm": None if track.static_offset is None else 1000 * float(track.static_offset.norm(dim=-1).mean()),
        **_picture_scores(track, head, views, clip),
    }


def _bare_errors_mm(track: Track, head: HeadModel, clip: Clip, aligned: Sequence[Similarity]) -> Scores:
    """The same of skull and neck of the head without hair and clothes (`raytrack.fit.bare_head`)."""
    bare = head.vertices(track.parameters, track.shape, bare_offset(track, head)[None]).numpy().astype(np.float64)
    placed = np.stack([align(frame) for align, frame in zip(aligned, bare, strict=True)])
    parts = {f"bare_{name}": clip.parts[name] for name in ("skull", "neck")}
    return dict(metrics.surface_errors_mm(placed, clip.vertices, head.topology().faces, parts))


def gaze_of(track: Track) -> Float[np.ndarray, "frames 2 3"]:
    """Unit directions in the track's world, the subject's left eye first."""
    parameters = track.parameters
    eyes = matrix_from_axis_angle(parameters.eyes_pose.reshape(-1, 2, 3))
    return (parameters.head_rotation()[:, None] @ eyes)[..., 2].numpy().astype(np.float64)


def _focal_percent(track: Track, clip: Clip) -> float | None:
    if track.focal_px is None:
        return None
    return 100 * abs(track.focal_px / float(clip.intrinsics[0, 0, 0]) - 1)


def _picture_scores(track: Track, head: HeadModel, views: Sequence[SequenceObservation], clip: Clip) -> Scores:
    """Scores in pixels and colours: over all cameras' pictures; jitter is the mean over cameras."""
    photometry, errors, jitters, excesses = [], [], [], []
    outlines: dict[str, list[float]] = {name: [] for name in OUTLINED}
    valid = track.tracked.numpy()
    for number, view in enumerate(views):
        painter = FramePainter(track, head, num_threads=1, view=number)
        points = np.stack([painter.landmarks_px(frame) for frame in range(clip.num_frames)])
        errors.append(landmark_error_px(points, clip.landmarks_px[number], valid))
        if not clip.is_rig:
            jitters.append(metrics.added_jitter_px(points, clip.landmarks_px[number], valid))
            excesses.append(jitter_px(points, valid, clip.landmarks_px[number]))
        for frame in np.flatnonzero(valid):
            image, labels = view.load_image(int(frame)), clip.labels[number, frame]
            painted = painter.paint(int(frame), image)
            photometry.append(frame_photometry(image, painted.color, painted.mask, ~np.isin(labels, _NO_HEAD)))
            for name in OUTLINED:
                distance = metrics.silhouette_error_px(labels, painted.mask, LABELS.index(name), LABELS.index("room"))
                outlines[name] += [] if distance is None else [distance]
    photometric = photometric_scores(photometry)
    return {
        "landmark_px": mean(errors),
        "jitter_px": mean(jitters),
        "jitter_excess_px": mean(excesses),
        "psnr_db": photometric["psnr_db"],
        "coverage": photometric["coverage"],
        **{f"{name}_outline_px": mean(found) for name, found in outlines.items()},
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that there are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
