"""What the suite measures beside what `raytrack.export.scores` defines: pure functions of arrays."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from raytrack.geometry.closest import distance_to_surface
from raytrack.geometry.similarity import Similarity, best_similarity

EYES = {"left": ((386, 374), (385, 380), (387, 373)), "right": ((159, 145), (158, 153), (160, 144))}
"""Face Mesh points across the lids, upper point first."""
EYE_CORNERS = {"left": (362, 263), "right": (133, 33)}
FOREHEAD, CHIN = 10, 152
TRULY_CLOSED, TRULY_OPEN, SEEN_CLOSED = 0.15, 0.45, 0.30
"""Shares of an eye's own usual aperture. An eye that is truly between the first two is neither open nor closed."""


def alignments(
    tracked: Float[np.ndarray, "frames vertices 3"],
    truth: Float[np.ndarray, "frames vertices 3"],
    face: Bool[np.ndarray, " vertices"],
    *,
    metric: bool,
) -> list[Similarity]:
    """What takes each frame's tracked vertices onto the true ones: the best similarity of the faces.

    Args:
        tracked: Metres.
        truth: Metres.
        face: Vertices that the alignment is found from.
        metric: The calibration says where everything is: nothing is aligned.
    """
    if metric:
        still = Similarity(scale=1.0, rotation=np.eye(3), translation=np.zeros(3))
        return [still] * len(truth)
    return [best_similarity(a[face].astype(np.float64), b[face]) for a, b in zip(tracked, truth, strict=True)]


def surface_errors_mm(
    tracked: Float[np.ndarray, "frames vertices 3"],
    truth: Float[np.ndarray, "frames vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    parts: Mapping[str, Bool[np.ndarray, " vertices"]],
) -> dict[str, float]:
    """Mean distances of true vertices to the tracked surface (`face_mm`), and to the same vertices (`face_vertex_mm`).

    Args:
        tracked: Metres, aligned.
        truth: Metres.
        faces: Of the surface.
        parts: What is measured, by name.
    """
    sums: dict[str, list[float]] = {}
    for placed, true in zip(tracked, truth, strict=True):
        for name, part in parts.items():
            distance = distance_to_surface(true[part].astype(np.float64), placed, faces)
            vertex = np.linalg.norm(placed[part] - true[part], axis=-1)
            sums.setdefault(f"{name}_mm", []).append(1000 * float(distance.mean()))
            sums.setdefault(f"{name}_vertex_mm", []).append(1000 * float(vertex.mean()))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def gaze_error_deg(
    tracked: Float[np.ndarray, "frames eyes 3"],
    truth: Float[np.ndarray, "frames eyes 3"],
    seen: Bool[np.ndarray, "frames eyes"],
) -> float | None:
    """Mean angle between unit directions where the eye is open; None where none is."""
    cosine = (tracked * truth).sum(axis=-1).clip(-1, 1)
    return float(np.degrees(np.arccos(cosine))[seen].mean()) if seen.any() else None


def lid_apertures(landmarks: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, "frames 2"]:
    """How far each eye is open, over its width, the subject's left eye first; below zero where the lids overlap.

    Heights are along the line from the chin to the forehead, for a lid that closes may pass the other one.
    """
    up = landmarks[:, FOREHEAD] - landmarks[:, CHIN]
    up = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-9)
    both = []
    for side, pairs in EYES.items():
        upper, lower = (landmarks[:, [pair[end] for pair in pairs]] for end in (0, 1))
        inner, outer = (landmarks[:, point] for point in EYE_CORNERS[side])
        width = np.linalg.norm(outer - inner, axis=-1)
        both.append(((upper - lower) * up[:, None]).sum(axis=-1).mean(axis=1) / np.maximum(width, 1e-9))
    return np.stack(both, axis=1)


def blink_counts(
    tracked: Float[np.ndarray, "frames eyes"], truth: Float[np.ndarray, "frames eyes"]
) -> tuple[int, int, int]:
    """Eyes per frame: closed and seen so, open but seen as closed, closed but seen as open.

    An eye counts as closed by its share of its own usual (75th percentile) aperture over the clip.

    Args:
        tracked: Apertures, see `lid_apertures`.
        truth: Likewise.
    """
    share, true = (values / np.percentile(values, 75, axis=0).clip(1e-6) for values in (tracked, truth))
    closed, opened, found = true < TRULY_CLOSED, true > TRULY_OPEN, share < SEEN_CLOSED
    return int((closed & found).sum()), int((opened & found).sum()), int((closed & ~found).sum())


def f1(hits: int, false_alarms: int, misses: int) -> float | None:
    """Harmonic mean of precision and recall; None where there was nothing to find and nothing was found."""
    total = 2 * hits + false_alarms + misses
    return 2 * hits / total if total else None


def added_jitter_px(
    tracked: Float[np.ndarray, "frames points 2"],
    truth: Float[np.ndarray, "frames points 2"],
    valid: Bool[np.ndarray, " frames"],
) -> float | None:
    """RMS length of the second time difference of the error: shaking that the truth does not have.

    Only runs of three valid frames count; None when there is none.
    """
    triples = valid[:-2] & valid[1:-1] & valid[2:]
    if not triples.any():
        return None
    error = tracked.astype(np.float64) - truth
    second = (error[2:] - 2 * error[1:-1] + error[:-2])[triples]
    return float(np.sqrt((second**2).sum(axis=-1).mean()))


def outline(region: Bool[np.ndarray, "height width"], behind: Bool[np.ndarray, "height width"]) -> np.ndarray:
    """Pixels of a region that touch what is behind it (the four neighbours)."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return region & (cv2.dilate(behind.astype(np.uint8), cross, borderValue=0) > 0)


def silhouette_error_px(
    labels: UInt8[np.ndarray, "height width"],
    tracked: Bool[np.ndarray, "height width"],
    label: int,
    background: int,
) -> float | None:
    """Mean distance of a region's true outline before the background to the outline of the rendered head.

    Measured from the truth, for a head that is drawn too small or leaves a region out must not gain by it. None where
    the region has no outline, or nothing is drawn.

    Args:
        labels: What is truly seen at each pixel.
        tracked: Pixels that the rendered head covers.
        label: Of the region.
        background: The label of the background.
    """
    true = outline(labels == label, labels == background)
    drawn = outline(tracked, ~tracked)
    if not (true.any() and drawn.any()):
        return None
    distance = cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(distance[true].mean())
