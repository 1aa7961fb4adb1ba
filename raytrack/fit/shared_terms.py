"""Terms of the objective that Adam minimises over what frames share: pure functions, scale-free, before their weights.

Tensors may be on any device, all on the same.
"""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_SQUARED = 0.1
"""Colour error (0 to 1) up to which the final texture minimises squares."""


def colour_term(
    image: Float[Tensor, "batch height width 3"],
    target: Float[Tensor, "batch height width 3"],
    trust: Float[Tensor, "batch height width"],
    coverage: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Mean absolute colour error per channel of a covered pixel. Differentiable in the image."""
    return ((image - target).abs() * trust[..., None]).sum() / (3 * coverage.sum().clamp_min(1))


def texture_colour_term(
    image: Float[Tensor, "batch height width 3"],
    target: Float[Tensor, "batch height width 3"],
    trust: Float[Tensor, "batch height width"],
    coverage: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Mean Huber loss of colours, in units of `LARGEST_SQUARED`: a texel takes the mean of what is usual, not of all.

    The median, which absolute errors give, leaves larger squared errors where light and wrinkles change a colour.
    """
    error = (image - target).abs()
    loss = torch.where(error < LARGEST_SQUARED, error.square() / (2 * LARGEST_SQUARED), error - LARGEST_SQUARED / 2)
    return (loss * trust[..., None]).sum() / (3 * coverage.sum().clamp_min(1))


def matte_term(
    rendered: Float[Tensor, "batch height width"],
    alpha: Float[Tensor, "batch height width"],
    above_chin: Bool[Tensor, "batch height width"],
    valid: Bool[Tensor, " batch"],
    coverage: Bool[Tensor, "batch height width"],
    trust: Float[Tensor, "batch height width"],
    reachable: Float[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Mean absolute difference of rendered coverage and matte, per covered pixel. Differentiable in the rendered one.

    Below the chin clothes and shoulders reach beyond the mesh, but nowhere may the mesh reach into background.

    Args:
        rendered: Antialiased coverage.
        alpha: The matte.
        above_chin: Where the matte should be filled.
        valid: Pictures whose mattes count.
        coverage: Pixels that are drawn.
        trust: 0 where something stands before the head.
        reachable: How much it counts that a pixel of the matte is not filled.
    """
    excess = rendered - alpha
    missing = torch.where(above_chin, (-excess).clamp_min(0) * reachable, 0.0)
    difference = (excess.clamp_min(0) + missing) * trust * valid[:, None, None]
    return difference.sum() / coverage.sum().clamp_min(1)


def landmark_term(
    projected_px: Float[Tensor, "batch landmarks 2"],
    detected_px: Float[Tensor, "batch landmarks 2"],
    trust: Float[Tensor, "batch landmarks"],
    face_size_px: float,
) -> Float[Tensor, ""]:
    """Mean L1 distance in faces. Differentiable in the projected points."""
    error = (projected_px - detected_px).abs().sum(dim=-1)
    return (error * trust).mean() / face_size_px


def texture_variation_term(texture: Float[Tensor, "size size 3"]) -> Float[Tensor, ""]:
    """Mean squared difference of neighbouring texels, across plus down."""
    across = (texture[:, 1:] - texture[:, :-1]).square().mean()
    down = (texture[1:] - texture[:-1]).square().mean()
    return across + down


def offset_curvature_term(
    offset: Float[Tensor, "vertices 3"], laplacian: "SparseProduct", weight: Float[Tensor, "vertices 1"]
) -> Float[Tensor, ""]:
    """Mean squared Laplacian of the offset.

    Args:
        offset: Metres.
        laplacian: Uniform Laplacian of the mesh.
        weight: Square root of the factor per vertex.
    """
    return (laplacian(offset) * weight).square().mean()


class SparseProduct:
    """A constant sparse matrix times dense columns, differentiable. On the CPU by scipy, which beats torch by far."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        self.matrix = matrix
        self.transpose = matrix.T.tocsr()
        self._on_device: dict[torch.device, Tensor] = {}

    def __call__(self, columns: Float[Tensor, "columns width"]) -> Float[Tensor, "rows width"]:
        """The product, on the device of the columns."""
        if columns.device.type == "cpu":
            return _CpuProduct.apply(columns, self)
        if columns.device not in self._on_device:
            entries = self.matrix.tocoo()
            index = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
            matrix = torch.sparse_coo_tensor(
                index, torch.from_numpy(entries.data), entries.shape, check_invariants=False
            ).coalesce()
            self._on_device[columns.device] = matrix.to(columns)
        return torch.sparse.mm(self._on_device[columns.device], columns)


class _CpuProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, columns: Tensor, product: SparseProduct) -> Tensor:
        ctx.product = product
        return torch.from_numpy(product.matrix @ columns.detach().numpy())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.product.transpose @ gradient.contiguous().numpy()), None
