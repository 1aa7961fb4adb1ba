"""nvdiffrast against the numba renderer on the shipped head, as the tracker uses them."""

import importlib.util

import pytest
import torch

from raytrack.fit.head_renderer import make_head_renderer
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.render import make_renderer
from raytrack.render.protocol import Renderer, Topology

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not importlib.util.find_spec("nvdiffrast"), reason="nvdiffrast is not installed"),
]
FRAMES = 4


def posed_vertices() -> torch.Tensor:
    """Four frames of a head that turns, nods and speaks, filling most of the picture."""
    head = load_head("default")
    generator = torch.Generator().manual_seed(3)
    rows = FrameParameters.zeros(FRAMES, head.num_expressions).pack()
    rows[:, :3] = 0.35 * torch.randn(FRAMES, 3, generator=generator)
    rows[:, 18:] = 0.3 * torch.rand(FRAMES, head.num_expressions, generator=generator)
    shape = 0.5 * torch.randn(head.num_shapes, generator=generator)
    vertices = head.vertices(FrameParameters.unpack(rows), shape)
    return vertices - (vertices.amin(dim=(0, 1)) + vertices.amax(dim=(0, 1))) / 2


def drawn(renderer: Renderer, device: str, size: int) -> dict[str, torch.Tensor]:
    """Picture, faces, and the gradients of a loss that is like the tracker's."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(FRAMES, 3, 8, 8, generator=generator)
    background = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").permute(0, 2, 3, 1)
    background = background.contiguous().to(device)
    light = white_light()
    light[1:] += 0.1 * torch.randn(8, 3, generator=generator)
    vertices = posed_vertices().to(device).requires_grad_()
    texture = load_head("default").albedo.float()[:512, :512].to(device).requires_grad_()
    camera = monocular_camera(torch.tensor(2.2 * size), (size, size))
    clip = camera.to(device).clip(vertices)
    shaded, fragments = renderer.shade(
        clip, renderer.vertex_normals(vertices), texture, light[None].to(device), background
    )
    image = renderer.antialias(shaded, clip, fragments)
    coverage = renderer.antialias(fragments.coverage.float()[..., None], clip, fragments)
    target = background.flip(2)
    colours = torch.autograd.grad((image - target).abs().mean(), [texture], retain_graph=True)[0]
    weights = torch.rand(coverage.shape, generator=generator).to(device)
    outline = torch.autograd.grad((coverage * weights).mean(), [vertices])[0]
    found = {"image": image, "faces": fragments.face_index, "texture": colours, "outline": outline}
    return {name: value.detach().cpu() for name, value in found.items()}


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("size", [256, 512])
def test_nvdiffrast_draws_what_numba_draws(size: int, record_property) -> None:
    head = load_head("default")
    reference = drawn(make_head_renderer(head, "numba"), "cpu", size)
    ours = drawn(make_head_renderer(head, "nvdiffrast"), "cuda", size)
    covered, both = reference["faces"] >= 0, (reference["faces"] >= 0) & (ours["faces"] >= 0)
    difference = (ours["image"] - reference["image"]).abs()
    measured = {
        # nvdiffrast snaps vertices to a grid of 1/16 px, which moves edges between the small faces of a head.
        "other face": float((ours["faces"] != reference["faces"])[both].double().mean()),
        "coverage": float((covered != (ours["faces"] >= 0)).sum() / covered.sum()),
        # The two choose mip levels by different norms of the footprint.
        "colour, mean": float(difference[both].mean()),
        "colour, 99 %": float(difference[both].amax(dim=-1).double().quantile(0.99)),
        "background": float(difference[~covered & (ours["faces"] < 0)].mean()),
        "texture gradient": 1 - cosine(ours["texture"], reference["texture"]),
    }
    for name, value in measured.items():
        record_property(name, value)
    limits = (0.05, 0.005, 4e-3, 0.05, 2e-3, 0.05)
    assert all(value < limit for value, limit in zip(measured.values(), limits, strict=True)), measured


@pytest.mark.parametrize(("walk", "least"), [(True, 0.99), (False, 0.5)])
@pytest.mark.parametrize("size", [256, 512])
def test_outlines_pull_as_in_numba(size: int, walk: bool, least: float, record_property) -> None:
    head = load_head("default")
    shape = head.topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    reference = drawn(make_renderer("numba", topology), "cpu", size)["outline"]
    found = cosine(drawn(make_renderer("nvdiffrast", topology, walk=walk), "cuda", size)["outline"], reference)
    record_property("cosine", found)
    assert found > least
