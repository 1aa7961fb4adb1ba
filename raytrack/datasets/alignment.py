"""From a dataset's own world to the tracker's: y up, the rig's mean camera looking down −z. The origin stays."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from raytrack.datasets.calibration import Calibration

_GL_FROM_CV = np.diag([1.0, -1.0, -1.0])


def tracker_from_capture(calibrations: Sequence[Calibration]) -> Float[np.ndarray, "3 3"]:
    """The rotation that turns the mean of the cameras' axes onto the world's, and those from OpenCV's to OpenGL's.

    The mean of rotations is the rotation nearest to their sum (in the sense of squares).

    Args:
        calibrations: Of the whole rig, so that the world does not depend on which cameras are taken.

    Raises:
        ValueError: There is no camera, or they look in such different ways that they have no mean.
    """
    if not calibrations:
        raise ValueError("a rig needs at least one camera")
    total = sum((calibration.cam_from_world[:, :3].T for calibration in calibrations), np.zeros((3, 3)))
    left, scale, right = np.linalg.svd(total)
    if scale[1] < 1e-6 * len(calibrations):
        raise ValueError("the cameras look in opposite ways: they have no mean direction")
    sign = np.sign(np.linalg.det(left @ right))
    capture_from_mean = left @ np.diag([1.0, 1.0, sign]) @ right
    return _GL_FROM_CV @ capture_from_mean.T


def in_tracker_world(calibration: Calibration, rotation: Float[np.ndarray, "3 3"]) -> Calibration:
    """The camera in the tracker's world.

    Args:
        calibration: In the dataset's world.
        rotation: From `tracker_from_capture`. A point p of the dataset's world is `rotation @ p` in the tracker's.
    """
    turned = np.concatenate([calibration.cam_from_world[:, :3] @ rotation.T, calibration.cam_from_world[:, 3:]], axis=1)
    return replace(calibration, cam_from_world=turned)
