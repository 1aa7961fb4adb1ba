"""Renderers on a CUDA device against the reference on the CPU."""

import importlib.util

import pytest
import torch
from render_scenes import Scene, ellipsoid, scene

from raytrack.render import make_renderer
from raytrack.render.perturbation import choose_sources, choose_sources_on_cpu
from raytrack.render.protocol import Renderer

pytestmark = pytest.mark.gpu

needs_nvdiffrast = pytest.mark.skipif(not importlib.util.find_spec("nvdiffrast"), reason="nvdiffrast is not installed")


@pytest.fixture(scope="module")
def view() -> Scene:
    return scene(ellipsoid(40, 48, 0.05), size_hw=(120, 100), texture_size=64, frames=3)


def picture_and_gradients(view: Scene, renderer: Renderer, device: str) -> dict[str, torch.Tensor]:
    vertices = view.vertices.to(device).requires_grad_()
    texture = view.texture.to(device).requires_grad_()
    light, background = view.light.to(device), view.background.to(device)
    clip = view.camera.clip(vertices.cpu()).to(device)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), texture, light, background)
    result = renderer.antialias(image, clip, fragments)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(0)).to(device)
    gradients = torch.autograd.grad((result * weights).sum(), [vertices, texture])
    found = {"faces": fragments.face_index, "image": result, "vertices": gradients[0], "texture": gradients[1]}
    return {key: value.detach().cpu() for key, value in found.items()}


SNAPPED = 0.03
"""Share of covered pixels that may see the neighbouring face: nvdiffrast snaps vertices to a grid of 1/16 px."""


def faces_disagree(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours != reference).sum() / (reference >= 0).sum())


def relative(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours - reference).norm() / reference.norm())


def test_the_reference_is_the_same_on_cuda(view: Scene) -> None:
    ours = picture_and_gradients(view, make_renderer("torch", view.topology, device="cuda"), "cuda")
    reference = picture_and_gradients(view, make_renderer("torch", view.topology), "cpu")
    assert (ours["faces"] != reference["faces"]).double().mean() < 1e-3
    assert relative(ours["image"], reference["image"]) < 5e-3
    assert relative(ours["texture"], reference["texture"]) < 1e-2
    assert relative(ours["vertices"], reference["vertices"]) < 5e-2


def test_perturbation_draws_the_same_on_cuda() -> None:
    face_index = torch.randint(-40, 60, (5000,), dtype=torch.int32).clamp_min(-1)
    region_of_face = torch.arange(60) % 4 - 1
    chance, probabilities = torch.rand(5000), torch.tensor([0.5, 0.5, 0.5, 0.3, 0.0])
    expected = choose_sources_on_cpu(face_index, region_of_face, 3, chance, probabilities)
    arguments = [tensor.cuda() for tensor in (face_index, region_of_face, chance, probabilities)]
    ours = choose_sources(arguments[0], arguments[1], 3, arguments[2], arguments[3])
    assert (ours.cpu() != expected).double().mean() < 1e-3


@needs_nvdiffrast
@pytest.mark.parametrize("walk", [True, False])
def test_nvdiffrast_agrees_with_the_reference(view: Scene, walk: bool) -> None:
    ours = picture_and_gradients(view, make_renderer("nvdiffrast", view.topology, walk=walk), "cuda")
    reference = picture_and_gradients(view, make_renderer("torch", view.topology), "cpu")
    assert faces_disagree(ours["faces"], reference["faces"]) < SNAPPED
    inside = (ours["faces"] == reference["faces"]) & (reference["faces"] >= 0)
    near = (ours["image"] - reference["image"]).abs().amax(dim=-1) < 0.05
    # Without walking, edges that are silhouettes only a few faces on are not blended.
    assert near[inside].double().mean() > (0.95 if walk else 0.9)
    assert relative(ours["texture"], reference["texture"]) < 0.1


@needs_nvdiffrast
def test_nvdiffrast_culls_back_faces(view: Scene) -> None:
    renderer = make_renderer("nvdiffrast", view.topology)
    inside_out = (view.clip * torch.tensor([-1.0, 1.0, 1.0, 1.0])).cuda()
    reference = make_renderer("torch", view.topology).rasterize(inside_out.cpu(), view.size_hw)
    ours = renderer.rasterize(inside_out, view.size_hw)
    assert faces_disagree(ours.face_index.cpu(), reference.face_index) < SNAPPED
    assert ((ours.face_index.cpu() < 0) != (reference.face_index < 0)).double().mean() < 2e-3
