"""Reads the CC0 head asset with numpy and evaluates it: template, shape, expression, offsets, skinning."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
NUM_JOINTS = 5


@dataclass(frozen=True, kw_only=True)
class HeadAsset:
    """The head model as plain arrays (metres, y up, z forwards, x to the subject's left)."""

    sha256: str
    template: Array
    """(V, 3)"""
    shape_basis: Array
    """(K, V, 3)"""
    expression_basis: Array
    """(E, V, 3); a coefficient of 1 is the full named unit."""
    expression_names: tuple[str, ...]
    joints: Array
    """(5, 3): root, neck, jaw, left eye, right eye."""
    joint_shape_basis: Array
    """(K, 5, 3)"""
    joint_parents: npt.NDArray[np.int64]
    skin_weights: Array
    """(V, 5)"""
    jaw_corrective: Array
    """(V, 3), added before skinning, times R_jaw[2, 1] / sin(jaw_open_full_rad)."""
    jaw_open_full_rad: float
    faces: npt.NDArray[np.int64]
    part_names: tuple[str, ...]
    face_part: npt.NDArray[np.int64]
    regions: dict[str, npt.NDArray[np.bool_]]
    landmark_faces: npt.NDArray[np.int64]
    """(478,) Face Mesh order."""
    landmark_barycentric: Array
    landmark68_faces: npt.NDArray[np.int64]
    landmark68_barycentric: Array
    iris_angle_rad: float

    def part_faces(self, *names: str) -> npt.NDArray[np.bool_]:
        """Mask of the faces of some parts."""
        return np.isin(self.face_part, [self.part_names.index(name) for name in names])

    def part_vertices(self, *names: str) -> npt.NDArray[np.bool_]:
        """Mask of the vertices used by some parts."""
        mask = np.zeros(len(self.template), bool)
        mask[self.faces[self.part_faces(*names)]] = True
        return mask

    def embedded(self, vertices: Array) -> Array:
        """The 478 landmarks (478, 3) on some vertices."""
        return np.einsum("lk,lkc->lc", self.landmark_barycentric, vertices[self.faces[self.landmark_faces]])

    def embedded68(self, vertices: Array) -> Array:
        """The 68 iBUG landmarks (68, 3) on some vertices."""
        return np.einsum("lk,lkc->lc", self.landmark68_barycentric, vertices[self.faces[self.landmark68_faces]])


def load_head(path: Path) -> HeadAsset:
    """Read the npz of the head asset."""
    data = dict(np.load(path, allow_pickle=False))
    skin = data["shape_int8"].astype(float) * data["shape_scale"][:, None, None]
    eyes = [
        data["joint_shape_basis"][:, None, 3 + side].astype(float)
        + data["eye_radius_shape_basis"][:, side, None, None] * data["eye_directions"]
        for side in (0, 1)
    ]
    num_vertices = len(data["v_template"])
    bits = np.unpackbits(data["region_vertex_bits"], axis=1)[:, :num_vertices].astype(bool)
    return HeadAsset(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        template=data["v_template"].astype(float),
        shape_basis=np.concatenate([skin, *eyes], axis=1),
        expression_basis=data["expression_basis"].astype(float),
        expression_names=tuple(data["expression_names"].tolist()),
        joints=data["joints"].astype(float),
        joint_shape_basis=data["joint_shape_basis"].astype(float),
        joint_parents=data["joint_parents"].astype(int),
        skin_weights=data["lbs_weights"].astype(float),
        jaw_corrective=data["jaw_corrective"].astype(float),
        jaw_open_full_rad=float(data["jaw_open_full_rad"]),
        faces=data["faces"].astype(int),
        part_names=tuple(data["part_names"].tolist()),
        face_part=data["face_part"].astype(int),
        regions=dict(zip(data["region_names"].tolist(), bits, strict=True)),
        landmark_faces=data["landmark_face"].astype(int),
        landmark_barycentric=data["landmark_bary"].astype(float),
        landmark68_faces=data["landmark68_face"].astype(int),
        landmark68_barycentric=data["landmark68_bary"].astype(float),
        iris_angle_rad=float(np.radians(data["iris_angle_deg"])),
    )


def rotation_matrix(axis_angle: Array) -> Array:
    """Rodrigues' formula, (3,) radians to (3, 3)."""
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def joint_transforms(head: HeadAsset, joints: Array, pose: Array, translation: Array) -> Array:
    """World transforms (5, 3, 4) of a pose (5, 3) in axis-angle about joints (5, 3)."""
    world: list[Array] = []
    for joint, parent, axis_angle in zip(joints, head.joint_parents, pose, strict=True):
        local = np.eye(4)
        local[:3, :3] = rotation_matrix(axis_angle)
        local[:3, 3] = joint - local[:3, :3] @ joint
        world.append(local if parent < 0 else world[parent] @ local)
    stacked = np.stack(world)[:, :3].copy()
    stacked[:, :, 3] += translation
    return stacked


def pose_vertices(head: HeadAsset, rest: Array, pose: Array, transforms: Array) -> Array:
    """Corrective and linear blend skinning of rest vertices (V, 3)."""
    opening = rotation_matrix(pose[2])[2, 1] / np.sin(head.jaw_open_full_rad)
    matrices = np.einsum("vj,jrc->vrc", head.skin_weights, transforms)
    shaped = rest + opening * head.jaw_corrective
    return np.einsum("vrc,vc->vr", matrices[..., :3], shaped) + matrices[..., 3]


def vertex_normals(vertices: Array, faces: npt.NDArray[np.int64]) -> Array:
    """Area-weighted unit vertex normals."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(faces[:, corner], face_normals[:, axis], minlength=len(vertices))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
