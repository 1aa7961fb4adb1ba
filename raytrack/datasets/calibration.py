"""Calibrations of rigs: what they say, checked before anything is tracked with them.

Kept in NumPy and double precision: reading footage needs neither torch nor the tracker's geometry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from raytrack.errors import InputError

_ROTATION_TOLERANCE = 1e-3
_FARTHEST_M = 20.0
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """A calibrated camera in OpenCV axes (x right, y down, z forward), in the dataset's own world."""

    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels of a picture of `size_hw`; (0, 0) is the top-left corner."""
    cam_from_world: Float[np.ndarray, "3 4"]
    """Metres."""
    size_hw: tuple[int, int]
    distortion: Float[np.ndarray, " coefficients"] | None = field(default=None, repr=False)
    """OpenCV's coefficients, which do not depend on the picture's size; None where there is none."""

    def scaled(self, size_hw: tuple[int, int]) -> "Calibration":
        """The calibration of the same picture resampled to `size_hw`."""
        factor = np.diag([size_hw[1] / self.size_hw[1], size_hw[0] / self.size_hw[0], 1.0])
        return replace(self, intrinsics=factor @ self.intrinsics, size_hw=size_hw)

    def undistorted(self) -> "Calibration":
        """The calibration of undistorted pictures."""
        return replace(self, distortion=None)

    @property
    def position(self) -> Float[np.ndarray, "3"]:
        """Where the camera stands in the world, metres."""
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]


def read_calibrations(path: Path, default_size_hw: tuple[int, int]) -> dict[str, Calibration]:
    """Read NeRSemble's `camera_params.json`.

    `world_2_cam` maps each camera to a 4×4 (or 3×4) matrix in OpenCV axes and metres. `intrinsics` is one 3×3 matrix,
    or one for each camera; `distortion`, where given, one list of OpenCV's coefficients, or one for each camera;
    `width` and `height` are those of the picture that the intrinsics are of.

    Args:
        path: The file.
        default_size_hw: Size of that picture where the file does not say.

    Returns:
        By camera, in the file's order.

    Raises:
        InputError: The file is missing, or says something that no rig of cameras around a head can be.
    """
    document = read_json(path)
    missing = [key for key in ("world_2_cam", "intrinsics") if key not in document]
    if missing or not isinstance(document["world_2_cam"], dict) or not document["world_2_cam"]:
        raise InputError(f"{path}: needs `world_2_cam` (camera → matrix) and `intrinsics`; get the file again")
    height, width = (document.get(key, size) for key, size in zip(("height", "width"), default_size_hw, strict=True))
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise InputError(f"{path}: height and width must be positive whole numbers, got {height!r} and {width!r}")
    return {
        name: _calibration(document, name, matrix, (height, width), f"{path}: camera {name}")
        for name, matrix in document["world_2_cam"].items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file whose top is a mapping.

    Raises:
        InputError: It is missing, damaged, or something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); is the dataset complete?") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); get the file again") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a mapping, got {type(document).__name__}")
    return document


def _calibration(
    document: Mapping[str, Any], name: str, matrix: Any, size_hw: tuple[int, int], where: str
) -> Calibration:
    def of_camera(value: Any) -> Any:
        return value.get(name) if isinstance(value, dict) else value

    intrinsics = _array(of_camera(document["intrinsics"]), ((3, 3),), f"{where}: intrinsics")
    pose = _array(matrix, ((4, 4), (3, 4)), f"{where}: world_2_cam")[:3]
    coefficients = of_camera(document.get("distortion"))
    distortion = None
    if coefficients is not None:
        shapes = tuple((count,) for count in (4, 5, 8, 12, 14))
        distortion = _array(coefficients, shapes, f"{where}: distortion")
    calibration = Calibration(
        intrinsics=intrinsics,
        cam_from_world=pose,
        size_hw=size_hw,
        distortion=distortion if distortion is not None and distortion.any() else None,
    )
    _check(calibration, where)
    return calibration


def _array(value: Any, shapes: tuple[tuple[int, ...], ...], where: str) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape not in shapes or not np.isfinite(array).all():
        expected = " or ".join("×".join(map(str, shape)) for shape in shapes)
        raise InputError(f"{where} must be {expected} finite numbers; get the file again")
    return array


def _check(calibration: Calibration, where: str) -> None:
    """Find a wrong convention or unit at once, not after hours of tracking."""
    rotation = calibration.cam_from_world[:, :3]
    deviation = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if deviation > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise InputError(f"{where}: world_2_cam has no rotation in it (off by {deviation:.2g}); it must be rigid")
    distance = float(np.linalg.norm(calibration.cam_from_world[:, 3]))
    if distance > _FARTHEST_M:
        raise InputError(f"{where}: is {distance:.0f} from the origin, which cannot be metres: convert the calibration")
    height, width = calibration.size_hw
    matrix = calibration.intrinsics
    centred = 0 < matrix[0, 2] < width and 0 < matrix[1, 2] < height
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0 and centred):
        raise InputError(
            f"{where}: focal lengths must be positive and the principal point inside the {width}×{height} picture that "
            "the intrinsics are of; state that picture's `width` and `height`"
        )


def check_aspect(calibration: Calibration, size_hw: tuple[int, int], where: str) -> None:
    """See that footage can be the calibrated picture, resampled.

    Raises:
        InputError: It has another aspect ratio: it was cropped or turned.
    """
    ratio = (size_hw[1] / size_hw[0]) / (calibration.size_hw[1] / calibration.size_hw[0])
    if abs(ratio - 1) > _ASPECT_TOLERANCE:
        shown, calibrated = (f"{width}×{height}" for height, width in (size_hw, calibration.size_hw))
        raise InputError(
            f"{where}: {shown} pixels cannot be a resampled picture of {calibrated}, which the calibration is of: "
            "footage must be neither cropped nor turned"
        )
