"""Heads by name."""

import functools
from pathlib import Path

from raytrack.assets import asset_path
from raytrack.head.asset_format import read_head
from raytrack.head.model import HeadModel

SHIPPED_HEADS = {"default": "head/head.npz"}


@functools.cache
def load_head(name: str = "default") -> HeadModel:
    """A head, read once per process; treat it as constant.

    Args:
        name: ``default`` for the shipped CC0 head, or the path of a head file (`raytrack.head.asset_format`).

    Raises:
        AssetError: The file is missing, damaged or not a head.
    """
    if name in SHIPPED_HEADS:
        return read_head(asset_path(SHIPPED_HEADS[name]), name=name)
    return read_head(Path(name))
