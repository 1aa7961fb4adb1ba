"""Digests of raytrack's own source code: results made by other code are not trusted."""

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]


@functools.cache
def code_sha256(name: str) -> str:
    """Digest of the source files of a sub-package of raytrack, or of one module.

    It is reckoned once per process, as the code that runs does not change either.

    Args:
        name: Such as ``media``, or ``pipeline/observation.py``.

    Raises:
        ValueError: There is no such source.
    """
    path = _PACKAGE / name
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    if not files:
        raise ValueError(f"raytrack has no source {name!r}")
    return _sha256_of(files, _PACKAGE)


def module_sha256(function: Callable[..., Any]) -> str:
    """Digest of the source file of the module that a function is in; "" where it is in none."""
    path = getattr(sys.modules.get(function.__module__), "__file__", None)
    return _file_sha256(Path(path)) if path else ""


@functools.cache
def _file_sha256(path: Path) -> str:
    return _sha256_of([path], path.parent)


def _sha256_of(files: list[Path], folder: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()
