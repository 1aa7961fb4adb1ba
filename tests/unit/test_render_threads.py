"""The numba back end under threads, and what its buffers survive."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from render_scenes import Scene, ellipsoid, scene

from raytrack.render.protocol import Renderer
from raytrack.render.workers import Workers


def gradients(view: Scene, renderer: Renderer) -> list[torch.Tensor]:
    """Everything a step of the tracker computes."""
    vertices, texture = view.vertices.clone().requires_grad_(), view.texture.clone().requires_grad_()
    light = view.light.clone().requires_grad_()
    clip = view.camera.clip(vertices)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), texture, light, view.background)
    result = renderer.antialias(image, clip, fragments)
    other = renderer.rasterize(clip, view.size_hw)
    albedo = renderer.sample_texture(texture, renderer.interpolate_uv(other), other)
    loss = (result - view.background).abs().mean() + (albedo * renderer.interpolate(vertices, other)).square().sum()
    loss.backward()
    assert vertices.grad is not None
    assert texture.grad is not None
    assert light.grad is not None
    return [result.detach(), vertices.grad, texture.grad, light.grad]


@pytest.fixture(scope="module", params=[1, 3, 10])
def view(request: pytest.FixtureRequest) -> Scene:
    return scene(ellipsoid(40, 48, 0.05), size_hw=(90, 70), frames=request.param, texture_size=64)


def test_the_number_of_threads_does_not_change_a_bit(view: Scene) -> None:
    expected = gradients(view, view.renderer("numba", num_threads=1))
    for num_threads in (2, 3, 7):
        for _ in range(2):
            result = gradients(view, view.renderer("numba", num_threads=num_threads))
            assert all(torch.equal(*pair) for pair in zip(result, expected, strict=True))


def test_renderers_in_several_threads_do_not_meet(view: Scene) -> None:
    expected = gradients(view, view.renderer("numba"))
    renderers = [view.renderer("numba", num_threads=2) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda renderer: [gradients(view, renderer) for _ in range(3)], renderers))
    for result in (single for several in results for single in several):
        assert all(torch.equal(*pair) for pair in zip(result, expected, strict=True))


def test_two_pictures_before_the_backward_pass() -> None:
    """The second picture must not overwrite what the first one's gradient needs."""
    renderer = scene(ellipsoid(20, 24), size_hw=(40, 40)).renderer("numba")
    views = [scene(ellipsoid(20, 24), size_hw=(40, 40), seed=seed) for seed in (1, 2)]
    alone = []
    for view in views:
        clip = view.clip.requires_grad_()
        image, fragments = renderer.shade(clip, view.vertices, view.texture, view.light, view.background)
        alone.append(torch.autograd.grad(renderer.antialias(image, clip, fragments).square().sum(), clip)[0])
    clips = [view.clip.requires_grad_() for view in views]
    total = torch.zeros(())
    for view, clip in zip(views, clips, strict=True):
        image, fragments = renderer.shade(clip, view.vertices, view.texture, view.light, view.background)
        total = total + renderer.antialias(image, clip, fragments).square().sum()
    together = torch.autograd.grad(total, clips)
    assert all(torch.equal(*pair) for pair in zip(together, alone, strict=True))


def test_a_change_in_place_before_the_backward_pass_is_an_error() -> None:
    view = scene(ellipsoid(8, 10), size_hw=(20, 20))
    texture = view.texture.clone().requires_grad_()
    image, _ = view.renderer("numba").shade(view.clip, view.vertices, texture, view.light, view.background)
    with torch.no_grad():
        texture += 1
    with pytest.raises(RuntimeError, match="inplace operation"):
        image.sum().backward()


def test_a_worker_s_error_reaches_the_caller() -> None:
    def job(first: int, last: int) -> None:
        if first <= 5 < last:
            raise ZeroDivisionError

    for num_threads in (1, 2, 4):
        with pytest.raises(ZeroDivisionError):
            Workers(num_threads).run(job, 16)


def test_every_chunk_runs_once() -> None:
    for num_threads in (1, 2, 5):
        counts = np.zeros(23, np.int64)

        def job(first: int, last: int, counts: np.ndarray = counts) -> None:
            counts[first:last] += 1

        Workers(num_threads).run(job, 23)
        assert (counts == 1).all()
