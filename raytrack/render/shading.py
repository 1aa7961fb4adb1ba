"""Shading composed from the operations of a renderer, and the gate on texture coordinates."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.geometry.harmonics import harmonics_basis
from raytrack.render.protocol import Fragments, Renderer


def detach_uv(
    uv: Float[Tensor, "frames height width 2"],
    face_index: Int[Tensor, "frames height width"],
    faces: Bool[Tensor, " faces"],
) -> Float[Tensor, "frames height width 2"]:
    """Texture coordinates without gradient on the marked faces."""
    gated = faces[face_index.clamp_min(0).long()]
    return torch.where(gated[..., None], uv.detach(), uv)


def detach_vertices(
    clip: Float[Tensor, "frames vertices 4"], vertices: Bool[Tensor, " vertices"]
) -> Float[Tensor, "frames vertices 4"]:
    """Positions without gradient at the marked vertices: what to give to `antialias` to keep a boundary where it is."""
    return torch.where(vertices[:, None], clip.detach(), clip)


def diffuse(
    normals: Float[Tensor, "frames height width 3"], light: Float[Tensor, "#frames 9 3"]
) -> Float[Tensor, "frames height width 3"]:
    """Light on a Lambertian surface; `normals` need not be of unit length. Differentiable in both."""
    unit = torch.nn.functional.normalize(normals, dim=-1, eps=1e-10)
    return harmonics_basis(unit) @ light[:, None]


def shade(
    renderer: Renderer,
    clip: Float[Tensor, "frames vertices 4"],
    normals: Float[Tensor, "frames vertices 3"],
    texture: Float[Tensor, "size size 3"],
    light: Float[Tensor, "#frames 9 3"],
    background: Float[Tensor, "frames height width 3"],
    *,
    detach_uv_faces: Bool[Tensor, " faces"] | None = None,
) -> tuple[Float[Tensor, "frames height width 3"], Fragments]:
    """`Renderer.shade` by way of the renderer's other operations."""
    fragments = renderer.rasterize(clip, (background.shape[1], background.shape[2]))
    uv = renderer.interpolate_uv(fragments)
    if detach_uv_faces is not None:
        uv = detach_uv(uv, fragments.face_index, detach_uv_faces)
    albedo = renderer.sample_texture(texture, uv, fragments)
    shaded = albedo * diffuse(renderer.interpolate(normals, fragments), light)
    return torch.where(fragments.coverage[..., None], shaded, background.detach()), fragments
