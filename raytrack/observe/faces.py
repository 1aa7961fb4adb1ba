"""What a landmark detector says about a frame, and what every landmark detector can do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, kw_only=True)
class FaceObservation:
    """One face in one frame."""

    landmarks: Float[np.ndarray, "landmarks 2"]
    """Float32 (x, y) in pixels of the image: (0, 0) is its top-left corner, pixel centres lie at half-integers."""
    depth: Float[np.ndarray, " landmarks"] | None
    """Float32 depth of each landmark in pixels, away from the viewer, about the face's own middle; None where the
    detector gives none."""
    score: float
    """Confidence in [0, 1] in the landmarks."""
    expression_scores: Float[np.ndarray, " expressions"] | None
    """Float32 activation in [0, 1] of each expression that the detector names; None where it names none."""
    box: Float[np.ndarray, "4"]
    """Float32 (left, top, right, bottom) in pixels: the bounds of the landmarks."""
    landmark_set: str = "facemesh"
    """Which of a head's landmark embeddings the points belong to."""


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds the faces of a clip, frame after frame."""

    name: str
    """What the tables and the configuration call it."""
    landmark_set: str
    """Which of a head's landmark embeddings its points belong to."""
    num_landmarks: int
    expression_names: tuple[str, ...]
    """The expressions of `FaceObservation.expression_scores`, in order; empty where there are none."""

    def observe(self, image: UInt8[np.ndarray, "height width 3"]) -> tuple[FaceObservation, ...]:
        """Find all faces in one image on its own, largest first."""
        ...

    def track(self, images: Iterable[UInt8[np.ndarray, "height width 3"]]) -> Iterator[tuple[FaceObservation, ...]]:
        """Find all faces in consecutive frames, following each from one frame to the next.

        Yields:
            One tuple for each image: empty where there is no face. The order within a tuple means nothing; see
            `raytrack.observe.identity` for who is who.
        """
        ...
