"""Removing what an output folder holds about one person."""

import dataclasses
import shutil
from pathlib import Path

import yaml

from raytrack.config import load_job, to_mapping
from raytrack.errors import ConfigError
from raytrack.pipeline.lock import sole_writer
from raytrack.pipeline.run import CONFIG_FILE
from raytrack.pipeline.summary import SUMMARY_FILE
from raytrack.tables.keys import safe_name

_SEQUENCE_OUTPUTS = ("frames/{}", "tracks/{}", "render/{}", "export/{}", "preview/{}.mp4", ".work/{}")


def purge_subject(out: Path, subject: str) -> list[str]:
    """Remove all tables, pictures and tracks of a subject; the footage itself is not touched.

    Args:
        out: The output folder.
        subject: As in the tables.

    Returns:
        The names of the sequences that were removed.

    Raises:
        ConfigError: The folder holds nothing about the subject.
        OutputError: A run is writing to the folder.
    """
    folders = sorted((out / "tables").glob(f"*/dataset=*/subject={safe_name(subject)}"))
    sequences = sorted(
        {path.name.removeprefix("sequence=") for folder in folders for path in folder.glob("sequence=*")}
    )
    if not sequences:
        raise ConfigError(f"{out} holds nothing about a subject {subject!r}")
    with sole_writer(out):
        for sequence in sequences:
            for pattern in _SEQUENCE_OUTPUTS:
                path = out / pattern.format(sequence)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        for folder in folders:
            shutil.rmtree(folder)
        (out / SUMMARY_FILE).unlink(missing_ok=True)
        _forget(out / CONFIG_FILE, subject)
    return sequences


def _forget(path: Path, subject: str) -> None:
    """Take a subject's sequences out of the kept configuration."""
    if not path.is_file():
        return
    config = load_job(path)
    kept = tuple(sequence for sequence in config.sequences if sequence.key.subject != subject)
    if kept:
        path.write_text(yaml.safe_dump(to_mapping(dataclasses.replace(config, sequences=kept)), sort_keys=False))
    else:
        path.unlink()
