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
from raytrack.fit.joint_fit import JointFit, JointFitter
from raytrack.fit.landmark_targets import RigTargets
from raytrack.geometry.camera import GL_FROM_CV, Camera

logger = logging.getLogger(__name__)
_DOUBTFUL_PERCENT = 2.5
"""Usual mistakes are tried out from this distance on; median over views and frames, in percent of the face. Few cameras
contradict each other little: two whose matrices are the wrong way round come to 2.8 %."""
_SUSPICIOUS_PERCENT = 8.0
IMPOSSIBLE_PERCENT = 25.0
"""Landmarks that are further off than this are no fit, whatever explains them."""
_FITS_ALONE_PERCENT = 8.0
"""Detections to which a view on its own fits a head no better than this say nothing about the calibration."""
_GOOD_PERCENT = 3.0
_EXPLAINED = 1 / 3
"""A mistake explains the detections when undoing it gives a good fit and leaves at most this share of the error that
views on their own do not have."""
_ODD_CAMERA = 3.0
"""One camera is odd when it is so many times further off than the median one."""
_AT_STAKE_PERCENT = 1.0
"""Views that are no further off together than on their own by this say nothing against the calibration."""
_MOST_ALONE = 6
"""So many views say how well a view on its own can be fitted."""
_TRIED = 3
"""So many mistakes are looked at closely: those that explain most at first sight."""
_NEARLY = 0.1
"""A factor is meant to be a simple one that is no further off than this share."""


def check_calibration(fitter: JointFitter, targets: RigTargets, joint: JointFit, names: Sequence[str]) -> None:
    """Warn of a doubtful calibration, refuse an impossible one.

    Args:
        fitter: Of the head.
        targets: Detections of some frames, seen or guessed.
        joint: What was fitted to them.
        names: What to call each view.

    Raises:
        InputError: The cameras cannot be where they are said to be.
    """
    errors = fitter.errors_percent(joint)
    if np.isfinite(errors).any(axis=1).sum() < 2:
        return
    of_view = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in errors])
    typical = _error(fitter, joint)
    if typical > _DOUBTFUL_PERCENT:
        _explain(fitter, targets, typical)
    odd = of_view > np.maximum(_ODD_CAMERA * typical, _SUSPICIOUS_PERCENT)
    for number in np.flatnonzero(odd).tolist():
        logger.warning(
            "%s disagrees with the others (its landmarks are %.0f %% of the face off, theirs %.0f %%): check its "
            "calibration", names[number], of_view[number], typical,
        )  # fmt: skip


def _explain(fitter: JointFitter, targets: RigTargets, typical: float) -> None:
    """Refuse what a usual mistake explains and what is no fit at all; warn of the rest where it is suspicious."""
    alone = _alone(fitter, targets)
    error, name = _best_correction(fitter, targets, typical)
    at_stake = typical - alone
    explained = error < _GOOD_PERCENT and at_stake > _AT_STAKE_PERCENT and error - alone <= _EXPLAINED * at_stake
    words = "no usual mistake (units, direction, axes, picture size) explains it"
    if explained or error <= _EXPLAINED * typical:
        words = f"it would fit to {error:.1f} % {name}"
    if explained or (typical > IMPOSSIBLE_PERCENT and alone < _FITS_ALONE_PERCENT):
        raise InputError(
            f"the cameras' calibration contradicts what they see: no head fits all views (landmarks are {typical:.1f} "
            f"% of the face off), although each camera alone sees one; {words}"
        )
    if typical > _SUSPICIOUS_PERCENT:
        logger.warning(
            "the cameras agree badly (landmarks are %.0f %% of the face off): check units and sizes of the rig; %s",
            typical, words,
        )  # fmt: skip


def _best_correction(fitter: JointFitter, targets: RigTargets, typical: float) -> tuple[float, str]:
    """The error that is left when the mistake that explains most is undone, and its words; infinite if none helps."""
    cameras = tuple(view.calibrated for view in targets if view.calibrated is not None)
    promising: list[tuple[float, str, RigTargets]] = []
    for name, correct in _CORRECTIONS.items():
        corrected = correct(cameras)
        if corrected is None:
            continue
        trial = tuple(replace(view, calibrated=camera) for view, camera in zip(targets, corrected, strict=True))
        error = _error(fitter, fitter.roughly(trial))
        if error < typical:
            promising.append((error, name, trial))
    promising.sort(key=lambda found: found[0])
    tried = [(_error(fitter, fitter.fit(trial)), name) for _, name, trial in promising[:_TRIED]]
    return min(tried, default=(float("inf"), ""))


def _alone(fitter: JointFitter, targets: RigTargets) -> float:
    """Typical error of heads that are fitted to single views: of the detector, and of the head model."""
    seeing = [view for view in targets if view.seen.any()]
    some = seeing[:: -(-len(seeing) // _MOST_ALONE)]
    return float(np.median([_error(fitter, fitter.fit((view.select(np.flatnonzero(view.seen)),))) for view in some]))


def _error(fitter: JointFitter, fit: JointFit) -> float:
    return float(np.nanmedian(fitter.errors_percent(fit)))


Cameras = tuple[Camera, ...]
"""Of a rig."""
Correction = Callable[[Cameras], Cameras | None]
"""Undoes a mistake; None where nobody can have made it."""


def _each(*corrections: Callable[[Camera], Camera]) -> Correction:
    """One after the other, camera by camera."""

    def correct(cameras: Cameras) -> Cameras:
        for correction in corrections:
            cameras = tuple(correction(camera) for camera in cameras)
        return cameras

    return correct


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


def _of_another_size(cameras: Cameras) -> Cameras | None:
    """As if principal points had been meant to be near the middle of the pictures: one factor for the whole rig."""
    factors = [
        side / float(camera.intrinsics[axis, 2]) / 2
        for camera in cameras
        for axis, side in enumerate(reversed(camera.size_hw))
        if float(camera.intrinsics[axis, 2]) > 0
    ]
    factor = _simple(float(np.median(factors))) if factors else 1.0
    if 0.7 < factor < 1.4:
        return None
    scale = torch.diag(torch.tensor([factor, factor, 1.0]))
    return tuple(replace(camera, intrinsics=scale.to(camera.intrinsics) @ camera.intrinsics) for camera in cameras)


def _simple(factor: float) -> float:
    """Pictures are made smaller by whole numbers: the nearest one, or one over it, if it is near."""
    whole = float(max(round(max(factor, 1 / factor)), 1))
    simple = whole if factor > 1 else 1 / whole
    return simple if abs(factor / simple - 1) < _NEARLY else factor


_CORRECTIONS: dict[str, Correction] = {
    "if the translations were millimetres: divide them by 1000": _each(_scaled(1e-3)),
    "if the translations were centimetres: divide them by 100": _each(_scaled(1e-2)),
    "if the translations were kilometres: multiply them by 1000": _each(_scaled(1e3)),
    "if the matrices were camera-to-world: invert them": _each(_inverted),
    "if the cameras had OpenGL's axes (y up, looking along −z): flip their y and z": _each(_from_opengl),
    "if they were camera-to-world in OpenGL's axes: invert them, then flip y and z": _each(_inverted, _from_opengl),
    "if the intrinsics were those of pictures of another size: scale them with the pictures": _of_another_size,
}
