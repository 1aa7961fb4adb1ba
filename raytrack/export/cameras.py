"""Cameras as `transforms.json` states them: camera-to-world in OpenGL axes, intrinsics in pixels from the top-left."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from raytrack.export.worlds import Placement
from raytrack.geometry.camera import GL_FROM_CV, Camera


def intrinsics_record(camera: Camera) -> dict[str, float | int]:
    """fl_x, fl_y, cx, cy (pixels, from the top-left corner), w, h, and the full fields of view in radians."""
    height, width = camera.size_hw
    matrix = camera.intrinsics.double().numpy()
    fl_x, fl_y = float(matrix[0, 0]), float(matrix[1, 1])
    return {
        "fl_x": fl_x,
        "fl_y": fl_y,
        "cx": float(matrix[0, 2]),
        "cy": float(matrix[1, 2]),
        "w": width,
        "h": height,
        "camera_angle_x": 2 * math.atan(width / (2 * fl_x)),
        "camera_angle_y": 2 * math.atan(height / (2 * fl_y)),
    }


def world_from_camera_gl(camera: Camera, placement: Placement) -> Float[np.ndarray, "4 4"]:
    """Camera-to-world matrix in OpenGL axes.

    Args:
        camera: In the tracker's world.
        placement: From the tracker's world to the one that is asked for.
    """
    rotation, translation = (part.double().numpy() for part in camera.cam_from_world.split((3, 1), dim=-1))
    matrix = np.eye(4)
    matrix[:3, :3] = placement.rotation @ rotation.T @ GL_FROM_CV.double().numpy()
    matrix[:3, 3] = placement(-(rotation.T @ translation).T)[0]
    return matrix + 0.0  # turns −0 into 0


def camera_from_record(frame: dict[str, Any]) -> Camera:
    """The camera of a frame of `transforms.json`: the inverse of the two functions above."""
    world_from_gl = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
    rotation = (world_from_gl[:3, :3] @ GL_FROM_CV.double()).mT
    translation = -rotation @ world_from_gl[:3, 3:]
    rows = [[frame["fl_x"], 0.0, frame["cx"]], [0.0, frame["fl_y"], frame["cy"]], [0.0, 0.0, 1.0]]
    return Camera(
        intrinsics=torch.tensor(rows, dtype=torch.float32),
        cam_from_world=torch.cat([rotation, translation], dim=1).float(),
        size_hw=(int(frame["h"]), int(frame["w"])),
    )
