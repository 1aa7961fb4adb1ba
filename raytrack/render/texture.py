"""Trilinear texture lookup in plain torch. A texture halves down to 4 × 4."""

import torch
from jaxtyping import Float
from torch import Tensor

MIN_SIZE = 4


def check_texture(texture: Tensor) -> None:
    """Raise ValueError unless a texture is square and its size a power of two."""
    size = texture.shape[0]
    if texture.ndim != 3 or texture.shape[1] != size or size < MIN_SIZE or size & (size - 1):
        raise ValueError(
            f"texture: expected (size, size, channels), size a power of two from {MIN_SIZE}, got {tuple(texture.shape)}"
        )


def mip_levels(texture: Float[Tensor, "size size channels"]) -> list[Tensor]:
    """The texture and its halvings, each texel the mean of 2 × 2 of the level before. Differentiable."""
    check_texture(texture)
    levels = [texture]
    while len(levels[-1]) > MIN_SIZE:
        half = len(levels[-1]) // 2
        levels.append(levels[-1].reshape(half, 2, half, 2, -1).mean(dim=(1, 3)))
    return levels


def sample_bilinear(
    texture: Float[Tensor, "size size channels"], uv: Float[Tensor, "*pixels 2"]
) -> Float[Tensor, "*pixels channels"]:
    """Lookup between the four nearest texel centres, clamped at the border. Differentiable in both."""
    size = len(texture)
    position = (uv * size - 0.5).clamp(0, size - 1)
    low = position.detach().floor().long()
    high = (low + 1).clamp_max(size - 1)
    x, y = (position - low).unbind(dim=-1)
    upper = torch.lerp(texture[low[..., 1], low[..., 0]], texture[low[..., 1], high[..., 0]], x[..., None])
    lower = torch.lerp(texture[high[..., 1], low[..., 0]], texture[high[..., 1], high[..., 0]], x[..., None])
    return torch.lerp(upper, lower, y[..., None])


def sample_trilinear(
    levels: list[Tensor], uv: Float[Tensor, "*pixels 2"], level: Float[Tensor, "*pixels"]
) -> Float[Tensor, "*pixels channels"]:
    """Lookup between the two mip levels nearest to a fractional `level`. Differentiable in the texels and `uv`."""
    level = level.detach().clamp(0, len(levels) - 1)[..., None]
    values = torch.zeros((), dtype=uv.dtype, device=uv.device)
    for index, texture in enumerate(levels):
        values = values + (1 - (level - index).abs()).clamp_min(0) * sample_bilinear(texture, uv)
    return values


def texel_footprint(
    corner_uv: Float[Tensor, "*pixels 3 2"], slopes: Float[Tensor, "*pixels 2 2"], size: int
) -> Float[Tensor, "*pixels"]:
    """Mip level: log2 of the texels per pixel along the image axis that crosses more of them.

    Args:
        corner_uv: Texture coordinates of the pixel's face.
        slopes: Change of the first two barycentric weights for one pixel right and down; see `weight_slopes`.
        size: Of the texture.
    """
    sides = corner_uv[..., :2, :] - corner_uv[..., 2:, :]
    texels = slopes @ sides * size
    return texels.square().sum(dim=-1).amax(dim=-1).clamp_min(1e-12).log2() / 2
