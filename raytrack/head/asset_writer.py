"""Write a head in raytrack's format, with bases as they are: for heads that a user imports."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from raytrack.head.asset_format import FORMAT_VERSION, IBUG_KEY, LANDMARK_KEYS, VERSION_WITH_TEXTURE_BASIS
from raytrack.head.model import HeadModel
from raytrack.head.parameters import JOINT_NAMES
from raytrack.head.texture_basis import SCALE_KEY, STEPS_KEY


def write_head(path: Path, head: HeadModel) -> None:
    """Write a head file that `raytrack.head.asset_format.read_head` reads. The same head gives the same bytes.

    Numbers are kept as float32, the albedo as 8-bit sRGB, its principal components as 8-bit steps. The file appears
    whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **head_arrays(head))  # type: ignore[arg-type]
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)


def head_arrays(head: HeadModel) -> dict[str, np.ndarray]:
    """The arrays of a head file."""
    uv = head.uv.cpu().numpy()
    version = FORMAT_VERSION if head.texture_basis is None else VERSION_WITH_TEXTURE_BASIS
    return {
        "format_version": np.array(version, np.int32),
        "v_template": head.template.cpu().numpy(),
        "shape_basis": head.shape_basis.cpu().numpy(),
        "expression_basis": head.expression_basis.cpu().numpy(),
        "expression_names": np.array(head.expression_names, dtype=np.str_),
        "expression_enabled": head.expression_enabled.cpu().numpy(),
        "pose_basis": head.pose_basis.cpu().numpy(),
        "pose_features": np.array(head.pose_features, np.int32),
        "joints": head.joints.cpu().numpy(),
        "joint_shape_basis": head.joint_shape_basis.cpu().numpy(),
        "joint_parents": np.array(head.joint_parents, np.int32),
        "joint_names": np.array(JOINT_NAMES),
        "lbs_weights": head.skin_weights.cpu().numpy(),
        "faces": head.faces.cpu().numpy().astype(np.int32),
        "uv": np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1),
        "uv_faces": head.uv_faces.cpu().numpy().astype(np.int32),
        "region_names": np.array(list(head.regions), dtype=np.str_),
        "region_vertex_bits": np.packbits([mask.cpu().numpy() for mask in head.regions.values()], axis=1),
        "point_names": np.array(list(head.points), dtype=np.str_),
        "point_vertices": np.array(list(head.points.values()), np.int32),
        "albedo_png": encode_albedo(head),
        "jaw_open_full_rad": np.array(head.jaw_open_full_rad, np.float32),
        "jaw_side_full_rad": np.array(head.jaw_side_full_rad, np.float32),
        "family": np.array(head.family, dtype=np.str_),
        **({} if head.expression_least is None else {"expression_least": head.expression_least.cpu().numpy()}),
        **landmark_arrays(head),
        **texture_basis_arrays(head),
    }


def landmark_arrays(head: HeadModel) -> dict[str, np.ndarray]:
    """Landmark sets and the jawline by yaw."""
    arrays = {}
    for name, embedding in head.landmarks.items():
        arrays[f"{LANDMARK_KEYS[name]}_face"] = embedding.faces.cpu().numpy().astype(np.int32)
        arrays[f"{LANDMARK_KEYS[name]}_bary"] = embedding.barycentric.cpu().numpy()
    if head.ibug_of_facemesh is not None:
        arrays[IBUG_KEY] = head.ibug_of_facemesh.cpu().numpy().astype(np.int32)
    if head.contour is not None:
        arrays["contour_yaw_deg"] = head.contour.yaw_deg.cpu().numpy()
        arrays["contour_face"] = head.contour.faces.cpu().numpy().astype(np.int32)
        arrays["contour_bary"] = head.contour.barycentric.cpu().numpy()
    return arrays


def texture_basis_arrays(head: HeadModel) -> dict[str, np.ndarray]:
    """The principal components of the albedo, if there are any."""
    basis = head.texture_basis
    return {} if basis is None else {STEPS_KEY: basis.steps, SCALE_KEY: basis.scale}


def encode_albedo(head: HeadModel) -> UInt8[np.ndarray, " bytes"]:
    """The albedo as a PNG's bytes."""
    pixels = np.round(head.albedo.cpu().numpy() * 255).astype(np.uint8)[..., ::-1]
    return cv2.imencode(".png", pixels)[1].ravel()
