"""What earlier work left in an output folder, and its removal: nothing of theirs may mix with ours."""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from raytrack.pipeline.stage import Stage
from raytrack.tables.keys import SequenceKey
from raytrack.tables.store import part_path, sequence_folders


def traces(out: Path, key: SequenceKey, stage: Stage) -> Iterator[Path]:
    """Files that only this stage writes, for this sequence: parts of any table, and its folders' files."""
    tables = out / "tables"
    for table in sorted(tables.iterdir()) if tables.is_dir() else ():
        if table.name not in {"runs", "failures"}:
            folder = part_path(out, table.name, key, "x").parent
            yield from sorted(folder.glob(f"part-{stage.name}-[0-9]*.parquet"))
    for pattern in stage.folders:
        yield from _files_of(out, key.sequence, pattern)


def half_written_parts(out: Path, key: SequenceKey) -> Iterator[Path]:
    """What writers that died have left in a sequence's tables; readers pass it over."""
    yield from sorted((out / "tables").glob(f"*/{key.partition().as_posix()}/.tmp-*.parquet"))


def _files_of(out: Path, name: str, pattern: str) -> Iterator[Path]:
    """Files under what a pattern of `Stage.folders` means; ``{pid}`` stands for a process's number and nothing else."""
    wanted = re.escape(Path(pattern).name.format(sequence=name, pid="\0")).replace(re.escape("\0"), r"\d+")
    for path in sorted(out.glob(pattern.format(sequence=name, pid="*"))):
        if "{pid}" in pattern and not re.fullmatch(wanted, path.name):
            continue
        yield from _files_under(path)


def _files_under(path: Path) -> Iterator[Path]:
    """A file, or those of a folder; a link is one, whatever it leads to."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for found in sorted(path.rglob("*")):
        if found.is_symlink() or found.is_file():
            yield found


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, and the folders that are empty without them."""
    for path in paths:
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def remove_namesakes(out: Path, keys: Iterable[SequenceKey], stages: tuple[Stage, ...]) -> list[SequenceKey]:
    """Remove what is left of sequences that have the name of one of these, but another dataset or subject.

    Pictures and tracks lie under the sequence's name alone, so they could be taken for those of the other one.

    Args:
        out: The output folder.
        keys: Sequences whose results are to be the only ones of their names.
        stages: All stages that may have left something.

    Returns:
        What was removed.
    """
    by_name = {key.sequence: key for key in keys}
    namesakes: dict[SequenceKey, list[Path]] = {}
    for found, folder in sequence_folders(out):
        if found.sequence in by_name and found != by_name[found.sequence]:
            namesakes.setdefault(found, []).append(folder)
    for namesake, folders in namesakes.items():
        # The tables last: as long as they are there, a run that dies here is followed by one that does this again.
        for stage in stages:
            for pattern in stage.folders:
                remove_files(_files_of(out, namesake.sequence, pattern))
        shutil.rmtree(out / ".work" / namesake.sequence, ignore_errors=True)
        for folder in folders:
            shutil.rmtree(folder)
            for parent in (folder.parent, folder.parent.parent):
                if not any(parent.iterdir()):
                    parent.rmdir()
    return sorted(namesakes)
