"""Replace MakeHuman's 72-vertex eyeballs by rounder spheres with exact iris and pupil rings.

A head vertex on an eyeball is centre + radius · direction, where centre and radius are linear in the helper vertices:
every identity, and every principal component, keeps exact spheres. Directions are unit vectors with z on the gaze axis.
"""

import numpy as np

NUM_MERIDIANS = 24
IRIS_ANGLE_DEG = 23.5
"""Limbus ring: 5.9 mm iris radius on the average 15 mm eyeball of MakeHuman."""
PUPIL_ANGLE_DEG = 8.5
RING_ANGLES_DEG = (
    4.0,
    PUPIL_ANGLE_DEG,
    13.5,
    18.5,
    IRIS_ANGLE_DEG,
    28.0,
    34.0,
    41.0,
    49.0,
    58.0,
    68.0,
    79.0,
    92.0,
    110.0,
    130.0,
    155.0,
)
"""Polar angle of each ring from the gaze axis."""
UV_ANGLES_DEG, UV_RADII = (0, 45, 80, 105, 155), (0, 0.64, 0.88, 0.94, 0.975)
"""Radius on the uv disc by angle from the gaze axis: most of it for what lids leave open."""
EYEBALL_SCALE = 0.965
"""Shrinks the eyeball (about 0.5 mm) so that lids sliding on straight lines do not cut into it half-way."""


def sphere_directions() -> np.ndarray:
    """Unit directions (num_vertices, 3): front pole, rings from front to back, back pole."""
    polar = np.radians(np.repeat(RING_ANGLES_DEG, NUM_MERIDIANS))
    around = np.tile(np.arange(NUM_MERIDIANS) * (2 * np.pi / NUM_MERIDIANS), len(RING_ANGLES_DEG))
    rings = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1)
    return np.vstack([[0, 0, 1], rings, [0, 0, -1]])


def sphere_faces() -> np.ndarray:
    """Triangles, counter-clockwise from outside; diagonals mirror left to right."""
    last = 1 + NUM_MERIDIANS * len(RING_ANGLES_DEG)

    def index(ring, k):
        return 1 + ring * NUM_MERIDIANS + k % NUM_MERIDIANS

    faces = []
    for k in range(NUM_MERIDIANS):
        faces.append((0, index(0, k), index(0, k + 1)))
        for ring in range(len(RING_ANGLES_DEG) - 1):
            a, b, c, d = index(ring, k), index(ring + 1, k), index(ring + 1, k + 1), index(ring, k + 1)
            on_right_half = NUM_MERIDIANS // 4 <= k < 3 * NUM_MERIDIANS // 4
            faces += [(a, b, d), (b, c, d)] if on_right_half else [(a, b, c), (a, c, d)]
        faces.append((index(len(RING_ANGLES_DEG) - 1, k), last, index(len(RING_ANGLES_DEG) - 1, k + 1)))
    return np.array(faces)


def eyeball_uv() -> tuple[np.ndarray, np.ndarray]:
    """Disc in [0, 1]²: front pole in the middle, the back, which never shows, squeezed into the rim.

    Returns uv points and uv faces; the back pole is split into one point per meridian.
    """
    directions = sphere_directions()[:-1]
    polar = np.arccos(np.clip(directions[:, 2], -1, 1))
    radius = 0.5 * np.interp(polar, np.radians(UV_ANGLES_DEG), UV_RADII)
    around = np.arctan2(directions[:, 1], directions[:, 0])
    back_around = (np.arange(NUM_MERIDIANS) + 0.5) * (2 * np.pi / NUM_MERIDIANS)
    radius, around = np.append(radius, np.full(NUM_MERIDIANS, 0.5)), np.append(around, back_around)
    faces, back_pole = sphere_faces(), len(directions)
    is_fan = (faces == back_pole).any(axis=1)
    faces[is_fan, 1] = back_pole + np.arange(NUM_MERIDIANS)
    return 0.5 + radius[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1), faces


def radius_basis(components: np.ndarray, first_eye_vertex: int, num_vertices: int) -> np.ndarray:
    """Change of the two eyeballs' radii per identity component (K, 2), from [vertices, joints] components (K, P, 3)."""
    size = len(sphere_directions())
    rows = []
    for k in range(2):
        start = first_eye_vertex + k * size
        outward = components[:, start : start + size] - components[:, num_vertices + 3 + k, None]
        rows.append((outward * sphere_directions()).sum(axis=2).mean(axis=1))
    return np.stack(rows, axis=1)


class Eyeball:
    """Linear map from MakeHuman's helper eye to a sphere."""

    def __init__(self, helper_indices: np.ndarray, base_vertices_dm: np.ndarray) -> None:
        self.helper_indices = helper_indices
        helper = base_vertices_dm[helper_indices]
        outward = helper - helper.mean(axis=0)
        self.helper_directions = outward / np.linalg.norm(outward, axis=1, keepdims=True)

    def centre(self, field: np.ndarray) -> np.ndarray:
        """Centre (3,) of positions, or its change under displacements (19158, 3)."""
        return field[self.helper_indices].mean(axis=0)

    def radius(self, field: np.ndarray) -> float:
        """Mean radius, linear in the field."""
        outward = field[self.helper_indices] - self.centre(field)
        return EYEBALL_SCALE * float((outward * self.helper_directions).sum(axis=1).mean())

    def vertices(self, field: np.ndarray) -> np.ndarray:
        """Sphere vertices (num_vertices, 3)."""
        return self.centre(field) + self.radius(field) * sphere_directions()
