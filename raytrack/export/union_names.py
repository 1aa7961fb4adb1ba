"""The files of a union that name its sequences."""

from pathlib import Path

TRAINVAL_NAMES, TEST_NAMES = "sequences_trainval.txt", "sequences_test.txt"


def named_members(folder: Path) -> frozenset[str]:
    """The sequences that a union names; none of what is no union."""
    paths = (folder / TRAINVAL_NAMES, folder / TEST_NAMES)
    return frozenset(name for path in paths if path.is_file() for name in path.read_text("ascii", "replace").split())
