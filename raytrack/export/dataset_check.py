"""Looks at a written dataset as a reader would: `transforms.json`, its splits, and the files they name."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raytrack.export.documents import INTRINSICS
from raytrack.export.union_source import path_keys

SPLITS = ("train", "val", "test")
_ORTHONORMAL = 1e-4


def dataset_problems(folder: Path, num_frames: int | None = None) -> list[str]:
    """What a reader of a dataset would stumble over, in words; nothing where all is well.

    Args:
        folder: With `transforms.json`, or with `transforms_train.json` and the other splits alone, as unions have it.
        num_frames: How many frames were written.
    """
    documents = {split: _read(folder / f"transforms_{split}.json") for split in SPLITS}
    whole = folder / "transforms.json"
    problems = [f"{folder / f'transforms_{split}.json'}: {one}" for split, one in documents.items() if _is_fault(one)]
    frames: list[Any] = [frame for one in documents.values() if not _is_fault(one) for frame in one["frames"]]
    if whole.exists():
        document = _read(whole)
        if _is_fault(document):
            return [*problems, f"{whole}: {document}"]
        if not problems and len(document["frames"]) != len({_view(frame) for frame in frames}):
            problems.append(f"{whole}: {len(document['frames'])} frames, but the splits have {len(frames)}")
        frames = document["frames"]
    if num_frames is not None and len(frames) != num_frames:
        problems.append(f"{folder}: {len(frames)} frames where {num_frames} were written")
    return problems + _frame_problems(folder, frames)


def _is_fault(document: dict[str, Any] | str) -> bool:
    return isinstance(document, str)


def _read(path: Path) -> Any:
    """The document, or what is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:
        return f"not valid JSON ({error})"
    if not isinstance(document, dict) or not isinstance(document.get("frames"), list):
        return "has no list of frames"
    return document


def _view(frame: Any) -> tuple[str, ...]:
    """Tells the frames of a dataset apart, whatever they hold."""
    if not isinstance(frame, dict):
        return (repr(frame),)
    return repr(frame.get("timestep_index")), repr(frame.get("camera_index"))


def _frame_problems(folder: Path, frames: list[Any]) -> list[str]:
    problems: list[str] = []
    missing: list[str] = []
    known: dict[Path, frozenset[str]] = {}
    seen: set[tuple[str, ...]] = set()
    sizes: set[tuple[int, int]] = set()
    for number, frame in enumerate(frames):
        where = f"{folder}: frame {number}"
        if fault := _form_fault(frame):
            problems.append(f"{where} {fault}")
            continue
        if _view(frame) in seen:
            problems.append(f"{where}: its camera has two frames of one timestep")
        seen.add(_view(frame))
        problems += [f"{where}: {fault}" for fault in _camera_faults(frame)]
        missing += [f"{where}: {key} {frame[key]} is missing" for key in path_keys(frame)
                    if not _exists(folder / frame[key], known)]  # fmt: skip
        if (size := (frame["h"], frame["w"])) not in sizes:
            sizes.add(size)
            problems += _picture_faults(folder / frame["file_path"], size, where)
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return problems + [one + more for one in missing[:1]]


def _form_fault(frame: Any) -> str:
    """What keeps a frame from being looked at more closely; empty where nothing does."""
    if not isinstance(frame, dict):
        return "is no object"
    if missing := [key for key in (*INTRINSICS, "file_path", "transform_matrix") if key not in frame]:
        return f"has no {', '.join(missing)}"
    if wrong := [key for key in INTRINSICS if not isinstance(frame[key], (int, float))]:
        return f"has no number as {', '.join(wrong)}"
    if wrong := [key for key in path_keys(frame) if not isinstance(frame[key], str)]:
        return f"has no path as {', '.join(wrong)}"
    return ""


def _exists(path: Path, known: dict[Path, frozenset[str]]) -> bool:
    """One listing of a folder is far cheaper than a question per file."""
    if path.parent not in known:
        names = path.parent.iterdir() if path.parent.is_dir() else ()
        known[path.parent] = frozenset(entry.name for entry in names)
    return path.name in known[path.parent]


def _camera_faults(frame: dict[str, Any]) -> list[str]:
    faults = []
    try:
        matrix = np.asarray(frame["transform_matrix"], np.float64)
    except (ValueError, TypeError):
        matrix = np.zeros(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        return ["transform_matrix is not 4 × 4 finite numbers"]
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ORTHONORMAL or np.linalg.det(rotation) < 0:
        faults.append("transform_matrix is no rotation and shift")
    if not all(frame[key] > 0 for key in ("fl_x", "fl_y", "w", "h")):
        faults.append("focal lengths and size must be above 0")
    return faults


def _picture_faults(path: Path, size_hw: tuple[int, int], where: str) -> list[str]:
    """Of the first picture of each size: reading all of them would take long."""
    if not path.is_file():
        return []  # said already
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        return [f"{where}: {path.name} is no picture"]
    if picture.shape[:2] != size_hw:
        return [f"{where}: {path.name} is {picture.shape[:2]} (h, w), not {size_hw}"]
    return []
