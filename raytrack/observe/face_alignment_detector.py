"""The 68 iBUG points by the optional package face-alignment.

Source: Bulat, Tzimiropoulos, "How far are we from solving the 2D & 3D Face Alignment problem?" (2017), with the S3FD
face detector of Zhang et al. (2017).
"""

import warnings
from collections.abc import Iterable, Iterator
from pickle import UnpicklingError
from typing import Any

import numpy as np
from jaxtyping import UInt8

from raytrack.errors import AssetError
from raytrack.observe.faces import FaceObservation
from raytrack.observe.weights import hub_weights

NUM_LANDMARKS = 68
_KINDS = {"face-alignment": ("TWO_D", "ibug"), "face-alignment-2.5d": ("TWO_HALF_D", "ibug-3d")}
"""The package's kind of landmarks, and the landmark set, by method."""


class FaceAlignmentDetector:
    """Landmark detector of the package face-alignment. Each frame is looked at on its own.

    Args:
        method: `face-alignment`, whose jawline is the visible outline, or `face-alignment-2.5d`, whose points are those
            of a face in space, projected.
        max_faces: Follow at most so many faces in a frame, the largest.
        device: Where the networks run, as torch names devices.

    Raises:
        AssetError: The package or its weights are missing; nothing is ever downloaded.
    """

    num_landmarks = NUM_LANDMARKS
    expression_names = ()

    def __init__(self, method: str = "face-alignment", *, max_faces: int = 8, device: str = "cpu"):
        self.name = method
        kind_name, self.landmark_set = _KINDS[method]
        self._max_faces = max_faces
        paths = hub_weights(method)
        try:
            # Optional.
            import face_alignment  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise AssetError(
                f"landmarks {method!r}: the package is missing ({error}): pip install 'raytrack[face-alignment]'"
            ) from error
        kind = getattr(face_alignment.LandmarksType, kind_name)
        try:
            # Compiling takes minutes, and what it makes depends on the machine.
            self._aligner: Any = face_alignment.FaceAlignment(kind, device=device, face_detector="sfd", compile=False)
        except (RuntimeError, UnpicklingError, EOFError, KeyError) as error:
            files = " and ".join(str(path) for path in paths)
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise AssetError(f"{files}: damaged, or of another network ({reason}): get them again") from error

    def observe(self, image: UInt8[np.ndarray, "height width 3"]) -> tuple[FaceObservation, ...]:
        """Find all faces in one RGB image on its own, largest first."""
        boxes = [np.asarray(box, np.float64) for box in self._aligner.face_detector.detect_from_image(image.copy())]
        boxes = sorted(boxes, key=lambda box: -float((box[2] - box[0]) * (box[3] - box[1])))[: self._max_faces]
        if not boxes:
            return ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._aligner.get_landmarks_from_image(image, detected_faces=boxes)
        return tuple(_face(points, float(box[4]), self.landmark_set) for points, box in zip(found, boxes, strict=True))

    def track(self, images: Iterable[UInt8[np.ndarray, "height width 3"]]) -> Iterator[tuple[FaceObservation, ...]]:
        """Find all faces in each frame.

        Yields:
            The faces of each image, largest first; empty where there is none.
        """
        for image in images:
            yield self.observe(image)


def _face(points: np.ndarray, score: float, landmark_set: str) -> FaceObservation:
    landmarks = np.asarray(points, np.float32)[:, :2]
    return FaceObservation(
        landmarks=landmarks,
        depth=None,
        score=float(np.clip(score, 0.0, 1.0)),
        expression_scores=None,
        box=np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)]),
        landmark_set=landmark_set,
    )
