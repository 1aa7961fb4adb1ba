"""The joint chain and its derivatives, for the second-order solvers.

Root → neck → jaw, left eye, right eye (parents −1, 0, 1, 1, 1). A joint's transform maps rest-pose points to
posed points about joint positions `joints`, before the head's translation is added.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle, skew

NUM_JOINTS = 5
_PARENTS = (-1, 0, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Posed joints of a batch of frames."""

    rotations: Float[Tensor, "frames 5 3 3"]
    """Local rotation of each joint."""
    transforms: Float[Tensor, "frames 5 3 4"]
    """Posed from rest, per joint."""
    axes: Float[Tensor, "frames 5 3 3"]
    """Row k: the world axis about which parameter k of a joint's axis-angle vector turns everything below it."""
    centres: Float[Tensor, "frames 5 3"]
    """Posed joint positions, metres, before translation."""


def left_jacobian(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Left Jacobian of SO(3): column k is the rotation rate in space per unit of component k (Barfoot 2017, 7.77)."""
    squared = vector.square().sum(dim=-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - squared / 120, (angle - angle.sin()) / (safe * angle))
    cross = skew(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * (cross @ cross)


def pose_chain(pose: Float[Tensor, "frames 5 3"], joints: Float[Tensor, "5 3"]) -> Chain:
    """Transforms, rotation axes and centres of all joints. Differentiable.

    Args:
        pose: Axis-angle per joint (root, neck, jaw, left eye, right eye), radians.
        joints: Rest positions, metres.
    """
    local = matrix_from_axis_angle(pose)
    jacobian = left_jacobian(pose)
    rotations: list[Tensor] = []
    shifts: list[Tensor] = []
    axes: list[Tensor] = []
    centres: list[Tensor] = []
    for joint, parent in enumerate(_PARENTS):
        own_shift = joints[joint] - local[:, joint] @ joints[joint]
        if parent < 0:
            rotations.append(local[:, joint])
            shifts.append(own_shift)
            axes.append(jacobian[:, joint].mT)
            centres.append(joints[joint].expand(len(pose), 3))
            continue
        above, above_shift = rotations[parent], shifts[parent]
        rotations.append(above @ local[:, joint])
        shifts.append((above @ own_shift[..., None])[..., 0] + above_shift)
        axes.append((above @ jacobian[:, joint]).mT)
        centres.append(above @ joints[joint] + above_shift)
    transforms = torch.cat([torch.stack(rotations, 1), torch.stack(shifts, 1)[..., None]], dim=-1)
    return Chain(rotations=local, transforms=transforms, axes=torch.stack(axes, 1), centres=torch.stack(centres, 1))


def joint_shift_transforms(chain: Chain) -> Float[Tensor, "frames 5 5 3 3"]:
    """Derivative of each transform's translation with respect to each rest joint position: [frame, transform, joint].

    Moving rest joint j by d moves what hangs below it by (R_above(j) − R_below(j)) d.
    """
    frames = len(chain.transforms)
    identity = torch.eye(3, dtype=chain.transforms.dtype, device=chain.transforms.device).expand(frames, 3, 3)
    result = chain.transforms.new_zeros(frames, NUM_JOINTS, NUM_JOINTS, 3, 3)
    for transform in range(NUM_JOINTS):
        joint = transform
        while joint >= 0:
            parent = _PARENTS[joint]
            above = identity if parent < 0 else chain.transforms[:, parent, :, :3]
            result[:, transform, joint] = above - chain.transforms[:, joint, :, :3]
            joint = parent
    return result
