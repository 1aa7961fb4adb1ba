"""Linear blend skinning of a small joint tree, as FLAME does it (Li et al., 2017, equations 2 and 3)."""

import torch
from jaxtyping import Float
from torch import Tensor


def joint_transforms(
    rotations: Float[Tensor, "frames joints 3 3"],
    joints: Float[Tensor, "#frames joints 3"],
    parents: tuple[int, ...],
) -> tuple[Float[Tensor, "frames joints 3 3"], Float[Tensor, "frames joints 3"]]:
    """World rotation of each joint, and the translation that goes with it for points in rest coordinates.

    A rest point that follows joint j alone moves to ``rotation[j] @ point + translation[j]``.

    Args:
        rotations: Rotation of each joint relative to its parent, about the joint's rest position.
        joints: Rest positions in metres.
        parents: Index of each joint's parent; −1 for the root. Parents come before children.

    Returns:
        Rotations and translations (metres). Differentiable in rotations and joints.
    """
    world_rotations: list[Tensor] = []
    translations: list[Tensor] = []
    for index, parent in enumerate(parents):
        rotation, joint = rotations[:, index], joints[:, index]
        own_translation = joint - (rotation @ joint[..., None])[..., 0]
        if parent < 0:
            world_rotations.append(rotation)
            translations.append(own_translation)
        else:
            parent_rotation = world_rotations[parent]
            world_rotations.append(parent_rotation @ rotation)
            translations.append((parent_rotation @ own_translation[..., None])[..., 0] + translations[parent])
    return torch.stack(world_rotations, dim=1), torch.stack(translations, dim=1)


def skin(
    rest: Float[Tensor, "#frames vertices 3"],
    weights: Float[Tensor, "vertices joints"],
    rotations: Float[Tensor, "frames joints 3 3"],
    translations: Float[Tensor, "frames joints 3"],
) -> Float[Tensor, "frames vertices 3"]:
    """Move each rest point by the weighted mean of the joints' affine maps. Differentiable in everything.

    Args:
        rest: Points in rest coordinates, metres.
        weights: Share of each joint in each point; rows sum to one.
        rotations: World rotations from `joint_transforms`.
        translations: World translations from `joint_transforms`.
    """
    frames, num_joints = rotations.shape[:2]
    affine = torch.cat([rotations, translations[..., None]], dim=-1).reshape(frames, num_joints, 12)
    # Entry by entry over all vertices: three times faster than small matrix products per vertex.
    entries = torch.matmul(affine.mT, weights.T).unbind(dim=1)
    x, y, z = rest.unbind(dim=-1)
    rows = [entries[k] * x + entries[k + 1] * y + entries[k + 2] * z + entries[k + 3] for k in (0, 4, 8)]
    return torch.stack(rows, dim=-1)
