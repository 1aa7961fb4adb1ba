import numpy as np
import pytest
import torch

from raytrack.geometry.mesh import (
    face_neighbours,
    faces_of_vertices,
    half_edges,
    open_edge_vertices,
    uniform_laplacian,
    vertex_adjacency,
    vertex_normals,
)

SQUARE = np.array([[0, 1, 2], [0, 2, 3]])
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def octahedron() -> tuple[torch.Tensor, torch.Tensor]:
    """Unit octahedron, counter-clockwise from outside."""
    points = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    return points, torch.tensor(faces)


def test_half_edge_k_is_opposite_corner_k():
    edges = half_edges(SQUARE).reshape(-1, 3, 2)
    for face, own in zip(SQUARE, edges, strict=True):
        for corner in range(3):
            assert face[corner] not in own[corner]


def test_neighbours_are_across_the_opposite_edge():
    neighbours = face_neighbours(SQUARE)
    assert neighbours.tolist() == [[-1, 1, -1], [-1, -1, 0]]


def test_neighbours_are_mutual_on_a_closed_mesh():
    neighbours = face_neighbours(TETRAHEDRON)
    assert (neighbours >= 0).all()
    for face, row in enumerate(neighbours):
        assert all(face in neighbours[other] for other in row)


def test_an_edge_of_three_faces_joins_two_of_them():
    fan = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    neighbours = face_neighbours(fan)
    assert neighbours[:, 2].tolist() == [1, 0, -1]


def test_open_edges_are_found():
    assert open_edge_vertices(SQUARE).tolist() == [0, 1, 2, 3]
    assert open_edge_vertices(TETRAHEDRON).tolist() == []


def test_adjacency_is_symmetric_without_counting_edges_twice():
    adjacency = vertex_adjacency(SQUARE, 5).toarray()
    assert (adjacency == adjacency.T).all()
    assert adjacency.sum(axis=1).tolist() == [3, 2, 3, 2, 0]
    assert set(np.unique(adjacency)) == {0, 1}


def test_laplacian_is_the_vertex_less_the_mean_of_its_neighbours():
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    result = uniform_laplacian(SQUARE, 5) @ points
    np.testing.assert_allclose(result[1], points[1] - (points[0] + points[2]) / 2, atol=1e-6)
    np.testing.assert_allclose(result[0], points[0] - points[[1, 2, 3]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(result[4], points[4])


def test_laplacian_of_a_constant_vanishes_where_there_are_neighbours():
    result = uniform_laplacian(TETRAHEDRON, 5) @ np.ones((5, 1), np.float32)
    assert result.ravel().tolist() == pytest.approx([0, 0, 0, 0, 1])


def test_faces_belong_to_a_mask_with_all_their_corners():
    mask = np.array([True, True, True, False])
    assert faces_of_vertices(SQUARE, mask).tolist() == [True, False]


def test_normals_of_an_octahedron_point_outwards():
    points, faces = octahedron()
    torch.testing.assert_close(vertex_normals(points, faces), points)


def test_normals_turn_with_the_mesh_and_ignore_its_place():
    from raytrack.geometry.rotation import matrix_from_axis_angle

    points, faces = octahedron()
    points = points + 0.1 * torch.randn_like(points)
    rotation = matrix_from_axis_angle(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    moved = vertex_normals(points @ rotation.T + 5.0, faces)
    torch.testing.assert_close(moved, vertex_normals(points, faces) @ rotation.T)


def test_normals_are_batched_and_differentiable():
    points, faces = octahedron()
    batch = torch.stack([points, 2 * points]).requires_grad_()
    assert vertex_normals(batch, faces).shape == (2, 6, 3)
    assert torch.autograd.gradcheck(lambda x: vertex_normals(x, faces), (batch,))


def test_a_vertex_without_faces_has_no_normal():
    points = torch.cat([octahedron()[0], torch.ones(1, 3, dtype=torch.float64)])
    assert vertex_normals(points, octahedron()[1])[6].tolist() == [0, 0, 0]
