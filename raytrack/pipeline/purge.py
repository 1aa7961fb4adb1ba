"""Removing what an output folder holds about one person."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import yaml

from raytrack.config import RunConfig, SequenceConfig
from raytrack.datasets.nersemble_layout import Layout
from raytrack.errors import ConfigError
from raytrack.export.config import DatasetFormatName, dataset_path
from raytrack.export.union_names import named_members
from raytrack.job import load_job
from raytrack.mapping import to_mapping
from raytrack.media.files import replaced_file
from raytrack.pipeline.digests import DIGESTS_FILE
from raytrack.pipeline.lock import sole_writer
from raytrack.pipeline.run import CONFIG_FILE, MEMBERS_FILE
from raytrack.pipeline.sources import recording_folder
from raytrack.pipeline.summary import SUMMARY_FILE
from raytrack.tables.keys import SequenceKey, identity_name, union_name
from raytrack.tables.store import sequence_folders

_SEQUENCE_OUTPUTS = (
    "frames/{}",
    "tracks/{}",
    "render/{}",
    "preview/{}.mp4",
    ".work/{}",
    # What a run that was interrupted had not finished.
    "render/.tmp-{}",
    *(dataset_path(name, prefix + "{}") for name in get_args(DatasetFormatName) for prefix in ("", ".tmp-")),
)


def purge_subject(out: Path, subject: str) -> list[str]:
    """Remove all tables, pictures and tracks of a subject; the footage itself is not touched.

    Args:
        out: The output folder.
        subject: As in the tables, exactly.

    Returns:
        The names of the sequences that were removed; none where there was only what they had in common.

    Raises:
        ConfigError: The folder holds nothing about the subject.
        OutputError: A run is writing to the folder.
    """
    configs = {path: _kept_config(path) for path in (out / CONFIG_FILE, out / MEMBERS_FILE)}
    listed = dict.fromkeys(sequence for config in configs.values() if config for sequence in config.sequences)
    folders = list(sequence_folders(out))
    keys = {key for key, _ in folders} | {sequence.key for sequence in listed}
    ours = {key for key in keys if key.subject == subject}
    names = sorted({key.sequence for key in ours})
    if not names:
        raise ConfigError(f"{out} holds nothing about a subject {subject!r}; {_known_subjects(keys)}")
    (out / ".work").mkdir(mode=0o700, exist_ok=True)
    with sole_writer(out):
        elsewhere = {key.sequence for key in keys if key.subject != subject}
        for name in sorted({*names, union_name(subject), identity_name(subject)} - elsewhere):
            _remove_outputs(out, name)
        for folder in _unions_of(out, names):
            shutil.rmtree(folder)
        for key, folder in folders:
            if key.subject == subject:
                _remove_with_empty_parents(folder, out)
        kept = tuple(sequence for sequence in listed if sequence.key.subject != subject)
        _forget_footage(out / ".work" / DIGESTS_FILE, kept)
        _forget_scores(out / SUMMARY_FILE, names)
        # The last: as long as they name the subject, a purge that was interrupted can be carried out again.
        for path, config in configs.items():
            _keep_sequences(path, config, tuple(one for one in kept if config and one in config.sequences))
    return sorted({key.sequence for key in ours if not (key.is_union or key.is_identity)})


def _known_subjects(keys: Collection[SequenceKey]) -> str:
    subjects = sorted({key.subject for key in keys})
    return f"subjects: {', '.join(subjects)}" if subjects else "it holds no subject at all"


def _remove_outputs(out: Path, name: str) -> None:
    """Remove everything that lies under a sequence's name."""
    paths = [out / pattern.format(name) for pattern in _SEQUENCE_OUTPUTS]
    unfinished = re.compile(rf"\.tmp-\d+-{re.escape(name)}\.mp4")
    paths += [path for path in (out / "preview").glob(".tmp-*") if unfinished.fullmatch(path.name)]
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _unions_of(out: Path, names: Collection[str]) -> list[Path]:
    """Unions that any of these sequences is in, also half-written ones, by whatever command they were made."""
    folders = [folder for folder in out.glob("export*/*") if folder.is_dir() and not folder.is_symlink()]
    return [
        folder
        for folder in folders
        if named_members(folder) & set(names)
        or (folder.name.startswith(".tmp-") and any(os.path.lexists(folder / name) for name in names))
    ]


def _remove_with_empty_parents(folder: Path, out: Path) -> None:
    shutil.rmtree(folder)
    for parent in folder.parents:
        if parent == out or any(parent.iterdir()):
            return
        parent.rmdir()


def _kept_config(path: Path) -> RunConfig | None:
    """The configuration of the last run; None where there is none that can be read."""
    try:
        return load_job(path)
    except ConfigError:
        return None


def _keep_sequences(path: Path, config: RunConfig | None, kept: tuple[SequenceConfig, ...]) -> None:
    """Leave these sequences in the kept configuration; one that cannot be read goes as a whole."""
    if config is None or not kept:
        path.unlink(missing_ok=True)
    elif kept != config.sequences:
        data = to_mapping(dataclasses.replace(config, sequences=kept))
        with replaced_file(path) as temporary:
            temporary.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _forget_footage(path: Path, kept: tuple[SequenceConfig, ...]) -> None:
    """Remember the digests of the kept sequences' files alone: the names of files may tell who is in them."""
    sources = {
        source
        for one in kept
        for source in (one.video, *one.videos, one.masks, one.plate, one.ground_truth, *_recording_paths(one))
        if source
    }
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        entries = [entry for entry in entries if sources & {entry[0], *map(str, Path(entry[0]).parents)}]
    except FileNotFoundError:
        return
    except (ValueError, TypeError, LookupError):
        entries = []
    with replaced_file(path) as temporary:
        temporary.write_text(json.dumps(entries), encoding="utf-8")


def _recording_paths(sequence: SequenceConfig) -> list[str]:
    """Files and folders that a recording of calibrated cameras is read from."""
    if not sequence.is_calibrated:
        return []
    layout = Layout(kind=sequence.dataset, root=Path(sequence.root))
    # Its own folder even when it is gone: the digests are then all that is known of it.
    paths = (recording_folder(sequence), *layout.inputs(sequence.key.subject, sequence.sequence))
    return [str(path) for path in paths]


def _forget_scores(path: Path, names: Collection[str]) -> None:
    """Take sequences out of the summary; one that cannot be read goes as a whole."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary["sequences"] = {name: entry for name, entry in summary["sequences"].items() if name not in names}
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        summary = {}
    if "unions" in summary:
        summary["unions"] = {name: entry for name, entry in summary["unions"].items() if name not in names}
    if not summary.get("sequences"):
        path.unlink()
        return
    with replaced_file(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
