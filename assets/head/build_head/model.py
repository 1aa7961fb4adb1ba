"""Read the written npz and evaluate it with numpy: the reference for tests, pictures and landmarks."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .rig import JAW_OPEN_FULL_RAD, Rig, pose_vertices


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head asset with dequantised bases."""

    arrays: dict[str, np.ndarray]
    shape_basis: np.ndarray
    expression_basis: np.ndarray
    expression_names: tuple[str, ...]
    rig: Rig

    @classmethod
    def load(cls, path: Path) -> "Head":
        """Read an npz written by this package."""
        arrays = dict(np.load(path, allow_pickle=False))
        rig = Rig(
            weights=arrays["lbs_weights"].astype(float),
            jaw_corrective=arrays["jaw_corrective"].astype(float),
            jaw_side_full_rad=float(arrays["jaw_side_full_rad"]),
        )
        return cls(
            arrays=arrays,
            rig=rig,
            expression_names=tuple(arrays["expression_names"].tolist()),
            shape_basis=shape_basis(arrays),
            expression_basis=arrays["expression_basis"].astype(np.float32),
        )

    @property
    def faces(self) -> np.ndarray:
        """Triangles (F, 3)."""
        return self.arrays["faces"].astype(np.int64)

    def texture(self) -> np.ndarray:
        """Albedo (h, w, 3), sRGB 0…1."""
        return cv2.imdecode(self.arrays["albedo_png"], cv2.IMREAD_COLOR)[..., ::-1] / 255.0

    def expression(self, **weights: float) -> np.ndarray:
        """Coefficient vector from names."""
        vector = np.zeros(len(self.expression_names))
        for name, weight in weights.items():
            vector[self.expression_names.index(name)] = weight
        return vector

    def vertices(self, shape=None, expression=None, pose=None) -> np.ndarray:
        """Posed vertices (V, 3) in metres; pose (5, 3) axis-angle: root, neck, jaw, left eye, right eye."""
        rest, joints = self.arrays["v_template"].astype(float), self.arrays["joints"].astype(float)
        if shape is not None:
            rest = rest + np.tensordot(shape, self.shape_basis[: len(shape)], 1)
            joints = joints + np.tensordot(shape, self.arrays["joint_shape_basis"][: len(shape)], 1)
        if expression is not None:
            rest = rest + np.tensordot(expression, self.expression_basis, 1)
        return pose_vertices(rest, joints, np.zeros((5, 3)) if pose is None else pose, self.rig)

    def points(self, vertices: np.ndarray, face: np.ndarray, bary: np.ndarray) -> np.ndarray:
        """Embedded points (…, 3)."""
        return np.einsum("...k,...kc->...c", bary, vertices[self.faces[face]])


def shape_basis(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Identity basis (K, V, 3) in metres: quantised skin, then exact eyeballs (joint shift + radius · direction)."""
    skin = arrays["shape_int8"].astype(np.float32) * arrays["shape_scale"][:, None, None]
    eyeballs = [
        arrays["joint_shape_basis"][:, None, 3 + k]
        + arrays["eye_radius_shape_basis"][:, k, None, None] * arrays["eye_directions"]
        for k in (0, 1)
    ]
    return np.concatenate([skin, *eyeballs], axis=1)


def pose(**joints) -> np.ndarray:
    """(5, 3) from joint names (root, neck, jaw, eye_left, eye_right), degrees about x, y, z; `jaw_open` 0…1."""
    out = np.zeros((5, 3))
    for k, name in enumerate(("root", "neck", "jaw", "eye_left", "eye_right")):
        out[k] = np.radians(joints.get(name, (0, 0, 0)))
    out[2, 0] += joints.get("jaw_open", 0.0) * JAW_OPEN_FULL_RAD
    return out
