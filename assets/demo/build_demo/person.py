"""Who the person is: shape coefficients, offsets outside the basis, and mouth detail outside the expression basis."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .head_asset import Array, HeadAsset, joint_transforms, pose_vertices
from .performance import Performance, curve

SHAPE_SEED = 14
SHAPE_COMPONENTS = 60
SHAPE_STD = 0.62
OFFSET_SEED = 5
MOUTH_SEED = 9
NUM_BUMPS = 70
BUMP_RADII_M = (0.009, 0.028)
BUMP_HEIGHT_M = 0.0006
MOUTH_DETAIL_M = 0.0006
INNER_PARTS = (
    "left_eyeball", "right_eyeball", "left_socket", "right_socket", "mouth_interior", "teeth_upper", "teeth_lower",
    "tongue",
)  # fmt: skip
"""Parts that offsets leave alone, and near which they fade."""
MOUTH_WAVES = {
    0: (0.2, -0.3), 15: (0.8, 0.2), 30: (-0.5, 0.9), 45: (0.1, -0.8), 60: (-0.9, 0.1), 75: (0.6, 0.7), 89: (0, 0),
}  # fmt: skip
"""Frame: amounts of the last two mouth details."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What makes one person differ from another; the demo's unless told otherwise."""

    shape_seed: int = SHAPE_SEED
    shape_std: float = SHAPE_STD
    offset_seed: int = OFFSET_SEED
    bump_height_m: float = BUMP_HEIGHT_M
    asymmetry: float = 1.0
    """Factor on what pulls jaw and nose to one side."""
    mouth_seed: int = MOUTH_SEED


@dataclass(frozen=True, kw_only=True)
class Person:
    """A head with its identity applied."""

    head: HeadAsset
    shape: Array
    """(K,) coefficients in the basis."""
    static_offset: Array
    """(V, 3) metres, outside the basis."""
    mouth_detail: Array
    """(4, V, 3) metres: smooth deformations around the mouth that no expression unit makes."""
    joints: Array
    """(5, 3) of this identity."""

    @property
    def rest(self) -> Array:
        """Vertices (V, 3) before expression and pose."""
        return self.head.template + np.tensordot(self.shape, self.head.shape_basis, 1) + self.static_offset

    def posed(self, performance: Performance, frame: int) -> tuple[Array, Array]:
        """Vertices (V, 3) of a frame in the world, and the joints' transforms (5, 3, 4)."""
        pose, expression = performance.pose[frame], performance.expression[frame]
        transforms = joint_transforms(self.head, self.joints, pose, performance.translation[frame])
        shaped = self.rest + np.tensordot(expression, self.head.expression_basis, 1)
        shaped = shaped + np.tensordot(mouth_detail_weights(performance)[frame], self.mouth_detail, 1)
        return pose_vertices(self.head, shaped, pose, transforms), transforms


def make_person(head: HeadAsset, traits: Traits | None = None) -> Person:
    """A person, the demo's by default; fixed seeds decide everything."""
    traits = traits or Traits()
    shape = np.zeros(len(head.shape_basis))
    shape[:SHAPE_COMPONENTS] = traits.shape_std * np.random.default_rng(traits.shape_seed).normal(size=SHAPE_COMPONENTS)
    return Person(
        head=head,
        shape=shape,
        static_offset=make_offsets(head, traits),
        mouth_detail=make_mouth_detail(head, traits.mouth_seed),
        joints=head.joints + np.tensordot(shape, head.joint_shape_basis, 1),
    )


def mouth_detail_weights(performance: Performance) -> Array:
    """(T, 4) amounts of the mouth details: with the jaw's opening, and slow waves of their own."""
    opening = performance.pose[:, 2, 0] / 0.36
    waves = curve(MOUTH_WAVES, len(opening))
    return np.stack([opening, np.maximum(opening - 0.3, 0) * 1.4, waves[:, 0], waves[:, 1]], axis=1)


def soft_skin(head: HeadAsset) -> Array:
    """0…1 per vertex: where offsets may act. None on eyeballs, lids, teeth and the inside of the mouth."""
    skin = head.part_vertices("head_skin", "neck_skin").astype(float)
    inner = head.part_vertices(*INNER_PARTS)
    distance = cKDTree(head.template[inner]).query(head.template)[0]
    return skin * np.clip((distance - 0.001) / 0.006, 0, 1) ** 2


def smooth_field(points: Array, centres: Array, radii: Array, values: Array) -> Array:
    """Sum of Gaussian bumps (n, 3)."""
    squared = ((points[:, None] - centres[None]) ** 2).sum(axis=2) / radii**2
    return np.exp(-0.5 * squared) @ values


def make_offsets(head: HeadAsset, traits: Traits) -> Array:
    """Asymmetric bumps and a broad twist of the lower face, (V, 3)."""
    rng = np.random.default_rng(traits.offset_seed)
    surface = np.flatnonzero(head.regions["face"] | head.regions["neck_upper"] | head.regions["scalp"])
    centres = head.template[rng.choice(surface, NUM_BUMPS, replace=False)]
    radii = rng.uniform(*BUMP_RADII_M, NUM_BUMPS)
    offsets = smooth_field(head.template, centres, radii, rng.normal(0, traits.bump_height_m, (NUM_BUMPS, 3)))
    x, y, z = head.template.T
    offsets[:, 0] += (
        traits.asymmetry * 0.0022 * np.exp(-(((y + 0.045) / 0.035) ** 2)) * (z > 0)
    )  # jaw a little to one side
    nose = np.exp(-((x / 0.016) ** 2) - ((y - 0.004) / 0.016) ** 2) * np.clip((z - 0.085) / 0.02, 0, 1)
    offsets[:, 0] -= traits.asymmetry * 0.0018 * nose
    offsets[:, 2] += 0.0016 * np.exp(-((x / 0.008) ** 2) - ((y - 0.018) / 0.008) ** 2) * (z > 0.07)  # nasal hump
    return offsets * soft_skin(head)[:, None]


def make_mouth_detail(head: HeadAsset, seed: int) -> Array:
    """Four random smooth displacement fields around the mouth, (4, V, 3)."""
    rng = np.random.default_rng(seed)
    lips = np.flatnonzero(head.regions["lips"])
    centre = head.template[lips].mean(axis=0)
    near = np.exp(-(((head.template - centre) / [0.045, 0.035, 0.05]) ** 2).sum(axis=1))
    fields = []
    for _ in range(4):
        centres = centre + rng.normal(0, 1, (16, 3)) * [0.028, 0.022, 0.008]
        fields.append(smooth_field(head.template, centres, np.full(16, 0.011), rng.normal(0, MOUTH_DETAIL_M, (16, 3))))
    skin = head.part_vertices("head_skin") | head.part_vertices("mouth_interior")
    return np.stack(fields) * (near * skin)[None, :, None]
