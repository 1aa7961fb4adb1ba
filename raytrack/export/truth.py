"""Truth that comes with a made-up clip, and how far a track is from it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from raytrack.errors import InputError
from raytrack.export.scores import face_error_mm, landmark_error_px
from raytrack.fit.npz import read_npz
from raytrack.head.model import HeadModel

logger = logging.getLogger(__name__)
TRUTH_LANDMARKS = "facemesh"
"""The landmark set of `GroundTruth.landmarks_px`."""
_NAMES = ("vertex_ids", "vertices_q", "vertex_quantum_m", "landmarks_px", "head_sha256")


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """Where the face of a made-up clip truly is."""

    vertex_ids: Int[np.ndarray, " points"]
    """Vertices of the head model that are measured: those of the visible face."""
    points: Float[np.ndarray, "frames points 3"]
    """Their positions, metres."""
    landmarks_px: Float[np.ndarray, "frames landmarks 2"]
    """The Face Mesh landmarks, projected; pixel centres at half-integers."""
    head_sha256: str
    """The head file whose vertices these are."""

    @classmethod
    def load(cls, path: Path) -> "GroundTruth":
        """Read the npz that `assets/demo/build_demo` writes; arrays that are not needed here are left alone.

        Raises:
            InputError: The file is missing, damaged, or lacks an array.
        """
        arrays = read_npz(path)
        if missing := [name for name in _NAMES if name not in arrays]:
            raise InputError(f"{path}: not a ground truth file, it lacks {', '.join(missing)}")
        points = arrays["vertices_q"].astype(np.float64) * float(arrays["vertex_quantum_m"])
        return cls(
            vertex_ids=arrays["vertex_ids"].astype(np.int64),
            points=points.astype(np.float32),
            landmarks_px=arrays["landmarks_px"].astype(np.float32),
            head_sha256=str(arrays["head_sha256"]),
        )

    @property
    def num_frames(self) -> int:
        """Frames of the clip."""
        return len(self.points)


def ground_truth_scores(
    truth: GroundTruth,
    head: HeadModel,
    *,
    vertices: Float[np.ndarray, "frames vertices 3"],
    landmarks_px: Float[np.ndarray, "frames landmarks 2"],
    valid: Bool[np.ndarray, " frames"],
) -> dict[str, float | int | None]:
    """`face_error_mm` and `landmark_error_px` of a track against the truth.

    Args:
        truth: Of the same frames.
        head: The head that was tracked; with another than the truth's, vertices do not correspond and the face error is
            None.
        vertices: The track's, metres.
        landmarks_px: The track's, projected.
        valid: Frames to compare.
    """
    face_error = None
    if head.asset_sha256 == truth.head_sha256:
        faces = head.topology().faces
        face_error = face_error_mm(vertices, faces, truth.points, truth.vertex_ids, valid)
    else:
        logger.warning("the ground truth was made with another head than %s: no face error", head.name)
    return {
        "face_error_mm": face_error,
        "landmark_error_px": landmark_error_px(landmarks_px, truth.landmarks_px, valid),
    }
