"""How much several views of a timestep say against its priors."""

import numpy as np

VIEW_EXPONENT = 0.5
"""1 would take every view's errors as independent, 0 as all the same. They share what the head cannot model and what
detectors get wrong everywhere, so the truth lies between."""


def evidence(num_views: np.ndarray | float) -> np.ndarray | float:
    """Weight of a mean over so many views; 1 for a single one."""
    return np.power(num_views, VIEW_EXPONENT)
