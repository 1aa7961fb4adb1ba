"""What a picture must look like, for every back end, and that the back ends agree."""

import numpy as np
import pytest
import torch
from render_scenes import BACK_ENDS, Scene, ellipsoid, head_mesh, scene
from scipy import ndimage

from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.geometry.mesh import vertex_normals
from raytrack.render import make_renderer
from raytrack.render.protocol import Renderer, Topology

SQUARE = Topology(
    faces=np.array([[0, 1, 2], [0, 2, 3]]),
    uv=np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]),
    uv_faces=np.array([[0, 1, 2], [0, 2, 3]]),
    num_vertices=4,
)
"""Upper left, lower left, lower right, upper right: counter-clockwise seen from +z."""
SQUARE_VERTICES = torch.tensor([[[-0.1, 0.1, 0.0], [-0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [0.1, 0.1, 0.0]]])


@pytest.fixture(params=BACK_ENDS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def square(name: str) -> Renderer:
    return make_renderer(name, SQUARE)


def square_clip(vertices: torch.Tensor = SQUARE_VERTICES, size: int = 16, focal: float = 80.0) -> torch.Tensor:
    return monocular_camera(torch.tensor(focal), (size, size)).clip(vertices)


def test_counter_clockwise_faces_are_seen(square: Renderer) -> None:
    """At 80 px focal length and 1 m, the square covers 16 × 16 pixels: the whole image."""
    assert square.rasterize(square_clip(), (16, 16)).coverage.all()


def test_backfaces_are_culled_only_on_request(square: Renderer) -> None:
    behind = square_clip(SQUARE_VERTICES * torch.tensor([-1.0, 1.0, 1.0]))
    assert not square.rasterize(behind, (16, 16)).coverage.any()
    assert square.rasterize(behind, (16, 16), cull_backfaces=False).coverage.all()


def test_row_zero_is_the_top_and_column_zero_the_left(square: Renderer) -> None:
    """The corner at −x, +y shows up at the first row and column; so does the first texel."""
    texture = torch.arange(256.0).view(16, 16, 1)
    fragments = square.rasterize(square_clip(), (16, 16))
    positions = square.interpolate(SQUARE_VERTICES, fragments)[0]
    assert positions[0, 0, 0] < 0 < positions[0, 0, 1]
    assert positions[-1, -1, 1] < 0 < positions[-1, -1, 0]
    sampled = square.sample_texture(texture, square.interpolate_uv(fragments), fragments)
    # One texel per pixel, centre on centre: the texture itself.
    torch.testing.assert_close(sampled[0], texture, atol=2e-3, rtol=1e-5)


def test_weights_are_perspective_correct(square: Renderer) -> None:
    """On a square that recedes to the right, positions seen at pixels must lie on its plane under their pixel."""
    tilted = SQUARE_VERTICES + torch.tensor([0.0, 0.0, -1.5]) * (SQUARE_VERTICES[..., :1] > 0)
    camera = monocular_camera(torch.tensor(60.0), (16, 16))
    fragments = square.rasterize(camera.clip(tilted), (16, 16))
    seen = square.interpolate(tilted, fragments)[0]
    rows, columns = fragments.coverage[0].nonzero(as_tuple=True)
    expected_px = torch.stack([columns + 0.5, rows + 0.5], dim=-1)
    torch.testing.assert_close(camera.project(seen[rows, columns]), expected_px, atol=1e-3, rtol=0)
    assert len(rows) > 40


def test_smaller_pictures_read_coarser_levels(square: Renderer) -> None:
    """A chequerboard of single texels is seen at 1/8 size: grey, without a trace of the pattern."""
    texture = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(2).float()[..., None]
    fragments = square.rasterize(square_clip(size=8, focal=40.0), (8, 8))
    sampled = square.sample_texture(texture, square.interpolate_uv(fragments), fragments)
    torch.testing.assert_close(sampled, torch.full_like(sampled, 0.5))


def test_the_nearer_surface_wins(name: str) -> None:
    topology = Topology(
        faces=np.concatenate([SQUARE.faces, SQUARE.faces + 4]),
        uv=SQUARE.uv,
        uv_faces=np.concatenate([SQUARE.uv_faces, SQUARE.uv_faces]),
        num_vertices=8,
    )
    for near_first in (True, False):
        near, far = SQUARE_VERTICES * 0.5, SQUARE_VERTICES - torch.tensor([0.0, 0.0, 0.2])
        vertices = torch.cat([near, far] if near_first else [far, near], dim=1)
        face_index = make_renderer(name, topology).rasterize(square_clip(vertices), (16, 16)).face_index[0]
        middle, rim = face_index[5:11, 5:11], face_index[2, 2:14]
        assert (middle // 2 == (0 if near_first else 1)).all()
        assert (rim // 2 == (1 if near_first else 0)).all()


def test_faces_behind_the_camera_are_not_drawn(square: Renderer) -> None:
    behind = SQUARE_VERTICES + torch.tensor([0.0, 0.0, 2.0])
    across = SQUARE_VERTICES * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([[[0, 0, 2.0]] * 2 + [[0, 0, 0.0]] * 2])[0]
    for vertices in (behind, across):
        for cull in (True, False):
            assert not square.rasterize(square_clip(vertices), (16, 16), cull_backfaces=cull).coverage.any()


def test_nothing_to_see(name: str) -> None:
    """No face in the image: the background, and gradients of zero."""
    view = scene(ellipsoid(6, 8), size_hw=(12, 9))
    renderer = view.renderer(name)
    clip = (view.clip + torch.tensor([9.0, 0.0, 0.0, 0.0])).requires_grad_()
    texture = view.texture.requires_grad_()
    normals = renderer.vertex_normals(view.vertices)
    image, fragments = renderer.shade(clip, normals, texture, view.light, view.background)
    result = renderer.antialias(image, clip, fragments)
    assert torch.equal(result, view.background)
    result.sum().backward()
    assert clip.grad is not None
    assert texture.grad is not None
    assert not clip.grad.any()
    assert not texture.grad.any()


@pytest.mark.parametrize("seed", range(4))
def test_gradients_are_finite(name: str, seed: int) -> None:
    """Also where a face that is seen edge-on, or not at all, has an area of exactly zero."""
    view = scene(ellipsoid(40, 48, 0.05), size_hw=(120, 100), texture_size=64, frames=3, seed=seed)
    squashed = view.vertices.clone()
    squashed[1, ::3] = squashed[1, 0]
    clip = view.camera.clip(squashed).requires_grad_()
    texture, light = view.texture.requires_grad_(), view.light.requires_grad_()
    renderer = view.renderer(name)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(view.vertices), texture, light, view.background)
    renderer.antialias(image, clip, fragments).square().sum().backward()
    for tensor in (clip, texture, light):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_antialias_blends_by_area(square: Renderer) -> None:
    """A square whose right side lies a quarter into a column covers a quarter of it."""
    for shift, expected in ((0.25, 0.25), (0.5, 0.5), (0.75, 0.75)):
        vertices = SQUARE_VERTICES * torch.tensor([0.5, 0.5, 1.0]) + torch.tensor([shift / 80, 0.0, 0.0])
        clip = square_clip(vertices)
        fragments = square.rasterize(clip, (16, 16))
        picture = square.antialias(fragments.coverage[..., None].float(), clip, fragments)[0, 8, :, 0]
        torch.testing.assert_close(picture[12], torch.tensor(expected), atol=1e-4, rtol=0)
        torch.testing.assert_close(picture[4], torch.tensor(1 - expected), atol=1e-4, rtol=0)
        assert (picture[5:12] == 1).all()
        assert (picture[:4] == 0).all()


def test_silhouette_edges_lie_where_they_say(name: str) -> None:
    view = scene(ellipsoid(24, 32, 0.05), size_hw=(60, 52))
    renderer = view.renderer(name)
    fragments = renderer.rasterize(view.clip, view.size_hw)
    edges = renderer.silhouette_edges(view.clip, fragments)
    assert len(edges.frame) > 100
    owner_index = fragments.face_index[edges.frame, edges.owner_px[:, 1], edges.owner_px[:, 0]]
    other_index = fragments.face_index[edges.frame, edges.other_px[:, 1], edges.other_px[:, 0]]
    assert (owner_index >= 0).all()
    assert (owner_index != other_index).all()
    assert (edges.owner_px - edges.other_px).abs().sum(dim=1).eq(1).all()
    ends_px = view.camera.project(view.vertices)[edges.frame[:, None], edges.vertices]
    on_edge = torch.lerp(ends_px[:, 0], ends_px[:, 1], edges.edge_weight[:, None])
    between = torch.lerp(edges.owner_px + 0.5, edges.other_px + 0.5, edges.crossing[:, None])
    assert (on_edge - between).norm(dim=1).max() < 0.07  # crossings may lie 1/16 px beyond a centre


@pytest.mark.parametrize("frames", [1, 3])
def test_vertex_normals_are_those_of_the_geometry(name: str, frames: int) -> None:
    view = scene(ellipsoid(12, 16, 0.05), size_hw=(8, 8), frames=frames)
    expected = vertex_normals(view.vertices, torch.from_numpy(view.topology.faces))
    torch.testing.assert_close(view.renderer(name).vertex_normals(view.vertices), expected)
    assert (expected * torch.nn.functional.normalize(view.vertices, dim=-1)).sum(-1).mean() > 0.8


def test_white_light_shows_the_texture(name: str) -> None:
    view = scene(ellipsoid(12, 16), size_hw=(30, 30))
    renderer = view.renderer(name)
    normals = renderer.vertex_normals(view.vertices)
    image, fragments = renderer.shade(view.clip, normals, view.texture, white_light()[None], view.background)
    albedo = renderer.sample_texture(view.texture, renderer.interpolate_uv(fragments), fragments)
    expected = torch.where(fragments.coverage[..., None], albedo, view.background)
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [61, 128, 256])
def test_closed_surfaces_have_no_pinholes(name: str, size: int) -> None:
    view = scene(ellipsoid(70, 72), size_hw=(size, size), frames=6 if name == "numba" else 2, seed=size)
    covered = view.renderer(name).rasterize(view.clip, view.size_hw).coverage
    for mask in covered.numpy():
        assert np.array_equal(mask, ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numba_agrees_with_the_reference(dtype: torch.dtype) -> None:
    view = scene(head_mesh(), size_hw=(120, 100), texture_size=128, dtype=dtype, frames=2)
    pictures = {name: differentiate(view, view.renderer(name)) for name in BACK_ENDS}
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    assert (pictures["numba"]["faces"] != pictures["torch"]["faces"]).sum() <= (0 if dtype == torch.float64 else 5)
    for key in pictures["numba"].keys() - {"faces"}:
        ours, reference = pictures["numba"][key], pictures["torch"][key]
        typical = reference[reference != 0].abs().median()
        wrong = (ours - reference).abs() > tolerance * (reference.abs() + typical)
        # In float32 the weights of faces seen edge-on are rounding errors.
        assert wrong.double().mean() <= (0 if dtype == torch.float64 else 0.005), key


def differentiate(view: Scene, renderer: Renderer) -> dict[str, torch.Tensor]:
    """A picture, its silhouette edges, and the gradient of everything it is made from."""
    inputs = {
        "vertices": view.vertices.clone().requires_grad_(),
        "texture": view.texture.clone().requires_grad_(),
        "light": view.light.clone().requires_grad_(),
    }
    clip = view.camera.clip(inputs["vertices"])
    normals = renderer.vertex_normals(inputs["vertices"])
    image, fragments = renderer.shade(clip, normals, inputs["texture"], inputs["light"], view.background)
    result = renderer.antialias(image, clip, fragments)
    weights = torch.randn(result.shape, dtype=result.dtype, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad((result * weights).sum(), list(inputs.values()))
    edges = renderer.silhouette_edges(clip, fragments)
    return {
        "faces": fragments.face_index,
        "image": image.detach(),
        "antialiased": result.detach(),
        "owner": edges.owner_px.double(),
        "edge": edges.vertices.double(),
        "crossing": edges.crossing,
        **dict(zip(inputs, gradients, strict=True)),
    }


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 17), (23, 1), (3, 5), (37, 18)])
def test_any_size_of_image(size_hw: tuple[int, int]) -> None:
    view = scene(ellipsoid(20, 24, 0.05), size_hw=size_hw, frames=9)
    results = [view.renderer(name) for name in BACK_ENDS]
    pictures = []
    for renderer in results:
        normals = renderer.vertex_normals(view.vertices)
        image, fragments = renderer.shade(view.clip, normals, view.texture, view.light, view.background)
        pictures.append(renderer.antialias(image, view.clip, fragments))
    torch.testing.assert_close(*pictures, atol=2e-4, rtol=2e-4)


def test_mistakes_are_named() -> None:
    view = scene(ellipsoid(6, 8), size_hw=(10, 10))
    renderer = view.renderer("numba")
    fragments = renderer.rasterize(view.clip, view.size_hw)
    uv = renderer.interpolate_uv(fragments)
    with pytest.raises(ValueError, match="power of two"):
        renderer.sample_texture(torch.zeros(6, 6, 3), uv, fragments)
    with pytest.raises(ValueError, match="clip"):
        renderer.rasterize(view.clip[:, :-1], view.size_hw)
    with pytest.raises(TypeError, match="float64"):
        renderer.interpolate(view.vertices.double(), fragments)
    with pytest.raises(ValueError, match="nothing"):
        make_renderer("nothing", view.topology)
    with pytest.raises(ValueError, match="num_threads"):
        make_renderer("numba", view.topology, num_threads=0)


def test_a_diverged_fit_shows_as_nan_and_does_no_harm() -> None:
    view = scene(ellipsoid(12, 16), size_hw=(20, 20))
    renderer = view.renderer("numba")
    clip = view.clip.clone()
    clip[0, :40] = torch.nan
    clip[1, ::7, :2] = torch.inf
    clip.requires_grad_()
    light = view.light.clone()
    light[1] = torch.nan
    normals = renderer.vertex_normals(view.vertices)
    image, fragments = renderer.shade(clip, normals, view.texture.requires_grad_(), light, view.background)
    renderer.antialias(image, clip, fragments).sum().backward()
    assert image[1][fragments.coverage[1]].isnan().all()
    assert image[0][~fragments.coverage[0]].isfinite().all()
