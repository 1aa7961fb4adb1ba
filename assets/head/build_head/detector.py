"""Face Mesh v2 as a callable: RGB uint8 picture to (478, 3) pixels or None.

What the detector found on the builder's views is kept in `detections.npz`, so that the head does not change with the
detector. After a change of the head's shape or paint, detect again (`--detect`).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from raytrack.observe.facemesh import FaceMesh

Detect = Callable[[np.ndarray], np.ndarray | None]
RECORD = Path(__file__).with_name("detections.npz")
SAME_HEAD_M = 1e-5
"""A recording belongs to the head if no vertex is further off."""


def load_detector() -> Detect:
    """Landmarks of the largest face as x, y (pixel centres at half-integers) and relative depth; None if no face."""
    torch.set_num_threads(1)  # Small convolutions gain nothing from more, and sums keep their order.
    face_mesh = FaceMesh(max_faces=1)

    def detect(image: np.ndarray) -> np.ndarray | None:
        faces = face_mesh.observe(np.ascontiguousarray(image))
        if not faces:
            return None
        depth = faces[0].depth
        depth = np.zeros(len(faces[0].landmarks)) if depth is None else depth
        return np.column_stack([faces[0].landmarks, depth]).astype(np.float64)

    return detect


def recording(detect: Detect, results: list[np.ndarray]) -> Detect:
    """The same detector, which appends what it finds (NaN where there is no face) to `results`."""

    def detect_and_keep(image: np.ndarray) -> np.ndarray | None:
        found = detect(image)
        results.append(np.full((478, 3), np.nan) if found is None else found)
        return found

    return detect_and_keep


def save_record(results: list[np.ndarray], template: np.ndarray) -> None:
    """Write the detections, in the order of the views, with the head (V, 3) they belong to."""
    np.savez_compressed(RECORD, detected=np.float32(results), template=template.astype(np.float32))


def replay(template: np.ndarray) -> Detect:
    """The recorded detections, one per call, whatever the picture.

    Raises:
        ValueError: They belong to another head than the one with this template (V, 3).
    """
    with np.load(RECORD, allow_pickle=False) as record:
        detected, recorded = record["detected"].astype(np.float64), record["template"]
    if recorded.shape != template.shape or np.abs(recorded - template).max() > SAME_HEAD_M:
        raise ValueError(f"{RECORD.name} belongs to another head: build with --detect")
    following = iter(detected)

    def next_detection(_image: np.ndarray) -> np.ndarray | None:
        found = next(following)
        return None if np.isnan(found).any() else found

    return next_detection
