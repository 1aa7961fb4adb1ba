"""What a renderer must do: four stateless, differentiable operations, and an optional fused one.

Images have row 0 at the top. Vertices arrive in clip space (`raytrack.geometry.camera.Camera.clip`): x = −1 is the left
edge, y = −1 the top edge. Counter-clockwise faces in world space (y up) face the camera.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The constant part of a textured mesh, shared by every frame."""

    faces: Int[np.ndarray, "faces 3"]
    uv: Float[np.ndarray, "corners 2"]
    """Texture coordinates in [0, 1]; (0, 0) is the texture's top-left corner, v grows with its rows.

    The centre of the texel in row r of `size` is at v = (r + ½) / size.
    """
    uv_faces: Int[np.ndarray, "faces 3"]
    num_vertices: int


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """The nearest surface at each pixel."""

    face_index: Int[Tensor, "frames height width"]
    """Zero-based; −1 where no surface is hit. Not differentiable."""
    barycentric: Float[Tensor, "frames height width 2"]
    """Perspective-correct weights of the face's first two corners (the third is 1 − both); 0 where nothing is hit.
    Differentiable in the clip-space vertices."""
    handle: Any = field(default=None, repr=False)
    """What the back end keeps between its own operations."""

    @property
    def coverage(self) -> Bool[Tensor, "frames height width"]:
        """Pixels whose centre a surface covers."""
        return self.face_index >= 0


@dataclass(frozen=True, kw_only=True)
class SilhouetteEdges:
    """Mesh edges that bound what is seen, one row per pixel pair that such an edge separates."""

    frame: Int[Tensor, " items"]
    owner_px: Int[Tensor, "items 2"]
    """(column, row) of the pixel on the nearer surface, which the edge bounds."""
    other_px: Int[Tensor, "items 2"]
    """(column, row) of its horizontal or vertical neighbour on the far side."""
    vertices: Int[Tensor, "items 2"]
    """The edge's two vertices."""
    edge_weight: Float[Tensor, " items"]
    """Where the pixel-centre line crosses the edge, in image space: (1 − s) first vertex + s second vertex."""
    crossing: Float[Tensor, " items"]
    """Where the edge crosses the segment from owner to other, 0 at the owner's centre, 1 at the other's."""


@runtime_checkable
class Renderer(Protocol):
    """Draws one topology. Holds buffers and device state, nothing that changes a result."""

    name: str
    topology: Topology

    def rasterize(
        self, clip: Float[Tensor, "frames vertices 4"], size_hw: tuple[int, int], *, cull_backfaces: bool = True
    ) -> Fragments:
        """Find the nearest face at each pixel centre. Differentiable (barycentric) in `clip`."""
        ...

    def interpolate(
        self, attributes: Float[Tensor, "#frames vertices channels"], fragments: Fragments
    ) -> Float[Tensor, "frames height width channels"]:
        """Vertex attributes at each pixel; 0 where nothing is hit. Differentiable in both."""
        ...

    def interpolate_uv(self, fragments: Fragments) -> Float[Tensor, "frames height width 2"]:
        """Texture coordinates at each pixel; 0 where nothing is hit. Differentiable in the barycentrics."""
        ...

    def sample_texture(
        self,
        texture: Float[Tensor, "size size channels"],
        uv: Float[Tensor, "frames height width 2"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """Trilinear (mip-mapped) lookup; 0 where nothing is hit. Differentiable in texture and uv.

        The mip level follows the screen-space derivative of uv and carries no gradient. Texture size: a power of two.
        """
        ...

    def antialias(
        self,
        image: Float[Tensor, "frames height width channels"],
        clip: Float[Tensor, "frames vertices 4"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """Blend pixel pairs across silhouette edges by how far the edge reaches. Differentiable in image and `clip`.

        Its gradient to `clip` is the silhouette gradient: it moves a boundary towards the side that fits the image.
        """
        ...

    def silhouette_edges(self, clip: Float[Tensor, "frames vertices 4"], fragments: Fragments) -> SilhouetteEdges:
        """The edges that `antialias` blends across. Not differentiable; rows in a fixed order."""
        ...

    def vertex_normals(self, vertices: Float[Tensor, "frames vertices 3"]) -> Float[Tensor, "frames vertices 3"]:
        """Unit area-weighted normals. Differentiable in the vertices."""
        ...

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
        """Fused rasterize (back faces culled) + texture × spherical-harmonic light, over the background.

        Before antialiasing. Differentiable in clip, normals, texture and light; not in the background. The faces of
        `detach_uv_faces` pass no gradient through their texture coordinates.
        `raytrack.render.shading.shade` composes it from the operations above for back ends without a fused one.
        """
        ...
