"""Regions of the head's surface: those a head file lists, and those that follow from them and the topology.

Works for any head: nothing here names a vertex. Masks are over vertices; a face belongs to a region when all three of
its vertices do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from raytrack.geometry.mesh import open_edge_vertices, vertex_adjacency

Mask = Bool[np.ndarray, " vertices"]
Regions = Mapping[str, np.ndarray]

PERTURBATION_REGIONS = ("skin", "hair", "boundary", "lips_tight", "teeth", "sclerae", "irises")
"""Regions whose pixels the photometric term shuffles among themselves."""
IRIS_ANGLE_RAD = np.radians(24.0)
"""Half-angle of the iris seen from the eyeball's centre: 5.9 mm on a 14.5 mm eyeball, 5.0 mm on a 12.3 mm one."""
LIPS_TIGHT_RINGS = 1
"""Edge rings at the outer border of `lips` that `lips_tight` leaves out."""
BUST_ROOT_SHARE = 0.87
LID_HEIGHT = 0.40
"""Lids lie within this share of the eyeball's radius above its surface."""


@dataclass(frozen=True, kw_only=True)
class HeadGeometry:
    """What derived regions are computed from: the resting mean head, in metres, facing +z."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    eye_centres: Float[np.ndarray, "2 3"]
    """The subject's left eye, then the right eye."""
    root_share: Float[np.ndarray, " vertices"]
    """How far each vertex stays with the root joint when the neck turns."""

    @cached_property
    def adjacency(self) -> sp.csr_matrix:
        """Vertices that share an edge."""
        return vertex_adjacency(self.faces, len(self.vertices))

    def grow(self, mask: Mask, rings: int = 1) -> Mask:
        """The mask and its neighbours, `rings` edges far."""
        for _ in range(rings):
            mask = mask | (self.adjacency @ mask.astype(np.float32) > 0)
        return mask

    def open_loops(self) -> list[Int[np.ndarray, " loop"]]:
        """Vertices of each connected open edge, largest extent first."""
        border = open_edge_vertices(self.faces)
        if len(border) == 0:
            return []
        inside = self.adjacency[border][:, border]
        labels = sp.csgraph.connected_components(inside, directed=False)[1]
        loops = [border[labels == label] for label in range(labels.max() + 1)]
        return sorted(loops, key=lambda loop: -float(np.ptp(self.vertices[loop], axis=0).max()))

    def mask(self, indices: Int[np.ndarray, " chosen"]) -> Mask:
        """Mask of some vertices."""
        result = np.zeros(len(self.vertices), bool)
        result[indices] = True
        return result


def complete_regions(listed: Regions, geometry: HeadGeometry) -> dict[str, np.ndarray]:
    """The listed regions and every derived one; a listed region is never replaced.

    Args:
        listed: Vertex masks; at least face, neck, scalp, lips, left_eyeball, right_eyeball, left_eye_region and
            right_eye_region. Teeth, tongue, mouth_interior and sockets may be absent (empty).
        geometry: The resting mean head.

    Raises:
        ValueError: A mask that others need is missing.
    """
    needed = ("face", "neck", "scalp", "lips", "left_eyeball", "right_eyeball", "left_eye_region", "right_eye_region")
    missing = [name for name in needed if name not in listed]
    if missing:
        raise ValueError(f"regions missing: {', '.join(missing)}")
    known = {name: np.asarray(mask, bool) for name, mask in listed.items()}
    nothing = np.zeros(len(geometry.vertices), bool)
    for name in ("teeth_upper", "teeth_lower", "tongue", "mouth_interior", "left_socket", "right_socket"):
        known.setdefault(name, nothing)
    for name, derive in DERIVED.items():
        if name not in known:
            known[name] = derive(known, geometry)
    return known


def union(*names: str) -> Callable[[Regions, HeadGeometry], np.ndarray]:
    """Rule: vertices in any of some regions."""
    return lambda known, _geometry: np.any([known[name] for name in names], axis=0)


def iris(side: int, name: str) -> Callable[[Regions, HeadGeometry], np.ndarray]:
    """Rule: eyeball vertices within IRIS_ANGLE_RAD of the resting optical axis, +z."""

    def derive(known: Regions, geometry: HeadGeometry) -> np.ndarray:
        offset = geometry.vertices - geometry.eye_centres[side]
        along = offset[:, 2] / np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        return known[f"{name}_eyeball"] & (along >= np.cos(IRIS_ANGLE_RAD))

    return derive


def eyelids(side: int, name: str) -> Callable[[Regions, HeadGeometry], np.ndarray]:
    """Rule: skin of the eye region in front of the eyeball's centre that lies close above its sphere."""

    def derive(known: Regions, geometry: HeadGeometry) -> np.ndarray:
        eyeball = known[f"{name}_eyeball"]
        offset = geometry.vertices - geometry.eye_centres[side]
        distance = np.linalg.norm(offset, axis=1)
        radius = float(np.median(distance[eyeball]))
        near = (distance < (1 + LID_HEIGHT) * radius) & (offset[:, 2] > 0)
        return near & known[f"{name}_eye_region"] & ~eyeball & ~known[f"{name}_socket"]

    return derive


def lips_tight(known: Regions, geometry: HeadGeometry) -> np.ndarray:
    """Lips without the LIPS_TIGHT_RINGS rings next to other skin."""
    inside = known["mouth_interior"] | known["teeth_upper"] | known["teeth_lower"] | known["tongue"]
    return known["lips"] & ~geometry.grow(~known["lips"] & ~inside, LIPS_TIGHT_RINGS)


def bottomline(_known: Regions, geometry: HeadGeometry) -> np.ndarray:
    """The open edge under the bust: the widest one of the lower half."""
    middle = float(np.mean([geometry.vertices[:, 1].min(), geometry.vertices[:, 1].max()]))
    loops = [loop for loop in geometry.open_loops() if geometry.vertices[loop, 1].mean() < middle]
    if not loops:
        raise ValueError("the head has no open edge under the bust")
    return geometry.mask(loops[0])


def boundary(known: Regions, geometry: HeadGeometry) -> np.ndarray:
    """The strip along the bottom edge: three rings."""
    return geometry.grow(known["bottomline"], 3) & ~known["face"]


def neck_half(*, upper: bool) -> Callable[[Regions, HeadGeometry], np.ndarray]:
    """Rule: the neck above or below the middle of its height."""

    def derive(known: Regions, geometry: HeadGeometry) -> np.ndarray:
        heights = geometry.vertices[:, 1]
        low, high = np.percentile(heights[known["neck"]], [5, 95])
        return known["neck"] & ((heights >= (low + high) / 2) == upper)

    return derive


def bust(_known: Regions, geometry: HeadGeometry) -> np.ndarray:
    """Shoulders and chest: what does not follow the neck. On footage, mostly clothes."""
    return geometry.root_share > BUST_ROOT_SHARE


def half(sign: float) -> Callable[[Regions, HeadGeometry], np.ndarray]:
    """Rule: one side of the middle plane, the plane itself included. The subject's left is +x."""
    return lambda _known, geometry: geometry.vertices[:, 0] * sign >= -1e-6


def without(name: str, *removed: str) -> Callable[[Regions, HeadGeometry], np.ndarray]:
    """Rule: a region less some others."""
    return lambda known, _geometry: known[name] & ~np.any([known[other] for other in removed], axis=0)


def skin(known: Regions, _geometry: HeadGeometry) -> np.ndarray:
    """All but eyeballs, hair, tight lips, boundary and teeth."""
    return ~np.any([known[name] for name in ("eyeballs", "hair", "lips_tight", "boundary", "teeth")], axis=0)


DERIVED: dict[str, Callable[[Regions, HeadGeometry], np.ndarray]] = {
    "eyeballs": union("left_eyeball", "right_eyeball"),
    "sockets": union("left_socket", "right_socket"),
    "teeth": union("teeth_upper", "teeth_lower"),
    "hair": without("scalp", "face", "neck"),
    "left_iris": iris(0, "left"),
    "right_iris": iris(1, "right"),
    "irises": union("left_iris", "right_iris"),
    "left_sclera": without("left_eyeball", "irises"),
    "right_sclera": without("right_eyeball", "irises"),
    "sclerae": union("left_sclera", "right_sclera"),
    "left_eyelids": eyelids(0, "left"),
    "right_eyelids": eyelids(1, "right"),
    "eyelids": union("left_eyelids", "right_eyelids"),
    "eye_region": union("left_eye_region", "right_eye_region"),
    "left_eye": union("left_eye_region", "left_eyeball"),
    "right_eye": union("right_eye_region", "right_eyeball"),
    "ears": union("left_ear", "right_ear"),
    "lips_tight": lips_tight,
    "bust": bust,
    "bottomline": bottomline,
    "boundary": boundary,
    "neck_upper": neck_half(upper=True),
    "neck_lower": neck_half(upper=False),
    "left_half": half(1.0),
    "right_half": half(-1.0),
    "skin": skin,
}
"""Rules in the order in which they build on one another."""


def face_region_index(
    faces: Int[np.ndarray, "faces 3"], regions: Regions, names: tuple[str, ...] = PERTURBATION_REGIONS
) -> Int[np.ndarray, " faces"]:
    """For each face the index into `names` of the region that holds all its vertices; −1 for none.

    Where regions overlap, the later name wins.
    """
    result = np.full(len(faces), -1, np.int32)
    for index, name in enumerate(names):
        result[np.asarray(regions[name], bool)[faces].all(axis=1)] = index
    return result
