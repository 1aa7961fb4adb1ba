"""The head's per-frame parameters, declared once.

Optimisers, checkpoints, tables and exports read this declaration: the names, widths and order of the blocks of one
packed row (D = 18 + number of expressions).
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
POSE_BLOCKS = (("rotation", 3), ("translation", 3), ("neck_pose", 3), ("jaw_pose", 3), ("eyes_pose", 6))
"""Name and width of the packed row's blocks before the expression."""
NUM_POSE = sum(width for _, width in POSE_BLOCKS)
BLOCK_NAMES = (*(name for name, _ in POSE_BLOCKS), "expression")


def block_slices(num_expressions: int) -> dict[str, slice]:
    """Columns of each block in a packed row, in order."""
    slices, start = {}, 0
    for name, width in (*POSE_BLOCKS, ("expression", num_expressions)):
        slices[name] = slice(start, start + width)
        start += width
    return slices


@dataclass(frozen=True, kw_only=True)
class FrameParameters:
    """Pose and expression of each frame. Rotations are axis-angle vectors in radians."""

    rotation: Float[Tensor, "frames 3"]
    """Of the whole head, about joint 0, in world axes."""
    translation: Float[Tensor, "frames 3"]
    """Metres, added last."""
    neck_pose: Float[Tensor, "frames 3"]
    jaw_pose: Float[Tensor, "frames 3"]
    """Positive x opens the mouth."""
    eyes_pose: Float[Tensor, "frames 6"]
    """The subject's left eye, then the right eye; positive x looks down, positive y looks to the subject's left."""
    expression: Float[Tensor, "frames expressions"]

    @classmethod
    def zeros(cls, num_frames: int, num_expressions: int, dtype: torch.dtype = torch.float32) -> "FrameParameters":
        """The resting head at the world's origin, `num_frames` times."""
        return cls.unpack(torch.zeros(num_frames, NUM_POSE + num_expressions, dtype=dtype))

    @classmethod
    def unpack(cls, packed: Float[Tensor, "frames columns"]) -> "FrameParameters":
        """Split packed rows into views of their blocks.

        Raises:
            ValueError: The rows are narrower than the pose.
        """
        num_expressions = packed.shape[-1] - NUM_POSE
        if num_expressions < 0:
            raise ValueError(f"packed rows have at least {NUM_POSE} columns, got {packed.shape[-1]}")
        return cls(**{name: packed[:, columns] for name, columns in block_slices(num_expressions).items()})

    def pack(self) -> Float[Tensor, "frames columns"]:
        """One row per frame: rotation, translation, neck, jaw, eyes, expression."""
        return torch.cat([getattr(self, name) for name in BLOCK_NAMES], dim=-1)

    @property
    def num_frames(self) -> int:
        """Number of rows."""
        return self.rotation.shape[0]

    def joint_rotations(self) -> Float[Tensor, "frames 5 3"]:
        """Axis-angle vectors in the order of `JOINT_NAMES`."""
        eyes = self.eyes_pose.reshape(-1, 2, 3)
        return torch.cat([torch.stack([self.rotation, self.neck_pose, self.jaw_pose], dim=1), eyes], dim=1)

    def head_rotation(self) -> Float[Tensor, "frames 3 3"]:
        """World from head above the neck: the neck's turn, then the whole head's."""
        return matrix_from_axis_angle(self.rotation) @ matrix_from_axis_angle(self.neck_pose)

    def select(self, frames: Tensor | slice | list[int]) -> "FrameParameters":
        """The rows of some frames."""
        return FrameParameters(**{field.name: getattr(self, field.name)[frames] for field in fields(self)})
