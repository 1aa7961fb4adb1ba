"""Truth that comes with a made-up clip, and how far a track is from it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from raytrack.errors import InputError
from raytrack.export.scores import face_error_mm, landmark_error_px
from raytrack.fit.npz import read_npz


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """What a clip was rendered from. The mesh has the tracking head's topology (its first vertices, if it has more)."""

    vertices: Float[np.ndarray, "frames vertices 3"]
    """World vertices in metres."""
    landmarks_px: Float[np.ndarray, "frames points 2"]
    """The Face Mesh landmarks, projected; pixel centres at half-integers."""

    @classmethod
    def load(cls, path: Path) -> "GroundTruth":
        """Read `vertices` and `landmarks_px` of an npz; other arrays are left alone.

        Raises:
            InputError: The file is missing, damaged, or lacks one of them.
        """
        arrays = read_npz(path)
        if missing := {"vertices", "landmarks_px"} - set(arrays):
            raise InputError(f"{path}: not a ground truth file, lacks {', '.join(sorted(missing))}")
        return cls(
            vertices=arrays["vertices"].astype(np.float32), landmarks_px=arrays["landmarks_px"].astype(np.float32)
        )


def ground_truth_scores(
    truth: GroundTruth,
    *,
    vertices: Float[np.ndarray, "frames vertices 3"],
    landmarks_px: Float[np.ndarray, "frames points 2"],
    valid: Bool[np.ndarray, " frames"],
    face_mask: Bool[np.ndarray, " vertices"],
    faces: Int[np.ndarray, "faces 3"],
) -> dict[str, float | None]:
    """`face_error_mm` and `landmark_error_px` of a track against the truth.

    Args:
        truth: Of the same frames.
        vertices: The track's, metres.
        landmarks_px: The track's, projected.
        valid: Frames to compare.
        face_mask: The face's vertices.
        faces: The tracking head's.

    Raises:
        InputError: The truth has other frames or a smaller mesh.
    """
    frames, num_vertices = vertices.shape[:2]
    if len(truth.vertices) != frames or truth.vertices.shape[1] < num_vertices:
        raise InputError(
            f"the ground truth is {truth.vertices.shape}, the track {vertices.shape}: of another clip or head"
        )
    return {
        "face_error_mm": face_error_mm(vertices, truth.vertices[:, :num_vertices], face_mask, faces, valid),
        "landmark_error_px": landmark_error_px(landmarks_px, truth.landmarks_px, valid),
    }
