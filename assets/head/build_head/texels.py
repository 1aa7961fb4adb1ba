"""The mean head's geometry per texel of the atlas."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from .head_map import HeadMap, vertex_normals
from .makehuman import MakeHumanData
from .regions import Surface
from .uv import Atlas, texel_faces


@dataclass(frozen=True, kw_only=True)
class Texels:
    """Geometry of the mean head in the atlas, one row per covered texel."""

    where: tuple[np.ndarray, np.ndarray]
    face: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    part: np.ndarray
    bary: np.ndarray
    corners: np.ndarray  # vertex indices (n, 3)

    def of(self, per_vertex: np.ndarray) -> np.ndarray:
        """Interpolate a vertex quantity."""
        return np.einsum("nk,nk...->n...", self.bary, per_vertex[self.corners])


def subset(texels: Texels, chosen: np.ndarray) -> Texels:
    """Only some texels."""
    return Texels(
        where=(texels.where[0][chosen], texels.where[1][chosen]),
        face=texels.face[chosen],
        position=texels.position[chosen],
        normal=texels.normal[chosen],
        part=texels.part[chosen],
        bary=texels.bary[chosen],
        corners=texels.corners[chosen],
    )


def make_texels(surface: Surface, atlas: Atlas, size: int) -> Texels:
    """Rasterise the atlas."""
    _, index, bary = texel_faces(atlas, size)
    where = np.nonzero(index >= 0)
    face, bary = index[where], bary[where]
    corners = surface.faces[face]
    normals = vertex_normals(surface.vertices, surface.faces)

    def mix(v):
        return np.einsum("nk,nkc->nc", bary, v[corners])

    return Texels(
        where=where,
        face=face,
        position=mix(surface.vertices),
        normal=mix(normals),
        part=surface.part[face],
        bary=bary,
        corners=corners,
    )


@dataclass(frozen=True, kw_only=True)
class LipMask:
    """MPFB2's lip picture (CC0), read through MakeHuman's own uv: finer than vertex masks."""

    picture: np.ndarray  # (h, w) 0…1
    uv: np.ndarray
    uv_faces: np.ndarray

    def of(self, texels: Texels) -> np.ndarray:
        """Vermilion share 0…1 per texel, softened; eyes, teeth and tongue get 0."""
        height, width = self.picture.shape
        is_skin = texels.part == "head_skin"
        uv = np.einsum("nk,nkc->nc", texels.bary[is_skin], self.uv[self.uv_faces[texels.face[is_skin]]])
        value = np.zeros(len(texels.face))
        soft = cv2.GaussianBlur(self.picture, (0, 0), 3.0)
        value[is_skin] = ndimage.map_coordinates(soft, [(1 - uv[:, 1]) * height - 0.5, uv[:, 0] * width - 0.5], order=1)
        return value


def load_lip_mask(data: MakeHumanData, head: HeadMap) -> LipMask:
    """Read MPFB2's lip picture."""
    picture = cv2.imread(str(data.mpfb / "textures/mpfb_lips.jpg"), cv2.IMREAD_GRAYSCALE) / 255.0
    return LipMask(picture=picture, uv=head.crop.uv, uv_faces=head.crop.uv_faces)
