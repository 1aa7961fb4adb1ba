"""The mean head with everything derived from its geometry."""

from dataclasses import dataclass

import numpy as np

from .regions import Surface


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Everything derived from the mean head's geometry (metres)."""

    surface: Surface
    joints: np.ndarray
    eye_radius: float
    regions: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]

    @property
    def eye_centres(self) -> np.ndarray:
        """The subject's left eye, then the right eye (2, 3)."""
        return self.joints[3:]
