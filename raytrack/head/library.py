"""Heads by name."""

import functools
from pathlib import Path

from raytrack.head.asset_format import read_head
from raytrack.head.model import HeadModel
from raytrack.head.names import SHIPPED_HEADS, head_path
from raytrack.head.shoulders import with_shoulders


def load_head(name: str = "default") -> HeadModel:
    """A head, read once per process; treat it as constant.

    Heads with named expressions get those of the shoulders (`raytrack.head.shoulders`).

    Args:
        name: ``default`` for the shipped CC0 head, the name of an imported head, or the path of a head file
            (`raytrack.head.asset_format`).

    Raises:
        AssetError: The file is missing, damaged or not a head.
    """
    return _read(head_path(name), name if name in SHIPPED_HEADS else None)


@functools.cache
def _read(path: Path, name: str | None) -> HeadModel:
    return with_shoulders(read_head(path, name=name))
