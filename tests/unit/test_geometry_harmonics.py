import math

import pytest
import torch

from raytrack.geometry.harmonics import NUM_COEFFICIENTS, harmonics_basis, white_light

BAND_FACTORS = torch.tensor([1.0] + 3 * [2 * math.pi / 3] + 5 * [math.pi / 4], dtype=torch.float64)
"""What the basis is, relative to orthonormal harmonics."""


def sphere(count: int) -> torch.Tensor:
    """Evenly spread unit vectors (Fibonacci)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=1)


def test_white_light_shades_every_normal_with_one():
    shading = harmonics_basis(sphere(100)) @ white_light(torch.float64)
    torch.testing.assert_close(shading, torch.ones(100, 3, dtype=torch.float64))


def test_basis_functions_are_orthogonal_on_the_sphere():
    basis = harmonics_basis(sphere(20000))
    gram = basis.T @ basis / len(basis)
    off_diagonal = gram - torch.diag(gram.diagonal())
    assert float(off_diagonal.abs().max()) < 1e-4
    # An orthonormal harmonic has mean square 1/4π.
    torch.testing.assert_close(gram.diagonal() * 4 * math.pi, BAND_FACTORS**2, atol=1e-3, rtol=0)


def test_basis_reproduces_the_irradiance_of_a_distant_light():
    """Lambert's cosine for a light from +z, from its harmonics up to band 2 (Ramamoorthi and Hanrahan, 2001)."""
    direction = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    radiance = harmonics_basis(direction)[0] / BAND_FACTORS
    radiance[0] *= math.pi  # Band 0 of the basis lacks this factor of Lambert's kernel.
    normals = sphere(2000)
    error = harmonics_basis(normals) @ radiance - normals[:, 2].clamp_min(0)
    assert float(error.abs().max()) < 0.1
    assert float(error.mean().abs()) < 1e-3


def test_bands_have_their_parity():
    normals = sphere(50)
    here, there = harmonics_basis(normals), harmonics_basis(-normals)
    sign = torch.tensor([1.0] + 3 * [-1.0] + 5 * [1.0], dtype=torch.float64)
    torch.testing.assert_close(there, here * sign)


def test_basis_differentiates():
    normals = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(harmonics_basis, (normals,))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)])
def test_basis_keeps_batch_dimensions(shape):
    assert harmonics_basis(torch.randn(shape)).shape == (*shape[:-1], NUM_COEFFICIENTS)
