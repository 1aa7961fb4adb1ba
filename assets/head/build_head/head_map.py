"""From MakeHuman's 19158 base vertices to the head's vertices and joints: one linear map for all fields."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from .crop import Crop, crop_bust
from .eyes import Eyeball, sphere_directions, sphere_faces
from .makehuman import BaseMesh
from .teeth import split_front_from_back, teeth_smoother

JOINT_NAMES = ("root", "neck", "jaw", "eye_left", "eye_right")
JOINT_PARENTS = (-1, 0, 1, 1, 1)
NECK_HEIGHT_FRACTION = 0.55
"""The neck joint lies this far from MakeHuman's joint-neck (C7) to its joint-head (skull base)."""
JAW_OFFSET_DM = np.array([0.0, -0.043, 0.020])
"""From MakeHuman's joint-mouth to the pivot that best explains the lower teeth's motion in its jawOpen unit."""


@dataclass(frozen=True, kw_only=True)
class HeadMap:
    """Linear map from base fields to head fields. Vertices: bust and teeth and tongue, left eye, right eye."""

    crop: Crop
    eyeballs: tuple[Eyeball, Eyeball]
    joint_cubes: dict[str, np.ndarray]
    faces: np.ndarray
    face_parts: np.ndarray  # (num_faces,) "body", "helper-…", "eye_left", "eye_right"
    mirror: np.ndarray  # (num_vertices,) index of the mirrored vertex

    @property
    def num_solid(self) -> int:
        """Vertices before the eyes."""
        return self.crop.mix.shape[0]

    def vertices(self, field: np.ndarray) -> np.ndarray:
        """(num_vertices, 3) dm, of positions or displacements (19158, 3)."""
        return np.vstack([self.crop.mix @ field, *(eye.vertices(field) for eye in self.eyeballs)])

    def joints(self, field: np.ndarray, *, positions: bool = False) -> np.ndarray:
        """(5, 3) dm; `positions` adds the constant offsets that displacements must not get."""
        cube = {name: field[index].mean(axis=0) for name, index in self.joint_cubes.items()}
        neck = (1 - NECK_HEIGHT_FRACTION) * cube["joint-neck"] + NECK_HEIGHT_FRACTION * cube["joint-head"]
        jaw = cube["joint-mouth"] + (JAW_OFFSET_DM if positions else 0.0)
        return np.stack([cube["joint-neck"], neck, jaw, *(eye.centre(field) for eye in self.eyeballs)])


def build_head_map(base: BaseMesh, average_dm: np.ndarray) -> HeadMap:
    """Crop the bust on the average adult (19158, 3) and add round eyes."""
    helpers = [base.group_vertices(f"helper-{side}-eye") for side in "lr"]
    eyeballs = tuple(Eyeball(index, base.vertices) for index in helpers)
    between_eyes = np.mean([eye.centre(average_dm) for eye in eyeballs], axis=0)
    crop = crop_bust(base, average_dm, between_eyes)
    mix = (crop.mix @ teeth_smoother(base)).tocsr()
    split_faces, copies = split_front_from_back(crop.faces, crop.parts, mix @ average_dm)
    crop = replace(crop, mix=sp.vstack([mix, mix[copies]]).tocsr(), faces=split_faces)
    num_solid, num_eye, eye_faces = crop.mix.shape[0], len(sphere_directions()), sphere_faces()
    faces = np.vstack([crop.faces, eye_faces + num_solid, eye_faces + num_solid + num_eye])
    parts = np.concatenate([crop.parts, np.repeat(["eye_left", "eye_right"], len(eye_faces))])
    template = np.vstack([crop.mix @ average_dm, *(eye.vertices(average_dm) for eye in eyeballs)])
    return HeadMap(
        crop=crop,
        eyeballs=eyeballs,
        faces=faces,
        face_parts=parts,
        joint_cubes={n: base.group_vertices(n) for n in ("joint-neck", "joint-head", "joint-mouth")},
        mirror=mirror_vertices(template, faces),
    )


def mirror_vertices(template: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Index of each vertex's mirror image on a symmetric template.

    Vertices are matched together with their normals, so thin parts (lips, lids) are not confused.

    Raises:
        ValueError: the map is not one-to-one.
    """
    normals = vertex_normals(template, faces)
    flip = np.array([-1.0, 1.0, 1.0])
    _, mirror = cKDTree(np.hstack([template, 0.01 * normals])).query(
        np.hstack([template * flip, 0.01 * normals * flip])
    )
    bad = int((mirror[mirror] != np.arange(len(mirror))).sum())
    if bad:
        raise ValueError(f"mirror map: {bad} vertices are not matched one to one")
    return mirror


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit vertex normals."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
