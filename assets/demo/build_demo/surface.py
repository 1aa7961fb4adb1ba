"""Mesh operations of the render: a finer curved surface, and averaging over neighbours."""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from .head_asset import Array, HeadAsset


def subdivide(faces: npt.NDArray[np.int64], num_vertices: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Edges (E, 2) and the four-fold finer faces, whose new vertices follow the old in edge order."""
    sides = np.sort(np.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], axis=1).reshape(-1, 2), axis=1)
    edges, index = np.unique(sides, axis=0, return_inverse=True)
    middle = index.reshape(-1, 3) + num_vertices
    a, b, c = faces.T
    ab, bc, ca = middle.T
    fine = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return edges, fine


def fine_positions(vertices: Array, normals: Array, edges: npt.NDArray[np.int64]) -> Array:
    """Old vertices, then edge middles on a curved (PN) surface through them."""
    a, b = vertices[edges[:, 0]], vertices[edges[:, 1]]
    na, nb = normals[edges[:, 0]], normals[edges[:, 1]]
    bend_a = ((b - a) * na).sum(axis=1, keepdims=True)
    bend_b = ((a - b) * nb).sum(axis=1, keepdims=True)
    limit = 0.12 * np.linalg.norm(b - a, axis=1, keepdims=True)
    bend = (bend_a * na + bend_b * nb) / 8
    size = np.linalg.norm(bend, axis=1, keepdims=True)
    return np.concatenate([vertices, (a + b) / 2 - bend * np.minimum(1, limit / np.maximum(size, 1e-12))])


def with_middles(values: Array, edges: npt.NDArray[np.int64]) -> Array:
    """Old vertices' values, then means over edges."""
    return np.concatenate([values, (values[edges[:, 0]] + values[edges[:, 1]]) / 2])


def skin_average(head: HeadAsset) -> sp.csr_matrix:
    """Row-normalised neighbour matrix of the skin; identity elsewhere."""
    faces = head.faces[head.part_faces("head_skin", "neck_skin")]
    rows, columns = faces[:, [0, 1, 2, 1, 2, 0]].ravel(), faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    count = len(head.template)
    matrix = sp.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    matrix.data[:] = 1
    degree = np.asarray(matrix.sum(axis=1)).ravel()
    alone = sp.diags((degree == 0).astype(float))
    return (sp.diags(1 / np.maximum(degree, 1)) @ matrix + alone).tocsr()


def blur(average: sp.csr_matrix, values: Array, steps: int) -> Array:
    """Repeated half-way averaging with neighbours."""
    for _ in range(steps):
        values = 0.4 * values + 0.6 * (average @ values)
    return values
