"""The landmark detectors by name."""

from collections.abc import Callable

from raytrack.observe.faces import LandmarkDetector
from raytrack.observe.weights import resolve_landmark_method


# A detector's needs are loaded on first use.
def _facemesh(_weights: str, max_faces: int, device: str) -> LandmarkDetector:
    from raytrack.observe.facemesh import FaceMesh  # noqa: PLC0415

    return FaceMesh(max_faces=max_faces, device=device)


def _face_alignment(_weights: str, max_faces: int, device: str) -> LandmarkDetector:
    from raytrack.observe.face_alignment_detector import FaceAlignmentDetector  # noqa: PLC0415

    return FaceAlignmentDetector(max_faces=max_faces, device=device)


def _face_alignment_25d(_weights: str, max_faces: int, device: str) -> LandmarkDetector:
    from raytrack.observe.face_alignment_detector import FaceAlignmentDetector  # noqa: PLC0415

    return FaceAlignmentDetector("face-alignment-2.5d", max_faces=max_faces, device=device)


def _star(weights: str, max_faces: int, device: str) -> LandmarkDetector:
    from raytrack.observe.star import StarDetector  # noqa: PLC0415

    return StarDetector(weights, max_faces=max_faces, device=device)


_DETECTORS: dict[str, Callable[[str, int, str], LandmarkDetector]] = {
    "facemesh": _facemesh,
    "face-alignment": _face_alignment,
    "face-alignment-2.5d": _face_alignment_25d,
    "star": _star,
}


def make_landmark_detector(
    method: str = "auto", *, weights: str = "", max_faces: int = 8, device: str = "cpu"
) -> LandmarkDetector:
    """Load a landmark detector.

    Args:
        method: A detector's name, or `auto`.
        weights: The file of weights, for `star`; by default the installed one.
        max_faces: Follow at most so many faces in a frame, the largest.
        device: Where its networks run, as torch names devices.

    Raises:
        ConfigError: There is no such method.
        AssetError: Its weights are missing or damaged, or its package is not installed.
    """
    return _DETECTORS[resolve_landmark_method(method, weights)](weights, max_faces, device)
