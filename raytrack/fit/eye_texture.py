"""Eyes as they are while a head is tracked: the same colour all around the optical axis.

An eyeball may turn against the colours painted on it: a picture tells only where the iris is, not whether the eyeball
has turned there or whether the iris was painted elsewhere on a straight one. An iris is round and sits on the axis; a
texture that keeps to that makes the gaze what the pictures say. Shadows of lids and lights' reflections, which the mean
over a ring leaves out, are painted when the track is finished.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.head.model import HeadModel

_EYES = (("left_eyeball", 3), ("right_eyeball", 4))
"""Region, joint."""
_RING_RAD = np.radians(2.0)
_IRIS_RAD, _SCLERA_RAD = np.radians(30.0), np.radians(45.0)
"""Up to the first angle colours are those of the ring; from the second on, they are free."""


@dataclass(frozen=True, kw_only=True)
class EyeRings:
    """Texels of both eyeballs, each between two rings about its eye's optical axis (+z at rest)."""

    texels: Int[Tensor, " texels"]
    """Index into the flattened map."""
    inner_ring: Int[Tensor, " texels"]
    """The next ring further out is one more."""
    outer_share: Float[Tensor, "texels 1"]
    """How near it is to that, 0 to 1."""
    symmetry: Float[Tensor, "texels 1"]
    """How far it goes to its rings in one step: all the way on the iris, less and less where lids begin to cast their
    shadows on the white, 0 beyond."""
    mean_share: Float[Tensor, "rings texels"]
    """What it is of the mean of each ring. A product with it adds in the same order everywhere."""
    size: int
    """Texels along a side."""

    @classmethod
    def create(cls, head: HeadModel, size: int) -> "EyeRings":
        """Of a resting head's mean identity.

        Args:
            head: On the CPU.
            size: Texels along a side.
        """
        texels, places = [], []
        for region, joint in _EYES:
            own, points = _surface_of_texels(head, head.face_region(region).numpy(), size)
            offset = points - head.joints[joint].double().numpy()
            angle = np.arctan2(np.linalg.norm(offset[:, :2], axis=1), offset[:, 2])
            texels.append(own)
            places.append(angle / _RING_RAD)
        rings_per_eye = int(np.pi / _RING_RAD) + 2
        place = np.concatenate([eye * rings_per_eye + own for eye, own in enumerate(places)])
        angle = np.concatenate(places) * _RING_RAD
        inner, outer_share = place.astype(np.int64), (place % 1).astype(np.float32)
        mean_share = np.zeros((len(_EYES) * rings_per_eye + 1, len(place)), np.float32)
        mean_share[inner, np.arange(len(place))] = 1 - outer_share
        mean_share[inner + 1, np.arange(len(place))] += outer_share
        mean_share /= np.maximum(mean_share.sum(axis=1, keepdims=True), 1e-6)
        symmetry = np.clip((_SCLERA_RAD - angle) / (_SCLERA_RAD - _IRIS_RAD), 0, 1)
        return cls(
            texels=torch.from_numpy(np.concatenate(texels)),
            inner_ring=torch.from_numpy(inner),
            outer_share=torch.from_numpy(outer_share)[:, None],
            symmetry=torch.from_numpy(symmetry.astype(np.float32))[:, None],
            mean_share=torch.from_numpy(mean_share),
            size=size,
        )

    def to(self, device: torch.device) -> "EyeRings":
        """The same on another device."""
        return EyeRings(
            texels=self.texels.to(device),
            inner_ring=self.inner_ring.to(device),
            outer_share=self.outer_share.to(device),
            symmetry=self.symmetry.to(device),
            mean_share=self.mean_share.to(device),
            size=self.size,
        )

    def symmetric(self, texture: Float[Tensor, "size size 3"]) -> Float[Tensor, "size size 3"]:
        """The texture with every ring of an iris in its mean colour; texels beside the eyeballs as they are.

        Raises:
            ValueError: The texture is of another size.
        """
        if len(texture) != self.size:
            raise ValueError(f"rings of a map with {self.size} texels along a side, got {len(texture)}")
        flat = texture.flatten(0, 1)
        own, inner = flat[self.texels], self.inner_ring
        mean = self.mean_share @ own
        smooth = (1 - self.outer_share) * mean[inner] + self.outer_share * mean[inner + 1]
        return flat.index_copy(0, self.texels, own + self.symmetry * (smooth - own)).view_as(texture)


def _surface_of_texels(
    head: HeadModel, faces: np.ndarray, size: int
) -> tuple[Int[np.ndarray, " texels"], Float[np.ndarray, "texels 3"]]:
    """Texels whose centre lies on some faces, and where on the resting head that is."""
    texels, points = [], []
    template = head.template.double().numpy()
    corners_uv = head.uv.double().numpy()[head.uv_faces.numpy()[faces]] * size - 0.5
    for uv, corners in zip(corners_uv, template[head.faces.numpy()[faces]], strict=True):
        first = np.maximum(np.ceil(uv.min(axis=0)), 0).astype(int)
        last = np.minimum(np.floor(uv.max(axis=0)), size - 1).astype(int)
        column, row = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
        place = np.column_stack([column.ravel(), row.ravel(), np.ones(column.size)])
        matrix = np.column_stack([uv, np.ones(3)])
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        barycentric = place @ np.linalg.inv(matrix)
        inside = (barycentric >= -1e-6).all(axis=1)
        texels.append((row.ravel() * size + column.ravel())[inside])
        points.append(barycentric[inside] @ corners)
    if not texels:
        return np.zeros(0, np.int64), np.zeros((0, 3))
    unique, index = np.unique(np.concatenate(texels), return_index=True)
    return unique, np.concatenate(points)[index]
