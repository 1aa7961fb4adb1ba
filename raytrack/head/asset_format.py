"""raytrack's head file: one npz without pickles, in metres.

Two encodings of the identity basis are read: `shape_basis` as it is, or compact (`shape_int8` × `shape_scale` for all
but the eyeballs, which are spheres about the eye joints: `joint_shape_basis` + `eye_radius_shape_basis` ×
`eye_directions`). In the file v grows upwards; in memory it grows with the texture's rows.

Version 4 is version 3 with principal components of the albedo (`raytrack.head.texture_basis`), which stay in the file
until they are used; heads without them stay in version 3.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.assets import sha256_of
from raytrack.errors import AssetError
from raytrack.head.landmarks import ContourEmbedding, LandmarkEmbedding
from raytrack.head.model import HeadModel
from raytrack.head.regions import HeadGeometry, complete_regions
from raytrack.head.texture_basis import SCALE_KEY, STEPS_KEY, TextureBasis

FORMAT_VERSION = 3
VERSION_WITH_TEXTURE_BASIS = 4
JAW_OPENING_FEATURE = 16
"""Entry of the flattened R − I of joints 1 to 4 that is R_jaw[2, 1], the sine of a pure opening."""
LANDMARK_KEYS = {"facemesh": "landmark", "ibug": "landmark68"}
IBUG_KEY = "landmark68_of_478"

Arrays = Mapping[str, np.ndarray]


def read_head(path: Path, *, name: str | None = None) -> HeadModel:
    """Read a head file.

    Args:
        path: An npz in this format.
        name: What to call the head; the file's stem otherwise.

    Raises:
        AssetError: The file is missing, damaged, or not a head.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if key != STEPS_KEY}
        head = head_from_arrays(arrays, name=name or path.stem, asset_sha256=sha256_of(path))
        return replace(head, texture_basis=read_texture_basis(path, arrays))
    except FileNotFoundError as error:
        raise AssetError(f"{path}: no such head file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise AssetError(f"{path}: not a readable npz ({error}); the file is damaged") from error
    except (KeyError, ValueError, IndexError) as error:
        raise AssetError(f"{path}: not a raytrack head ({error})") from error


def head_from_arrays(arrays: Arrays, *, name: str, asset_sha256: str) -> HeadModel:
    """A head from the arrays of a head file.

    Raises:
        KeyError: An array is missing.
        ValueError: Shapes or the version do not fit.
    """
    if int(arrays["format_version"]) not in {FORMAT_VERSION, VERSION_WITH_TEXTURE_BASIS}:
        known = f"{FORMAT_VERSION} or {VERSION_WITH_TEXTURE_BASIS}"
        raise ValueError(f"format version {arrays['format_version']}, expected {known}")
    names = tuple(str(text) for text in arrays["expression_names"])
    parents = tuple(int(parent) for parent in arrays["joint_parents"])
    pose_features, pose_basis = read_pose_basis(arrays)
    tensors = {
        "template": floats(arrays["v_template"]),
        "shape_basis": read_shape_basis(arrays),
        "expression_basis": floats(arrays["expression_basis"]),
        "expression_enabled": torch.from_numpy(arrays["expression_enabled"].astype(bool)),
        "pose_basis": pose_basis,
        "joints": floats(arrays["joints"]),
        "joint_shape_basis": floats(arrays["joint_shape_basis"]),
        "skin_weights": floats(arrays["lbs_weights"]),
        "faces": indices(arrays["faces"]),
        "uv": flip_v(arrays["uv"]),
        "uv_faces": indices(arrays["uv_faces"]),
    }
    landmarks, contour = read_landmarks(arrays), read_contour(arrays)
    check_tensors(tensors, num_expressions=len(names), num_features=len(pose_features), parents=parents)
    check_landmarks(landmarks, contour, num_faces=len(tensors["faces"]))
    least = floats(arrays["expression_least"]) if "expression_least" in arrays else None
    if least is not None and least.shape != (len(names),):
        raise ValueError(f"expression_least has shape {tuple(least.shape)}, expected {(len(names),)}")
    return HeadModel(
        name=name,
        **tensors,
        expression_names=names,
        pose_features=pose_features,
        joint_parents=parents,
        regions=read_regions(arrays, tensors),
        points=dict(zip(map(str, arrays["point_names"]), map(int, arrays["point_vertices"]), strict=True)),
        landmarks=landmarks,
        contour=contour,
        albedo=read_albedo(arrays["albedo_png"]),
        jaw_open_full_rad=float(arrays["jaw_open_full_rad"]),
        jaw_side_full_rad=float(arrays["jaw_side_full_rad"]),
        asset_sha256=asset_sha256,
        texture_basis=None,
        expression_least=least,
        family=str(arrays["family"]) if "family" in arrays else "",
        ibug_of_facemesh=indices(arrays[IBUG_KEY]) if IBUG_KEY in arrays else None,
    )


def floats(array: np.ndarray) -> Tensor:
    """Any numeric array as a float32 tensor of its own memory."""
    return torch.from_numpy(np.array(array, dtype=np.float32))


def flip_v(uv: np.ndarray) -> Float[Tensor, "corners 2"]:
    """Texture coordinates with v growing with the rows."""
    return floats(np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1))


def indices(array: np.ndarray) -> Tensor:
    """Any integer array as an int64 tensor of its own memory."""
    return torch.from_numpy(np.array(array, dtype=np.int64))


def read_shape_basis(arrays: Arrays) -> Float[Tensor, "shapes vertices 3"]:
    """The identity basis in metres, from either encoding."""
    if "shape_basis" in arrays:
        return floats(arrays["shape_basis"])
    solid = arrays["shape_int8"].astype(np.float32) * arrays["shape_scale"][:, None, None]
    joints, radius = arrays["joint_shape_basis"], arrays["eye_radius_shape_basis"]
    eyeballs = [joints[:, None, 3 + side] + radius[:, side, None, None] * arrays["eye_directions"] for side in range(2)]
    return floats(np.concatenate([solid, *eyeballs], axis=1))


def read_pose_basis(arrays: Arrays) -> tuple[tuple[int, ...], Float[Tensor, "features vertices 3"]]:
    """Which pose features have a corrective, and these."""
    if "pose_basis" in arrays:
        return tuple(int(feature) for feature in arrays["pose_features"]), floats(arrays["pose_basis"])
    corrective = arrays["jaw_corrective"].astype(np.float32) / np.sin(arrays["jaw_open_full_rad"])
    return (JAW_OPENING_FEATURE,), floats(corrective[None])


def read_landmarks(arrays: Arrays) -> dict[str, LandmarkEmbedding]:
    """The landmark sets that the file has."""
    return {
        name: LandmarkEmbedding(faces=indices(arrays[f"{key}_face"]), barycentric=floats(arrays[f"{key}_bary"]))
        for name, key in LANDMARK_KEYS.items()
        if f"{key}_face" in arrays
    }


def read_contour(arrays: Arrays) -> ContourEmbedding | None:
    """The jawline by yaw, if the file has one."""
    if "contour_face" not in arrays:
        return None
    return ContourEmbedding(
        yaw_deg=floats(arrays["contour_yaw_deg"]),
        faces=indices(arrays["contour_face"]),
        barycentric=floats(arrays["contour_bary"]),
    )


def read_albedo(png: np.ndarray) -> Float[Tensor, "size size 3"]:
    """Decode the base albedo."""
    picture = cv2.imdecode(png, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("the albedo is not a PNG")
    return floats(picture[..., ::-1]) / 255


def read_texture_basis(path: Path, arrays: Arrays) -> TextureBasis | None:
    """The principal components of the albedo, still in their file; None where there are none."""
    if int(arrays["format_version"]) < VERSION_WITH_TEXTURE_BASIS:
        return None
    return TextureBasis.in_file(path, arrays[SCALE_KEY])


def read_regions(arrays: Arrays, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's regions, and those that follow from them."""
    num_vertices = len(tensors["template"])
    bits = np.unpackbits(arrays["region_vertex_bits"], axis=1)
    if bits.shape[1] < num_vertices:
        raise ValueError(f"region_vertex_bits has {bits.shape[1]} bits per region for {num_vertices} vertices")
    masks = bits[:, :num_vertices].astype(bool)
    listed = {str(name): mask for name, mask in zip(arrays["region_names"], masks, strict=True)}
    geometry = HeadGeometry(
        vertices=tensors["template"].numpy(),
        faces=tensors["faces"].numpy(),
        eye_centres=tensors["joints"][3:5].numpy(),
        root_share=tensors["skin_weights"][:, 0].numpy(),
    )
    return {name: torch.from_numpy(mask.copy()) for name, mask in complete_regions(listed, geometry).items()}


def check_tensors(
    tensors: Mapping[str, Tensor], *, num_expressions: int, num_features: int, parents: tuple[int, ...]
) -> None:
    """Refuse arrays that do not fit together.

    Raises:
        ValueError: Says which.
    """
    num_vertices, num_shapes = len(tensors["template"]), len(tensors["shape_basis"])
    expected = {
        "template": (num_vertices, 3),
        "shape_basis": (num_shapes, num_vertices, 3),
        "expression_basis": (num_expressions, num_vertices, 3),
        "expression_enabled": (num_expressions,),
        "pose_basis": (num_features, num_vertices, 3),
        "joints": (5, 3),
        "joint_shape_basis": (num_shapes, 5, 3),
        "skin_weights": (num_vertices, 5),
        "faces": (len(tensors["faces"]), 3),
        "uv": (len(tensors["uv"]), 2),
        "uv_faces": (len(tensors["faces"]), 3),
    }
    for key, shape in expected.items():
        if tuple(tensors[key].shape) != shape:
            raise ValueError(f"{key} has shape {tuple(tensors[key].shape)}, expected {shape}")
        if not bool(tensors[key].isfinite().all()):
            raise ValueError(f"{key} holds numbers that are not finite")
    for key, size in (("faces", num_vertices), ("uv_faces", len(tensors["uv"]))):
        check_indices(key, tensors[key], size)
    if len(parents) != 5 or any(parent >= joint for joint, parent in enumerate(parents)):
        raise ValueError(f"joint_parents is {parents}, expected five with parents before children")


def check_landmarks(
    landmarks: Mapping[str, LandmarkEmbedding], contour: ContourEmbedding | None, *, num_faces: int
) -> None:
    """Refuse landmarks that lie on no face.

    Raises:
        ValueError: Says which.
    """
    for name, embedding in (*landmarks.items(), *([("contour", contour)] if contour else [])):
        check_indices(f"landmarks {name}", embedding.faces, num_faces)


def check_indices(key: str, index: Tensor, size: int) -> None:
    """Refuse indices outside 0 … size − 1.

    Raises:
        ValueError: Says whose.
    """
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise ValueError(f"{key} points beyond the {size} there are")
