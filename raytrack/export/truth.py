"""Truth that comes with a made-up clip; light to import, for it is looked at before a run begins."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from raytrack.errors import InputError
from raytrack.fit.npz import read_npz

TRUTH_LANDMARKS = "facemesh"
"""The landmark set of `GroundTruth.landmarks_px`."""
_NAMES = ("vertex_ids", "vertices_q", "vertex_quantum_m", "head_sha256")


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """Where the face of a made-up clip truly is."""

    vertex_ids: Int[np.ndarray, " points"]
    """Vertices of the head model that are measured: those of the visible face."""
    points: Float[np.ndarray, "frames points 3"]
    """Their positions, metres. Of a rig's footage: in the world of the rig's calibration."""
    landmarks_px: Float[np.ndarray, "frames landmarks 2"] | None
    """The Face Mesh landmarks, projected, pixel centres at half-integers; None where there are none, as for a rig."""
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
            landmarks_px=arrays["landmarks_px"].astype(np.float32) if "landmarks_px" in arrays else None,
            head_sha256=str(arrays["head_sha256"]),
        )

    @property
    def num_frames(self) -> int:
        """Frames of the clip."""
        return len(self.points)

    def of_frames(self, source_frames: Int[np.ndarray, " taken"]) -> "GroundTruth":
        """The truth of those frames of the clip that were taken.

        Args:
            source_frames: Their indices in the clip.

        Raises:
            InputError: The truth has no such frame.
        """
        if len(source_frames) and source_frames.max() >= self.num_frames:
            raise InputError(
                f"the ground truth has {self.num_frames} frames, the clip at least {source_frames.max() + 1}: "
                "of another clip"
            )
        landmarks_px = None if self.landmarks_px is None else self.landmarks_px[source_frames]
        return replace(self, points=self.points[source_frames], landmarks_px=landmarks_px)
