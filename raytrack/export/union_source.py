"""One sequence's dataset as a part of a union: read from `transforms.json` and checked before anything is written."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from raytrack.errors import InputError
from raytrack.export.documents import INTRINSICS
from raytrack.tables.keys import safe_name

_REQUIRED = ("timestep_index", "camera_index", "transform_matrix", "file_path")
_TOP_LEVEL = ("frames", "timestep_indices", "camera_indices")
_KINDS = ("flame_param", "head_param")


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceDataset:
    """The dataset of one sequence."""

    folder: Path
    name: str
    """The folder's own name: how the union refers to it."""
    kind: str
    """`flame_param` or `head_param`."""
    frames: tuple[dict[str, Any], ...] = field(repr=False)
    """In the order of the file, each with intrinsics of its own."""
    num_timesteps: int
    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    """What else stands at the file's top level: a format's own constants."""

    @property
    def camera_indices(self) -> tuple[int, ...]:
        """Indices of its cameras, increasing."""
        return tuple(sorted({frame["camera_index"] for frame in self.frames}))

    def identity(self) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Shape coefficients and static offset of the sequence, from the parameters of its first timestep.

        Raises:
            InputError: The file is missing or damaged.
        """
        path = self.folder / self.frames[0][f"{self.kind}_path"]
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["shape"], arrays["static_offset"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: cannot be read ({error}); export the sequence again") from error


def read_source(folder: Path) -> SourceDataset:
    """Read the dataset that an export left in a folder.

    Raises:
        InputError: It is not there, not whole, or not one sequence's dataset.
    """
    folder = folder.resolve()
    if safe_name(folder.name) != folder.name:
        raise InputError(f"{folder}: a union cannot refer to a folder of this name; use letters, digits and . _ + -")
    path = folder / "transforms.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); a union is made of folders that `raytrack export` wrote"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); export the sequence again") from error
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: has no frames; export the sequence again")
    kinds = [kind for kind in _KINDS if (folder / f"canonical_{kind}.npz").is_file()]
    if len(kinds) != 1:
        expected = " or ".join(f"canonical_{kind}.npz" for kind in _KINDS)
        raise InputError(f"{folder}: expected one of {expected}; export the sequence again")
    complete = tuple(_complete(frame, document, kinds[0], f"{path}: frame {i}") for i, frame in enumerate(frames))
    timesteps = {frame["timestep_index"] for frame in complete}
    if len({(frame["timestep_index"], frame["camera_index"]) for frame in complete}) < len(complete):
        raise InputError(f"{path}: a camera has two frames of one timestep; export the sequence again")
    if timesteps != set(range(len(timesteps))):
        raise InputError(f"{path}: timestep_index does not run from 0 without gaps; export the sequence again")
    return SourceDataset(
        folder=folder,
        name=folder.name,
        kind=kinds[0],
        frames=complete,
        num_timesteps=len(timesteps),
        extra={key: value for key, value in document.items() if key not in (*INTRINSICS, *_TOP_LEVEL)},
    )


def _complete(frame: Any, document: Mapping[str, Any], kind: str, where: str) -> dict[str, Any]:
    """A frame with all its intrinsics; a frame that a union could not use is an error."""
    if not isinstance(frame, dict):
        raise InputError(f"{where} is no mapping; export the sequence again")
    full = {**{key: document[key] for key in INTRINSICS if key in document}, **frame}
    missing = [key for key in (*_REQUIRED, *INTRINSICS, f"{kind}_path") if key not in full]
    if missing:
        raise InputError(f"{where} has no {', '.join(missing)}; export the sequence again")
    for key in ("timestep_index", "camera_index"):
        if type(full[key]) is not int:
            raise InputError(f"{where}: {key} must be a whole number, got {full[key]!r}")
    for key in path_keys(full):
        value = full[key]
        if not isinstance(value, str) or value.startswith("/") or ".." in value.split("/"):
            raise InputError(f"{where}: {key} {value!r} leaves the dataset; only single sequences can be united")
    return full


def path_keys(frame: Mapping[str, Any]) -> list[str]:
    """The keys of a frame that name files."""
    return [key for key in frame if key.endswith("_path")]
