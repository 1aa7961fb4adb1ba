"""Region perturbation and the two gates."""

import numpy as np
import pytest
import torch
from render_scenes import BACK_ENDS, ellipsoid, scene

from raytrack.render.perturbation import (
    choose_sources,
    choose_sources_on_cpu,
    face_regions,
    perturb_regions,
)
from raytrack.render.shading import detach_vertices

NUM_FACES, NUM_REGIONS = 60, 3


@pytest.fixture
def face_index() -> torch.Tensor:
    """Blocks of background and faces over three frames."""
    return torch.randint(-40, NUM_FACES, (3, 40, 50), dtype=torch.int32).clamp_min(-1)


@pytest.fixture
def region_of_face() -> torch.Tensor:
    masks = [np.arange(NUM_FACES) % 4 == region for region in range(NUM_REGIONS)]
    return face_regions(masks)


def perturb(image: torch.Tensor, face_index: torch.Tensor, regions: torch.Tensor, **changes: float) -> torch.Tensor:
    probabilities = {"foreground_probability": 0.5, "background_probability": 0.3, **changes}
    generator = torch.Generator().manual_seed(5)
    return perturb_regions(image, face_index, regions, NUM_REGIONS, generator=generator, **probabilities)


def region_image(face_index: torch.Tensor, region_of_face: torch.Tensor) -> torch.Tensor:
    """Region number of each pixel, 7 for background, and a unique number in the second channel."""
    region = torch.where(face_index < 0, 7, region_of_face[face_index.clamp_min(0).long()])
    unique = torch.arange(region.numel()).view(region.shape)
    return torch.stack([region, unique], dim=-1).double()


def test_colours_come_from_the_same_region(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    image = region_image(face_index, region_of_face)
    result = perturb(image, face_index, region_of_face)
    assert torch.equal(result[..., 0], image[..., 0])
    source_frame = result[..., 1].long() // (40 * 50)
    assert (source_frame != torch.arange(3)[:, None, None]).any(), "sources come from the whole batch"


def test_the_share_of_replaced_pixels(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    image = region_image(face_index, region_of_face)
    replaced = (perturb(image, face_index, region_of_face) != image)[..., 1]
    region = image[..., 0]
    assert replaced[(region >= 0) & (region < 7)].double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert replaced[region == 7].double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not replaced[region == -1].any()
    assert (region == -1).sum() > 100


def test_every_pixel_of_a_region_is_as_likely_a_source(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    image = region_image(face_index, region_of_face)
    generator = torch.Generator().manual_seed(3)
    counts = torch.zeros(face_index.numel())
    for _ in range(60):
        result = perturb_regions(
            image,
            face_index,
            region_of_face,
            NUM_REGIONS,
            foreground_probability=1.0,
            background_probability=1.0,
            generator=generator,
        )
        counts += torch.bincount(result[..., 1].long().flatten(), minlength=len(counts))
    for region in (0, 1, 2, 7):
        drawn = counts[(image[..., 0] == region).flatten()]
        # Poisson: the variance of the counts equals their mean.
        assert drawn.mean().item() == pytest.approx(60, rel=1e-5)
        assert drawn.var().item() == pytest.approx(60, rel=0.2)


def test_samples_carry_no_gradient(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    image = region_image(face_index, region_of_face).requires_grad_()
    result = perturb(image, face_index, region_of_face)
    (grad,) = torch.autograd.grad(result.sum(), image)
    own = (result == image)[..., 1]
    assert (grad[own] == 1).all()
    assert (grad[~own] == 0).all()


def test_probability_zero_and_one(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    image = region_image(face_index, region_of_face)
    off = perturb(image, face_index, region_of_face, foreground_probability=0.0, background_probability=0.0)
    assert torch.equal(off, image)
    on = perturb(image, face_index, region_of_face, foreground_probability=1.0, background_probability=1.0)
    assert (on != image)[..., 1][image[..., 0] >= 0].double().mean() > 0.99


def test_the_generator_decides(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    image = region_image(face_index, region_of_face)
    first, second = perturb(image, face_index, region_of_face), perturb(image, face_index, region_of_face)
    assert torch.equal(first, second)


def test_a_region_that_is_not_seen(region_of_face: torch.Tensor) -> None:
    for face in (-1, 0, 3):
        face_index = torch.full((1, 5, 5), face, dtype=torch.int32)
        image = region_image(face_index, region_of_face)
        assert torch.equal(perturb(image, face_index, region_of_face)[..., 0], image[..., 0])


def test_counting_gives_what_sorting_gives(face_index: torch.Tensor, region_of_face: torch.Tensor) -> None:
    chance = torch.rand(face_index.numel())
    probabilities = torch.tensor([0.5, 0.5, 0.5, 0.3, 0.0])
    arguments = (face_index.flatten(), region_of_face, NUM_REGIONS, chance, probabilities)
    assert torch.equal(choose_sources(*arguments), choose_sources_on_cpu(*arguments))


def test_a_face_in_two_regions_belongs_to_the_last() -> None:
    masks = [np.array([True, True, False, False]), np.array([False, True, True, False])]
    assert face_regions(masks).tolist() == [0, 1, 1, -1]


@pytest.mark.parametrize("name", BACK_ENDS)
def test_detached_texture_coordinates(name: str) -> None:
    """With constant normals only the texture coordinates carry gradient to the vertices, and gated faces give none."""
    view = scene(ellipsoid(10, 12), size_hw=(24, 24))
    renderer = view.renderer(name)
    normals = torch.ones_like(view.vertices)
    gated = torch.from_numpy(view.topology.faces.min(axis=1) % 2 == 0)
    clip = view.clip.requires_grad_()
    image, fragments = renderer.shade(clip, normals, view.texture, view.light, view.background, detach_uv_faces=gated)
    plain, _ = renderer.shade(clip, normals, view.texture, view.light, view.background)
    assert torch.equal(image, plain)
    on_gated = gated[fragments.face_index.clamp_min(0).long()] & fragments.coverage
    (blocked,) = torch.autograd.grad(image[on_gated].sum(), clip, retain_graph=True)
    (passed,) = torch.autograd.grad(image[~on_gated].sum(), clip, retain_graph=True)
    (expected,) = torch.autograd.grad(plain[~on_gated].sum(), clip)
    assert blocked.abs().max() < 1e-4 * passed.abs().max()
    assert torch.allclose(passed, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", BACK_ENDS)
def test_detached_boundary_vertices(name: str) -> None:
    view = scene(ellipsoid(10, 12), size_hw=(24, 24))
    renderer = view.renderer(name)
    clip = view.clip.requires_grad_()
    fragments = renderer.rasterize(clip, view.size_hw)
    kept = view.vertices[0, :, 1] > 0
    mask = fragments.coverage[..., None].float()
    result = renderer.antialias(mask, detach_vertices(clip, ~kept), fragments)
    assert torch.equal(result, renderer.antialias(mask, clip, fragments))
    (grad,) = torch.autograd.grad(result.square().sum(), clip)
    assert (grad[:, ~kept] == 0).all()
    assert (grad[:, kept] != 0).any()
