"""The CPU back end: numba kernels on a few threads, gradients by hand."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.geometry.mesh import face_neighbours
from raytrack.render import numba_draw, numba_mesh_ops, numba_texture_ops
from raytrack.render.kernels_antialias import edge_positions
from raytrack.render.numba_draw import Draw, MeshArrays, as_array
from raytrack.render.protocol import Fragments, SilhouetteEdges, Topology
from raytrack.render.texture import check_texture
from raytrack.render.workers import Workers


class NumbaRenderer:
    """`raytrack.render.protocol.Renderer` on CPU tensors of float32 or float64.

    Results do not depend on `num_threads`, to the last bit. One renderer must not be used from several threads at a
    time; several renderers may. Tensors in the returned `Fragments` share memory with what the backward pass needs: do
    not change them in place.
    """

    name = "numba"

    def __init__(self, topology: Topology, num_threads: int | None = None) -> None:
        """Prepare a topology.

        Args:
            topology: What to draw.
            num_threads: Threads to use; torch's number if not given.
        """
        self.topology = topology
        self.workers = Workers(torch.get_num_threads() if num_threads is None else num_threads)
        self._neighbours = face_neighbours(topology.faces).astype(np.int32)
        self._meshes: dict[np.dtype, MeshArrays] = {}
        self._nothing_detached = np.zeros(len(topology.faces), np.bool_)

    def _mesh(self, dtype: np.dtype) -> MeshArrays:
        if dtype not in self._meshes:
            uv, uv_faces = np.ascontiguousarray(self.topology.uv, dtype), np.asarray(self.topology.uv_faces)
            first, second, third = (uv[uv_faces[:, corner]] for corner in range(3))
            self._meshes[dtype] = MeshArrays(
                faces=np.ascontiguousarray(self.topology.faces, np.int32),
                neighbours=self._neighbours,
                uv=uv,
                uv_faces=np.ascontiguousarray(uv_faces, np.int32),
                face_uv=np.concatenate([third, first - third, second - third], axis=1).reshape(-1),
            )
        return self._meshes[dtype]

    def _draw(self, clip: Tensor, size_hw: tuple[int, int], *, cull_backfaces: bool) -> Draw:
        _check_floating(clip=clip)
        if clip.ndim != 3 or clip.shape[1:] != (self.topology.num_vertices, 4):
            raise ValueError(f"clip: expected (frames, {self.topology.num_vertices}, 4), got {tuple(clip.shape)}")
        array = as_array(clip)
        return numba_draw.draw(self._mesh(array.dtype), self.workers, array, size_hw, cull_backfaces=cull_backfaces)

    def rasterize(
        self, clip: Float[Tensor, "frames vertices 4"], size_hw: tuple[int, int], *, cull_backfaces: bool = True
    ) -> Fragments:
        """See `Renderer.rasterize`. A face with a corner at or behind the camera plane is not drawn."""
        drawn = self._draw(clip, size_hw, cull_backfaces=cull_backfaces)
        barycentric = numba_mesh_ops.Rasterize.apply(clip, drawn)
        return Fragments(face_index=torch.from_numpy(drawn.face_index), barycentric=barycentric, handle=drawn)

    def interpolate(
        self, attributes: Float[Tensor, "#frames vertices channels"], fragments: Fragments
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.interpolate`."""
        drawn = _drawn(fragments)
        _check_floating(barycentric=fragments.barycentric, attributes=attributes)
        if attributes.shape[0] not in {1, len(drawn.clip)} or attributes.shape[1] != self.topology.num_vertices:
            raise ValueError(
                f"attributes: expected (1 or {len(drawn.clip)}, {self.topology.num_vertices}, channels), "
                f"got {tuple(attributes.shape)}"
            )
        return numba_mesh_ops.Interpolate.apply(attributes, fragments.barycentric, drawn, drawn.mesh.faces)

    def interpolate_uv(self, fragments: Fragments) -> Float[Tensor, "frames height width 2"]:
        """See `Renderer.interpolate_uv`."""
        drawn = _drawn(fragments)
        uv = torch.from_numpy(drawn.mesh.uv)[None]
        return numba_mesh_ops.Interpolate.apply(uv, fragments.barycentric, drawn, drawn.mesh.uv_faces)

    def sample_texture(
        self,
        texture: Float[Tensor, "size size channels"],
        uv: Float[Tensor, "frames height width 2"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.sample_texture`."""
        _check_floating(barycentric=fragments.barycentric, texture=texture, uv=uv)
        check_texture(texture)
        return numba_texture_ops.SampleTexture.apply(texture, uv, _drawn(fragments))

    def antialias(
        self,
        image: Float[Tensor, "frames height width channels"],
        clip: Float[Tensor, "frames vertices 4"],
        fragments: Fragments,
    ) -> Float[Tensor, "frames height width channels"]:
        """See `Renderer.antialias`. Edges are found in the positions that `fragments` were made from."""
        drawn = _drawn(fragments)
        _check_floating(image=image, clip=clip)
        if image.shape[:3] != drawn.face_index.shape or clip.shape != drawn.clip.shape:
            raise ValueError(
                f"image, clip: expected {drawn.face_index.shape} and {drawn.clip.shape}, as in the fragments, "
                f"got {tuple(image.shape[:3])} and {tuple(clip.shape)}"
            )
        return numba_mesh_ops.Antialias.apply(image, clip, drawn)

    def silhouette_edges(self, clip: Float[Tensor, "frames vertices 4"], fragments: Fragments) -> SilhouetteEdges:
        """See `Renderer.silhouette_edges`. Rows follow frames, bands of rows, then pixels."""
        drawn = _drawn(fragments)
        edges = drawn.edges()
        height, width = drawn.size_hw
        fraction, reach = np.empty((2, len(edges)), drawn.clip.dtype)
        edge_positions(as_array(clip), edges, height, width, fraction, reach)
        rows = torch.from_numpy(edges).long()
        return SilhouetteEdges(
            frame=rows[:, 0] // (height * width),
            owner_px=torch.stack([rows[:, 0] % width, rows[:, 0] // width % height], dim=-1),
            other_px=torch.stack([rows[:, 1] % width, rows[:, 1] // width % height], dim=-1),
            vertices=rows[:, 2:],
            edge_weight=torch.from_numpy(fraction),
            crossing=torch.from_numpy(reach),
        )

    def vertex_normals(self, vertices: Float[Tensor, "frames vertices 3"]) -> Float[Tensor, "frames vertices 3"]:
        """See `Renderer.vertex_normals`."""
        _check_floating(vertices=vertices)
        return numba_mesh_ops.VertexNormals.apply(vertices, self._mesh(as_array(vertices).dtype), self.workers)

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
        _check_floating(clip=clip, normals=normals, texture=texture, light=light, background=background)
        check_texture(texture)
        frames = len(clip)
        expected = {
            "normals": (frames, clip.shape[1], 3),
            "light": (len(light), 9, 3),
            "texture": (*texture.shape[:2], 3),
        }
        given = {"normals": normals.shape, "light": light.shape, "texture": texture.shape}
        for name, shape in expected.items():
            if tuple(given[name]) != tuple(shape):
                raise ValueError(f"{name}: expected {tuple(shape)}, got {tuple(given[name])}")
        if len(light) not in {1, frames} or background.ndim != 4 or background.shape[::3] != (frames, 3):
            raise ValueError(
                f"light, background: expected (1 or {frames}, 9, 3) and ({frames}, height, width, 3), "
                f"got {tuple(light.shape)} and {tuple(background.shape)}"
            )
        drawn = self._draw(clip, (background.shape[1], background.shape[2]), cull_backfaces=True)
        detached = self._nothing_detached if detach_uv_faces is None else as_array(detach_uv_faces)
        image, barycentric = numba_texture_ops.Shade.apply(clip, normals, texture, light, background, drawn, detached)
        return image, Fragments(face_index=torch.from_numpy(drawn.face_index), barycentric=barycentric, handle=drawn)


def _drawn(fragments: Fragments) -> Draw:
    if not isinstance(fragments.handle, Draw):
        raise TypeError("fragments: expected those of a NumbaRenderer")
    return fragments.handle


def _check_floating(**tensors: Tensor) -> None:
    """Raise TypeError unless all are CPU tensors of one dtype, float32 or float64."""
    dtype = next(iter(tensors.values())).dtype
    for name, tensor in tensors.items():
        if tensor.device.type != "cpu" or tensor.dtype != dtype or dtype not in {torch.float32, torch.float64}:
            raise TypeError(
                f"{name}: the numba renderer takes CPU tensors, all float32 or all float64; "
                f"got {tensor.dtype} on {tensor.device} (the first argument: {dtype})"
            )
