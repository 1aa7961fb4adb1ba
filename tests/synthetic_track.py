"""A made-up track of the shipped head, with pictures to go with it."""

import functools
import math
from pathlib import Path

import cv2
import numpy as np
import torch

from raytrack.fit.track import Track
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


def read_png(path: Path) -> np.ndarray:
    """Grey (two dimensions), RGB or RGBA, as it is in the file."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
