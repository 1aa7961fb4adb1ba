import dataclasses

import numpy as np
import pytest
import torch
from synthetic_track import head, make_image, make_track

from raytrack.errors import InputError
from raytrack.fit.painting import PAINTED_REGIONS, FramePainter
from raytrack.geometry.harmonics import white_light

SIZE_HW = (120, 96)


def ring_outside(mask: np.ndarray) -> np.ndarray:
    """Pixels that no covered pixel touches by a side: anti-aliasing cannot reach them."""
    padded = np.pad(mask, 1)
    touched = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return ~mask & ~touched


def test_the_render_lies_over_the_untouched_input():
    track, image = make_track(num_frames=2), make_image(0, SIZE_HW)
    painted = FramePainter(track, head()).paint(1, image)
    assert painted.color.dtype == np.uint8
    assert painted.color.shape == (*SIZE_HW, 3)
    assert 0.05 < painted.mask.mean() < 0.9
    far = ring_outside(painted.mask)
    np.testing.assert_array_equal(painted.color[far], image[far])
    assert (painted.color[painted.mask] != image[painted.mask]).any(axis=-1).mean() > 0.95


def test_outlines_are_antialiased():
    track = make_track(num_frames=1)
    track = dataclasses.replace(track, texture=torch.ones(64, 64, 3), lights=white_light())
    painted = FramePainter(track, head()).paint(0, np.zeros((*SIZE_HW, 3), np.uint8))
    grey = (painted.color[..., 0] > 4) & (painted.color[..., 0] < 250)
    assert grey.sum() > 20
    assert (painted.color[..., 0][painted.mask & ~grey] >= 250).all()


def test_texture_and_light_are_those_of_the_track():
    track = make_track(num_frames=1)
    texture = torch.full((64, 64, 3), 0.5)
    light = white_light() * torch.tensor([1.0, 0.5, 0.0])
    track = dataclasses.replace(track, texture=texture, lights=light)
    painted = FramePainter(track, head()).paint(0, np.zeros((*SIZE_HW, 3), np.uint8))
    inside = ~ring_outside(~painted.mask)
    median = np.median(painted.color[painted.mask & ~(inside & ~painted.mask)], axis=0)
    np.testing.assert_allclose(median, [127.5, 63.75, 0], atol=1.5)


def test_same_picture_in_any_order_by_any_painter_and_thread_count():
    track, image = make_track(num_frames=3), make_image(0, SIZE_HW)
    first, second = FramePainter(track, head()), FramePainter(track, head(), num_threads=2)
    forward = [first.paint(index, image) for index in range(3)]
    backward = [second.paint(index, image) for index in (2, 1, 0)][::-1]
    for one, other in zip(forward, backward, strict=True):
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)
    assert (forward[0].mask != forward[1].mask).any()


def test_normals_are_unit_and_face_the_camera():
    painted = FramePainter(make_track(num_frames=1), head()).paint(0, make_image(0, SIZE_HW))
    length = np.linalg.norm(painted.normals, axis=-1)
    np.testing.assert_allclose(length[painted.mask], 1, atol=1e-5)
    assert not length[~painted.mask].any()
    assert (painted.normals[painted.mask][:, 2] > -0.2).mean() > 0.98


def test_regions_lie_where_the_landmarks_are():
    track = make_track(num_frames=1, size_hw=(360, 288))
    painted = FramePainter(track, head()).paint(0, make_image(0, (360, 288)))
    assert (painted.region_index[~painted.mask] == -1).all()
    skin = painted.region_index == PAINTED_REGIONS.index("skin")
    lips = painted.region_index == PAINTED_REGIONS.index("lips_tight")
    assert skin.sum() > 3 * lips.sum() > 0
    # Face Mesh 61 and 291 are the corners of the mouth.
    rows, columns = np.nonzero(lips)
    middle = painted.landmarks_px[[61, 291]].mean(axis=0)
    width = np.linalg.norm(painted.landmarks_px[61] - painted.landmarks_px[291])
    assert np.linalg.norm([columns.mean() - middle[0], rows.mean() - middle[1]]) < 0.5 * width


def test_landmarks_and_vertices_are_those_of_the_head():
    track = make_track(num_frames=2)
    painter = FramePainter(track, head())
    painted = painter.paint(1, make_image(0, SIZE_HW))
    vertices = head().vertices(track.parameters, track.shape, track.static_offset[0])[1]
    np.testing.assert_allclose(painted.vertices, vertices.numpy(), atol=1e-6)
    expected = track.camera.project(head().landmarks_world(vertices))
    np.testing.assert_allclose(painted.landmarks_px, expected.numpy(), atol=1e-3)
    np.testing.assert_array_equal(painter.landmarks_px(1), painted.landmarks_px)


def test_a_mismatch_is_refused():
    track = make_track(num_frames=1)
    with pytest.raises(ValueError, match="the camera"):
        FramePainter(track, head()).paint(0, make_image(0, (50, 50)))
    other = dataclasses.replace(track.parameters, expression=torch.zeros(1, 7))
    with pytest.raises(InputError, match="expression coefficients"):
        FramePainter(dataclasses.replace(track, parameters=other), head())
    with pytest.raises(InputError, match="another version of the head"):
        FramePainter(dataclasses.replace(track, head_sha256="0" * 64), head())
