"""Digests of files, remembered so that footage is not read anew by every run."""

import contextlib
import json
import os
import time
from pathlib import Path

from raytrack.assets import sha256_of

DIGESTS_FILE = "digests.json"
_SETTLED_NS = 2_000_000_000
"""A file that changed so shortly before it was read may change again within one tick of the file system's clock."""

_State = tuple[int, int, int]


class Digests:
    """What is known of files: a digest counts as long as size, time of change and inode are the same.

    Args:
        path: Where it is remembered from run to run.
        trust_missing: Whether the last known digest stands for what is not there any more.
    """

    def __init__(self, path: Path | None = None, *, trust_missing: bool = False) -> None:
        self._path = path
        self._trust_missing = trust_missing
        self._known: dict[str, tuple[_State, str]] = {}
        self._changed = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                entries = json.loads(path.read_text(encoding="utf-8"))
                self._known = {name: ((size, mtime, inode), digest) for name, (size, mtime, inode, digest) in entries}

    def of_file(self, path: Path) -> str:
        """The sha256 of a file's bytes.

        Raises:
            OSError: It cannot be read.
        """
        state = _state_of(path)
        known = self._known.get(str(path))
        if known is not None and known[0] == state:
            return known[1]
        now = time.time_ns()
        digest = sha256_of(path)
        settled = now - state[1] > _SETTLED_NS
        self._remember(path, state if settled else (-1, 0, 0), digest)
        return digest

    def knows(self, path: Path) -> bool:
        """Whether `of_file` need not read the file.

        Raises:
            OSError: It is not there.
        """
        known = self._known.get(str(path))
        return known is not None and known[0] == _state_of(path)

    def of_missing(self, path: Path) -> str | None:
        """The last known digest of a file or folder that is not there any more, where such digests are trusted."""
        known = self._known.get(str(path)) if self._trust_missing else None
        return known[1] if known else None

    def remember_folder(self, path: Path, digest: str) -> None:
        """Note the digest of a folder, to be asked for when the folder is gone."""
        self._remember(path, (-1, 0, 0), digest)

    def _remember(self, path: Path, state: _State, digest: str) -> None:
        if self._known.get(str(path)) != (state, digest):
            self._known[str(path)] = (state, digest)
            self._changed = True

    def save(self) -> None:
        """Write down what is known, in one step. Failing to do so costs time and nothing else."""
        if self._path is None or not self._changed:
            return
        entries = [[name, [*state, digest]] for name, (state, digest) in self._known.items()]
        temporary = self._path.with_name(f".tmp-{os.getpid()}-{self._path.name}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(entries), encoding="utf-8")
            temporary.replace(self._path)
            self._changed = False


def _state_of(path: Path) -> _State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
