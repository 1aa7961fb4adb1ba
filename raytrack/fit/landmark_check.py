"""Whether the cameras of a rig can be where their calibration puts them, asked before hours of tracking.

In a calibrated rig there is one place for the head that suits every camera. Where each camera on its own sees a head
well but all of them together see none, the calibration is wrong; usual mistakes are tried out, so that the message can
name the one that explains the detections.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from raytrack.errors import InputError
from raytrack.fit.landmark_fit import LandmarkFitter, LandmarkSolution
from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_targets import RigTargets
from raytrack.geometry.camera import GL_FROM_CV, Camera

logger = logging.getLogger(__name__)
IMPOSSIBLE_PERCENT = 25.0
"""Landmarks that are further off than this share of the face, in the median over views and frames, are no fit."""
_FITS_ALONE_PERCENT = 8.0
"""Detections to which a view on its own fits a head no better than this say nothing about the calibration."""
_SUSPICIOUS_PERCENT = 8.0
_EXPLAINED = 1 / 3
"""A mistake explains the detections when undoing it leaves at most this share of the error."""
_ODD_CAMERA = 3.0
"""One camera is odd when it is so many times further off than the median one."""


def check_calibration(
    fitter: LandmarkFitter, views: RigTargets, solution: LandmarkSolution, names: Sequence[str]
) -> None:
    """Warn of a doubtful calibration, refuse an impossible one.

    Args:
        fitter: Of the head.
        views: Detections of some frames.
        solution: What was fitted to them.
        names: What to call each view.

    Raises:
        InputError: The cameras cannot be where they are said to be.
    """
    errors = fitter.errors_percent(views, solution.rows, solution.shape, solution.focal_px)
    if np.isfinite(errors).any(axis=1).sum() < 2:
        return
    of_view = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in errors])
    typical = float(np.nanmedian(errors))
    if typical > IMPOSSIBLE_PERCENT and _alone(fitter, views) < _FITS_ALONE_PERCENT:
        raise InputError(
            f"the cameras' calibration contradicts what they see: no head fits all views (landmarks are {typical:.0f} "
            f"% of the face off), although each camera alone sees one; {_explanation(fitter, views, typical)}"
        )
    if typical > _SUSPICIOUS_PERCENT:
        logger.warning(
            "the cameras agree badly (landmarks are %.0f %% of the face off): check units and sizes of the rig; %s",
            typical, _explanation(fitter, views, typical),
        )  # fmt: skip
    odd = of_view > np.maximum(_ODD_CAMERA * typical, _SUSPICIOUS_PERCENT)
    for number in np.flatnonzero(odd).tolist():
        logger.warning(
            "%s disagrees with the others (its landmarks are %.0f %% of the face off, theirs %.0f %%): check its "
            "calibration", names[number], of_view[number], typical,
        )  # fmt: skip


def _explanation(fitter: LandmarkFitter, views: RigTargets, typical: float) -> str:
    """Which usual mistake would explain the detections, in words."""
    best, words = typical * _EXPLAINED, "no usual mistake (units, direction, axes, picture size) explains it"
    for name, corrected in _CORRECTIONS.items():
        cameras = [None if view.calibrated is None else corrected(view.calibrated) for view in views]
        if any(camera is None for camera in cameras):
            continue
        trial = tuple(replace(view, calibrated=camera) for view, camera in zip(views, cameras, strict=True))
        error = _error(fitter, trial)
        if error < best:
            best, words = error, f"it would fit to {error:.1f} % {name}"
    return words


def _alone(fitter: LandmarkFitter, views: RigTargets) -> float:
    """Typical error of heads that are fitted to each view on its own."""
    return float(
        np.median([_error(fitter, (view.select(np.flatnonzero(view.seen)),)) for view in views if view.seen.any()])
    )


def _error(fitter: LandmarkFitter, views: RigTargets) -> float:
    shape = torch.zeros(fitter.head.num_shapes)
    rows = initial_rows(fitter.head, shape, views, 1.0)
    rows = fitter.fit_rows(views, rows, shape, 1.0, max_iterations=5)
    return float(np.nanmedian(fitter.errors_percent(views, rows, shape, 1.0)))


def _scaled(factor: float) -> Callable[[Camera], Camera]:
    """Another unit of length."""

    def correct(camera: Camera) -> Camera:
        rotation, translation = camera.cam_from_world.split((3, 1), dim=1)
        return replace(camera, cam_from_world=torch.cat([rotation, factor * translation], dim=1))

    return correct


def _inverted(camera: Camera) -> Camera:
    rotation, translation = camera.cam_from_world.split((3, 1), dim=1)
    return replace(camera, cam_from_world=torch.cat([rotation.T, -rotation.T @ translation], dim=1))


def _from_opengl(camera: Camera) -> Camera:
    return replace(camera, cam_from_world=GL_FROM_CV.to(camera.cam_from_world) @ camera.cam_from_world)


def _of_another_size(camera: Camera) -> Camera | None:
    """As if the principal point had been meant to be near the middle of the picture."""
    height, width = camera.size_hw
    factor = (width / float(camera.intrinsics[0, 2]) + height / float(camera.intrinsics[1, 2])) / 4
    if not 0 < factor < float("inf") or 0.7 < factor < 1.4:
        return None
    scale = torch.diag(torch.tensor([factor, factor, 1.0])).to(camera.intrinsics)
    return replace(camera, intrinsics=scale @ camera.intrinsics)


_CORRECTIONS: dict[str, Callable[[Camera], Camera | None]] = {
    "if the translations were millimetres: divide them by 1000": _scaled(1e-3),
    "if the translations were centimetres: divide them by 100": _scaled(1e-2),
    "if the translations were kilometres: multiply them by 1000": _scaled(1e3),
    "if the matrices were camera-to-world: invert them": _inverted,
    "if the cameras had OpenGL's axes (y up, looking along −z): flip their y and z": _from_opengl,
    "if they were camera-to-world in OpenGL's axes: invert them, then flip y and z": (
        lambda camera: _from_opengl(_inverted(camera))
    ),
    "if the intrinsics were those of pictures of another size: scale them with the pictures": _of_another_size,
}
