"""The nvdiffrast adapter's own logic, against a stand-in for nvdiffrast made of the reference's parts.

The stand-in follows nvdiffrast's public documentation; what runs on a CUDA device is in tests/gpu.
"""

import sys
import types
from typing import Any

import pytest
import torch
from render_scenes import Scene, ellipsoid, scene

from raytrack.errors import AssetError
from raytrack.render import coverage, make_renderer
from raytrack.render.nvdiffrast_backend import NvdiffrastRenderer
from raytrack.render.registry import resolve_name
from raytrack.render.texture import mip_levels, sample_trilinear


def rasterize(
    context: object, positions: torch.Tensor, faces: torch.Tensor, resolution: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides of faces inside the frustum: weights of two corners, depth, one-based face; slopes by x, then y."""
    height, width = resolution
    faces = faces.long()
    with torch.no_grad():
        screen = coverage.screen_positions(positions, (height, width))
        drawn = coverage.face_orientation(positions, screen, faces) != 0
        face_index, depth = coverage.nearest_faces(screen, faces, drawn, (height, width))
    corners = coverage.corners_at_pixels(positions, faces, face_index)
    centres = coverage.pixel_centres((height, width), positions).repeat(len(positions), 1, 1, 1)
    seen = (face_index >= 0)[..., None]
    weights = torch.where(seen, coverage.perspective_weights(corners, centres), 0)
    slopes = coverage.weight_slopes(corners, centres, (height, width)).detach()
    rest = torch.where(seen, torch.stack([depth, face_index + 1.0], dim=-1), 0)
    return torch.cat([weights, rest], dim=-1), torch.where(seen, slopes.mT.flatten(-2), 0)


def interpolate(
    values: torch.Tensor,
    raster: torch.Tensor,
    faces: torch.Tensor,
    rast_db: torch.Tensor | None = None,
    diff_attrs: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    face_index = raster[..., 3].long() - 1
    corners = coverage.corners_at_pixels(values.expand(len(raster), -1, -1), faces.long(), face_index)
    first, second = raster[..., :2].unbind(-1)
    weights = torch.stack([first, second, 1 - first - second], dim=-1)
    result = torch.where((face_index >= 0)[..., None], (weights[..., None] * corners).sum(-2), 0)
    if rast_db is None or diff_attrs != "all":
        return result, None
    sides = corners[..., :2, :] - corners[..., 2:, :]
    return result, torch.einsum("nhwkp,nhwkc->nhwcp", rast_db.unflatten(-1, (2, 2)), sides).flatten(-2)


def texture(tex: torch.Tensor, uv: torch.Tensor, uv_da: torch.Tensor, **options: Any) -> torch.Tensor:
    assert options == {
        "filter_mode": "linear-mipmap-linear",
        "boundary_mode": "clamp",
        "max_mip_level": len(mip_levels(tex[0])) - 1,
    }
    slopes = uv_da.unflatten(-1, (2, 2)) * tex.shape[1]
    level = slopes.square().sum(dim=-2).amax(dim=-1).clamp_min(1e-12).log2() / 2
    return sample_trilinear(mip_levels(tex[0]), uv, level)


@pytest.fixture
def view() -> Scene:
    return scene(ellipsoid(16, 20, 0.05), size_hw=(40, 36))


@pytest.fixture
def adapter(view: Scene, monkeypatch: pytest.MonkeyPatch) -> NvdiffrastRenderer:
    stand_in = types.ModuleType("nvdiffrast.torch")
    stand_in.RasterizeCudaContext = lambda device: device  # type: ignore[attr-defined]
    stand_in.rasterize = rasterize  # type: ignore[attr-defined]
    stand_in.interpolate = interpolate  # type: ignore[attr-defined]
    stand_in.texture = texture  # type: ignore[attr-defined]
    package = types.ModuleType("nvdiffrast")
    package.torch = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvdiffrast", package)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", stand_in)
    return NvdiffrastRenderer(view.topology, device="cpu", walk=True)


@pytest.mark.parametrize("cull", [True, False])
def test_it_sees_what_the_reference_sees(adapter: NvdiffrastRenderer, view: Scene, cull: bool) -> None:
    reference = view.renderer("torch")
    inside_out = view.clip * torch.tensor([-1.0, 1.0, 1.0, 1.0])
    for clip in (view.clip, inside_out):
        ours = adapter.rasterize(clip, view.size_hw, cull_backfaces=cull)
        theirs = reference.rasterize(clip, view.size_hw, cull_backfaces=cull)
        assert torch.equal(ours.face_index, theirs.face_index)
        torch.testing.assert_close(ours.barycentric, theirs.barycentric, atol=1e-4, rtol=1e-4)


def test_pictures_and_gradients_are_the_reference_s(adapter: NvdiffrastRenderer, view: Scene) -> None:
    results = []
    for renderer in (adapter, view.renderer("torch")):
        vertices, texels = view.vertices.clone().requires_grad_(), view.texture.clone().requires_grad_()
        clip = view.camera.clip(vertices)
        normals = renderer.vertex_normals(vertices)
        image, fragments = renderer.shade(clip, normals, texels, view.light, view.background)
        picture = renderer.antialias(image, clip, fragments)
        picture.square().sum().backward()
        results.append((picture.detach(), vertices.grad, texels.grad))
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_it_takes_float32_only(adapter: NvdiffrastRenderer, view: Scene) -> None:
    with pytest.raises(TypeError, match="float32"):
        adapter.rasterize(view.clip.double(), view.size_hw)


def test_without_nvdiffrast_the_error_says_what_to_do(view: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    with pytest.raises(AssetError, match=r"(?s)non-commercial.*--no-build-isolation.*numba"):
        make_renderer("nvdiffrast", view.topology)


def test_auto_is_numba_without_cuda(view: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_name("auto") == "numba"
    assert make_renderer("auto", view.topology, num_threads=1, device="cuda").name == "numba"
