"""One uv atlas: mirrored left to right, room where it matters, no overlap, padded islands. uv is in [0, 1], v up.

The head island is MakeHuman's own unwrap, turned upright and stretched by a separable monotone warp that gives the face
more room (such a warp cannot fold the map); then lips, lids, eyes and nose grow within the fixed outline (`relax`).
The mouth's cavity, a bag, is laid out anew as a disc with the lips around its rim.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp
from scipy import ndimage
from scipy.sparse.linalg import spsolve

from .eyes import eyeball_uv
from .head_map import HeadMap
from .regions import Surface, boundary_loops, edge_lengths, open_edge
from .relax import relax
from .rest_shape import split_loop

PADDING_PX, ATLAS_PX = 8, 1024
STRETCHED_PARTS = ("head_skin", "neck_skin", "mouth_interior", "teeth_upper", "teeth_lower", "tongue")
"""Islands that fill their slot, whatever their aspect."""
BOXES = {
    "head_skin": (0.0, 0.335, 1.0, 1.0),
    "neck_skin": (0.0, 0.0, 0.50, 0.335),
    "right_eyeball": (0.50, 0.185, 0.65, 0.335),
    "left_eyeball": (0.65, 0.185, 0.80, 0.335),
    "mouth_interior": (0.50, 0.0, 0.70, 0.185),
    "tongue": (0.70, 0.0, 0.80, 0.185),
    "teeth_upper": (0.80, 0.245, 1.0, 0.335),
    "teeth_lower": (0.80, 0.155, 1.0, 0.245),
    "right_socket": (0.80, 0.0, 0.90, 0.155),
    "left_socket": (0.90, 0.0, 1.0, 0.155),
}
"""Left, bottom, right, top of each island's slot, padding included."""
MAGNIFY_U = ((0.0, 0.36, 3.2), (-0.425, 0.06, 2.0), (0.425, 0.06, 2.0))
MAGNIFY_V = ((-0.32, 0.45, 2.5),)
"""Centre, width (island half-extents, −1…1) and extra density: face and ears across, face upwards."""
HEAD_DENSITY = (
    ("scalp", 1.0),
    ("neck", 1.5),
    ("face", 5.0),
    ("forehead", 3.5),
    ("left_ear", 4.0),
    ("right_ear", 4.0),
    ("nose", 6.0),
    ("eye_region", 9.0),
    ("lips", 25.0),
    ("eyelids", 22.0),
)
"""Wanted texels per mm² on the head island, up to a common factor; later regions win."""
DENSITY_SMOOTHING_STEPS = 2
MOUTH_DENSITY_RIM, MOUTH_DENSITY_DEEP, MOUTH_DENSITY_FADE_M = 8.0, 0.5, 0.008


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """uv points and per-corner indices."""

    uv: np.ndarray
    uv_faces: np.ndarray


def stretch(values: np.ndarray, bumps: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    """Monotone map of [−1, 1] onto itself with density 1 + Σ extra·exp(−((t−centre)/width)²)."""
    grid = np.linspace(-1, 1, 2001)
    total = np.cumsum(1 + sum(extra * np.exp(-(((grid - centre) / width) ** 2)) for centre, width, extra in bumps))
    return np.interp(values, grid, 2 * (total - total[0]) / (total[-1] - total[0]) - 1)


def mirror_uv_points(faces: np.ndarray, uv_faces: np.ndarray, mirror: np.ndarray, num_uv: int) -> np.ndarray:
    """Index of each uv point's mirror image, found through mirrored faces."""

    def key(f):
        return tuple(sorted(f))

    lookup = {key(face): i for i, face in enumerate(faces.tolist())}
    result = np.arange(num_uv)
    for face, uv_face in zip(faces.tolist(), uv_faces.tolist(), strict=False):
        other = lookup[key(mirror[face].tolist())]
        corner_of = dict(zip(faces[other].tolist(), uv_faces[other].tolist(), strict=False))
        for vertex, point in zip(face, uv_face, strict=False):
            result[point] = corner_of[int(mirror[vertex])]
    return result


def normalised(points: np.ndarray) -> np.ndarray:
    """Centred in the bounding box, longer half-extent each axis scaled to 1 (aspect lost)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) / ((high - low) / 2)


def fit_box(points: np.ndarray, box: tuple[float, ...], keep_aspect: bool) -> np.ndarray:
    """Place points in a slot, inside the padding."""
    pad = PADDING_PX / ATLAS_PX
    low, high = np.array(box[:2]) + pad, np.array(box[2:]) - pad
    extent = points.max(axis=0) - points.min(axis=0)
    scale = (high - low) / extent
    scale = np.full(2, scale.min()) if keep_aspect else scale
    return (low + high) / 2 + (points - (points.max(axis=0) + points.min(axis=0)) / 2) * scale


def build_atlas(head: HeadMap, surface: Surface, regions: dict[str, np.ndarray]) -> Atlas:
    """Lay out all islands; both sides are exact mirror images inside each island or island pair."""
    part = surface.part
    eye_uv, eye_faces = eyeball_uv()
    num_crop = len(head.crop.uv)
    is_mouth = part == "mouth_interior"
    mouth_vertices, mouth_faces = np.unique(head.faces[is_mouth], return_inverse=True)
    uv = np.vstack([head.crop.uv, eye_uv, eye_uv, np.zeros((len(mouth_vertices), 2))])
    uv_faces = np.vstack([head.crop.uv_faces, eye_faces + num_crop, eye_faces + num_crop + len(eye_uv)])
    uv_faces[is_mouth] = mouth_faces.reshape(-1, 3) + num_crop + 2 * len(eye_uv)
    mirrored = mirror_uv_points(head.faces, uv_faces, head.mirror, len(uv))
    placed = uv.copy()
    for name, box in BOXES.items():
        points = np.unique(uv_faces[part == name])
        if name == "right_socket":
            continue
        if name == "head_skin":
            island = head_island(surface, uv, uv_faces, mirrored, regions)
        elif name == "mouth_interior":
            island = mouth_island(surface, head.mirror)
        elif name in ("neck_skin", "teeth_upper", "teeth_lower", "tongue"):
            island = symmetric(upright(uv[points], points, mirrored), points, mirrored)
        else:
            island = uv[points]
        placed[points] = fit_box(island, box, keep_aspect=name not in STRETCHED_PARTS)
    mirror_socket(placed, uv_faces, part, mirrored)
    used, uv_faces = np.unique(uv_faces, return_inverse=True)
    return Atlas(uv=placed[used].astype(np.float32), uv_faces=uv_faces.reshape(-1, 3))


def head_island(surface: Surface, uv, uv_faces, mirrored, regions: dict[str, np.ndarray]) -> np.ndarray:
    """The head's island about the origin, in texels' proportions, with room where HEAD_DENSITY wants it."""
    chosen = surface.part == "head_skin"
    points, local_faces = np.unique(uv_faces[chosen], return_inverse=True)
    local_faces = local_faces.reshape(-1, 3)
    island = symmetric(np.stack([uv[points, 1], -uv[points, 0]], axis=1), points, mirrored)
    island = normalised(island)
    island = np.stack([stretch(island[:, 0], MAGNIFY_U), stretch(island[:, 1], MAGNIFY_V)], axis=1)
    left, bottom, right, top = BOXES["head_skin"]
    island *= np.array([right - left, top - bottom]) / 2
    vertex = np.zeros(len(points), int)
    vertex[local_faces] = surface.faces[chosen]
    where = np.full(len(mirrored), -1)
    where[points] = np.arange(len(points))
    return relax(
        island,
        local_faces,
        surface.vertices[vertex],
        head_density(surface, regions)[surface.faces[chosen]].mean(axis=1),
        loops=outline_first(island, local_faces),
        mirror=where[mirrored[points]],
    )


def head_density(surface: Surface, regions: dict[str, np.ndarray]) -> np.ndarray:
    """Wanted texel density per vertex, softened across region borders."""
    density = np.full(len(surface.vertices), HEAD_DENSITY[0][1])
    for name, value in HEAD_DENSITY:
        density[regions[name]] = value
    pattern = (surface.adjacency > 0).astype(float)
    average = sp.diags(1 / np.maximum(pattern.sum(axis=1).A1, 1)) @ pattern
    logarithm = np.log(density)
    for _ in range(DENSITY_SMOOTHING_STEPS):
        logarithm = 0.5 * logarithm + 0.5 * (average @ logarithm)
    return np.exp(logarithm)


def outline_first(island: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """Boundary loops of an island, its outline before its holes."""
    loops = boundary_loops(open_edge(faces))
    return sorted(loops, key=lambda loop: -np.ptp(island[loop], axis=0).prod())


def mouth_island(surface: Surface, mirror: np.ndarray) -> np.ndarray:
    """The mouth's cavity as a disc: lips' contact line on the rim (upper lip above), throat in the middle."""
    chosen = surface.part == "mouth_interior"
    vertices, faces = np.unique(surface.faces[chosen], return_inverse=True)
    faces = faces.reshape(-1, 3)
    points = surface.vertices[vertices]
    where = np.full(len(surface.vertices), -1)
    where[vertices] = np.arange(len(vertices))
    own_mirror = where[mirror[vertices]]
    rim = boundary_loops(open_edge(faces))[0]
    adjacency = edge_lengths(points, faces)
    depth = sp.csgraph.dijkstra(adjacency, directed=False, indices=rim, min_only=True)
    density = MOUTH_DENSITY_DEEP + MOUTH_DENSITY_RIM * np.exp(-depth / MOUTH_DENSITY_FADE_M)
    disc = harmonic_disc(points, rim, adjacency)
    disc = (disc + disc[own_mirror] * np.array([-1.0, 1.0])) / 2
    return relax(disc, faces, points, density[faces].mean(axis=1), loops=[rim], mirror=own_mirror)


def harmonic_disc(points: np.ndarray, rim: np.ndarray, adjacency: sp.csr_matrix) -> np.ndarray:
    """Tutte's embedding in the unit disc: rim by arc length, corners of the mouth left and right, the rest averaged."""
    disc = np.zeros((len(points), 2))
    for arc, sign in zip(split_loop(points, rim), (1.0, -1.0), strict=True):
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[arc], axis=0), axis=1))])
        angle = np.pi * (1 - length / length[-1])
        disc[arc] = np.stack([np.cos(angle), sign * np.sin(angle)], axis=1)
    inside = np.setdiff1d(np.arange(len(points)), rim)
    pattern = (adjacency > 0).astype(float)
    laplacian = (sp.diags(pattern.sum(axis=1).A1) - pattern).tocsr()
    disc[inside] = spsolve(laplacian[inside][:, inside].tocsc(), -laplacian[inside][:, rim] @ disc[rim])
    return disc


def upright(island: np.ndarray, points: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Turn the island so that its mirror axis is vertical."""
    where = np.full(mirrored.max() + 1, -1)
    where[points] = np.arange(len(points))
    across = island - island[where[mirrored[points]]]
    is_sideways = np.abs(across[:, 1]).sum() > np.abs(across[:, 0]).sum()
    return np.stack([island[:, 1], -island[:, 0]], axis=1) if is_sideways else island


def symmetric(island: np.ndarray, points: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Average the island with its own mirror image about x = 0."""
    where = np.full(mirrored.max() + 1, -1)
    where[points] = np.arange(len(points))
    centred = island - (island.max(axis=0) + island.min(axis=0)) / 2
    return (centred + centred[where[mirrored[points]]] * np.array([-1.0, 1.0])) / 2


def mirror_socket(placed, uv_faces, part, mirrored) -> None:
    """Right socket: the left one's mirror image, in its own slot."""
    left = np.unique(uv_faces[part == "left_socket"])
    island = placed[left] * np.array([-1.0, 1.0])
    left_centre = np.mean(BOXES["left_socket"][::2])
    shift = np.mean(BOXES["right_socket"][::2]) + left_centre
    placed[mirrored[left]] = island + np.array([shift, 0.0])


@numba.njit(cache=True)
def _count_coverage(points, faces, size, margin):
    """Number of faces whose inside (less `margin` in barycentrics) holds each texel centre; last face; barycentrics."""
    count = np.zeros((size, size), np.int32)
    index = np.full((size, size), -1, np.int32)
    bary = np.zeros((size, size, 3), np.float32)
    for f in range(len(faces)):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area == 0:
            continue
        for y in range(max(int(min(a[1], b[1], c[1])) - 1, 0), min(int(max(a[1], b[1], c[1])) + 2, size)):
            for x in range(max(int(min(a[0], b[0], c[0])) - 1, 0), min(int(max(a[0], b[0], c[0])) + 2, size)):
                px, py = x + 0.5, y + 0.5
                u = ((b[0] - px) * (c[1] - py) - (c[0] - px) * (b[1] - py)) / area
                v = ((c[0] - px) * (a[1] - py) - (a[0] - px) * (c[1] - py)) / area
                w = 1.0 - u - v
                if min(u, v, w) < margin:
                    continue
                count[y, x] += 1
                index[y, x] = f
                bary[y, x, 0], bary[y, x, 1], bary[y, x, 2] = u, v, w
    return count, index, bary


def texel_faces(atlas: Atlas, size: int, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per texel (row 0 on top): number of covering faces, a face index (−1: none) and barycentrics."""
    points = np.stack([atlas.uv[:, 0], 1 - atlas.uv[:, 1]], axis=1).astype(np.float64) * size
    return _count_coverage(points, atlas.uv_faces.astype(np.int64), size, margin)


def check_atlas(atlas: Atlas, part: np.ndarray, face_mask: np.ndarray) -> dict[str, float]:
    """Numbers that must hold: overlapping texels, flipped faces, smallest island gap, share of the face."""
    count, index, _ = texel_faces(atlas, 4096, margin=1e-4)
    corner = atlas.uv[atlas.uv_faces]
    edge_1, edge_2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]
    majority = {name: np.sign(np.median(area[part == name])) for name in np.unique(part)}
    flipped = area * np.array([majority[p] for p in part]) <= 0
    _, small_index, _ = texel_faces(atlas, ATLAS_PX)
    names = list(np.unique(part))
    label = np.where(small_index >= 0, np.array([names.index(p) for p in part])[np.maximum(small_index, 0)], -1)
    gap = min(
        float(ndimage.distance_transform_edt(label != i)[(label >= 0) & (label != i)].min()) for i in range(len(names))
    )
    return {
        "overlapping_texels_4096": int((count > 1).sum()),
        "flipped_faces": int(flipped.sum()),
        "mirrored_orientation_parts": int(sum(v < 0 for v in majority.values())),
        "smallest_island_gap_px_1024": gap,
        "face_share": float((face_mask[np.maximum(index, 0)] & (index >= 0)).mean()),
        "covered_share": float((index >= 0).mean()),
    }
