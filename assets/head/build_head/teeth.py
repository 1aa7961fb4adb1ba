"""Even out MakeHuman's coarse, zigzag rows of teeth by smoothing along the arch, as a linear map of base vertices."""

import numpy as np
import scipy.sparse as sp

from .makehuman import NUM_BASE_VERTICES, BaseMesh

SMOOTHING_PASSES = 3
ROWS = 4
"""Each set of teeth is a bent sheet of 4 rows of vertices, so an edge class of 4 runs along the arch."""


def arch_edges(quads: np.ndarray) -> np.ndarray:
    """Edges (n, 2) along the arch: those whose class of opposite quad edges has one member per row."""
    edge_ids: dict[tuple[int, int], int] = {}
    pairs = []
    for quad in quads.tolist():
        edges = [tuple(sorted((quad[k], quad[(k + 1) % 4]))) for k in range(4)]
        ids = [edge_ids.setdefault(e, len(edge_ids)) for e in edges]
        pairs += [(ids[0], ids[2]), (ids[1], ids[3])]
    graph = sp.coo_matrix((np.ones(len(pairs)), np.array(pairs).T), shape=(len(edge_ids),) * 2)
    label = sp.csgraph.connected_components(graph, directed=False)[1]
    return np.array(list(edge_ids))[np.bincount(label)[label] == ROWS]


def teeth_smoother(base: BaseMesh) -> sp.csr_matrix:
    """Matrix (19158, 19158): identity but for teeth vertices, which move towards their neighbours along the arch."""
    smoother = sp.identity(NUM_BASE_VERTICES, format="lil")
    for group in ("helper-upper-teeth", "helper-lower-teeth"):
        edges = arch_edges(base.quads[base.groups == group])
        for vertex in np.unique(edges):
            neighbours = [b if a == vertex else a for a, b in edges if vertex in (a, b)]
            if len(neighbours) == 2:
                smoother[vertex, vertex] = 0.5
                for other in neighbours:
                    smoother[vertex, other] = 0.25
    step = smoother.tocsr()
    result = step
    for _ in range(SMOOTHING_PASSES - 1):
        result = result @ step
    return result


def split_front_from_back(faces: np.ndarray, parts: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the teeth's back sheet its own vertices along the biting edge, so that normals stay crisp there.

    Returns the new faces, and for each new vertex the index of the vertex it copies.
    """
    faces, copies = faces.copy(), []
    for group in ("helper-upper-teeth", "helper-lower-teeth"):
        chosen = np.flatnonzero(parts == group)
        corner = vertices[faces[chosen]]
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        arch_middle = np.array([0.0, 0.0, corner[..., 2].min()])
        outward = (corner.mean(axis=1) - arch_middle) * np.array([1.0, 0.0, 1.0])
        is_back = (normal * outward).sum(axis=1) < 0
        shared = np.intersect1d(faces[chosen[is_back]], faces[chosen[~is_back]])
        renumbered = np.arange(len(vertices))
        renumbered[shared] = len(vertices) + len(copies) + np.arange(len(shared))
        copies += shared.tolist()
        faces[chosen[is_back]] = renumbered[faces[chosen[is_back]]]
    return faces, np.array(copies, int)
