"""Which landmarks a camera can see: those on the far side of the head are guesses of the detector."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

_HIDDEN_COS, _PLAIN_COS = -0.1, 0.3
"""Cosine of the angle between a landmark's direction and that to the camera: not trusted up to the first, fully from
the second on."""


@dataclass(frozen=True, kw_only=True)
class LandmarkVisibility:
    """Directions that the landmarks of a head face, on a face without relief.

    Lids and lips have normals of their own that say little about whether they are seen; the direction from a point
    inside the head, as deep as the rearmost landmark, says more.
    """

    points: Float[Tensor, "landmarks 3"]
    """Rest positions."""
    directions: Float[Tensor, "landmarks 3"]
    root: Float[Tensor, "3"]
    """Rest position of the joint that rotation is about."""

    @classmethod
    def create(cls, head: HeadModel, embedding: str) -> "LandmarkVisibility":
        """Of a head's own identity."""
        points = head.landmarks_world(head.template, embedding)
        inside = points.mean(dim=0)
        inside[2] = points[:, 2].min()
        directions = torch.nn.functional.normalize(points - inside, dim=-1)
        return cls(points=points, directions=directions, root=head.joints[0])

    def weights(
        self, rows: Float[Tensor, "frames columns"], camera: Camera, hidden: float = 0.0
    ) -> Float[Tensor, "frames landmarks"]:
        """Trust from 0 to 1 in each landmark of posed heads.

        Args:
            rows: Packed parameters; the pose of root and neck counts.
            camera: One camera.
            hidden: Trust that is left in points on the far side.
        """
        parameters = FrameParameters.unpack(rows)
        turned = parameters.head_rotation()
        points = (self.points - self.root) @ turned.mT + self.root + parameters.translation[:, None]
        to_camera = torch.nn.functional.normalize(camera.position - points, dim=-1)
        cosine = ((self.directions @ turned.mT) * to_camera).sum(dim=-1)
        return ((cosine - _HIDDEN_COS) / (_PLAIN_COS - _HIDDEN_COS)).clamp(hidden, 1)
