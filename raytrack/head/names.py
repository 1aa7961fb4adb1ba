"""Heads by name: the shipped one, and those that the user imported. Free of heavy imports."""

import os
import re
from pathlib import Path

from raytrack.assets import asset_path
from raytrack.errors import AssetError
from raytrack.remote import fetched, is_uri

SHIPPED_HEADS = {"default": "head/head.npz"}
"""Name to asset."""
HEAD_SUFFIX = ".npz"
ASSETS_VARIABLE = "RAYTRACK_ASSETS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def user_heads_folder() -> Path:
    """Where imported heads lie: `heads` in $RAYTRACK_ASSETS, else in `~/.local/share/raytrack`."""
    chosen = os.environ.get(ASSETS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser() / "heads"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "raytrack" / "heads"


def is_head_path(text: str) -> bool:
    """Whether a head is given as the path or URI of a file, not as a name."""
    return text.endswith(HEAD_SUFFIX) or "/" in text or os.sep in text


def user_head_path(name: str) -> Path:
    """Where the imported head of a name lies, or would lie.

    Raises:
        AssetError: The name cannot name a file, or is that of a shipped head.
    """
    if not _NAME.fullmatch(name) or name.endswith(HEAD_SUFFIX):
        raise AssetError(f"a head's name is made of letters, digits, dots, dashes and underscores, got {name!r}")
    if name in SHIPPED_HEADS:
        raise AssetError(f"{name!r} is the name of a head that ships with raytrack: choose another")
    return user_heads_folder() / f"{name}{HEAD_SUFFIX}"


def user_head_names() -> tuple[str, ...]:
    """The imported heads."""
    folder = user_heads_folder()
    return tuple(sorted(path.stem for path in folder.glob(f"*{HEAD_SUFFIX}") if not path.name.startswith(".")))


def head_path(name: str) -> Path:
    """The file of a head.

    Args:
        name: Of a shipped or an imported head, or the path or URI of a head file.

    Raises:
        AssetError: There is no such head, it cannot be fetched, or a shipped one is damaged.
    """
    if name in SHIPPED_HEADS:
        return asset_path(SHIPPED_HEADS[name])
    if is_uri(name):
        return fetched(name)
    if is_head_path(name):
        return Path(name).expanduser()
    path = user_head_path(name)
    if not path.is_file():
        known = ", ".join((*SHIPPED_HEADS, *user_head_names()))
        raise AssetError(
            f"there is no head {name!r} in {path.parent} (there are: {known}); FLAME heads are imported once with "
            f"`raytrack assets import-flame --model FILE.pkl --masks FLAME_masks.pkl --name {name}`"
        )
    return path
