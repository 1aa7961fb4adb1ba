"""Real spherical harmonics up to band 2, convolved with the Lambertian kernel.

The basis is [1, x, y, z, xy, xz, yz, x² − y², 3z² − 1] of a unit normal in world axes. Bands 1 and 2 carry Lambert's
kernel 2π/3 and π/4 (Ramamoorthi and Hanrahan, 2001), band 0 carries 1 where the kernel has π, as face trackers since
DECA do: coefficient 0 at √(4π) and the rest at 0 is white light, diffuse = 1.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

FACTORS = (
    1 / math.sqrt(4 * math.pi),
    *(3 * [(2 * math.pi / 3) * math.sqrt(3 / (4 * math.pi))]),
    *(3 * [(3 * math.pi / 4) * math.sqrt(5 / (12 * math.pi))]),
    (3 * math.pi / 8) * math.sqrt(5 / (12 * math.pi)),
    (math.pi / 8) * math.sqrt(5 / (4 * math.pi)),
)
WHITE = math.sqrt(4 * math.pi)
NUM_COEFFICIENTS = 9


def harmonics_basis(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """The nine basis functions at unit normals. Differentiable."""
    x, y, z = normals.unbind(-1)
    basis = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], dim=-1)
    return basis * torch.tensor(FACTORS, dtype=normals.dtype, device=normals.device)


def white_light(dtype: torch.dtype = torch.float32) -> Float[Tensor, "9 3"]:
    """Coefficients of uniform white light."""
    light = torch.zeros(NUM_COEFFICIENTS, 3, dtype=dtype)
    light[0] = WHITE
    return light
