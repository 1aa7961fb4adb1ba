"""A camera of a rig, as a track and its exports name it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.camera import Camera

MONOCULAR_INDEX, MONOCULAR_ID = 0, "0"


@dataclass(frozen=True, kw_only=True, eq=False)
class RigCamera:
    """One camera with its place and name in the rig."""

    index: int
    """Its place in the rig, whichever of the rig's cameras are used."""
    id: str
    """What the dataset calls it."""
    camera: Camera
    """Of the pictures that are tracked, in the tracker's world; float32 tensors on the CPU, no batch dimension."""


def packed(cameras: Sequence[Camera]) -> Float[Tensor, "cameras 3 7"]:
    """Intrinsics beside poses, in one tensor."""
    return torch.stack([torch.cat([camera.intrinsics, camera.cam_from_world], dim=1) for camera in cameras])


def unpacked(values: Float[Tensor, "3 7"], size_hw: tuple[int, int]) -> Camera:
    """One camera of `packed`.

    Args:
        values: Intrinsics beside the pose.
        size_hw: Of its pictures.
    """
    return Camera(intrinsics=values[:, :3], cam_from_world=values[:, 3:], size_hw=size_hw)
