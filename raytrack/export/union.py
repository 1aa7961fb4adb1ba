"""The datasets of one subject's sequences as one, with whole sequences held out for testing.

Timesteps are numbered anew: first those of the training sequences, one sequence after the other in the order given,
then those of the test sequences. Everything else about a frame stays as it was: its camera (index, id, intrinsics and
pose) and its parameter file, which holds its sequence's own shape and offsets. Entries of the top level stay where all
sequences agree. The splits' frames are all of a sequence's; how a sequence on its own was split does not matter here.
"""

import hashlib
import itertools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytrack.errors import ConfigError, OutputError
from raytrack.export.config import UnionConfig, UnionMode, UnionPlacement
from raytrack.export.documents import write_transforms
from raytrack.export.files import replaced_folder
from raytrack.export.splits import validation_camera
from raytrack.export.union_check import ExpectedUnion, check_union
from raytrack.export.union_names import TEST_NAMES, TRAINVAL_NAMES
from raytrack.export.union_source import SourceDataset, path_keys, read_source

GROUP_SIZE = 10
"""`random_group` holds out one sequence in about so many."""


@dataclass(frozen=True, kw_only=True)
class Union:
    """What was written."""

    folder: Path
    train_sequences: tuple[str, ...]
    test_sequences: tuple[str, ...]
    num_frames: dict[str, int]
    """By split: `train`, `val`, `test`."""
    num_timesteps: int
    same_identity: bool
    """Whether all sequences have one shape and one static offset. Where they do not, readers that take those of
    timestep 0 for all (GaussianAvatars does) see the other sequences a little off."""


def union_datasets(
    folders: Sequence[Path], target: Path, config: UnionConfig | None = None, *, subject: str = ""
) -> Union:
    """Write the union of several sequences' datasets, in place of an earlier union, and check it as a reader would.

    Equal datasets give equal bytes.

    Args:
        folders: The sequences' datasets, such as `OUT/export/<sequence>`, two or more of one subject.
        target: The union's folder. Unless files are copied or linked it must lie beside the datasets.
        config: Which sequences test, and whether files are referred to, copied or linked.
        subject: Decides what is random; by default what the tables beside the datasets say, else the target's name.

    Raises:
        ConfigError: The datasets do not go together, or the target cannot be a union of them.
        InputError: A dataset is missing or not whole.
        OutputError: The folder cannot be written.
    """
    config = config or UnionConfig()
    target = target.resolve()
    sources = [read_source(folder) for folder in folders]
    _check_sources(sources, target, config.placement)
    subject = subject or _subject_of(sources) or target.name
    tested = held_out([source.name for source in sources], config.mode, subject)
    ordered = [source for source in sources if source.name not in tested]
    num_train = sum(source.num_timesteps for source in ordered)
    ordered += [source for source in sources if source.name in tested]
    splits = _splits(ordered, tested, "../" if config.placement == "refer" else "")
    expected = ExpectedUnion(
        num_frames={split: len(frames) for split, frames in splits.items()},
        num_train_timesteps=num_train,
        num_timesteps=sum(source.num_timesteps for source in sources),
    )
    same_identity = _same_identity(sources)
    with replaced_folder(target) as temporary:
        for source in sources if config.placement != "refer" else ():
            _place(source, temporary, config.placement, target)
        _write_documents(temporary, ordered, splits, tested)
        check_union(temporary, expected)
    return Union(
        folder=target,
        train_sequences=tuple(source.name for source in sources if source.name not in tested),
        test_sequences=tuple(source.name for source in sources if source.name in tested),
        num_frames=expected.num_frames,
        num_timesteps=expected.num_timesteps,
        same_identity=same_identity,
    )


def held_out(names: Sequence[str], mode: UnionMode, subject: str) -> frozenset[str]:
    """The sequences that test: chosen by digests of the subject's and their own names, so alike on every machine.

    Args:
        names: Sequence names, in order.
        mode: `last` takes the last one; `random_single` any one; `random_group` cuts the list into stretches of about
            ten and takes any one of each.
        subject: Another subject, another choice.
    """
    if mode == "last":
        return frozenset(names[-1:])
    num_groups = max(1, round(len(names) / GROUP_SIZE)) if mode == "random_group" else 1
    bounds = [len(names) * group // num_groups for group in range(num_groups + 1)]

    def lot(name: str) -> bytes:
        return hashlib.sha256(f"{subject}\0{name}".encode()).digest()

    return frozenset(min(names[start:stop], key=lot) for start, stop in itertools.pairwise(bounds))


def _check_sources(sources: list[SourceDataset], target: Path, placement: UnionPlacement) -> None:
    names = [source.name for source in sources]
    if len(sources) < 2:
        raise ConfigError(f"a union takes two or more datasets, got {len(sources)}: whole sequences are held out")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"two datasets are called {repeated[0]!r}: sequences of a union need names of their own")
    kinds = {source.kind: source.folder for source in sources}
    if len(kinds) > 1:
        shown = ", ".join(f"{folder} ({kind})" for kind, folder in kinds.items())
        raise ConfigError(f"datasets of one union must come from one head model, got {shown}")
    for source in sources:
        if target == source.folder or target in source.folder.parents or source.folder in target.parents:
            raise ConfigError(f"the union {target} and the dataset {source.folder} lie in each other: choose another")
        if placement == "refer" and source.folder.parent != target.parent:
            raise ConfigError(
                f"{source.folder} does not lie beside the union {target}, which would refer to ../{source.name}: "
                f"write the union into {source.folder.parent}, or copy (--copy) or link (--link) the datasets into it"
            )
    if target.exists() and not (target / TEST_NAMES).is_file() and not _is_empty_folder(target):
        raise OutputError(f"{target}: exists and is no union; it would be replaced: choose another folder")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _subject_of(sources: list[SourceDataset]) -> str:
    """The subject as the tables beside the datasets have it; "" where there are none."""
    subjects: dict[str, str] = {}
    for source in sources:
        tables = source.folder.parent.parent / "tables" / "exports"
        for path in tables.glob(f"dataset=*/subject=*/sequence={source.name}"):
            subjects[path.parent.name.removeprefix("subject=")] = source.name
    if len(subjects) > 1:
        shown = ", ".join(f"{name} (subject {subject})" for subject, name in sorted(subjects.items()))
        raise ConfigError(f"a union is of one subject, got {shown}; name it (--subject) if they are one")
    return next(iter(subjects), "")


def _splits(ordered: list[SourceDataset], tested: frozenset[str], prefix: str) -> dict[str, list[dict[str, Any]]]:
    """The frames of each split with their new timesteps and paths, by timestep and then camera."""
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    first = 0
    for source in ordered:
        validating = validation_camera(source.camera_indices)
        for frame in sorted(source.frames, key=lambda frame: (frame["timestep_index"], frame["camera_index"])):
            moved = {
                **frame,
                "timestep_index": first + frame["timestep_index"],
                "sequence": source.name,
                **{key: f"{prefix}{source.name}/{frame[key]}" for key in path_keys(frame)},
            }
            learnt = "val" if frame["camera_index"] == validating else "train"
            splits["test" if source.name in tested else learnt].append(moved)
        first += source.num_timesteps
    return splits


def _place(source: SourceDataset, folder: Path, placement: UnionPlacement, target: Path) -> None:
    """Put a dataset into the union: a copy of it, or a link that goes on working when both are moved together."""
    if placement == "copy":
        shutil.copytree(source.folder, folder / source.name)
    else:
        (folder / source.name).symlink_to(os.path.relpath(source.folder, target), target_is_directory=True)


def _write_documents(
    folder: Path, ordered: list[SourceDataset], splits: dict[str, list[dict[str, Any]]], tested: frozenset[str]
) -> None:
    first, *others = (source.extra for source in ordered)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    for split, frames in splits.items():
        write_transforms(folder / f"transforms_{split}.json", frames, shared)
    for name, wanted in ((TRAINVAL_NAMES, False), (TEST_NAMES, True)):
        lines = "".join(f"{source.name}\n" for source in ordered if (source.name in tested) is wanted)
        (folder / name).write_text(lines, encoding="ascii", newline="\n")
    for name in (f"canonical_{ordered[0].kind}.npz", "canonical.obj"):
        if (ordered[0].folder / name).is_file():
            shutil.copyfile(ordered[0].folder / name, folder / name)


def _same_identity(sources: list[SourceDataset]) -> bool:
    first, *others = (source.identity() for source in sources)
    return all(np.array_equal(mine, theirs) for other in others for mine, theirs in zip(first, other, strict=True))
