"""Cut the bust out of the body with a clean, smooth, closed bottom edge.

The cut is the zero set of a smooth field (an elliptic bowl under the neck). Vertices near it are slid onto it along
their own edges before triangles are clipped, so no slivers arise; each head vertex is a fixed mix of base vertices.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .makehuman import BaseMesh

BOWL_CENTRE_FROM_EYES_DM = np.array([0.0, -1.02, -1.02])
"""Bowl centre relative to the point between the eyes."""
BOWL_RADII_DM = np.array([1.45, 1.17, 1.70])
"""Half-width, depth below the centre and half-depth of the bowl."""
SNAP_FRACTION = 0.35
"""A vertex closer to the cut than this fraction of a crossing edge is slid onto it."""
SOLID_PARTS = ("helper-upper-teeth", "helper-lower-teeth", "helper-tongue")


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Bust without eyes as mixes of base vertices."""

    mix: sp.csr_matrix  # (num_vertices, 19158)
    faces: np.ndarray  # (num_faces, 3)
    uv: np.ndarray  # (num_uv, 2) MakeHuman's own uv
    uv_faces: np.ndarray  # (num_faces, 3)
    parts: np.ndarray  # (num_faces,) MakeHuman group names


def bowl_field(points_dm: np.ndarray, between_eyes_dm: np.ndarray) -> np.ndarray:
    """Positive inside the part to keep, zero on the cut (dimensionless)."""
    offset = points_dm - between_eyes_dm - BOWL_CENTRE_FROM_EYES_DM
    offset[:, 1] = np.minimum(offset[:, 1], 0.0)
    return 1.0 - ((offset / BOWL_RADII_DM) ** 2).sum(axis=1)


def triangulate(quads: np.ndarray, uv_quads: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split quads along the shorter diagonal, alike on both sides of the face.

    Near-equal diagonals are decided by the higher end point's distance from the middle plane: a mirror-proof rule.
    """
    ends = vertices[quads]
    lengths = np.stack(
        [np.linalg.norm(ends[:, 0] - ends[:, 2], axis=1), np.linalg.norm(ends[:, 1] - ends[:, 3], axis=1)]
    )
    score = np.stack(
        [
            (np.abs(ends[:, a, 0]) + np.abs(ends[:, b, 0]) + 0.37 * (ends[:, a, 1] ** 2 + ends[:, b, 1] ** 2))
            for a, b in ((0, 2), (1, 3))
        ]
    )
    tie = np.abs(lengths[0] - lengths[1]) < 1e-3 * lengths.sum(axis=0)
    use_second = np.where(tie, score[1] < score[0] - 1e-6, lengths[1] < lengths[0])
    first, second = ((0, 1, 2), (0, 2, 3)), ((0, 1, 3), (1, 2, 3))
    corners = np.where(use_second[:, None, None], np.array(second), np.array(first))

    def take(q):
        return np.take_along_axis(q[:, None, :], corners, axis=2).reshape(-1, 3)

    return take(quads), take(uv_quads)


def snap_to_cut(edges: np.ndarray, field: np.ndarray) -> dict[int, tuple[int, float]]:
    """Vertices to slide onto the cut: index -> (other end of its edge, fraction of the way)."""
    crossing = edges[field[edges[:, 0]] * field[edges[:, 1]] < 0]
    best: dict[int, tuple[int, float]] = {}
    for a, b in np.vstack([crossing, crossing[:, ::-1]]):
        fraction = field[a] / (field[a] - field[b])
        if fraction < min(SNAP_FRACTION, best.get(a, (0, 1.0))[1] - 1e-9):
            best[int(a)] = (int(b), float(fraction))
    return best


class _Clipper:
    """Collects the new vertices made while clipping triangles."""

    def __init__(self, field: np.ndarray, uv: np.ndarray) -> None:
        self.field, self.uv = field, uv
        self.mixes: dict[tuple[int, int], tuple[int, float]] = {}
        self.new_uv: list[np.ndarray] = []

    def cross(self, a: int, b: int, uv_a: int, uv_b: int) -> tuple[int, int]:
        key = (min(a, b), max(a, b))
        fraction = self.field[key[0]] / (self.field[key[0]] - self.field[key[1]])
        if key not in self.mixes:
            self.mixes[key] = (len(self.field) + len(self.mixes), fraction)
        from_a = fraction if a == key[0] else 1 - fraction
        self.new_uv.append((1 - from_a) * self.uv[uv_a] + from_a * self.uv[uv_b])
        return self.mixes[key][0], len(self.uv) + len(self.new_uv) - 1

    def clip(self, face: np.ndarray, uv_face: np.ndarray) -> tuple[list, list]:
        polygon = []
        for i in range(3):
            a, b, uv_a, uv_b = face[i], face[(i + 1) % 3], uv_face[i], uv_face[(i + 1) % 3]
            if self.field[a] >= 0:
                polygon.append((a, uv_a))
            if self.field[a] * self.field[b] < 0:
                polygon.append(self.cross(a, b, uv_a, uv_b))
        fan = [(polygon[0], polygon[j], polygon[j + 1]) for j in range(1, len(polygon) - 1)]
        return [[p[0] for p in t] for t in fan], [[p[1] for p in t] for t in fan]


def largest_component(faces: np.ndarray) -> np.ndarray:
    """Mask of the faces in the largest edge-connected component."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    size = faces.max() + 1
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), shape=(size, size))
    labels = sp.csgraph.connected_components(graph, directed=False)[1][faces[:, 0]]
    return labels == np.bincount(labels).argmax()


def crop_bust(base: BaseMesh, vertices_dm: np.ndarray, between_eyes_dm: np.ndarray) -> Crop:
    """Cut the bust; `vertices_dm` (19158, 3) is the average adult on which the cut is drawn."""
    solid = np.isin(base.groups, SOLID_PARTS)
    body = base.groups == "body"
    faces, uv_faces = triangulate(base.quads[body], base.uv_quads[body], vertices_dm)
    field = bowl_field(vertices_dm, between_eyes_dm)
    edges = np.unique(np.sort(np.concatenate([faces[:, [i, (i + 1) % 3]] for i in range(3)]), axis=1), axis=0)
    snaps = snap_to_cut(edges, field)
    field[list(snaps)] = 0.0
    clipper = _Clipper(field, base.uv)
    kept, kept_uv = [], []
    for face, uv_face in zip(faces, uv_faces, strict=False):
        signs = field[face]
        if (signs > 0).any():
            new, new_uv = ([face], [uv_face]) if (signs >= 0).all() else clipper.clip(face, uv_face)
            kept += new
            kept_uv += new_uv
    kept, kept_uv = np.array(kept), np.array(kept_uv)
    main = largest_component(kept)
    solid_faces, solid_uv = triangulate(base.quads[solid], base.uv_quads[solid], vertices_dm)
    parts = np.concatenate([np.full(main.sum(), "body"), np.repeat(base.groups[solid], 2)])
    return _compact(
        np.vstack([kept[main], solid_faces]),
        np.vstack([kept_uv[main], solid_uv]),
        parts,
        uv=np.vstack([base.uv, np.array(clipper.new_uv).reshape(-1, 2)]),
        snaps=snaps,
        clipper=clipper,
    )


def _compact(faces, uv_faces, parts, *, uv: np.ndarray, snaps: dict, clipper: _Clipper) -> Crop:
    """Renumber used vertices and write each as a mix of base vertices."""
    used, faces = np.unique(faces, return_inverse=True)
    used_uv, uv_faces = np.unique(uv_faces, return_inverse=True)
    made = {index: (key, fraction) for key, (index, fraction) in clipper.mixes.items()}
    rows, columns, weights = [], [], []
    for row, vertex in enumerate(used):
        if vertex in made:
            (a, b), fraction = made[vertex]
        else:
            a, (b, fraction) = vertex, snaps.get(int(vertex), (vertex, 0.0))
        rows += [row, row]
        columns += [a, b]
        weights += [1 - fraction, fraction]
    mix = sp.csr_matrix((weights, (rows, columns)), shape=(len(used), len(clipper.field)))
    return Crop(mix=mix, faces=faces.reshape(-1, 3), uv=uv[used_uv], uv_faces=uv_faces.reshape(-1, 3), parts=parts)
