"""One writer per output folder, by locks of the operating system, which end with the process that holds them."""

import contextlib
import fcntl
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from raytrack.errors import OutputError

_TAKE_OVER_S = 1.0
_ORPHANS_END_S = 60.0


@contextlib.contextmanager
def sole_writer(out: Path) -> Iterator[str]:
    """Hold the output folder until the block ends; wait for workers of a driver that died to end first.

    The block is given the run's id, which its workers show to `working`.

    Raises:
        OutputError: Another run holds the folder (the message names its owner), or workers of a dead run do not end.
    """
    with _locked(out / ".work" / "lock", fcntl.LOCK_EX, wait_s=_TAKE_OVER_S) as file:
        file.seek(0)
        file.truncate()
        run_id = uuid.uuid4().hex
        json.dump({"user": _user(), "host": socket.gethostname(), "pid": os.getpid(), "run": run_id}, file)
        file.flush()
        os.fsync(file.fileno())  # Workers on other machines read it while it is still open here.
        with _locked(out / ".work" / "workers", fcntl.LOCK_EX, wait_s=_ORPHANS_END_S):
            pass  # No worker of an earlier driver is left; ours may start.
        try:
            yield run_id
        finally:
            file.seek(0)
            file.truncate()


@contextlib.contextmanager
def working(out: Path, run_id: str) -> Iterator[None]:
    """Held by a worker while it may write, so that no new driver begins meanwhile.

    Args:
        out: The output folder.
        run_id: What `sole_writer` gave the worker's driver.

    Raises:
        OutputError: A new driver has taken the folder over, or is about to: this worker's own driver is dead.
    """
    with _locked(out / ".work" / "workers", fcntl.LOCK_SH, wait_s=5.0):
        # A new driver writes its id before it asks for the workers' lock, so under the lock the answer holds.
        if _read(out / ".work" / "lock").get("run") != run_id:
            raise OutputError(f"{out}: the run that this work belongs to has ended")
        yield


def owner(out: Path) -> str | None:
    """Who is writing to the output folder now, in words; None when nobody is."""
    path = out / ".work" / "lock"
    try:
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _owner_in_words(path)
            return None
    except OSError:
        return None


@contextlib.contextmanager
def _locked(path: Path, mode: int, *, wait_s: float) -> Iterator[IO[str]]:
    # Python opens files close-on-exec, so no child process keeps the lock beyond the moment of its start.
    deadline = time.monotonic() + wait_s
    path.touch(mode=0o600)
    with path.open("r+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise OutputError(
                        f"{path.parents[1]} is being written by {_owner_in_words(path.parent / 'lock')}: "
                        "wait for it to end, stop it, or choose another --out"
                    ) from None
            time.sleep(0.05)
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _owner_in_words(path: Path) -> str:
    try:
        data = _read(path)
        return f"process {data['pid']} of {data['user']} on {data['host']}"
    except KeyError:
        return "another run"


def _read(path: Path) -> dict[str, Any]:
    """What the lock file says; nothing where nobody holds it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
