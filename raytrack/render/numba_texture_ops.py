"""Autograd functions of the numba back end that read a texture."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raytrack.render import kernels_shade, kernels_texture
from raytrack.render.numba_draw import Draw, as_array
from raytrack.render.workers import Workers


@dataclass(frozen=True, kw_only=True)
class TextureLevels:
    """A texture and its coarser levels, flat."""

    texture: np.ndarray
    levels: np.ndarray
    offsets: np.ndarray
    size: int
    channels: int

    @property
    def num_levels(self) -> int:
        """Levels, the texture itself included."""
        return len(self.offsets)


def texture_levels(texture: Tensor, workers: Workers) -> TextureLevels:
    """Build the coarser levels."""
    size, channels = texture.shape[0], texture.shape[2]
    offsets, length = kernels_texture.level_offsets(size, channels)
    flat = as_array(texture).reshape(-1)
    levels = np.empty(length, flat.dtype)
    workers.run(
        lambda first, last: kernels_texture.reduce_levels(flat, offsets, size, channels, levels, first, last),
        kernels_texture.NUM_BANDS,
    )
    return TextureLevels(texture=flat, levels=levels, offsets=offsets, size=size, channels=channels)


def texture_gradient(
    drawn: Draw, stack: TextureLevels, uv: np.ndarray, level: np.ndarray, grad_values: np.ndarray
) -> Tensor:
    """Gradient of a texture from that of its values at pixels."""
    grad_texture, grad_levels = np.zeros_like(stack.texture), np.zeros_like(stack.levels)
    num_owners = drawn.workers.num_threads
    drawn.workers.run(
        lambda first, last: kernels_texture.scatter_texels(
            grad_texture,
            grad_levels,
            stack.offsets,
            stack.size,
            drawn.face_index,
            uv,
            level,
            grad_values,
            num_owners,
            first,
            last,
        ),
        num_owners,
    )
    drawn.workers.run(
        lambda first, last: kernels_texture.gather_levels(
            grad_texture, stack.offsets, stack.size, stack.channels, grad_levels, first, last
        ),
        kernels_texture.NUM_BANDS,
    )
    return torch.from_numpy(grad_texture).view(stack.size, stack.size, stack.channels)


class SampleTexture(torch.autograd.Function):
    """Trilinear lookup."""

    @staticmethod
    def forward(ctx: Any, texture: Tensor, uv: Tensor, drawn: Draw) -> Tensor:
        """Build the levels, find each pixel's, look up."""
        ctx.save_for_backward(texture, uv)
        stack = texture_levels(texture, drawn.workers)
        uv_array = as_array(uv)
        level = np.empty(drawn.face_index.shape, uv_array.dtype)
        values = np.empty((*drawn.face_index.shape, stack.channels), uv_array.dtype)
        ctx.drawn, ctx.stack, ctx.level = drawn, stack, level
        mesh = drawn.mesh

        def job(first: int, last: int) -> None:
            kernels_texture.find_levels(
                drawn.clip,
                mesh.faces,
                mesh.face_uv,
                drawn.face_index,
                drawn.barycentric,
                stack.size,
                stack.num_levels,
                drawn.bands,
                level,
                first,
                last,
            )
            kernels_texture.sample_chunks(
                stack.texture,
                stack.levels,
                stack.offsets,
                stack.size,
                drawn.face_index,
                uv_array,
                level,
                drawn.bands,
                values,
                first,
                last,
            )

        drawn.workers.run(job, drawn.num_chunks)
        return torch.from_numpy(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Scatter to the texels, and slopes of the lookup."""
        uv = as_array(ctx.saved_tensors[1])
        drawn: Draw = ctx.drawn
        stack: TextureLevels = ctx.stack
        grad_array, grad_uv, grad_texture = as_array(grad), None, None
        if ctx.needs_input_grad[0]:
            grad_texture = texture_gradient(drawn, stack, uv, ctx.level, grad_array)
        if ctx.needs_input_grad[1]:
            slopes = np.empty_like(uv)

            def job(first: int, last: int) -> None:
                kernels_texture.sample_uv_gradient(
                    stack.texture,
                    stack.levels,
                    stack.offsets,
                    stack.size,
                    drawn.face_index,
                    uv,
                    ctx.level,
                    grad_array,
                    drawn.bands,
                    slopes,
                    first,
                    last,
                )

            drawn.workers.run(job, drawn.num_chunks)
            grad_uv = torch.from_numpy(slopes)
        return grad_texture, grad_uv, None


class Shade(torch.autograd.Function):
    """Texture × light over a background, and the barycentric weights it was computed with."""

    @staticmethod
    def forward(
        ctx: Any,
        clip: Tensor,
        normals: Tensor,
        texture: Tensor,
        light: Tensor,
        background: Tensor,
        drawn: Draw,
        uv_detached: np.ndarray,
    ) -> tuple[Tensor, Tensor]:
        """Shade every pixel."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(clip, normals, texture, light)
        stack = texture_levels(texture, drawn.workers)
        shape, dtype = drawn.face_index.shape, drawn.clip.dtype
        image, uv, level = np.empty((*shape, 3), dtype), np.empty((*shape, 2), dtype), np.empty(shape, dtype)
        ctx.drawn, ctx.stack, ctx.uv, ctx.level, ctx.uv_detached = drawn, stack, uv, level, uv_detached
        normals_array, light_array, background_array = as_array(normals), as_array(light), as_array(background)
        mesh = drawn.mesh

        def job(first: int, last: int) -> None:
            kernels_shade.shade_chunks(
                drawn.clip,
                normals_array,
                mesh.faces,
                mesh.face_uv,
                stack.texture,
                stack.levels,
                stack.offsets,
                stack.size,
                light_array,
                drawn.face_index,
                drawn.barycentric,
                background_array,
                drawn.bands,
                image,
                uv,
                level,
                first,
                last,
            )

        drawn.workers.run(job, drawn.num_chunks)
        return torch.from_numpy(image), torch.from_numpy(drawn.barycentric)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_image: Tensor | None, grad_barycentric: Tensor | None) -> tuple[Any, ...]:
        """Gradients of everything but the background."""
        _, normals, _, light = ctx.saved_tensors
        drawn: Draw = ctx.drawn
        stack: TextureLevels = ctx.stack
        clip, mesh = drawn.clip, drawn.mesh
        shape, dtype = drawn.face_index.shape, clip.dtype
        normals_array, light_array = as_array(normals), as_array(light)
        on_image = np.zeros((*shape, 3), dtype) if grad_image is None else as_array(grad_image)
        on_weights = np.empty((0, 0, 0, 2), dtype) if grad_barycentric is None else as_array(grad_barycentric)
        on_clip = np.empty((drawn.num_chunks, *clip.shape[1:]), dtype)
        on_normals = np.empty((drawn.num_chunks, *normals_array.shape[1:]), dtype)
        on_light = np.empty((drawn.num_chunks, *light_array.shape[1:]), dtype)
        on_albedo = np.empty((*shape, 3), dtype)

        def job(first: int, last: int) -> None:
            kernels_shade.shade_gradient(
                clip,
                normals_array,
                mesh.faces,
                mesh.face_uv,
                ctx.uv_detached,
                stack.texture,
                stack.levels,
                stack.offsets,
                stack.size,
                light_array,
                drawn.face_index,
                drawn.barycentric,
                ctx.uv,
                ctx.level,
                on_image,
                on_weights,
                drawn.bands,
                on_clip,
                on_normals,
                on_light,
                on_albedo,
                first,
                last,
            )

        drawn.workers.run(job, drawn.num_chunks)
        grad_texture = None
        if ctx.needs_input_grad[2]:
            grad_texture = texture_gradient(drawn, stack, ctx.uv, ctx.level, on_albedo)
        grad_light = drawn.sum_chunks(on_light, per_frame=len(light_array) == len(clip))
        return drawn.sum_chunks(on_clip), drawn.sum_chunks(on_normals), grad_texture, grad_light, None, None, None
