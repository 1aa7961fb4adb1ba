"""Every operation's gradient against finite differences in float64, for every back end."""

import dataclasses

import pytest
import torch
from render_scenes import BACK_ENDS, Scene, ellipsoid, scene
from torch.autograd import gradcheck

from raytrack.render.protocol import Renderer

# Steps are small, so that no pixel changes its face and no edge leaves its pixel pair.
STEP = {"eps": 1e-7, "atol": 2e-6, "rtol": 1e-4, "fast_mode": True}


@pytest.fixture(scope="module")
def small() -> Scene:
    return scene(ellipsoid(8, 12, 0.05), size_hw=(26, 22), texture_size=8, dtype=torch.float64)


@pytest.fixture(params=BACK_ENDS)
def renderer(request: pytest.FixtureRequest, small: Scene) -> Renderer:
    return small.renderer(request.param)


def free(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone().requires_grad_()


def test_rasterize_in_clip(renderer: Renderer, small: Scene) -> None:
    fragments = renderer.rasterize(small.clip, small.size_hw)
    assert fragments.coverage.float().mean() > 0.2
    assert gradcheck(lambda clip: renderer.rasterize(clip, small.size_hw).barycentric, [free(small.clip)], **STEP)


def test_interpolate_in_attributes_and_weights(renderer: Renderer, small: Scene) -> None:
    fragments = renderer.rasterize(small.clip, small.size_hw)
    for frames in (1, 2):
        attributes = torch.randn(frames, small.topology.num_vertices, 4, dtype=torch.float64)

        def interpolate(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return renderer.interpolate(values, dataclasses.replace(fragments, barycentric=weights))

        assert gradcheck(interpolate, [free(attributes), free(fragments.barycentric)], **STEP)


def test_interpolate_uv_in_clip(renderer: Renderer, small: Scene) -> None:
    def coordinates(clip: torch.Tensor) -> torch.Tensor:
        return renderer.interpolate_uv(renderer.rasterize(clip, small.size_hw))

    assert gradcheck(coordinates, [free(small.clip)], **STEP)


@pytest.mark.parametrize(("size", "channels"), [(64, 3), (8, 1), (4, 5)])
def test_sample_texture_in_texels_and_coordinates(renderer: Renderer, small: Scene, size: int, channels: int) -> None:
    fragments = renderer.rasterize(small.clip, small.size_hw)
    uv = renderer.interpolate_uv(fragments)
    texture = torch.rand(size, size, channels, dtype=torch.float64)
    assert gradcheck(lambda t, at: renderer.sample_texture(t, at, fragments), [free(texture), free(uv)], **STEP)


def test_texture_beyond_its_border_has_no_slope(renderer: Renderer, small: Scene) -> None:
    fragments = renderer.rasterize(small.clip, small.size_hw)
    uv = free(renderer.interpolate_uv(fragments) * 6 - 2.5)
    outside = fragments.coverage & ((uv < 0) | (uv > 1)).all(dim=-1)
    assert outside.sum() > 10
    (slope,) = torch.autograd.grad(renderer.sample_texture(small.texture, uv, fragments).sum(), uv)
    assert (slope[outside] == 0).all()
    assert (slope[fragments.coverage & ((uv > 0.2) & (uv < 0.8)).all(dim=-1)] != 0).any()


def test_antialias_in_image_and_clip(renderer: Renderer, small: Scene) -> None:
    fragments = renderer.rasterize(small.clip, small.size_hw)
    image = torch.rand(*fragments.face_index.shape, 4, dtype=torch.float64)
    assert gradcheck(
        lambda colours, clip: renderer.antialias(colours, clip, fragments), [free(image), free(small.clip)], **STEP
    )


@pytest.mark.parametrize("wanted", ["clip", "normals", "texture", "light", "all"])
def test_shade(renderer: Renderer, small: Scene, wanted: str) -> None:
    # The mip level carries no gradient, so finite differences in clip need a texture that has one level.
    texture = small.texture[:4, :4] if wanted in {"clip", "all"} else small.texture
    normals = renderer.vertex_normals(small.vertices) + 0.1
    values = {"clip": small.clip, "normals": normals, "texture": texture, "light": small.light}
    inputs = [free(value) if wanted in {name, "all"} else value for name, value in values.items()]

    def shaded(*arguments: torch.Tensor) -> torch.Tensor:
        return renderer.shade(*arguments, small.background)[0]

    assert gradcheck(shaded, inputs, **STEP)


def test_shade_with_one_light_for_all_frames(renderer: Renderer, small: Scene) -> None:
    normals = renderer.vertex_normals(small.vertices)

    def shaded(light: torch.Tensor) -> torch.Tensor:
        return renderer.shade(small.clip, normals, small.texture, light, small.background)[0]

    assert gradcheck(shaded, [free(small.light[:1])], **STEP)


def test_fragments_of_shade_carry_gradient(renderer: Renderer, small: Scene) -> None:
    """The image and something interpolated with the same fragments, in one loss."""
    normals = renderer.vertex_normals(small.vertices)

    def both(clip: torch.Tensor) -> torch.Tensor:
        image, fragments = renderer.shade(clip, normals, small.texture[:4, :4], small.light, small.background)
        return image * renderer.interpolate(normals, fragments)

    assert gradcheck(both, [free(small.clip)], **STEP)


def test_vertex_normals_in_vertices(renderer: Renderer, small: Scene) -> None:
    assert gradcheck(renderer.vertex_normals, [free(small.vertices)], **STEP)


def test_silhouette_moves_the_way_it_should(renderer: Renderer, small: Scene) -> None:
    """A white object on black, brighter wanted to its right: descent must move it to the right."""
    clip = free(small.clip)
    fragments = renderer.rasterize(clip, small.size_hw)
    mask = fragments.coverage[..., None].double()
    right = torch.arange(small.size_hw[1]) > small.size_hw[1] / 2
    loss = -(renderer.antialias(mask, clip, fragments)[:, :, right]).sum()
    (grad,) = torch.autograd.grad(loss, clip)
    assert (grad[..., 0].sum(dim=1) < 0).all()
