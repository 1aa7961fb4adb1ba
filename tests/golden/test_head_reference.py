"""The shipped head against the numpy reference of its builder, and against what it is known to do."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from raytrack.assets import asset_path
from raytrack.head.asset_format import read_head
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE, FrameParameters

OPEN_EYE_PX = 13000
"""Pixels of one open eye on the mean head, over the views of `visible_eyeball_px`."""


@pytest.fixture(scope="module")
def builder(repository: Path) -> Iterator[None]:
    """Makes `build_head` importable: it lies beside the asset, not in the package."""
    sys.path.insert(0, str(repository / "assets/head"))
    yield
    sys.path.remove(str(repository / "assets/head"))


@pytest.mark.usefixtures("builder")
def test_vertices_equal_the_numpy_reference():
    from build_head.model import Head

    path = asset_path("head/head.npz")
    head, reference = read_head(path), Head.load(path)
    parameters = FrameParameters.unpack(0.3 * torch.randn(3, NUM_POSE + head.num_expressions))
    shape = torch.randn(head.num_shapes)
    vertices = head.vertices(parameters, shape).numpy()
    for frame in range(3):
        expected = reference.vertices(
            shape.double().numpy(),
            parameters.expression[frame].double().numpy(),
            parameters.joint_rotations()[frame].double().numpy(),
        )
        expected = expected + parameters.translation[frame].numpy()
        np.testing.assert_allclose(vertices[frame], expected, atol=1e-6)


@pytest.mark.usefixtures("builder")
def test_blinks_hide_the_eyeball():
    from build_head.expressions import visible_eyeball_px
    from build_head.model import Head

    head, reference = load_head(), Head.load(asset_path("head/head.npz"))
    is_eyeball = head.face_region("left_eyeball").numpy()
    blink = reference.expression(eyeBlinkLeft=1.0)
    rng = np.random.default_rng(5)
    for _ in range(8):
        shape = rng.normal(size=head.num_shapes)
        centre = reference.arrays["joints"][3] + np.tensordot(shape, reference.arrays["joint_shape_basis"], 1)[3]
        shown = [
            visible_eyeball_px(reference.vertices(shape, expression), reference.faces, is_eyeball, centre)
            for expression in (None, blink)
        ]
        assert shown[0] > OPEN_EYE_PX / 4
        assert shown[1] < 0.002 * OPEN_EYE_PX


def test_important_regions_get_their_share_of_the_atlas():
    """Texels per mm² of the mean head at 1024²; the first prototype gave lips 4.0, lids 4.0, irises 7.5, tongue 0.3."""
    head = load_head()
    corner = head.template.double()[head.faces]
    surface = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]).norm(dim=1) * 1e6
    flat = 1024 * head.uv.double()[head.uv_faces]
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    texels = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs()
    least = {"lips_tight": 14, "eyelids": 13, "irises": 13, "face": 6.5, "teeth": 2.4, "tongue": 1.3, "scalp": 2.8}
    for name, wanted in least.items():
        chosen = head.face_region(name)
        assert float(texels[chosen].sum() / surface[chosen].sum()) > wanted, name


def test_no_two_faces_share_a_texel():
    """Rasterises the atlas at 512² by exact edge functions, texel centres only."""
    head = load_head()
    size, count = 512, np.zeros((512, 512), np.int32)
    for triangle in head.uv[head.uv_faces].double().numpy() * size:
        low = np.maximum(np.floor(triangle.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(triangle.max(axis=0)).astype(int), size)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        sides = [
            (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
            for a, b in zip(triangle, np.roll(triangle, -1, axis=0), strict=True)
        ]
        count[low[1] : high[1], low[0] : high[0]] += np.max(sides, axis=0) < -1e-6
    assert count.max() == 1
    assert 0.65 < (count > 0).mean() < 0.85
