"""Named vertex and face masks, computed from MakeHuman's uv islands, its CC0 mask pictures and geometry.

Lengths are metres on the mean head.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse as sp

from .head_map import HeadMap
from .makehuman import MakeHumanData

PART_NAMES = {
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "eye_left": "left_eyeball",
    "eye_right": "right_eyeball",
}
LARGE_ISLAND_FACES = 4000
MIDDLE_M = 0.01
"""Islands centred closer to the middle plane than this are the mouth; others are eye sockets."""
BOUNDARY_WIDTH_M = 0.040
EYE_REGION_RADII_M = np.array([0.029, 0.022, 0.030])
BROW_ABOVE_EYE_M = 0.026
HAIRLINE_ABOVE_EYE_M = 0.072
"""Height of the hairline in the middle; it falls towards the temples."""
NOSE_TARGET_SHARE = 0.20
"""A vertex belongs to the nose if nose targets move it by more than this share of their largest motion."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The mean head with its topology and island labels."""

    vertices: np.ndarray  # (V, 3) m
    faces: np.ndarray  # (F, 3)
    part: np.ndarray  # (F,) str
    adjacency: sp.csr_matrix  # (V, V), edge lengths in m

    def of_part(self, *parts: str) -> np.ndarray:
        """Vertex mask of the faces of some parts."""
        mask = np.zeros(len(self.vertices), bool)
        mask[self.faces[np.isin(self.part, parts)]] = True
        return mask

    def grow(self, mask: np.ndarray, rings: int) -> np.ndarray:
        """Mask dilated by edge rings."""
        pattern = self.adjacency > 0
        for _ in range(rings):
            mask = mask | (pattern @ mask > 0)
        return mask

    def faces_inside(self, mask: np.ndarray) -> np.ndarray:
        """Faces with at least two corners in the vertex mask: neighbouring regions then meet without a gap."""
        return mask[self.faces].sum(axis=1) >= 2


def edge_lengths(vertices: np.ndarray, faces: np.ndarray) -> sp.csr_matrix:
    """Symmetric sparse matrix of edge lengths."""
    edges = np.concatenate([faces[:, [i, (i + 1) % 3]] for i in range(3)])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    matrix = sp.coo_matrix((length, edges.T), shape=(len(vertices),) * 2)
    return (matrix + matrix.T).tocsr()


def label_parts(head: HeadMap, vertices: np.ndarray) -> np.ndarray:
    """Part name per face: head_skin, neck_skin, mouth_interior, left/right_socket, teeth, tongue, eyeballs."""
    crop = head.crop
    edges = np.concatenate([crop.uv_faces[:, [i, (i + 1) % 3]] for i in range(3)])
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(crop.uv),) * 2)
    island = sp.csgraph.connected_components(graph, directed=False)[1][crop.uv_faces[:, 0]]
    part = np.array([PART_NAMES.get(p, "") for p in head.face_parts], dtype="U16")
    chin_height = np.median(vertices[crop.faces[crop.parts == "helper-lower-teeth"], 1]) - 0.02
    for label in np.unique(island):
        chosen = np.flatnonzero(island == label)
        if part[chosen[0]]:
            continue
        centre = vertices[head.faces[chosen]].mean(axis=(0, 1))
        if len(chosen) > LARGE_ISLAND_FACES:
            part[chosen] = "head_skin"
        elif centre[1] < chin_height:
            part[chosen] = "neck_skin"
        elif abs(centre[0]) < MIDDLE_M:
            part[chosen] = "mouth_interior"
        else:
            part[chosen] = "left_socket" if centre[0] > 0 else "right_socket"
    return part


def sample_mask(data: MakeHumanData, name: str, head: HeadMap) -> np.ndarray:
    """One of MPFB2's mask pictures (CC0) per head vertex, 0…1; eyes get 0."""
    picture = cv2.imread(str(data.mpfb / f"textures/mpfb_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
    height, width = picture.shape
    value = np.zeros(len(head.mirror))
    u, v = head.crop.uv[head.crop.uv_faces.ravel()].T
    pixel = picture[np.clip((1 - v) * height, 0, height - 1).astype(int), np.clip(u * width, 0, width - 1).astype(int)]
    np.maximum.at(value, head.crop.faces.ravel(), pixel / 255.0)
    return np.maximum(value, value[head.mirror])


def open_edge(faces: np.ndarray) -> np.ndarray:
    """Directed boundary edges (n, 2)."""
    edges = np.concatenate([faces[:, [i, (i + 1) % 3]] for i in range(3)])
    _, inverse, counts = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True, return_counts=True)
    return edges[counts[inverse.ravel()] == 1]


def boundary_loops(edges: np.ndarray) -> list[np.ndarray]:
    """Chains directed boundary edges into closed loops of vertex indices, longest first."""
    following = dict(edges.tolist())
    loops = []
    while following:
        start, loop = next(iter(following)), []
        while start in following:
            loop.append(start)
            start = following.pop(start)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def vertex_regions(
    surface: Surface,
    masks: dict[str, np.ndarray],
    nose: np.ndarray,
    *,
    eye_centres: np.ndarray,
    iris_angle: float,
) -> dict[str, np.ndarray]:
    """All named vertex masks. `masks` are MPFB2's pictures per vertex, `nose` the nose targets' relative motion."""
    vertices = surface.vertices
    x, y, _ = vertices.T
    part = {name: surface.of_part(name) for name in np.unique(surface.part)}
    skin = part["head_skin"] | part["neck_skin"]
    eye_height = eye_centres[:, 1].mean()
    regions: dict[str, np.ndarray] = {}
    ears = surface.grow((masks["ears"] > 0.5) & skin, 1)
    regions["left_ear"], regions["right_ear"] = ears & (x > 0), ears & (x < 0)
    regions["face"] = (masks["face"] > 0.4) & part["head_skin"] & ~ears & (hairline_field(vertices, eye_height) < 0)
    regions["neck"] = (part["neck_skin"] | skull_below(surface, part, regions, ears)) & ~regions["face"]
    regions["scalp"] = part["head_skin"] & ~regions["face"] & ~ears & ~(regions["neck"] & ~part["neck_skin"])
    regions["hair"] = regions["scalp"] & ~regions["face"] & ~regions["neck"]
    regions["forehead"] = regions["face"] & (y > eye_height + BROW_ABOVE_EYE_M)
    regions["nose"] = (nose > NOSE_TARGET_SHARE) & regions["face"] & (y < eye_height + 0.008)
    regions["lips_tight"] = (masks["lips"] > 0.5) & part["head_skin"]
    regions["lips"] = surface.grow(regions["lips_tight"], 2) & skin
    regions["mouth_interior"] = part["mouth_interior"]
    for name in (
        "teeth_upper",
        "teeth_lower",
        "tongue",
        "left_eyeball",
        "right_eyeball",
        "left_socket",
        "right_socket",
    ):
        regions[name] = part[name]
    add_eye_regions(regions, surface, masks, part=part, eye_centres=eye_centres, iris_angle=iris_angle)
    add_neck_regions(regions, surface)
    regions["left_half"], regions["right_half"] = x > -1e-6, x < 1e-6
    return regions


def hairline_field(vertices: np.ndarray, eye_height: float) -> np.ndarray:
    """Metres above the hairline (positive: scalp), a curve that is flat in front and falls at the temples."""
    side = np.maximum(np.abs(vertices[..., 0]) - 0.035, 0.0)
    return vertices[..., 1] - (eye_height + HAIRLINE_ABOVE_EYE_M - 12.0 * side**2)


def skull_below(surface: Surface, part: dict, regions: dict, ears: np.ndarray) -> np.ndarray:
    """Head-island skin under a line from the jaw angle to the nape, not on the face: counts as neck."""
    vertices = surface.vertices
    ear_bottom = vertices[ears, 1].min()
    line = ear_bottom - 0.012 + 0.25 * (vertices[:, 2] - vertices[ears, 2].mean())
    return part["head_skin"] & ~ears & ~regions["face"] & (vertices[:, 1] < line)


def add_eye_regions(regions, surface: Surface, masks: dict, *, part: dict, eye_centres, iris_angle: float) -> None:
    """Irises, sclerae, eyelids and eye regions, per side."""
    skin = part["head_skin"]
    for side, centre in zip(("left", "right"), eye_centres, strict=False):
        offset = surface.vertices - centre
        eyeball = part[f"{side}_eyeball"]
        on_iris = eyeball & (offset[:, 2] > np.cos(iris_angle + 0.01) * np.linalg.norm(offset, axis=1))
        regions[f"{side}_iris"] = on_iris
        regions[f"{side}_sclera"] = eyeball & ~on_iris
        same_side = offset[:, 0] * np.sign(centre[0]) > -abs(centre[0])
        regions[f"{side}_eyelids"] = surface.grow((masks["eyelids"] > 0.5) & skin, 1) & skin & same_side
        near = ((offset / EYE_REGION_RADII_M) ** 2).sum(axis=1) < 1
        regions[f"{side}_eye_region"] = (near & skin & same_side) | part[f"{side}_socket"]
    for name in ("iris", "sclera", "eyelids", "eye_region"):
        plural = {"iris": "irises", "sclera": "sclerae"}.get(name, name)
        regions[plural] = regions[f"left_{name}"] | regions[f"right_{name}"]


def add_neck_regions(regions: dict, surface: Surface) -> None:
    """Bottom edge, boundary strip, upper and lower neck."""
    skin_faces = surface.faces[
        np.isin(surface.part, ("head_skin", "neck_skin", "mouth_interior", "left_socket", "right_socket"))
    ]
    loop = max(boundary_loops(open_edge(skin_faces)), key=lambda loop: -surface.vertices[loop, 1].mean())
    regions["bottomline"] = np.isin(np.arange(len(surface.vertices)), loop)
    distance = sp.csgraph.dijkstra(surface.adjacency, directed=False, indices=loop, min_only=True)
    regions["boundary"] = distance < BOUNDARY_WIDTH_M
    heights = surface.vertices[regions["neck"], 1]
    middle = (np.percentile(heights, 90) + surface.vertices[regions["boundary"], 1].mean()) / 2
    regions["neck_upper"] = regions["neck"] & (surface.vertices[:, 1] >= middle)
    regions["neck_lower"] = regions["neck"] & (surface.vertices[:, 1] < middle)


def named_points(regions: dict, vertices: np.ndarray) -> dict[str, int]:
    """Front lowest bust point and the two side points at the neck's narrowest height."""
    bottom = np.flatnonzero(
        regions["bottomline"]
        & (np.abs(vertices[:, 0]) < 0.02)
        & (vertices[:, 2] > np.median(vertices[regions["neck"], 2]))
    )
    neck = np.flatnonzero(regions["neck_upper"] & ~regions["boundary"])
    levels = np.linspace(vertices[neck, 1].min(), vertices[neck, 1].max() - 0.01, 30)
    width = [np.abs(vertices[neck[np.abs(vertices[neck, 1] - level) < 0.006], 0]).max(initial=1.0) for level in levels]
    near = neck[np.abs(vertices[neck, 1] - levels[int(np.argmin(width))]) < 0.006]
    return {
        "bust_front_lowest": int(bottom[vertices[bottom, 1].argmin()]),
        "neck_left": int(near[vertices[near, 0].argmax()]),
        "neck_right": int(near[vertices[near, 0].argmin()]),
    }
