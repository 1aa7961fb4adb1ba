"""A made-up track of the shipped head, with pictures to go with it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig import RigCamera
from raytrack.fit.track import Track
from raytrack.geometry.camera import GL_FROM_CV, Camera
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

FOCAL_RATIO = 1.6


@functools.cache
def head() -> HeadModel:
    return load_head("default")


def make_track(
    num_frames: int = 5,
    size_hw: tuple[int, int] = (120, 96),
    *,
    untracked: tuple[int, ...] = (),
    offset: bool = True,
    texture_size: int = 64,
    seed: int = 0,
) -> Track:
    """Random but plausible: the head about where the default focal length expects it, turned by some 10 degrees."""
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=random)

    model = head()
    parameters = FrameParameters(
        rotation=noise(num_frames, 3, scale=0.15),
        translation=noise(num_frames, 3, scale=0.02) + torch.tensor([0.01, 0.03, 0.05]),
        neck_pose=noise(num_frames, 3, scale=0.05),
        jaw_pose=torch.tensor([0.1, 0.0, 0.0]) + noise(num_frames, 3, scale=0.01),
        eyes_pose=noise(num_frames, 6, scale=0.05),
        expression=noise(num_frames, model.num_expressions, scale=0.1).abs(),
    )
    lights = torch.zeros(9, 3)
    lights[0] = math.sqrt(4 * math.pi)
    tracked = torch.ones(num_frames, dtype=torch.bool)
    tracked[list(untracked)] = False
    return Track(
        parameters=parameters,
        shape=noise(model.num_shapes, scale=0.3),
        static_offset=noise(1, model.num_vertices, 3, scale=2e-4) if offset else None,
        texture=torch.rand(texture_size, texture_size, 3, generator=random),
        lights=lights + noise(9, 3, scale=0.05),
        focal_px=FOCAL_RATIO * max(size_hw),
        size_hw=size_hw,
        timestep_ids=tuple(f"{index:06d}" for index in range(num_frames)),
        tracked=tracked,
        head_name=model.name,
        head_sha256=model.asset_sha256,
    )


def make_image(index: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Noise, another for every frame."""
    return np.random.default_rng(1000 + index).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def make_alpha(index: int, size_hw: tuple[int, int]) -> np.ndarray:
    """An ellipse with a soft edge, another for every frame."""
    rows, columns = np.mgrid[0 : size_hw[0], 0 : size_hw[1]] + 0.5
    radius = np.hypot((columns / size_hw[1] - 0.5) / 0.4, (rows / size_hw[0] - 0.5) / 0.45) + 0.01 * index
    return np.round(255 * np.clip((1.1 - radius) * 5, 0, 1)).astype(np.uint8)


def make_view(
    track: Track,
    *,
    load_image: Callable[[int], np.ndarray] | None = None,
    load_alpha: Callable[[int], np.ndarray] | None = None,
    camera: int = 0,
    matted: bool = True,
) -> SequenceObservation:
    """What a camera of a track saw, without any detection."""
    seen_by = track.cameras[camera]
    size_hw = seen_by.camera.size_hw
    if matted and load_alpha is None:
        load_alpha = lambda index: make_alpha(index, size_hw)  # noqa: E731
    return SequenceObservation(
        size_hw=size_hw,
        timestep_ids=track.timestep_ids,
        timestamps_s=np.arange(track.num_frames) / 25,
        load_image=load_image or (lambda index: make_image(index, size_hw)),
        load_alpha=load_alpha,
        landmarks_px=np.zeros((track.num_frames, 478, 2), np.float32),
        scores=np.zeros(track.num_frames, np.float32),
        calibrated=seen_by if track.rig else None,
    )


def make_views(track: Track, **options) -> tuple[SequenceObservation, ...]:
    """What all cameras of a track saw; options as of `make_view`."""
    return tuple(make_view(track, camera=camera, **options) for camera in range(len(track.cameras)))


CAPTURE_FROM_WORLD = matrix_from_axis_angle(torch.tensor([2.9, 0.2, -0.1]))
"""An arbitrary turn, as a calibration has it."""


def make_rig(
    track: Track,
    yaws_deg: tuple[float, ...] = (-50, 0, 40),
    *,
    indices: tuple[int, ...] | None = None,
    sizes_hw: tuple[tuple[int, int], ...] = ((120, 96),),
    focal_ratio: float = 1.6,
    off_centre: float = 0.06,
) -> Track:
    """The track as seen by cameras around the head, each with intrinsics of its own.

    Args:
        track: What is seen.
        yaws_deg: Where each camera stands about the head; some higher, some lower.
        indices: Places in the rig; by default 0, 1, 2 …
        sizes_hw: Of the cameras' pictures, in turn.
        focal_ratio: Of the focal length to the larger side, about.
        off_centre: Distance of principal points from the middle, over the picture's size.
    """
    middle = track.parameters.translation.mean(dim=0)
    rig = []
    for order, yaw_deg in enumerate(yaws_deg):
        height, width = sizes_hw[order % len(sizes_hw)]
        turn = matrix_from_axis_angle(torch.tensor([0.0, math.radians(-yaw_deg), 0.0]))
        tilt = matrix_from_axis_angle(torch.tensor([math.radians((-8, 5, 12)[order % 3]), 0.0, 0.0]))
        rotation = GL_FROM_CV @ tilt @ turn
        sign = (-1) ** order
        focal = focal_ratio * max(height, width) * (1 + 0.05 * order)
        intrinsics = torch.tensor(
            [
                [focal, 0, width * (0.5 + sign * off_centre)],
                [0, focal * 1.04, height * (0.5 + sign * off_centre / 2) + 0.3],
                [0, 0, 1],
            ]
        )
        shift = -rotation @ middle + torch.tensor([0.0, 0.0, 1.0])
        camera = Camera(
            intrinsics=intrinsics, cam_from_world=torch.cat([rotation, shift[:, None]], dim=1), size_hw=(height, width)
        )
        index = order if indices is None else indices[order]
        rig.append(RigCamera(index=index, id=f"2220{index:02d}", camera=camera))
    return dataclasses.replace(
        track, rig=tuple(rig), focal_px=None, size_hw=rig[0].camera.size_hw, capture_from_world=CAPTURE_FROM_WORLD
    )


def read_png(path: Path) -> np.ndarray:
    """Grey (two dimensions), RGB or RGBA, as it is in the file."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
