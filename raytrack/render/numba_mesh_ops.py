"""Autograd functions of the numba back end on meshes and pixels."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raytrack.render import kernels_antialias, kernels_normals, kernels_raster
from raytrack.render.numba_draw import Draw, MeshArrays, as_array
from raytrack.render.workers import Workers


class Rasterize(torch.autograd.Function):
    """Barycentric weights of a draw, differentiable in the clip positions."""

    @staticmethod
    def forward(ctx: Any, clip: Tensor, drawn: Draw) -> Tensor:
        """Wrap the weights."""
        ctx.save_for_backward(clip)
        ctx.drawn = drawn
        return torch.from_numpy(drawn.barycentric)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Sum over the pixels of each chunk."""
        _ = ctx.saved_tensors  # raises if the positions were changed in place
        drawn: Draw = ctx.drawn
        parts = np.empty((drawn.num_chunks, *drawn.clip.shape[1:]), drawn.clip.dtype)
        grad_array = as_array(grad)

        def job(first: int, last: int) -> None:
            kernels_raster.barycentric_gradient(
                drawn.clip, drawn.mesh.faces, drawn.face_index, grad_array, drawn.bands, parts, first, last
            )

        drawn.workers.run(job, drawn.num_chunks)
        return drawn.sum_chunks(parts), None


class Interpolate(torch.autograd.Function):
    """Attributes at corners, carried to pixels."""

    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentric: Tensor, drawn: Draw, corners: np.ndarray) -> Tensor:
        """Weigh the three corners' attributes."""
        ctx.save_for_backward(attributes, barycentric)
        ctx.drawn, ctx.corners = drawn, corners
        source, weights = as_array(attributes), as_array(barycentric)
        values = np.empty((*drawn.face_index.shape, attributes.shape[-1]), source.dtype)

        def job(first: int, last: int) -> None:
            kernels_raster.interpolate_chunks(
                source, corners, drawn.face_index, weights, drawn.bands, values, first, last
            )

        drawn.workers.run(job, drawn.num_chunks)
        return torch.from_numpy(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        """Sum over the pixels of each chunk."""
        attributes, barycentric = ctx.saved_tensors
        drawn: Draw = ctx.drawn
        source, weights, grad_array = as_array(attributes), as_array(barycentric), as_array(grad)
        wanted = ctx.needs_input_grad[0]
        parts = np.empty((drawn.num_chunks, source.shape[1] if wanted else 0, source.shape[2]), source.dtype)
        grad_weights = np.empty_like(weights)

        def job(first: int, last: int) -> None:
            kernels_raster.interpolate_gradient(
                source,
                ctx.corners,
                drawn.face_index,
                weights,
                grad_array,
                drawn.bands,
                parts,
                grad_weights,
                first,
                last,
            )

        drawn.workers.run(job, drawn.num_chunks)
        per_frame = len(source) == len(drawn.clip)
        grad_attributes = drawn.sum_chunks(parts, per_frame=per_frame) if wanted else None
        return grad_attributes, torch.from_numpy(grad_weights), None, None


class Antialias(torch.autograd.Function):
    """Blend across silhouette edges."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, clip: Tensor, drawn: Draw) -> Tensor:
        """Blend a copy of the image."""
        ctx.save_for_backward(image, clip)
        ctx.drawn = drawn
        result = image.detach().clone(memory_format=torch.contiguous_format)
        channels, (height, width) = image.shape[-1], drawn.size_hw
        kernels_antialias.blend(
            as_array(image).reshape(-1, channels),
            as_array(clip),
            drawn.edges(),
            height,
            width,
            result.numpy().reshape(-1, channels),
        )
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Few items: one thread, in order."""
        image, clip = ctx.saved_tensors
        channels, (height, width) = image.shape[-1], ctx.drawn.size_hw
        grad_image = grad.clone(memory_format=torch.contiguous_format)
        grad_clip = torch.zeros_like(clip, memory_format=torch.contiguous_format)
        kernels_antialias.blend_gradient(
            as_array(image).reshape(-1, channels),
            as_array(clip),
            ctx.drawn.edges(),
            height,
            width,
            as_array(grad).reshape(-1, channels),
            grad_image.numpy().reshape(-1, channels),
            grad_clip.numpy(),
        )
        return grad_image, grad_clip, None


class VertexNormals(torch.autograd.Function):
    """Unit area-weighted vertex normals."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, mesh: MeshArrays, workers: Workers) -> Tensor:
        """Sum face normals at their corners."""
        array = as_array(vertices)
        normals, lengths = np.empty_like(array), np.empty(array.shape[:2], array.dtype)
        workers.run(
            lambda first, last: kernels_normals.normals_of_frames(array, mesh.faces, normals, lengths, first, last),
            len(array),
        )
        result = torch.from_numpy(normals)
        ctx.save_for_backward(vertices, result)
        ctx.lengths, ctx.mesh, ctx.workers = lengths, mesh, workers
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Through the normalisation, then to the sides of each face."""
        vertices, normals = map(as_array, ctx.saved_tensors)
        grad_array, grad_vertices = as_array(grad), np.empty_like(vertices)

        def job(first: int, last: int) -> None:
            kernels_normals.normals_gradient(
                vertices, ctx.mesh.faces, normals, ctx.lengths, grad_array, grad_vertices, first, last
            )

        ctx.workers.run(job, len(vertices))
        return torch.from_numpy(grad_vertices), None, None
