"""Looks at a union as a reader would, once it is written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrack.errors import OutputError
from raytrack.export.documents import INTRINSICS
from raytrack.export.union_source import path_keys


@dataclass(frozen=True, kw_only=True)
class ExpectedUnion:
    """What must be found in a union."""

    num_frames: dict[str, int]
    """By split."""
    num_train_timesteps: int
    """Training and validation share the first ones; the rest is tested."""
    num_timesteps: int


class _Listings:
    """Which files exist: one listing of a folder is far cheaper than a question per file."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self._names:
            entries = Path(folder).iterdir() if Path(folder).is_dir() else ()
            self._names[folder] = frozenset(entry.name for entry in entries)
        return name in self._names[folder]


def check_union(folder: Path, expected: ExpectedUnion) -> None:
    """Read a union back: every file is there, counts are right, timesteps are numbered without gaps.

    Raises:
        OutputError: Something is not as it must be; the message says what.
    """
    listings, found = _Listings(), {}
    seen: set[tuple[int, int]] = set()
    for split, count in expected.num_frames.items():
        path = folder / f"transforms_{split}.json"
        frames: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["frames"]
        if len(frames) != count:
            raise OutputError(f"{path}: holds {len(frames)} frames where {count} were to be written")
        _check_files(path, frames, listings)
        views = {(frame["timestep_index"], frame["camera_index"]) for frame in frames}
        if len(views) < count or views & seen:
            raise OutputError(f"{path}: a camera has two frames of one timestep")
        seen |= views
        found[split] = {timestep for timestep, _ in views}
    learnt, tested = found["train"] | found["val"], found["test"]
    if learnt != set(range(expected.num_train_timesteps)):
        raise OutputError(f"{folder}: training timesteps do not run from 0 to {expected.num_train_timesteps - 1}")
    if tested != set(range(expected.num_train_timesteps, expected.num_timesteps)):
        first, last = expected.num_train_timesteps, expected.num_timesteps - 1
        raise OutputError(f"{folder}: test timesteps do not run from {first} to {last}")


def _check_files(path: Path, frames: list[dict[str, Any]], listings: _Listings) -> None:
    folder = str(path.parent)
    for frame in frames:
        missing = [key for key in INTRINSICS if key not in frame]
        if missing:
            raise OutputError(f"{path}: {frame['file_path']} has no {', '.join(missing)} of its own")
        for key in path_keys(frame):
            if not listings.has(f"{folder}/{frame[key]}"):
                raise OutputError(
                    f"{key} {frame[key]} of the union does not exist: the sequence's dataset is not whole; "
                    "export the sequence again"
                )
