"""Small NeRSemble datasets in the exact layouts, made on the spot, with known content.

Pictures show bright dots where given points in space are seen through a camera with distortion; or whatever is given.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from media_files import encode

from raytrack.datasets.calibration import Calibration
from raytrack.geometry.camera import Camera

SIZE_HW = (420, 288)
"""Of the footage: NeRSemble's 3208 × 2200, resampled."""
CALIBRATED_HW = (3208, 2200)
POINTS = np.array([[0.0, 0.0, 0.0], [0.07, 0.1, 0.02], [-0.08, 0.11, 0.0], [-0.07, -0.11, 0.03], [0.08, -0.1, -0.02]])
"""In the rig's world, metres."""


def as_camera(calibration: Calibration) -> Camera:
    """The tracker's camera of a calibration of undistorted pictures."""
    assert calibration.distortion is None
    return Camera(
        intrinsics=torch.from_numpy(calibration.intrinsics).float(),
        cam_from_world=torch.from_numpy(calibration.cam_from_world).float(),
        size_hw=calibration.size_hw,
    )


Painter = Callable[[str, int], np.ndarray]
"""Makes the picture of a camera at a timestep."""


def intrinsics(focal: float = 8000.0, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """At calibrated size, the top-left corner being (0, 0)."""
    height, width = CALIBRATED_HW
    return np.array([[focal, 0.0, width / 2 + dx], [0.0, focal * 1.01, height / 2 + dy], [0.0, 0.0, 1.0]])


def pose(yaw_deg: float, distance: float = 1.0) -> np.ndarray:
    """World to camera of a camera that looks at the origin from some way round the y axis; OpenCV axes, y down."""
    rotation, _ = cv2.Rodrigues(np.array([0.0, np.deg2rad(yaw_deg), 0.0]))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, (0.0, 0.0, distance)
    return matrix


def dots(
    matrix: np.ndarray, world_2_cam: np.ndarray, distortion=None, size_hw: tuple[int, int] = SIZE_HW
) -> np.ndarray:
    """A picture of `POINTS`, by OpenCV's own projection."""
    scale = np.diag([size_hw[1] / CALIBRATED_HW[1], size_hw[0] / CALIBRATED_HW[0], 1.0])
    rotation, _ = cv2.Rodrigues(world_2_cam[:3, :3])
    coefficients = np.zeros(5) if distortion is None else np.asarray(distortion, np.float64)
    seen, _ = cv2.projectPoints(POINTS, rotation, world_2_cam[:3, 3], scale @ matrix, coefficients)
    down, across = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    image = np.zeros(size_hw)
    for x, y in seen[:, 0]:
        image += np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * 4.0**2))
    return np.repeat(np.round(230 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], 3, 2)


def centroids(image: np.ndarray, around: np.ndarray, radius: float) -> np.ndarray:
    """Where the dots really are, near where they are expected."""
    down, across = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    found = []
    for x, y in around:
        weight = image[..., 1] * ((across - x) ** 2 + (down - y) ** 2 < radius**2).astype(float)
        found.append([(weight * across).sum() / weight.sum(), (weight * down).sum() / weight.sum()])
    return np.array(found)


def flat(colours: Mapping[str, tuple[int, int, int]], size_hw: tuple[int, int] = (105, 72)) -> Painter:
    """Pictures of one colour for each camera."""
    return lambda camera, timestep: np.full((*size_hw, 3), colours[camera], np.uint8)


def numbered(size_hw: tuple[int, int] = (105, 72)) -> Painter:
    """Pictures whose brightness tells the timestep (5 a step from 20) and, by its last digit, the camera's name."""
    return lambda camera, timestep: np.full((*size_hw, 3), 20 + 5 * timestep + int(camera[-1]) % 2 * 2, np.uint8)


def timestep_of(image: np.ndarray) -> int:
    """What `numbered` pictures tell."""
    return round((float(image.mean()) - 21) / 5)


def camera_params(poses: Mapping[str, np.ndarray], matrix, **more) -> dict:
    """What `camera_params.json` holds."""
    matrices = {name: value.tolist() for name, value in matrix.items()} if isinstance(matrix, dict) else matrix.tolist()
    return {"world_2_cam": {name: value.tolist() for name, value in poses.items()}, "intrinsics": matrices, **more}


def write_json(path: Path, data) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def write_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    cv2.imwrite(str(path), image[..., ::-1], options)


def write_mp4(path: Path, frames: list[np.ndarray]) -> None:
    """Near lossless, at 73 frames a second as far as milliseconds go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [round(1000 * index / 73) for index in range(len(frames))]
    encode(path, frames, pixel_format="yuv444p", times_ms=times, options={"crf": "0", "preset": "ultrafast"})


def make_v1(
    root: Path,
    params: dict,
    paint: Painter,
    *,
    subject: str = "074",
    sequence: str = "EMO-1",
    timesteps: tuple[int, ...] = (0, 1, 2),
    videos: bool = False,
    colours: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A version 1 dataset; the colour corrections change nothing unless given."""
    write_json(root / "camera_params" / subject / "camera_params.json", params)
    (root / "color_correction" / subject).mkdir(parents=True, exist_ok=True)
    for camera in params["world_2_cam"]:
        matrix = np.eye(4) if colours is None else colours[camera]
        np.save(root / "color_correction" / subject / f"{camera}.npy", matrix)
        folder = root / subject / sequence
        if videos:
            write_mp4(folder / f"cam_{camera}.mp4", [paint(camera, timestep) for timestep in timesteps])
        else:
            for timestep in timesteps:
                write_jpeg(folder / "images" / f"cam_{camera}_{timestep:05d}.jpg", paint(camera, timestep))
        write_jpeg(root / subject / "BACKGROUND" / f"image_{camera}.jpg", paint(camera, 0))
    return root


def make_v2(
    root: Path,
    params: dict,
    paint: Painter,
    *,
    subject: str = "074",
    sequence: str = "EMO-1-shout+laugh",
    timesteps: tuple[int, ...] = (0, 1, 2),
    colours: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A version 2 dataset; the colour corrections change nothing unless given."""
    write_json(root / subject / "calibration" / "camera_params.json", params)
    identity = np.eye(3)
    matrices = {name: (identity if colours is None else colours[name]).tolist() for name in params["world_2_cam"]}
    write_json(root / subject / "calibration" / "color_calibration.json", matrices)
    for camera in params["world_2_cam"]:
        frames = [paint(camera, timestep) for timestep in timesteps]
        write_mp4(root / subject / "sequences" / sequence / "images" / f"cam_{camera}.mp4", frames)
    return root
