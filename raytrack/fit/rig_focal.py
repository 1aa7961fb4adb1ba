"""The focal lengths of an uncalibrated rig, from how well colours agree.

Landmarks say little of them: identity and distance make up for a wrong one, and detectors, which learned faces without
depth, would rather have it too short. A texture that must fit the pictures of all cameras at once knows better: with
wrong distances it is in another place in each. So cameras are placed at several focal lengths, and a short fit of
colours to a few timesteps tells which is best.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from raytrack.errors import InputError, NotConvergedError
from raytrack.fit.config import TrackConfig
from raytrack.fit.joint_fit import lowest
from raytrack.fit.views import SequenceViews, frames_of
from raytrack.geometry.camera import Camera

logger = logging.getLogger(__name__)
RATIOS = (0.67, 1.0, 1.5, 2.25)
"""To the first guess."""
NUM_TIMESTEPS = 8
_PRIOR = 0.075
"""Per squared log factor, against colour errors in shares of themselves: the cost is flat towards long focal lengths,
whose pictures hardly differ."""
_TRIAL_SIZE_PX, _TRIAL_TEXTURE_SIZE = 192, 256

PlaceCameras = Callable[[float], Sequence[Camera]]
"""The cameras at a factor on the first guess of the focal length."""
PhotoError = Callable[[SequenceViews, TrackConfig], float]
"""Mean colour error that a short fit of views with known cameras comes to."""


def best_factor(views: SequenceViews, config: TrackConfig, place: PlaceCameras, photo_error: PhotoError) -> float:
    """The factor on the first guess of the focal length at which colours agree best.

    Args:
        views: Without cameras.
        config: Of the whole fit.
        place: Places cameras by landmarks.
        photo_error: Tries cameras.

    Raises:
        NotConvergedError: None of the focal lengths that are tried can be fitted.
    """
    few = frames_of(views, _few_timesteps(views))
    trial = replace(
        config,
        tracking_size_px=min(config.tracking_size_px, _TRIAL_SIZE_PX),
        texture_size=min(config.texture_size, _TRIAL_TEXTURE_SIZE),
    )

    def error(ratio: float) -> float:
        try:
            return photo_error(few.with_cameras(place(ratio)), trial)
        except (NotConvergedError, InputError, torch.linalg.LinAlgError) as failure:  # pyright: ignore[reportPrivateImportUsage]
            logger.info("focal length %.2f: %s", ratio * config.focal_ratio, failure)
            return float("inf")

    errors = np.array([error(ratio) for ratio in RATIOS])
    if not np.isfinite(errors).any():
        raise NotConvergedError("the cameras of the rig can be fitted with no focal length that was tried")
    factor = lowest(np.log(RATIOS), np.log(errors) + _PRIOR * np.log(RATIOS) ** 2)
    tried = ", ".join(
        f"{ratio * config.focal_ratio:.2f}: {error:.4f}" for ratio, error in zip(RATIOS, errors, strict=True)
    )
    logger.info(
        "focal lengths are %.2f times the longer side of the pictures (colour errors %s)",
        factor * config.focal_ratio, tried,
    )  # fmt: skip
    return factor


def _few_timesteps(views: SequenceViews) -> np.ndarray:
    """Evenly spaced, of those at which the most cameras see the face."""
    seen = views.detected_by_view.sum(axis=0)
    best = np.flatnonzero(seen == seen.max())
    return best[np.unique(np.linspace(0, len(best) - 1, min(NUM_TIMESTEPS, len(best))).round().astype(int))]
