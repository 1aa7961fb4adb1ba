"""Removing what an output folder holds about one person."""

import shutil
from pathlib import Path

from raytrack.errors import ConfigError
from raytrack.pipeline.lock import sole_writer
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
        (out / "summary.json").unlink(missing_ok=True)
    return sequences
