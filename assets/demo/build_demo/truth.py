"""The ground truth of the clip: what was rendered, exactly."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .head_asset import Array, HeadAsset
from .performance import FRAMES_PER_SECOND, Performance
from .person import Person
from .skin import hair_field

QUANTUM_M = 1e-5
"""Step of the stored vertex positions: at most 5 micrometres off."""
CLOSED_BLINK = 0.95
EXCLUDED_REGIONS = ("left_ear", "right_ear", "hair")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Pinhole at (0, 0, 1) m that looks down −z; (0, 0) px is the picture's top-left corner."""

    focal_px: float
    size_hw: tuple[int, int]

    @property
    def intrinsics(self) -> Array:
        """Focal lengths and principal point, (3, 3)."""
        height, width = self.size_hw
        return np.array([[self.focal_px, 0, width / 2], [0, self.focal_px, height / 2], [0, 0, 1.0]])

    @property
    def cam_from_world(self) -> Array:
        """Rigid transform (3, 4), OpenCV axes."""
        return np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 1.0]])

    def project(self, points: Array) -> Array:
        """World points (..., 3) to pixels (..., 2)."""
        homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
        image = homogeneous @ (self.intrinsics @ self.cam_from_world).T
        return image[..., :2] / image[..., 2:]


def measured_vertices(head: HeadAsset) -> npt.NDArray[np.bool_]:
    """Vertices of the face whose distance is scored: visible skin, no ears, scalp, eyeballs or inside of the mouth."""
    mask = head.regions["face"] & head.part_vertices("head_skin") & (hair_field(head.template) < 0)
    for name in EXCLUDED_REGIONS:
        mask &= ~head.regions[name]
    return mask


def write_truth(
    path: Path,
    person: Person,
    performance: Performance,
    camera: Camera,
    vertices: Array,
    transforms: Array,
    alphas: list[npt.NDArray[np.float32]],
) -> None:
    """Write the npz; vertices (T, V, 3) and joint transforms (T, 5, 3, 4) are in the world."""
    head = person.head
    measured = measured_vertices(head)
    landmarks = np.stack([head.embedded(v) for v in vertices])
    landmarks68 = np.stack([head.embedded68(v) for v in vertices])
    eyes = np.einsum("tjrc,jc->tjr", transforms[:, 3:5, :, :3], person.joints[3:5]) + transforms[:, 3:5, :, 3]
    arrays = {
        "format_version": np.array(1),
        "head_sha256": np.array(head.sha256),
        "frames_per_second": np.array(float(FRAMES_PER_SECOND)),
        "size_hw": np.array(camera.size_hw),
        "intrinsics": camera.intrinsics,
        "cam_from_world": camera.cam_from_world,
        "vertex_ids": np.flatnonzero(measured).astype(np.int32),
        "faces": head.faces[measured[head.faces].all(axis=1)].astype(np.int32),
        "vertex_quantum_m": np.array(QUANTUM_M),
        "vertices_q": np.round(vertices[:, measured] / QUANTUM_M).astype(np.int16),
        "landmarks_world": landmarks.astype(np.float32),
        "landmarks_px": camera.project(landmarks).astype(np.float32),
        "landmarks68_world": landmarks68.astype(np.float32),
        "landmarks68_px": camera.project(landmarks68).astype(np.float32),
        "rotation": performance.pose[:, 0].astype(np.float32),
        "translation": performance.translation.astype(np.float32),
        "neck_pose": performance.pose[:, 1].astype(np.float32),
        "jaw_pose": performance.pose[:, 2].astype(np.float32),
        "eyes_pose": performance.pose[:, 3:5].reshape(-1, 6).astype(np.float32),
        "expression": performance.expression.astype(np.float32),
        "expression_names": np.array(head.expression_names),
        "shape": person.shape.astype(np.float32),
        "head_from_rest": transforms[:, 1].astype(np.float32),
        "turn_deg": performance.turn_deg.astype(np.float32),
        "eye_centres_world": eyes.astype(np.float32),
        "gaze_world": transforms[:, 3:5, :, 2].astype(np.float32),
        "blink": performance.blink.astype(np.float32),
        "eyes_closed": performance.blink >= CLOSED_BLINK,
        "alpha_bits": np.packbits(np.stack(alphas).reshape(len(alphas), -1) >= 0.5, axis=1),
    }
    np.savez_compressed(path, **arrays)
