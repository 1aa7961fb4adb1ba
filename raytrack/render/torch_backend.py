"""The reference back end: the protocol in plain torch, gradients by autograd, on any device.

Written to be clear and right, not fast.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.geometry import mesh
from raytrack.render import coverage, shading, silhouette
from raytrack.render.protocol import Fragments, SilhouetteEdges, Topology
from raytrack.render.texture import mip_levels, sample_trilinear, texel_footprint


@dataclass(frozen=True, kw_only=True)
class Visible:
    """What the reference keeps of a rasterization."""

    clip: Float[Tensor, "frames vertices 4"]
    """Detached."""
    depth: Float[Tensor, "frames height width"]
    orientation: Int[Tensor, "frames faces"]


class TorchRenderer:
    """`raytrack.render.protocol.Renderer` on tensors of `device`, float32 or float64."""

    name = "torch"

    def __init__(self, topology: Topology, device: torch.device | str = "cpu") -> None:
        """Prepare a topology on a device."""
        self.topology = topology
        self.device = torch.device(device)
        self.faces = self._indices(topology.faces)
        self.uv_faces = self._indices(topology.uv_faces)
        self.neighbours = self._indices(mesh.face_neighbours(topology.faces))
        self.uv = torch.as_tensor(np.asarray(topology.uv), device=self.device)

    def _indices(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array.astype(np.int64), device=self.device)

    def rasterize(
        self, clip: Float[Tensor, "frames vertices 4"], size_hw: tuple[int, int], *, cull_backfaces: bool = True
    ) -> Fragments:
        """See `Renderer.rasterize`. A face with a corner at or behind the camera plane is not drawn."""
        with torch.no_grad():
            screen = coverage.screen_positions(clip, size_hw)
            orientation = coverage.face_orientation(clip, screen, self.faces)
            drawn = orientation < 0 if cull_backfaces else orientation != 0
            face_index, depth = coverage.nearest_faces(screen, self.faces, drawn, size_hw)
        corners = coverage.corners_at_pixels(clip, self.faces, face_index)
        weights = coverage.perspective_weights(corners, coverage.pixel_centres(size_hw, clip))
        handle = Visible(clip=clip.detach(), depth=depth, orientation=orientation)
        barycentric = torch.where(face_index[..., None] >= 0, _bounded(weights), 0)
        return Fragments(face_index=face_index.int(), barycentric=barycentric, handle=handle)

    def interpolate(
        self, attributes: Float[Tensor, "#frames vertices channels"], fragments: Fragments
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.interpolate`."""
        return self._interpolate(attributes, self.faces, fragments)

    def interpolate_uv(self, fragments: Fragments) -> Float[Tensor, "frames height width 2"]:
        """See `Renderer.interpolate_uv`."""
        return self._interpolate(self.uv[None].to(fragments.barycentric), self.uv_faces, fragments)

    def _interpolate(self, values: Tensor, corners: Int[Tensor, "faces 3"], fragments: Fragments) -> Tensor:
        values = values.expand(len(fragments.face_index), -1, -1)
        first, second = fragments.barycentric.unbind(dim=-1)
        weights = torch.stack([first, second, 1 - first - second], dim=-1)
        at_corners = coverage.corners_at_pixels(values, corners, fragments.face_index)
        weighted = (weights[..., None] * at_corners).sum(dim=-2)
        return torch.where(fragments.coverage[..., None], weighted, 0)

    def mip_level(self, fragments: Fragments, size: int) -> Float[Tensor, "frames height width"]:
        """Mip level of a texture of some size at each pixel, not yet limited to those there are."""
        visible: Visible = fragments.handle
        size_hw = (fragments.face_index.shape[1], fragments.face_index.shape[2])
        with torch.no_grad():
            corners = coverage.corners_at_pixels(visible.clip, self.faces, fragments.face_index)
            centres = coverage.pixel_centres(size_hw, visible.clip).repeat(len(corners), 1, 1, 1)
            corner_uv = self.uv.to(visible.clip)[self.uv_faces[fragments.face_index.clamp_min(0).long()]]
            return texel_footprint(corner_uv, coverage.weight_slopes(corners, centres, size_hw), size)

    def sample_texture(
        self,
        texture: Float[Tensor, "size size channels"],
        uv: Float[Tensor, "frames height width 2"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.sample_texture`."""
        level = self.mip_level(fragments, len(texture))
        values = sample_trilinear(mip_levels(texture), uv, level)
        return torch.where(fragments.coverage[..., None], values, 0)

    def antialias(
        self,
        image: Float[Tensor, "frames height width channels"],
        clip: Float[Tensor, "frames vertices 4"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.antialias`. Edges are found in the positions that `fragments` were made from."""
        return silhouette.blend(image, clip, self.silhouette_edges(clip, fragments))

    def silhouette_edges(self, clip: Float[Tensor, "frames vertices 4"], fragments: Fragments) -> SilhouetteEdges:
        """See `Renderer.silhouette_edges`. Rows follow frames, rows and columns of the left or upper pixel."""
        visible: Visible = fragments.handle
        return silhouette.find_silhouette_edges(
            visible.clip,
            clip,
            faces=self.faces,
            neighbours=self.neighbours,
            orientation=visible.orientation,
            face_index=fragments.face_index,
            depth=visible.depth,
        )

    def vertex_normals(self, vertices: Float[Tensor, "frames vertices 3"]) -> Float[Tensor, "frames vertices 3"]:
        """See `Renderer.vertex_normals`."""
        return mesh.vertex_normals(vertices, self.faces)

    def shade(
        self,
        clip: Float[Tensor, "frames vertices 4"],
        normals: Float[Tensor, "frames vertices 3"],
        texture: Float[Tensor, "size size 3"],
        light: Float[Tensor, "#frames 9 3"],
        background: Float[Tensor, "frames height width 3"],
        *,
        detach_uv_faces: Bool[Tensor, " faces"] | None = None,
    ) -> tuple[Float[Tensor, "frames height width 3"], Fragments]:
        """See `Renderer.shade`."""
        return shading.shade(self, clip, normals, texture, light, background, detach_uv_faces=detach_uv_faces)


def _bounded(weights: Float[Tensor, "*pixels 2"]) -> Float[Tensor, "*pixels 2"]:
    """Weights within the face: the pixel is inside, so that what lies beyond is rounding error. Keeps the gradient."""
    first = weights[..., 0].detach().clamp(0, 1)
    second = torch.minimum(weights[..., 1].detach().clamp_min(0), 1 - first)
    return weights + (torch.stack([first, second], dim=-1) - weights.detach())
