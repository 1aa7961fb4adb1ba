"""raytrack's Face Mesh v2 as a callable: RGB uint8 picture to (478, 3) pixels or None."""

from collections.abc import Callable

import numpy as np
import torch

from raytrack.observe.facemesh import FaceMesh


def load_detector() -> Callable[[np.ndarray], np.ndarray | None]:
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
