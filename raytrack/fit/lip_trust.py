"""How far detected inner lips are believed while the mouth is open: detectors draw its opening too small.

Of a ray-traced talking head, Face Mesh's openings are a tenth to a third smaller than the visible ones, never larger.
What lies between the lips looks unlike them, so colours tell where they end; of a closed mouth they tell little.
"""

import numpy as np
from jaxtyping import Float

from raytrack.fit.landmark_sets import LandmarkSet

_WIDER = 0.15
"""Trust in the size of an opening that is drawn wider than detected."""
_INNER_LIP = 0.3
"""Trust in where the inner lips of an open mouth are."""


def opening_trust(
    drawn_px: Float[np.ndarray, "landmarks 2"], detected_px: Float[np.ndarray, "landmarks 2"], landmarks: LandmarkSet
) -> Float[np.ndarray, " pairs"]:
    """Factor on the trust in each opening of `LandmarkSet.gaps` in a picture of an open mouth.

    Args:
        drawn_px: Projected points of the head.
        detected_px: What was detected.
        landmarks: Which points they are.
    """
    upper, lower = landmarks.gaps.T
    drawn, detected = (np.linalg.norm(points[upper] - points[lower], axis=1) for points in (drawn_px, detected_px))
    of_lips = np.arange(len(upper)) < landmarks.num_lip_gaps
    return np.where(of_lips & (drawn > detected), _WIDER, 1.0)


def inner_lip_trust(landmarks: LandmarkSet) -> Float[np.ndarray, " landmarks"]:
    """Factor on the trust in each point in a picture of an open mouth."""
    trust = np.ones(landmarks.num_points)
    trust[np.unique(landmarks.gaps[: landmarks.num_lip_gaps])] = _INNER_LIP
    return trust
