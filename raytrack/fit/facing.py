"""How squarely pixels see the surface: a grazing look says little about a texel that another picture sees well."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.geometry.camera import Camera

_POWER = 6
"""High, for few pictures may see squarely what many see edge-on."""
_LEAST_COSINE = 0.05
LEAST_TRUST = 0.003


@torch.no_grad()
def facing_cosines(
    vertices: Float[Tensor, "batch vertices 3"], faces: Int[Tensor, "faces 3"], camera: Camera
) -> Float[Tensor, "batch faces"]:
    """Cosine of the angle between each face's normal and the line of sight; 0 for those that face away.

    Args:
        vertices: World, metres.
        faces: Of the head, counter-clockwise from outside.
        camera: One, or one for each of the batch.
    """
    corners = camera.cam_points(vertices)[:, faces]
    normal = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    centre = corners.mean(dim=2)
    cosine = -(normal * centre).sum(dim=-1) / (normal.norm(dim=-1) * centre.norm(dim=-1)).clamp_min(1e-12)
    return cosine.clamp_min(0)


@torch.no_grad()
def texel_trust(
    cosine: Float[Tensor, "batch faces"],
    best: Float[Tensor, " faces"],
    face_index: Int[Tensor, "batch height width"],
) -> Float[Tensor, "batch height width"]:
    """Trust in each pixel's colour as a sample of the texture, against the most square look that any picture has.

    At a silhouette the background shines through, and what the geometry is off by moves the texture furthest. Where
    another frame sees the same place squarely, that one is to be believed; where none does, this is all there is.

    Args:
        cosine: See `facing_cosines`.
        best: The largest of any picture, for each face.
        face_index: Face at each pixel; anything where there is none.
    """
    share = (cosine.clamp_min(_LEAST_COSINE) / best.clamp_min(_LEAST_COSINE)).clamp_max(1)
    trust = LEAST_TRUST + (1 - LEAST_TRUST) * share**_POWER
    seen = face_index.clamp_min(0).long()
    return trust.gather(1, seen.flatten(1)).view(seen.shape)
