"""Face detection: boxes and six key points, by MediaPipe's BlazeFace (short range).

Source: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.assets import asset_path
from raytrack.observe.crop import Window, crop, to_image
from raytrack.observe.graph import load_graph

INPUT_SIZE = 128
MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
"""Detections that overlap more (intersection over union) are one face."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A face found in an image."""

    box: Float[np.ndarray, "4"]
    """(left, top, right, bottom) in pixels."""
    keypoints: Float[np.ndarray, "6 2"]
    """Right eye, left eye, nose tip, mouth centre, right ear, left ear (the person's own right and left), pixels."""
    score: float


def box_area(box: Float[np.ndarray, "4"]) -> float:
    """Area of a (left, top, right, bottom) box."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def box_overlap(box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "boxes 4"]) -> Float[np.ndarray, " boxes"]:
    """Intersection over union of one (left, top, right, bottom) box with others."""
    shared = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = np.clip(shared, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - intersection
    return intersection / np.maximum(union, 1e-12)


def _anchor_centers() -> Float[np.ndarray, "anchors 2"]:
    """Centres of the network's 896 anchors in [0, 1]: two per cell of a 16×16 grid, then six per cell of an 8×8 one."""
    grids = []
    for cells, repeats in ((16, 2), (8, 6)):
        rows, columns = np.mgrid[:cells, :cells]
        centers = (np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5) / cells
        grids.append(centers.repeat(repeats, axis=0))
    return np.concatenate(grids)


def _merge(detections: list[Detection]) -> list[Detection]:
    """Join overlapping detections into their score-weighted mean, best first (BlazeFace §"blending")."""
    remaining = sorted(detections, key=lambda detection: -detection.score)
    merged = []
    while remaining:
        best = remaining[0]
        overlap = box_overlap(best.box, np.stack([detection.box for detection in remaining]))
        overlap[0] = 1.0
        group = [detection for detection, value in zip(remaining, overlap, strict=True) if value > MAX_OVERLAP]
        remaining = [detection for detection, value in zip(remaining, overlap, strict=True) if value <= MAX_OVERLAP]
        weights = np.array([detection.score for detection in group])
        weights /= weights.sum()
        box = np.einsum("d,dk->k", weights, np.stack([detection.box for detection in group]))
        keypoints = np.einsum("d,dkc->kc", weights, np.stack([detection.keypoints for detection in group]))
        merged.append(Detection(box=box, keypoints=keypoints, score=best.score))
    return merged


def _parts(height: int, width: int) -> list[Window]:
    """Windows of half the image's longer side that overlap by half; none where they would show no more detail."""
    side = max(height, width) / 2
    if side < INPUT_SIZE:
        return []

    def centers(length: int) -> np.ndarray:
        count = 1 + int(np.ceil(max(length - side, 0) / (side / 2)))
        return np.linspace(side / 2, length - side / 2, count) if count > 1 else np.array([length / 2])

    return [Window(center_px=(x, y), size_px=side) for y in centers(height) for x in centers(width)]


class BlazeFace:
    """Finds faces in an image. Holds the network only."""

    def __init__(self, device: str = "cpu"):
        self._graph = load_graph(asset_path("facemesh/face_detector.npz"), device)
        self._anchors = _anchor_centers()

    def detect(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Find the faces of an RGB image, best score first.

        The network sees 128 pixels and misses faces below about a tenth of the picture.
        """
        height, width = image.shape[:2]
        return self._search(image, [Window(center_px=(width / 2, height / 2), size_px=max(height, width))])

    def detect_small(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """Find faces half as large, by looking at parts of the image, for about nine times the work."""
        parts = _parts(*image.shape[:2])
        return self._search(image, parts) if parts else []

    def _search(self, image: UInt8[np.ndarray, "height width 3"], windows: list[Window]) -> list[Detection]:
        crops = np.stack([crop(image, window, INPUT_SIZE, repeat_border=False) for window in windows])
        regressions, logits = self._graph(torch.from_numpy(crops).float() / 127.5 - 1.0)
        scores = torch.sigmoid(logits[..., 0]).cpu().numpy()
        found = []
        for window, values, window_scores in zip(windows, regressions.cpu().numpy(), scores, strict=True):
            kept = np.flatnonzero(window_scores > MIN_SCORE)
            # Each anchor gives eight pairs: centre, size and six key points, in pixels from the anchor's centre.
            pairs = values[kept].reshape(-1, 8, 2).astype(np.float64)
            sizes = pairs[:, 1].copy()
            points = pairs + self._anchors[kept][:, None] * INPUT_SIZE
            corners = np.stack([points[:, 0] - sizes / 2, points[:, 0] + sizes / 2], axis=1)
            corners, keypoints = to_image(corners, window, INPUT_SIZE), to_image(points[:, 2:], window, INPUT_SIZE)
            found += [
                Detection(box=corners[row].reshape(4), keypoints=keypoints[row], score=float(window_scores[index]))
                for row, index in enumerate(kept)
            ]
        return _merge(found)
