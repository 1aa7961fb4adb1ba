"""Landmark embeddings that are published for FLAME, in their several formats."""

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raytrack.errors import AssetError
from raytrack.head.flame.model_file import NUM_FACES
from raytrack.head.flame.unpickling import array_of, read_pickle, unpickled
from raytrack.head.landmarks import ContourEmbedding, LandmarkEmbedding

_FULL, _STATIC, _DYNAMIC = "full_lmk", "static_lmk", "dynamic_lmk"
_JAWLINE, _IBUG = 17, 68
_MAX_YAW_DEG = 39
_NUM_FACEMESH = 478


@dataclass(frozen=True, kw_only=True)
class GivenLandmarks:
    """What a user's files say about landmarks; None: nothing."""

    ibug: LandmarkEmbedding | None = None
    """All 68 points, the jawline of the frontal view included."""
    contour: ContourEmbedding | None = None
    facemesh_indices: np.ndarray | None = None
    """Which of Face Mesh's points `facemesh` gives."""
    facemesh: LandmarkEmbedding | None = None


def read_landmark_files(paths: tuple[Path, ...]) -> GivenLandmarks:
    """Read landmark files; what a later one says takes the place of what an earlier one said.

    Known are `mediapipe_landmark_embedding.npz` (105 of Face Mesh's points), and the iBUG points as
    `landmark_embedding.npy` or `.npz` (68 points, or 51 with the jawline by yaw) or as `flame_static_embedding.pkl`
    (51 points, which alone are no full set: it goes with `flame_dynamic_embedding.npy`).

    Raises:
        AssetError: A file cannot be read or has none of these formats.
    """
    given = GivenLandmarks()
    values: dict[str, Any] = {}
    for path in paths:
        found = _read(path)
        try:
            if "landmark_indices" in found:
                given = _with_facemesh(given, path, found)
            else:
                values |= _ibug_values(path, found)
        except (ValueError, TypeError, KeyError) as error:
            raise AssetError(f"{path}: not a landmark embedding ({error})") from error
    return _with_ibug(given, values, paths)


def _ibug_values(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What one file says about the iBUG points, under the names of the file that holds them all."""
    if "lmk_face_idx" in found:
        kind = _STATIC if array_of(found["lmk_face_idx"]).ndim == 1 else _DYNAMIC
        return {f"{kind}_faces_idx": found["lmk_face_idx"], f"{kind}_bary_coords": found["lmk_b_coords"]}
    if f"{_STATIC}_faces_idx" in found or f"{_FULL}_faces_idx" in found:
        return found
    raise AssetError(f"{path}: not a landmark embedding that is known; it holds {', '.join(sorted(found))}")


def _read(path: Path) -> dict[str, Any]:
    """The dictionary in an npz, npy or pickle."""
    if path.suffix.lower() == ".pkl":
        return read_pickle(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        if content[:2] == b"PK":
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        stream = io.BytesIO(content)
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        if header(stream)[2] != np.dtype(object):
            raise ValueError("an array of numbers, expected a dictionary")
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise AssetError(f"{path}: not a landmark embedding ({error})") from error
    return unpickled(stream.read(), where=str(path))


def _embedding(path: object, faces: Any, weights: Any) -> LandmarkEmbedding:
    try:
        index, shares = array_of(faces).astype(np.int64), array_of(weights).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise AssetError(f"{path}: not a landmark embedding ({error})") from error
    if shares.shape != (*index.shape, 3) or index.size == 0 or index.min() < 0 or index.max() >= NUM_FACES:
        raise AssetError(f"{path}: landmarks of shapes {index.shape} and {shares.shape}, or on no face of FLAME")
    return LandmarkEmbedding(
        faces=torch.from_numpy(index.reshape(-1)), barycentric=torch.from_numpy(shares.reshape(-1, 3))
    )


def _with_facemesh(given: GivenLandmarks, path: Path, found: dict[str, Any]) -> GivenLandmarks:
    indices = array_of(found["landmark_indices"]).astype(np.int64).ravel()
    embedding = _embedding(path, found.get("lmk_face_idx"), found.get("lmk_b_coords"))
    if len(indices) != len(embedding.faces) or indices.min() < 0 or indices.max() >= _NUM_FACEMESH:
        raise AssetError(f"{path}: its landmark_indices do not fit its landmarks, or are not Face Mesh's")
    return replace(given, facemesh_indices=indices, facemesh=embedding)


def _with_ibug(given: GivenLandmarks, values: dict[str, Any], paths: tuple[Path, ...]) -> GivenLandmarks:
    where = ", ".join(map(str, paths))
    contour = None
    if f"{_DYNAMIC}_faces_idx" in values:
        flat = _embedding(where, values[f"{_DYNAMIC}_faces_idx"], values.get(f"{_DYNAMIC}_bary_coords"))
        contour = _by_yaw(where, flat)
    if f"{_FULL}_faces_idx" in values:
        full = _embedding(where, values[f"{_FULL}_faces_idx"], values.get(f"{_FULL}_bary_coords"))
        if len(full.faces) < _IBUG:
            raise AssetError(f"{where}: {len(full.faces)} landmarks, expected {_IBUG}")
        ibug = LandmarkEmbedding(faces=full.faces[:_IBUG], barycentric=full.barycentric[:_IBUG])
        return replace(given, ibug=ibug, contour=contour)
    if f"{_STATIC}_faces_idx" in values and contour is not None:
        static = _embedding(where, values[f"{_STATIC}_faces_idx"], values.get(f"{_STATIC}_bary_coords"))
        inner = slice(0, _IBUG - _JAWLINE)
        front = int((contour.yaw_deg == 0).nonzero()[0, 0])
        ibug = LandmarkEmbedding(
            faces=torch.cat([contour.faces[front], static.faces[inner]]),
            barycentric=torch.cat([contour.barycentric[front], static.barycentric[inner]]),
        )
        return replace(given, ibug=ibug, contour=contour)
    return replace(given, contour=contour)


def _by_yaw(where: str, flat: LandmarkEmbedding) -> ContourEmbedding:
    """FLAME's table of jawlines in order of yaw.

    Its row r is for a turn of r degrees to the subject's left up to 39, and its row 39 + r for r degrees to the right.
    """
    rows = 2 * _MAX_YAW_DEG + 1
    if len(flat.faces) != rows * _JAWLINE:
        raise AssetError(f"{where}: a jawline by yaw has {rows} × {_JAWLINE} points, got {len(flat.faces)}")
    order = torch.tensor([yaw if yaw >= 0 else _MAX_YAW_DEG - yaw for yaw in range(-_MAX_YAW_DEG, _MAX_YAW_DEG + 1)])
    return ContourEmbedding(
        yaw_deg=torch.arange(-_MAX_YAW_DEG, _MAX_YAW_DEG + 1, dtype=torch.float32),
        faces=flat.faces.reshape(rows, _JAWLINE)[order],
        barycentric=flat.barycentric.reshape(rows, _JAWLINE, 3)[order],
    )
