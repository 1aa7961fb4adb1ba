"""Region perturbation: what makes a silhouette compare two regions' looks instead of two pixels.

Before antialiasing, some pixels are replaced by random ones of the same region, so that across a boundary the blend
compares how the regions look as a whole. Its gradient then moves hair, ears, neck and shoulders into place where there
are no landmarks (Qian, VHAP, 2024).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from raytrack.render import kernels_perturb


def face_regions(region_faces: Sequence[Bool[np.ndarray, " faces"]]) -> Int[Tensor, " faces"]:
    """Number of each face's region, −1 for a face in none. A face in several belongs to the last one."""
    region = np.full(len(region_faces[0]), -1, dtype=np.int64)
    for index, faces in enumerate(region_faces):
        region[faces] = index
    return torch.from_numpy(region)


def perturb_regions(
    image: Float[Tensor, "frames height width channels"],
    face_index: Int[Tensor, "frames height width"],
    region_of_face: Int[Tensor, " faces"],
    num_regions: int,
    *,
    foreground_probability: float,
    background_probability: float,
    generator: torch.Generator,
) -> Float[Tensor, "frames height width channels"]:
    """Replace random pixels by random ones of the same region anywhere in the batch.

    A foreground pixel is replaced by the rendered colour of one of its region, a background pixel by another background
    pixel. The new colours carry no gradient. Pixels of faces in no region keep theirs. Runs without waiting for the
    device.

    Args:
        image: Shaded over the target image, before antialiasing.
        face_index: Face at each pixel, −1 for background.
        region_of_face: See `face_regions`.
        num_regions: How many regions there are.
        foreground_probability: That a pixel of a region is replaced.
        background_probability: That a background pixel is replaced.
        generator: On the image's device; decides everything.
    """
    chance = torch.rand(face_index.shape, generator=generator, device=image.device).flatten()
    probabilities = torch.full((num_regions + 2,), foreground_probability, device=image.device)
    probabilities[num_regions], probabilities[num_regions + 1] = background_probability, 0.0
    choose = choose_sources_on_cpu if image.device.type == "cpu" else choose_sources
    sources = choose(face_index.flatten(), region_of_face, num_regions, chance, probabilities)
    flat = image.reshape(-1, image.shape[-1])
    if image.device.type == "cpu":
        result = _GatherOnCpu.apply(flat, sources)
    else:
        own = sources == torch.arange(len(sources), device=image.device)
        result = torch.where(own[:, None], flat, flat.detach()[sources])
    return result.reshape(image.shape)


def choose_sources(
    face_index: Int[Tensor, " pixels"],
    region_of_face: Int[Tensor, " faces"],
    num_regions: int,
    chance: Float[Tensor, " pixels"],
    probabilities: Float[Tensor, " regions"],
) -> Int[Tensor, " pixels"]:
    """For each pixel the one to take its colour from: itself, or a random one of its region.

    Given that `chance` is below the probability, their ratio is uniform: one number decides whether, and by what.

    Args:
        face_index: Face at each pixel of the batch, −1 for background.
        region_of_face: −1 for faces in none.
        num_regions: How many regions faces have.
        chance: Uniform in [0, 1).
        probabilities: That a pixel is replaced, for each region, the background, and faces in no region.
    """
    region = region_of_face[face_index.clamp_min(0).long()]
    region = torch.where(region < 0, num_regions + 1, region)
    region = torch.where(face_index < 0, num_regions, region)
    by_region, pixels = torch.sort(region.to(torch.uint8 if num_regions < 254 else torch.int32), stable=True)
    bounds = torch.searchsorted(by_region, torch.arange(num_regions + 3, device=region.device).to(by_region.dtype))
    first, count = bounds[:-1][region], bounds.diff()[region]
    limit = probabilities[region]
    rank = torch.minimum((chance / limit.clamp_min(1e-12) * count).long(), count - 1)
    return torch.where(chance < limit, pixels[first + rank], torch.arange(len(pixels), device=region.device))


def choose_sources_on_cpu(
    face_index: Int[Tensor, " pixels"],
    region_of_face: Int[Tensor, " faces"],
    num_regions: int,
    chance: Float[Tensor, " pixels"],
    probabilities: Float[Tensor, " regions"],
) -> Int[Tensor, " pixels"]:
    """The same by counting, many times faster than sorting on a CPU."""
    regions, sources = torch.empty_like(face_index, dtype=torch.int32), torch.empty_like(face_index, dtype=torch.int64)
    kernels_perturb.pixel_regions(face_index.numpy(), region_of_face.numpy(), num_regions, regions.numpy())
    kernels_perturb.choose_sources(
        regions.numpy(), num_regions + 2, chance.numpy(), probabilities.numpy(), sources.numpy()
    )
    return sources


class _GatherOnCpu(torch.autograd.Function):
    """Colours of source pixels; gradient only where a pixel is its own source."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, sources: Tensor) -> Tensor:
        ctx.sources = sources
        result = torch.empty_like(image, memory_format=torch.contiguous_format)
        kernels_perturb.gather_pixels(image.detach().contiguous().numpy(), sources.numpy(), result.numpy())
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        result = torch.empty_like(grad, memory_format=torch.contiguous_format)
        kernels_perturb.keep_own_gradient(grad.contiguous().numpy(), ctx.sources.numpy(), result.numpy())
        return result, None
