"""The focal length of a single camera and the head's distance from it say much the same: both are moved at once."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE, block_slices

_CAMERA_Z = 1.0
"""Where the camera of a single view stands (`raytrack.geometry.camera.monocular_camera`)."""


@dataclass(frozen=True, kw_only=True)
class FaceCentre:
    """The middle of the resting face."""

    joint: Float[Tensor, "3"]
    """The root joint, metres."""
    from_joint: Float[Tensor, "3"]
    """From there to the middle of the landmarks."""

    @classmethod
    def of(cls, head: HeadModel, embedding: str) -> "FaceCentre":
        """Of the head's own identity."""
        middle = head.landmarks_world(head.template, embedding).mean(dim=0)
        return cls(joint=head.joints[0], from_joint=middle - head.joints[0])

    def moved(
        self, rows: Float[Tensor, "frames columns"], log_ratio: Float[Tensor, " frames"]
    ) -> Float[Tensor, "frames columns"]:
        """Rows whose faces are farther away by the factor of the focal length.

        A face keeps its place and size in the picture; its perspective changes. Differentiable in `log_ratio`.

        Args:
            rows: Packed parameters.
            log_ratio: Of each frame's new focal length to the old one.
        """
        place = block_slices(rows.shape[1] - NUM_POSE)["translation"]
        # The camera looks along the world's −z axis; a depth that grows with the focal length keeps x and y in place.
        shift = torch.expm1(log_ratio)[:, None] * -self.depth_m(rows)[:, None]
        last = place.stop - 1
        return torch.cat([rows[:, :last], rows[:, last : place.stop] + shift, rows[:, place.stop :]], dim=1)

    def depth_m(self, rows: Float[Tensor, "frames columns"]) -> Float[Tensor, " frames"]:
        """How far in front of the camera faces are. Not differentiable.

        Args:
            rows: Packed parameters.
        """
        place = block_slices(rows.shape[1] - NUM_POSE)["translation"]
        joint, from_joint = self.joint.to(rows), self.from_joint.to(rows)
        turned = matrix_from_axis_angle(rows[:, :3]) @ from_joint
        return (_CAMERA_Z - (joint + turned + rows[:, place])[:, 2]).detach()
