"""Adapter to nvdiffrast (CUDA), which the user installs: it is not on PyPI, and its licence is non-commercial.

Written from its public documentation (https://nvlabs.github.io/nvdiffrast). It draws both sides of a face; to cull back
faces, faces are drawn from a copy of their corners in which those of back faces lie outside the frustum.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.errors import AssetError
from raytrack.geometry import mesh
from raytrack.render import coverage, shading, silhouette
from raytrack.render.protocol import Fragments, SilhouetteEdges, Topology
from raytrack.render.texture import MIN_SIZE, check_texture

OUTSIDE = (2.0, 2.0, 2.0, 1.0)
"""A clip-space position outside the frustum."""


@dataclass(frozen=True, kw_only=True)
class RasterOutput:
    """What nvdiffrast's operations hand to each other."""

    clip: Float[Tensor, "frames vertices 4"]
    """Detached."""
    raster: Float[Tensor, "frames height width 4"]
    """Two barycentric weights, depth, one-based face."""
    raster_slopes: Float[Tensor, "frames height width 4"]
    """Image-space derivatives of the weights."""


class NvdiffrastRenderer:
    """`raytrack.render.protocol.Renderer` on CUDA tensors of float32.

    With `walk`, antialiasing and its gradient are those of the other back ends, which find silhouettes several faces
    away (slower). Without, they are nvdiffrast's, which only look at the two pixels' own faces.
    """

    name = "nvdiffrast"

    def __init__(self, topology: Topology, device: torch.device | str = "cuda", *, walk: bool = False) -> None:
        """Prepare a topology on a CUDA device.

        Raises:
            AssetError: nvdiffrast is not installed.
        """
        self.topology = topology
        self.device = torch.device(device)
        self.walk = walk
        self._dr = import_nvdiffrast()
        self._context = self._dr.RasterizeCudaContext(device=self.device)
        self.faces = self._tensor(topology.faces, np.int32)
        self.uv_faces = self._tensor(topology.uv_faces, np.int32)
        self.uv = self._tensor(topology.uv, np.float32)
        self.neighbours = self._tensor(mesh.face_neighbours(topology.faces), np.int64)
        self._separate_faces = torch.arange(self.faces.numel(), dtype=torch.int32, device=self.device).view(-1, 3)

    def _tensor(self, array: np.ndarray, dtype: type) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array, dtype), device=self.device)

    def rasterize(
        self, clip: Float[Tensor, "frames vertices 4"], size_hw: tuple[int, int], *, cull_backfaces: bool = True
    ) -> Fragments:
        """See `Renderer.rasterize`."""
        if clip.dtype != torch.float32 or clip.device.type != self.device.type:
            raise TypeError(f"clip: expected float32 on {self.device}, got {clip.dtype} on {clip.device}")
        positions, faces = clip.contiguous(), self.faces
        if cull_backfaces:
            with torch.no_grad():
                screen = coverage.screen_positions(clip, size_hw)
                hidden = coverage.face_orientation(clip, screen, self.faces.long()) >= 0
            corners = torch.where(hidden[..., None, None], clip.new_tensor(OUTSIDE), clip[:, self.faces.long()])
            positions, faces = corners.flatten(1, 2).contiguous(), self._separate_faces
        raster, slopes = self._dr.rasterize(self._context, positions, faces, resolution=list(size_hw))
        handle = RasterOutput(clip=clip.detach(), raster=raster, raster_slopes=slopes)
        face_index = raster[..., 3].detach().int() - 1
        return Fragments(face_index=face_index, barycentric=raster[..., :2], handle=handle)

    def interpolate(
        self, attributes: Float[Tensor, "#frames vertices channels"], fragments: Fragments
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.interpolate`."""
        return self._dr.interpolate(attributes.contiguous(), _raster(fragments), self.faces)[0]

    def interpolate_uv(self, fragments: Fragments) -> Float[Tensor, "frames height width 2"]:
        """See `Renderer.interpolate_uv`."""
        return self._dr.interpolate(self.uv[None], _raster(fragments), self.uv_faces)[0]

    def sample_texture(
        self,
        texture: Float[Tensor, "size size channels"],
        uv: Float[Tensor, "frames height width 2"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.sample_texture`. The mip level is nvdiffrast's own."""
        check_texture(texture)
        with torch.no_grad():
            _, uv_slopes = self._dr.interpolate(
                self.uv[None],
                fragments.handle.raster,
                self.uv_faces,
                rast_db=fragments.handle.raster_slopes,
                diff_attrs="all",
            )
        values = self._dr.texture(
            texture[None].contiguous(),
            uv.contiguous(),
            uv_da=uv_slopes,
            filter_mode="linear-mipmap-linear",
            boundary_mode="clamp",
            max_mip_level=(len(texture) // MIN_SIZE).bit_length() - 1,
        )
        return torch.where(fragments.coverage[..., None], values, 0)

    def antialias(
        self,
        image: Float[Tensor, "frames height width channels"],
        clip: Float[Tensor, "frames vertices 4"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.antialias`, and `walk`."""
        if self.walk:
            return silhouette.blend(image, clip, self.silhouette_edges(clip, fragments))
        return self._dr.antialias(image.contiguous(), _raster(fragments).detach(), clip.contiguous(), self.faces)

    def silhouette_edges(self, clip: Float[Tensor, "frames vertices 4"], fragments: Fragments) -> SilhouetteEdges:
        """See `Renderer.silhouette_edges`: those of the torch reference."""
        output: RasterOutput = fragments.handle
        faces = self.faces.long()
        size_hw = (fragments.face_index.shape[1], fragments.face_index.shape[2])
        screen = coverage.screen_positions(output.clip, size_hw)
        return silhouette.find_silhouette_edges(
            output.clip,
            clip,
            faces=faces,
            neighbours=self.neighbours,
            orientation=coverage.face_orientation(output.clip, screen, faces),
            face_index=fragments.face_index,
            depth=torch.where(fragments.coverage, output.raster[..., 2].detach(), torch.inf),
        )

    def vertex_normals(self, vertices: Float[Tensor, "frames vertices 3"]) -> Float[Tensor, "frames vertices 3"]:
        """See `Renderer.vertex_normals`."""
        return mesh.vertex_normals(vertices, self.faces.long())

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


def import_nvdiffrast() -> Any:
    """The module `nvdiffrast.torch`.

    Raises:
        AssetError: It is not installed; the message says how to.
    """
    try:
        import nvdiffrast.torch as dr  # noqa: PLC0415  (optional)  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AssetError(
            "the nvdiffrast renderer needs nvdiffrast, a CUDA device and the CUDA toolkit; nvdiffrast's licence is "
            "non-commercial and it is not on PyPI. Build it with: pip install ninja && pip install "
            "--no-build-isolation git+https://github.com/NVlabs/nvdiffrast.git — or use the renderer 'numba' "
            f"({error})"
        ) from error
    return dr


def _raster(fragments: Fragments) -> Tensor:
    """Nvdiffrast's form of the fragments, with the gradient of their barycentric weights."""
    return torch.cat([fragments.barycentric, fragments.handle.raster[..., 2:].detach()], dim=-1).contiguous()
