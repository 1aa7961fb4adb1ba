"""Skull and neck under hair and clothes, as the skin tells of them."""

import functools

import numpy as np
import pytest
import torch

from raytrack.fit.bare_head import bare_offset, continued, covered_vertices
from raytrack.fit.track import Track
from raytrack.geometry.mesh import vertex_normals
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters

HAIR, CLOTH = (0.16, 0.11, 0.07), (0.15, 0.3, 0.45)


@functools.cache
def head():
    return load_head("default")


def texture(*, hair=True, clothes=True):
    """The head's own albedo with brown hair and a blue jumper; skin where there is neither."""
    painted, size = head().albedo.clone(), len(head().albedo)
    skin = painted[_texels("face", size)].median(dim=0).values
    for name, colour in (("hair", HAIR if hair else skin), ("neck_lower", CLOTH if clothes else skin),
                         ("bust", CLOTH if clothes else skin)):  # fmt: skip
        painted[_texels(name, size)] = torch.as_tensor(colour).to(painted)
    return painted


@functools.cache
def _texels(name, size):
    """Texels of a region, by painting its faces."""
    import cv2

    mask = np.zeros((size, size), np.uint8)
    corners = head().uv.numpy()[head().uv_faces.numpy()[head().face_region(name).numpy()]]
    for triangle in (corners * size).round().astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1)
    return torch.from_numpy(cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0)


def track(shape, offset, albedo):
    return Track(
        parameters=FrameParameters.zeros(1, head().num_expressions), shape=shape,
        static_offset=None if offset is None else offset[None], texture=albedo, lights=torch.zeros(9, 3),
        focal_px=500.0, size_hw=(100, 100), timestep_ids=("0",), tracked=torch.ones(1, dtype=torch.bool),
        head_name="default",
    )  # fmt: skip


@functools.cache
def true_shape():
    return torch.tensor(np.random.default_rng(4).normal(0, 0.7, head().num_shapes), dtype=torch.float32)


def dressed(*, hair_m=0.012, collar_m=0.006):
    """What is tracked of a head with hair and a collar: an identity that is a little wrong, offsets for the rest."""
    true, _ = head().identity(true_shape())
    normals = vertex_normals(true, head().faces)
    thickness = torch.zeros(head().num_vertices, 1)
    thickness[head().region("hair")] = hair_m
    thickness[head().region("neck_lower") | head().region("bust")] = collar_m
    shape = 0.6 * true_shape()
    return shape, true + thickness * normals - head().identity(shape)[0], true


def error_mm(shape, offset, true, name):
    difference = head().identity(shape)[0] + offset - true
    return 1000 * float(difference[head().region(name)].norm(dim=1).mean())


def test_the_skull_is_found_below_the_hair_and_the_neck_below_the_collar():
    shape, offset, true = dressed()
    bare = bare_offset(track(shape, offset, texture()), head())
    assert error_mm(shape, offset, true, "hair") > 9
    assert error_mm(shape, bare, true, "hair") < 2
    assert error_mm(shape, bare, true, "neck_lower") < 0.6 * error_mm(shape, offset, true, "neck_lower")


def test_skin_stays_where_it_was_tracked():
    shape, offset, _ = dressed()
    bare = bare_offset(track(shape, offset, texture()), head())
    for name in ("face", "ears", "eyeballs", "teeth"):
        assert torch.equal(bare[head().region(name)], offset[head().region(name)])


def test_a_bald_head_keeps_its_offsets():
    shape, offset, true = dressed(hair_m=0.002)
    bare = bare_offset(track(shape, offset, texture(hair=False)), head())
    assert torch.equal(bare[head().region("hair")], offset[head().region("hair")])
    assert error_mm(shape, bare, true, "hair") == pytest.approx(2.0, abs=0.01)


def test_nothing_is_under_cover_without_offsets():
    assert not bare_offset(track(true_shape(), None, texture()), head()).any()


def test_cover_is_told_by_its_colour():
    covered = covered_vertices(head(), texture())
    assert covered[head().region("hair")].all()
    assert covered[head().region("bust")].float().mean() > 0.95
    assert not covered[head().region("face")].any()
    naked = covered_vertices(head(), texture(hair=False, clothes=False))
    assert naked.float().mean() < 0.02


def test_a_continuation_is_smooth_and_fades():
    values = np.zeros((head().num_vertices, 3), np.float32)
    hair = head().region("hair").numpy()
    values[~hair] = 0.003
    values[hair] = 5.0
    result = continued(values, hair, head().faces.numpy())
    np.testing.assert_array_equal(result[~hair], values[~hair])
    assert result[hair].min() > -0.001
    assert result[hair].max() < 0.0045
