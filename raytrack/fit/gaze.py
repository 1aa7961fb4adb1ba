"""What detected eyes say about gaze: nothing while their lids are closed, and little about up and down."""

import numpy as np
from jaxtyping import Float

from raytrack.fit.landmark_sets import LandmarkSet

_CLOSED, _OPEN = 0.12, 0.20
"""Height of the opening over the eye's width: below the first an iris cannot be seen, above the second it can."""

_IRIS_HEIGHT = 0.1
"""Trust in the height of an iris, over that in how far to the side it is. Lids hide the upper edge of most irises, and
detectors then find them half a pixel too low, all through a clip: five degrees of gaze that colours know better."""


def height_trust(landmarks: LandmarkSet) -> Float[np.ndarray, " landmarks"]:
    """Factor on the trust in the picture's y of each point, beside that in its x."""
    trust = np.ones(landmarks.num_points, np.float32)
    trust[[point for eye in landmarks.eyes for point in eye.iris]] = _IRIS_HEIGHT
    return trust


def eye_openings(
    landmarks_px: Float[np.ndarray, "frames landmarks 2"], landmarks: LandmarkSet
) -> Float[np.ndarray, "frames eyes"]:
    """Height of each eye's opening over its width; 0 where the upper lid is at the lower one or beyond it.

    Args:
        landmarks_px: Detections.
        landmarks: Which points they are.
    """
    up = landmarks_px[:, landmarks.upper] - landmarks_px[:, landmarks.chin]
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    openings = []
    for eye in landmarks.eyes:
        upper, lower = np.array(eye.lids).T
        height = ((landmarks_px[:, upper] - landmarks_px[:, lower]) * up[:, None]).sum(axis=2).mean(axis=1)
        width = np.linalg.norm(landmarks_px[:, eye.corners[0]] - landmarks_px[:, eye.corners[1]], axis=1)
        openings.append(np.maximum(height, 0) / np.maximum(width, 1e-6))
    return np.stack(openings, axis=1) if openings else np.zeros((len(landmarks_px), 0), np.float32)


def iris_trust(
    landmarks_px: Float[np.ndarray, "frames landmarks 2"], landmarks: LandmarkSet
) -> Float[np.ndarray, "frames landmarks"]:
    """Factor on the trust in each point: irises fade out as their lids close, when detectors guess.

    Args:
        landmarks_px: Detections; anything where there is no face.
        landmarks: Which points they are.
    """
    trust = np.ones(landmarks_px.shape[:2], np.float32)
    for eye, opening in zip(landmarks.eyes, eye_openings(landmarks_px, landmarks).T, strict=True):
        trust[:, list(eye.iris)] = np.clip((opening - _CLOSED) / (_OPEN - _CLOSED), 0, 1)[:, None]
    return trust
