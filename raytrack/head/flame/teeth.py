"""Teeth for FLAME, which has none: 120 vertices and 168 faces behind the lips, in the layout that readers expect.

After FLAME's own 5023 vertices come eight rows of 15, from the subject's one corner of the mouth to the other: upper
root, lower root, upper edge, lower edge, upper root back, upper edge back, lower root back, lower edge back.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from raytrack.head.flame.model_file import NUM_VERTICES, FlameModel

# fmt: off
UPPER_RING = (1713, 1715, 1716, 1735, 1696, 1694, 1657, 3543, 2774, 2811, 2813, 2850, 2833, 2832, 2830)
"""FLAME's vertices on the outer ring of the upper lip: the one list that follows from no geometry, for every program
that reads this layout assumes it."""
LOWER_RING = (1576, 1577, 1773, 1774, 1795, 1802, 1865, 3503, 2948, 2905, 2898, 2881, 2880, 2713, 2712)
# fmt: on
POINTS = len(UPPER_RING)
ROWS = (
    "upper_root", "lower_root", "upper_edge", "lower_edge",
    "upper_root_back", "upper_edge_back", "lower_root_back", "lower_edge_back",
)  # fmt: skip
STRIPS = (
    ("upper_root", "upper_edge"),
    ("upper_edge", "upper_edge_back"),
    ("upper_edge_back", "upper_root_back"),
    ("lower_edge", "lower_root"),
    ("lower_edge_back", "lower_edge"),
    ("lower_root_back", "lower_edge_back"),
)
"""Pairs of rows with faces between them: the first is above, seen from outside with the subject's right on the left."""
NUM_TEETH_VERTICES = POINTS * len(ROWS)
NECK, JAW = 1, 2

_BEHIND_LIPS, _EDGE, _LENGTH, _THICKNESS, _OVERBITE = 1.5, 0.1, 2.0, 1.0, 0.4
"""In gaps: the mean distance between the upper and the lower ring."""


def add_teeth(model: FlameModel) -> FlameModel:
    """The model with teeth: 5143 vertices, 10144 faces.

    The teeth follow the identity of the lips, and no expression; the upper ones move with the neck, the lower ones with
    the jaw.
    """
    rows = len(ROWS)
    lips = (model.shape_basis[:, list(UPPER_RING)] + model.shape_basis[:, list(LOWER_RING)]) / 2
    weights = np.zeros((rows, POINTS, model.skin_weights.shape[1]))
    for index, name in enumerate(ROWS):
        weights[index, :, NECK if name.startswith("upper") else JAW] = 1

    def still(basis: np.ndarray) -> np.ndarray:
        return np.concatenate([basis, np.zeros((len(basis), NUM_TEETH_VERTICES, 3))], axis=1)

    regressor = model.joint_regressor
    return replace(
        model,
        template=np.concatenate([model.template, teeth_vertices(model.template)]),
        shape_basis=np.concatenate([model.shape_basis, np.tile(lips, (1, rows, 1))], axis=1),
        expression_basis=still(model.expression_basis),
        pose_basis=still(model.pose_basis),
        joint_regressor=np.concatenate([regressor, np.zeros((len(regressor), NUM_TEETH_VERTICES))], axis=1),
        skin_weights=np.concatenate([model.skin_weights, weights.reshape(NUM_TEETH_VERTICES, -1)]),
        faces=np.concatenate([model.faces, teeth_faces(model.template)]),
    )


def teeth_vertices(template: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "120 3"]:
    """Resting positions in metres, row by row."""
    upper, lower = template[list(UPPER_RING)], template[list(LOWER_RING)]
    gap = float(np.linalg.norm(upper - lower, axis=1).mean())
    middle = (upper + lower) / 2
    middle[:, 1] = middle[:, 1].mean()
    middle[:, 2] -= _BEHIND_LIPS * gap
    rows = []
    for name in ROWS:
        side = 1 if name.startswith("upper") else -1
        height = side * (_EDGE + (_LENGTH if "root" in name else 0))
        depth = -_THICKNESS * name.endswith("back") - (0 if side > 0 else _OVERBITE)
        rows.append(middle + gap * np.array([0.0, height, depth]))
    return np.concatenate(rows)


def row_vertices(name: str) -> Int[np.ndarray, "15"]:
    """Vertices of a row."""
    return NUM_VERTICES + ROWS.index(name) * POINTS + np.arange(POINTS)


def teeth_faces(template: Float[np.ndarray, "vertices 3"]) -> Int[np.ndarray, "168 3"]:
    """Faces, counter-clockwise from outside: in front, at the biting edge and behind."""
    to_the_right = template[UPPER_RING[-1], 0] < template[UPPER_RING[0], 0]
    faces = []
    for above, below in STRIPS:
        top, bottom = row_vertices(above), row_vertices(below)
        if to_the_right:
            top, bottom = top[::-1], bottom[::-1]
        faces.append(np.stack([top[:-1], bottom[:-1], bottom[1:]], axis=1))
        faces.append(np.stack([top[:-1], bottom[1:], top[1:]], axis=1))
    return np.concatenate(faces)
