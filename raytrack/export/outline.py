"""How well the outline of a render lies on that of the person's matte: what a shrunken head cannot hide.

Errors inside the covered pixels fall when a head leaves out what it explains badly. Here a pixel that only one of the
two covers is wholly wrong, and distances are measured from either outline to the other: neither a smaller head nor a
larger one gains anything.

Only what lies above the chin is compared: below, clothes and shoulders belong to the person but not to the head's mesh.
The picture's border is no outline.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

RING_WIDTH = 0.02
"""Half-width of the ring around the outlines, in face sizes."""
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True, kw_only=True)
class OutlineError:
    """How far two outlines lie apart, and how wrong the ring around them is."""

    distance_px: float
    """Mean distance from each outline to the other one."""
    bias_px: float
    """The same with a sign: positive where the render reaches beyond the matte."""
    ring_l1: float
    """Mean absolute colour error (0 … 1) of the ring's pixels that render or matte cover; 1 where only one does."""


@dataclass(frozen=True, kw_only=True)
class MatteAgreement:
    """How one frame's render and the person's matte cover the same pixels."""

    above_chin_share: float
    """Share of the matte above the chin that the render covers."""
    whole_share: float
    """Share of the whole matte that the render covers: clothes and shoulders, which have no mesh, count as missed."""
    overreach_share: float
    """Share of the rendered pixels above the chin that lie outside the matte."""
    face_size_px: float
    """Larger side of the box of the face's landmarks: the unit of what is scale-free."""
    outline: OutlineError | None
    """None where one of the two has no outline above the chin."""


def matte_agreement(
    frame: UInt8[np.ndarray, "height width 3"],
    render: UInt8[np.ndarray, "height width 3"],
    covered: Bool[np.ndarray, "height width"],
    matte: Bool[np.ndarray, "height width"],
    above_chin: Bool[np.ndarray, "height width"],
    face_px: Float[np.ndarray, "points 2"],
) -> MatteAgreement | None:
    """Compare a render with the matte; None where the matte shows no person at the face.

    Args:
        frame: The input frame.
        render: The render over the input frame.
        covered: Pixels that the render covers.
        matte: Foreground pixels.
        above_chin: Where the foreground can only be the head.
        face_px: The face's landmarks, which tell the person from others in the matte and how large the face is.
    """
    person = person_at(matte, face_px)
    head = person & above_chin
    rendered = covered & above_chin
    if not head.any() or not rendered.any():
        return None
    face_size = max(float(np.ptp(face_px, axis=0).max()), 1.0)
    return MatteAgreement(
        above_chin_share=float((head & covered).sum() / head.sum()),
        whole_share=float((person & covered).sum() / person.sum()),
        overreach_share=float((rendered & ~person).sum() / rendered.sum()),
        face_size_px=face_size,
        outline=outline_error(frame, render, covered, person, above_chin, RING_WIDTH * face_size),
    )


def outline_error(
    frame: UInt8[np.ndarray, "height width 3"],
    render: UInt8[np.ndarray, "height width 3"],
    covered: Bool[np.ndarray, "height width"],
    person: Bool[np.ndarray, "height width"],
    where: Bool[np.ndarray, "height width"],
    ring_px: float,
) -> OutlineError | None:
    """Compare the outer outlines of two masks; None where one of them has none.

    Args:
        frame: The input frame.
        render: The render over the input frame.
        covered: Pixels that the render covers.
        person: The same of the matte.
        where: Pixels that are looked at.
        ring_px: Half-width of the ring.
    """
    first, second = without_holes(covered), without_holes(person)
    to_first, to_second = signed_distance_px(first), signed_distance_px(second)
    from_first = to_second[_outline(first) & where] - 0.5
    from_second = to_first[_outline(second) & where] - 0.5
    if len(from_first) == 0 or len(from_second) == 0 or first.all() or second.all():
        return None
    near = (np.abs(to_first) <= ring_px) | (np.abs(to_second) <= ring_px) | (first ^ second)
    ring = near & where & (first | second)
    colour_error = np.abs(frame[ring].astype(np.float32) - render[ring]).mean(axis=-1) / 255
    return OutlineError(
        distance_px=float(np.abs(from_first).mean() + np.abs(from_second).mean()) / 2,
        bias_px=float(from_second.mean() - from_first.mean()) / 2,
        ring_l1=float(np.where((first ^ second)[ring], 1.0, colour_error).mean()),
    )


def person_at(
    matte: Bool[np.ndarray, "height width"], points_px: Float[np.ndarray, "points 2"]
) -> Bool[np.ndarray, "height width"]:
    """The connected part of a matte that holds most of some points; nothing where it holds none of them."""
    height, width = matte.shape
    _, labels = cv2.connectedComponents(matte.astype(np.uint8), connectivity=4)
    finite = points_px[np.isfinite(points_px).all(axis=1)]
    columns, rows = np.floor(finite).astype(int).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    found = labels[rows[inside], columns[inside]]
    found = found[found > 0]
    if len(found) == 0:
        return np.zeros_like(matte)
    return labels == np.bincount(found).argmax()


def without_holes(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The mask with everything that it encloses: a matte's hole in a face is no outline of the head."""
    outer, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, outer, -1, 1, cv2.FILLED)
    return filled > 0


def signed_distance_px(mask: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Distance of pixel centres to the mask's outline, positive inside; large everywhere where it has none."""
    inside = mask.astype(np.uint8)
    inwards, outwards = _distance_px(inside), _distance_px(1 - inside)
    # OpenCV measures to the nearest pixel of the other side; the outline runs half a pixel before it.
    return np.where(mask, inwards - 0.5, 0.5 - outwards)


def _distance_px(inside: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Distance of each pixel's centre to the nearest one outside, the same with any number of threads."""
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last digit hangs on how it shares out the work. The squares are whole numbers.
    return np.sqrt(np.rint(np.square(distance, dtype=np.float64)))


def _outline(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The mask's pixels next to pixels outside it; beyond the picture is not outside."""
    return mask & (cv2.erode(mask.astype(np.uint8), _CROSS) == 0)


def outline_scores(frames: list[MatteAgreement]) -> dict[str, float | None]:
    """Means over frames; each is None when no frame has it."""
    outlines = [(one.outline, one.face_size_px) for one in frames if one.outline is not None]
    return {
        "coverage_above_chin_share": _mean([one.above_chin_share for one in frames]),
        "coverage_whole_share": _mean([one.whole_share for one in frames]),
        "overreach_above_chin_share": _mean([one.overreach_share for one in frames]),
        "outline_error_px": _mean([outline.distance_px for outline, _ in outlines]),
        "outline_error_face_percent": _mean([100 * outline.distance_px / size for outline, size in outlines]),
        "outline_bias_face_percent": _mean([100 * outline.bias_px / size for outline, size in outlines]),
        "ring_l1": _mean([outline.ring_l1 for outline, _ in outlines]),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
