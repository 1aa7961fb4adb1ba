"""Laying one head over another, tried on another person of the shipped head, where every counterpart is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from raytrack.geometry.closest import nearest_on_mesh
from raytrack.head.flame.atlas import baked_albedo, counterpart_uv
from raytrack.head.flame.counterpart import Counterpart, find_counterpart, skin_faces
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.observe.head_landmarks import landmarks_seen


def other_person() -> HeadModel:
    """Another identity, another size, elsewhere, without hints of how vertices correspond but their numbers."""
    head = load_head()
    shape = torch.zeros(head.num_shapes)
    shape[:5] = torch.tensor([1.0, -1.0, 0.8, 0.8, -0.5])
    vertices, _ = head.identity(shape)
    return replace(head, name="other", template=1.08 * vertices + torch.tensor([0.0, 0.05, -0.03]))


@pytest.fixture(scope="module", params=[True, False], ids=["seen", "by shape"])
def counterpart(request) -> Counterpart:
    find = landmarks_seen if request.param else None
    return find_counterpart(other_person(), load_head(), find, plain=True)


def face_vertices(head: HeadModel) -> np.ndarray:
    face = head.region("face") & ~head.region("mouth_interior") & ~head.region("sockets") & ~head.region("lips")
    return face.numpy()


def test_face_vertices_come_to_lie_on_themselves(counterpart):
    chosen = face_vertices(counterpart.shipped)
    distance_mm = 1000 * np.linalg.norm(counterpart.vertices - counterpart.shipped.template.numpy(), axis=1)
    assert distance_mm[chosen].mean() < 2.5
    assert distance_mm[counterpart.head.region("eyeballs").numpy()].mean() < 1.5


def test_landmarks_come_to_lie_where_they_belong(counterpart):
    head, shipped = counterpart.head, counterpart.shipped
    expected = head.landmarks_world(head.template)
    moved = replace(head, landmarks={"facemesh": counterpart.landmarks(shipped.landmarks["facemesh"])})
    distance_mm = 1000 * (moved.landmarks_world(head.template) - expected).norm(dim=1)
    assert float(distance_mm.mean()) < 3


def test_texture_coordinates_are_nearly_its_own(counterpart):
    head = counterpart.head
    corners = face_vertices(head)[head.faces.numpy()].all(axis=1)
    distance = np.linalg.norm(counterpart_uv(counterpart) - head.uv.numpy()[head.uv_faces.numpy()], axis=2)
    assert distance[corners].mean() < 0.015
    torn = np.ptp(counterpart_uv(counterpart)[skin_faces(head)], axis=1).max(axis=1)
    assert torn.max() < 0.3, "no face spans the atlas"


def test_nearest_points_are_nearest():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2]])
    points = np.array([[0.2, 0.3, 5.0], [-1, -1, 0], [2, 2, 0], [0.5, -3, 1]])
    found = nearest_on_mesh(points, vertices, faces)
    np.testing.assert_allclose(
        found.on(vertices, faces), [[0.2, 0.3, 0], [0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0]], atol=1e-12
    )
    with pytest.raises(ValueError, match="without faces"):
        nearest_on_mesh(points, vertices, faces[:0])


def test_an_albedo_is_drawn_anew_in_another_layout():
    """Mirrored: what was at the left comes to lie at the right."""
    square = np.array([[[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]])
    source = np.repeat(np.linspace(0, 1, 64)[None, :, None], 64, axis=0).repeat(3, axis=2)
    albedo, index = baked_albedo(square, np.stack([1 - square[..., 0], square[..., 1]], axis=-1), source, 64)
    np.testing.assert_allclose(albedo[32, 8:56], source[32, 8:56][::-1], atol=1e-6)
    assert set(np.unique(index)) == {-1, 0, 1}
    np.testing.assert_allclose(albedo[0, 0], albedo[6, 6], atol=0.02)
