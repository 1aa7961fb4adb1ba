"""How far a running item is, in a small file that its worker replaces and anyone may read."""

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

_INTERVAL_S = 0.5
_last_written: dict[Path, float] = {}


@dataclass(frozen=True, kw_only=True)
class ItemProgress:
    """How far an item is."""

    share: float
    """Done, 0 to 1."""
    note: str
    """What it is doing, in a few words."""


def write_progress(path: Path, done: float, total: float, note: str) -> None:
    """Replace the file, at most twice a second. Failing to do so harms nothing."""
    now = time.monotonic()
    if now - _last_written.get(path, -_INTERVAL_S) < _INTERVAL_S:
        return
    _last_written[path] = now
    temporary = path.with_name(f".tmp-{path.name}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"done": done, "total": total, "note": note}), encoding="utf-8")
        temporary.replace(path)


def read_progress(path: Path) -> ItemProgress | None:
    """What was last written, or None where nothing (readable) is."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        share = float(data["done"]) / max(float(data["total"]), 1e-9)
        return ItemProgress(share=min(max(share, 0.0), 1.0), note=str(data["note"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_progress(path: Path) -> None:
    """Remove the file of an item that has ended."""
    _last_written.pop(path, None)
    with contextlib.suppress(OSError):
        path.unlink()
