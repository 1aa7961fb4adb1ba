"""Five joints, smooth blend weights, one jaw mechanism with a corrective shape.

The jaw's weights are least-squares fits of MakeHuman's jawOpen unit by a rotation about the jaw joint; what a rotation
cannot explain becomes a corrective that grows with the sine of the opening angle. Then jawOpen itself is dropped.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from .head_map import JOINT_NAMES, JOINT_PARENTS
from .makehuman import NUM_BASE_VERTICES
from .regions import Surface

JAW_OPEN_FULL_RAD = np.radians(20.7)
"""Rotation of the lower teeth in MakeHuman's jawOpen at 1.0."""
JAW_SOFTENING_M = 0.002
"""Keeps the weight fit stable where the rotation hardly moves a vertex."""
NECK_BONE_SHARE = {"neck01": 0.25, "neck02": 0.5, "neck03": 0.75, "head": 1.0}
"""How much of each bone of MakeHuman's neck chain follows our single neck joint."""
TONGUE_DROP_M = np.array([0.0, -0.005, -0.003])
"""The tongue sinks and draws back this much at full opening; it never hangs in front of an open mouth's cavity."""
NECK_SMOOTHING_STEPS = 40
NECK_DEAD_SHARE = 0.2
"""Smoothing leaves shoulders and chest this share of the neck's motion; it is taken off, so that they stay still."""
JAW_SMOOTHING_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Blend weights (V, 5) in the order of JOINT_NAMES and the jaw corrective (V, 3) in metres at full opening."""

    weights: np.ndarray
    jaw_corrective: np.ndarray
    jaw_side_full_rad: float


def rotation_matrix(axis_angle: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, (3,) radians to (3, 3)."""
    angle = np.linalg.norm(axis_angle)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def blend_matrices(joints: np.ndarray, pose: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Per-vertex affine maps (V, 3, 4) of a pose (5, 3) in axis-angle about joints (5, 3)."""
    world = []
    for joint, parent, rotation in zip(joints, JOINT_PARENTS, pose, strict=False):
        local = np.eye(4)
        local[:3, :3] = rotation_matrix(rotation)
        local[:3, 3] = joint - local[:3, :3] @ joint
        world.append(local if parent < 0 else world[parent] @ local)
    return np.einsum("vj,jrc->vrc", weights, np.stack(world))[:, :3]


def pose_vertices(vertices: np.ndarray, joints: np.ndarray, pose: np.ndarray, rig: Rig) -> np.ndarray:
    """Corrected and skinned vertices (V, 3)."""
    opening = rotation_matrix(pose[JOINT_NAMES.index("jaw")])[2, 1] / np.sin(JAW_OPEN_FULL_RAD)
    shaped = vertices + opening * rig.jaw_corrective
    matrices = blend_matrices(joints, pose, rig.weights)
    return np.einsum("vrc,vc->vr", matrices[..., :3], shaped) + matrices[..., 3]


def smooth(values: np.ndarray, adjacency: sp.csr_matrix, free: np.ndarray, steps: int) -> np.ndarray:
    """Uniform Laplacian smoothing of the free vertices."""
    pattern = (adjacency > 0).astype(float)
    average = sp.diags(1 / np.maximum(pattern.sum(axis=1).A1, 1)) @ pattern
    for _ in range(steps):
        values = np.where(free, 0.5 * values + 0.5 * (average @ values), values)
    return values


def neck_weights(bone_weights: dict, parents: dict, mix: sp.csr_matrix) -> np.ndarray:
    """Share of the neck joint per bust vertex, from MakeHuman's neck chain."""
    share = np.zeros(NUM_BASE_VERTICES)
    total = np.zeros(NUM_BASE_VERTICES)
    for bone, entries in bone_weights.items():
        ancestor = bone
        while ancestor and ancestor not in NECK_BONE_SHARE:
            ancestor = parents.get(ancestor)
        for vertex, weight in entries:
            share[vertex] += weight * NECK_BONE_SHARE.get(ancestor, 0.0)
            total[vertex] += weight
    return np.clip(mix @ (share / np.maximum(total, 1e-9)), 0, 1)


def fit_jaw_weights(vertices: np.ndarray, pivot: np.ndarray, jaw_open: np.ndarray) -> np.ndarray:
    """Share of a full jaw rotation in each vertex's displacement, 0…1."""
    turned = (vertices - pivot) @ rotation_matrix(np.array([JAW_OPEN_FULL_RAD, 0, 0])).T + pivot - vertices
    return np.clip((jaw_open * turned).sum(1) / ((turned**2).sum(1) + JAW_SOFTENING_M**2), 0, 1)


def build_rig(
    surface: Surface,
    joints: np.ndarray,
    mirror: np.ndarray,
    *,
    parts: dict[str, np.ndarray],
    neck_share: np.ndarray,
    units: dict[str, np.ndarray],
) -> Rig:
    """Everything in metres; `parts` are vertex masks, `units` hold jawOpen and jawLeft displacements."""
    vertices, adjacency = surface.vertices, surface.adjacency
    solid = np.zeros(len(vertices))
    solid[: len(neck_share)] = neck_share
    rigid = np.any(
        [parts[p] for p in ("left_eyeball", "right_eyeball", "teeth_upper", "teeth_lower", "tongue")], axis=0
    )
    neck = smooth(np.where(rigid, 1.0, solid), adjacency, ~rigid, NECK_SMOOTHING_STEPS)
    jaw = smooth(fit_jaw_weights(vertices, joints[2], units["jawOpen"]), adjacency, ~rigid, JAW_SMOOTHING_STEPS)
    jaw[parts["teeth_lower"] | parts["tongue"]] = 1.0
    jaw[parts["teeth_upper"] | parts["left_eyeball"] | parts["right_eyeball"]] = 0.0
    neck = np.maximum((neck - NECK_DEAD_SHARE) / (1 - NECK_DEAD_SHARE), 0)
    neck, jaw = (neck + neck[mirror]) / 2, (jaw + jaw[mirror]) / 2
    weights = np.stack([(1 - neck) * (1 - jaw), neck * (1 - jaw), jaw, np.zeros_like(jaw), np.zeros_like(jaw)], axis=1)
    for column, side in ((3, "left"), (4, "right")):
        weights[parts[f"{side}_eyeball"]] = np.eye(5)[column]
    weights = np.round(weights, 4)
    weights /= weights.sum(axis=1, keepdims=True)
    corrective = jaw_corrective(vertices, joints, weights, units["jawOpen"], rigid)
    corrective[parts["tongue"]] = TONGUE_DROP_M
    return Rig(
        weights=weights,
        jaw_corrective=corrective,
        jaw_side_full_rad=fit_jaw_side(vertices, joints[2], units["jawLeft"], parts["teeth_lower"]),
    )


def jaw_corrective(vertices, joints, weights, jaw_open, rigid) -> np.ndarray:
    """Rest-pose offset (V, 3) that makes the skinned full opening equal the jawOpen unit; zero on rigid parts."""
    pose = np.zeros((5, 3))
    pose[2, 0] = JAW_OPEN_FULL_RAD
    matrices = blend_matrices(joints, pose, weights)
    wanted = np.linalg.solve(matrices[..., :3], (vertices + jaw_open - matrices[..., 3])[..., None])[..., 0] - vertices
    return np.where(rigid[:, None], 0.0, wanted)


def before_full_opening(displacement, joints, weights) -> np.ndarray:
    """Rest-pose displacement (V, 3) that skinning at full jaw opening turns into the given one.

    For shapes authored on top of an open mouth, such as mouthClose.
    """
    pose = np.zeros((5, 3))
    pose[2, 0] = JAW_OPEN_FULL_RAD
    linear = blend_matrices(joints, pose, weights)[..., :3]
    return np.linalg.solve(linear, displacement[..., None])[..., 0]


def fit_jaw_side(vertices, pivot, jaw_left, teeth) -> float:
    """Jaw yaw (rad) that best matches the lower teeth's sideways motion in jawLeft."""
    arm = vertices[teeth] - pivot
    return float((jaw_left[teeth, 0] * arm[:, 2]).sum() / (arm[:, 2] ** 2).sum())
