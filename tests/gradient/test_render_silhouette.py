"""The silhouette gradient against finite differences of a picture with many samples in each pixel."""

import functools

import numpy as np
import pytest
import torch
from render_scenes import ellipsoid, head_mesh

from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.render import make_renderer
from raytrack.render.protocol import Renderer, Topology

MESHES = {"ellipsoid": functools.cache(lambda: ellipsoid(70, 72, 0.06)), "head": functools.cache(head_mesh)}
PARAMETERS = torch.tensor([0.004, -0.003, 0.002, 0.2, 0.01], dtype=torch.float64)
STEPS = torch.tensor([1e-3, 1e-3, 4e-3, 1e-2, 1e-2], dtype=torch.float64)


def clip_positions(vertices: np.ndarray, parameters: torch.Tensor, camera: Camera) -> torch.Tensor:
    """Moved by three translations, turned about the vertical axis, stretched sideways."""
    x, y, z, angle, stretch = parameters
    sine, cosine, zero, one = angle.sin(), angle.cos(), torch.zeros_like(x), torch.ones_like(x)
    turn = torch.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine]).view(3, 3)
    centred = torch.tensor(vertices - vertices.mean(axis=0))
    shape = centred * torch.stack([1 + stretch, one, one])
    return camera.clip((shape @ turn.T + torch.stack([x, y, z]))[None])


def weight_image(size: int) -> torch.Tensor:
    """What the picture is multiplied with: smooth, with as much inside the object as outside."""
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    y, x = at[:, None], at[None]
    return torch.sin(7 * x + 1) * torch.cos(5 * y - 0.3) + 0.5 * torch.cos(11 * x * y * 3)


def camera_of(vertices: np.ndarray, size: int) -> Camera:
    extent = np.ptp(vertices[:, 1])
    return monocular_camera(torch.tensor(0.8 * size / extent, dtype=torch.float64), (size, size))


def supersampled_gradient(vertices: np.ndarray, topology: Topology, size: int, samples: int) -> torch.Tensor:
    """Central differences of Σ weight × covered area, per pixel of `size`, by samples² points in each."""
    renderer = make_renderer("numba", topology, num_threads=2)
    fine = size * samples
    weights = weight_image(fine)
    camera = camera_of(vertices, fine)

    def weighted_area(parameters: torch.Tensor) -> torch.Tensor:
        fragments = renderer.rasterize(clip_positions(vertices, parameters, camera).float(), (fine, fine))
        return weights[fragments.coverage[0]].sum() / samples**2

    gradient = []
    for index, step in enumerate(STEPS):
        change = torch.zeros_like(PARAMETERS)
        change[index] = step
        rise = weighted_area(PARAMETERS + change) - weighted_area(PARAMETERS - change)
        gradient.append(rise / (2 * step))
    return torch.stack(gradient)


def antialiased_gradient(
    renderer: Renderer, vertices: np.ndarray, size: int, samples: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient that `antialias` gives for the same weighted area, and the picture."""
    parameters = PARAMETERS.clone().requires_grad_()
    clip = clip_positions(vertices, parameters, camera_of(vertices, size))
    fragments = renderer.rasterize(clip, (size, size))
    picture = renderer.antialias(fragments.coverage[..., None].double(), clip, fragments)[0, :, :, 0]
    weights = weight_image(size * samples).view(size, samples, size, samples).mean(dim=(1, 3))
    (picture * weights).sum().backward()
    assert parameters.grad is not None
    return parameters.grad, picture.detach()


@pytest.mark.parametrize(
    ("name", "mesh", "size", "samples"),
    [
        ("numba", "ellipsoid", 128, 16),
        ("torch", "ellipsoid", 128, 16),
        ("numba", "ellipsoid", 256, 8),
        ("numba", "head", 128, 16),
        ("numba", "head", 256, 8),
        ("numba", "head", 512, 8),
    ],
)
def test_silhouette_gradient_is_that_of_the_area(name: str, mesh: str, size: int, samples: int) -> None:
    vertices, topology = MESHES[mesh]()
    expected = supersampled_gradient(vertices, topology, size, samples)
    gradient, _ = antialiased_gradient(make_renderer(name, topology), vertices, size, samples)
    cosine = torch.nn.functional.cosine_similarity(gradient, expected, dim=0)
    assert cosine >= 0.99
    assert 0.8 < gradient.norm() / expected.norm() < 1.2


def test_antialiased_picture_is_nearer_to_the_supersampled_one() -> None:
    vertices, topology = MESHES["head"]()
    size, samples = 128, 16
    renderer = make_renderer("numba", topology, num_threads=1)
    _, picture = antialiased_gradient(renderer, vertices, size, samples)
    aliased = (picture > 0.5).double()
    fine = size * samples
    clip = clip_positions(vertices, PARAMETERS, camera_of(vertices, fine)).float()
    covered = renderer.rasterize(clip, (fine, fine)).coverage[0].double()
    truth = covered.view(size, samples, size, samples).mean(dim=(1, 3))
    assert (picture - truth).abs().sum() < 0.4 * (aliased - truth).abs().sum()
