"""Triangle meshes: adjacency, normals, the uniform Laplacian. Topology on numpy, values on tensors."""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def half_edges(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "edges 2"]:
    """The directed edges of every face; edge k of a face is opposite its corner k, in face order (3 F rows)."""
    return np.stack([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]], axis=1).reshape(-1, 2)


def face_neighbours(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, "faces 3"]:
    """Face across the edge opposite each corner; −1 at an open edge.

    An edge of more than two faces joins them in pairs, in face order.
    """
    edges = np.sort(half_edges(faces), axis=1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    ordered = edges[order]
    neighbours = np.full(len(edges), -1, dtype=np.int32)
    index = 0
    while index + 1 < len(order):
        if (ordered[index] == ordered[index + 1]).all():
            first, second = order[index], order[index + 1]
            neighbours[first], neighbours[second] = second // 3, first // 3
            index += 2
        else:
            index += 1
    return neighbours.reshape(-1, 3)


def open_edge_vertices(faces: Int[np.ndarray, "faces 3"]) -> Int[np.ndarray, " vertices"]:
    """Sorted vertices on open edges."""
    edges = half_edges(faces)
    return np.unique(edges[(face_neighbours(faces) < 0).reshape(-1)])


def vertex_adjacency(faces: Int[np.ndarray, "faces 3"], num_vertices: int) -> sp.csr_matrix:
    """Symmetric 0/1 matrix of the vertices that share an edge."""
    edges = half_edges(faces)
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(num_vertices, num_vertices))
    matrix.data[:] = 1
    return matrix


def uniform_laplacian(faces: Int[np.ndarray, "faces 3"], num_vertices: int) -> sp.csr_matrix:
    """I − D⁻¹A: a vertex less the mean of its neighbours. A vertex without neighbours keeps its own value."""
    adjacency = vertex_adjacency(faces, num_vertices)
    degree = np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1)
    averages = sp.diags((1 / degree).astype(np.float32)) @ adjacency
    return sp.csr_matrix(sp.csr_matrix(sp.identity(num_vertices)) - averages, dtype=np.float32)


def faces_of_vertices(
    faces: Int[np.ndarray, "faces 3"], vertex_mask: Bool[np.ndarray, " vertices"]
) -> Bool[np.ndarray, " faces"]:
    """Faces all of whose three vertices are in the mask."""
    return np.asarray(vertex_mask[faces].all(axis=1))


def vertex_normals(
    vertices: Float[Tensor, "*batch vertices 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "*batch vertices 3"]:
    """Unit area-weighted vertex normals, outwards for counter-clockwise faces. Differentiable in the vertices."""
    corner_a, corner_b, corner_c = (vertices[..., faces[:, k], :] for k in range(3))
    face_normals = torch.linalg.cross(corner_b - corner_a, corner_c - corner_a, dim=-1)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(-2, faces[:, k], face_normals)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-12)
