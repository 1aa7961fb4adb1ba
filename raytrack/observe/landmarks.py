"""The landmark detectors by name."""

from collections.abc import Callable

from raytrack.errors import ConfigError
from raytrack.observe.faces import LandmarkDetector


def _facemesh(max_faces: int, device: str) -> LandmarkDetector:
    from raytrack.observe.facemesh import FaceMesh  # noqa: PLC0415 (a detector's needs are loaded on first use)

    return FaceMesh(max_faces=max_faces, device=device)


_DETECTORS: dict[str, Callable[[int, str], LandmarkDetector]] = {"facemesh": _facemesh}
_PREFERRED = ("facemesh",)
"""What `auto` takes, the first that is installed."""


def resolve_landmark_method(method: str) -> str:
    """The detector that a configured method stands for.

    Raises:
        ConfigError: There is no such method.
    """
    if method == "auto":
        return _PREFERRED[0]
    if method not in _DETECTORS:
        raise ConfigError(f"unknown landmark method {method!r}; known: auto, {', '.join(sorted(_DETECTORS))}")
    return method


def make_landmark_detector(method: str = "auto", *, max_faces: int = 8, device: str = "cpu") -> LandmarkDetector:
    """Load a landmark detector.

    Args:
        method: A detector's name, or `auto`.
        max_faces: Follow at most so many faces in a frame, the largest.
        device: Where its networks run, as torch names devices.

    Raises:
        ConfigError: There is no such method.
        AssetError: Its weights are missing or damaged.
    """
    return _DETECTORS[resolve_landmark_method(method)](max_faces, device)
