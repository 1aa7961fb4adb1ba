"""What a worker does with one item: run it under a time limit, commit what it made, and turn faults into values."""

import contextlib
import errno
import faulthandler
import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from raytrack.errors import RaytrackError
from raytrack.pipeline.item_progress import forget_progress
from raytrack.pipeline.lock import working
from raytrack.pipeline.records import FailureKind, RunRecord, write_run
from raytrack.pipeline.stage import Stage, StageContext, StageOutput
from raytrack.tables.store import flush_to_disk, part_path, write_part

_MOST_WARNINGS = 20
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
ONE_THREAD: dict[str, str] = dict.fromkeys(_THREAD_VARIABLES, "1")
"""Environment in which numerical libraries add up in one order, whatever the number of cores."""

_PASSING_ERRNOS = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
_STORAGE_ERRNOS = {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """One item of a stage, ready to run."""

    stage: Stage
    context: StageContext
    config: str
    """The configuration that the stage reads, as JSON."""
    limit_s: float
    run_id: str
    """Of the run that the item belongs to; see `raytrack.pipeline.lock.working`."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an item was not finished."""

    kind: FailureKind
    error: str
    traceback: str = ""
    passing: bool = True
    """Whether trying again may help; of `transient` and `system` failures only."""


@dataclass(frozen=True, kw_only=True)
class ItemResult:
    """How an item ended."""

    seconds: float
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    """What the person should know about the footage."""


def run_item(item: WorkItem, *, own_process: bool) -> ItemResult:
    """Run one item and commit its rows.

    Args:
        item: The item.
        own_process: Whether this process may be ended when the item exceeds its time limit. The traceback is then in
            `watchdog_path`. Without it there is no limit.
    """
    started, context = time.perf_counter(), item.context
    warnings: list[str] = []
    try:
        with (
            working(context.out, item.run_id),
            _progress_forgotten(context),
            _time_limit(item, armed=own_process),
            one_thread(),
            _heard(warnings),
        ):
            output = item.stage.function(context)
            seconds = time.perf_counter() - started
            _commit(item, output, seconds, warnings)
        return ItemResult(seconds=seconds, warnings=tuple(warnings))
    except Exception as error:
        failure = Failure(
            kind=failure_kind(error),
            error=_in_words(error),
            traceback=traceback.format_exc(),
            passing=getattr(error, "passing", True),
        )
        return ItemResult(seconds=time.perf_counter() - started, failure=failure, warnings=tuple(warnings))


@contextlib.contextmanager
def _progress_forgotten(context: StageContext) -> Iterator[None]:
    try:
        yield
    finally:
        forget_progress(context.work_folder / f"progress-{context.item}.json")


def failure_kind(error: Exception) -> FailureKind:
    """Whose fault an exception is: the footage's or the user's, the machine's for a while, or raytrack's own."""
    if isinstance(error, RaytrackError):
        return error.kind
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS:
        return "system"
    passing = isinstance(error, (MemoryError, ConnectionError, TimeoutError)) or (
        isinstance(error, OSError) and error.errno in _PASSING_ERRNOS
    )
    # PyTorch's own class, by name because torch may not be loaded.
    return "transient" if passing or type(error).__name__ == "OutOfMemoryError" else "bug"


def _in_words(error: Exception) -> str:
    text = str(error) or "no message"
    return text if isinstance(error, RaytrackError) else f"{type(error).__name__}: {text}"


def _commit(item: WorkItem, output: StageOutput, seconds: float, warnings: list[str]) -> None:
    """Files first, then side tables and the record of the run, and last the part that says it is done."""
    stage, context = item.stage, item.context
    paths = [context.out / name for name in output.files]
    for path in paths:
        flush_to_disk(path)
    for folder in sorted({path.parent for path in paths}):
        flush_to_disk(folder)
    index = context.chunk.index if context.chunk else 0
    also = {part_path(context.out, table, context.key, stage.part(index)): rows for table, rows in output.also.items()}
    for path, rows in also.items():
        write_part(path, rows, fingerprint=context.fingerprint, config=item.config)
    record = RunRecord(
        stage=stage.name,
        chunk=index,
        fingerprint=context.fingerprint,
        attempt=context.attempt,
        started_at=datetime.fromtimestamp(time.time() - seconds, tz=timezone.utc),
        seconds=seconds,
        host=socket.gethostname(),
        pid=os.getpid(),
        warnings=tuple(warnings),
    )
    write_run(context.out, context.key, record)
    write_part(
        stage.part_path(context.out, context.key, index),
        output.rows,
        fingerprint=context.fingerprint,
        files=(*output.files, *(str(path.relative_to(context.out)) for path in also)),
        config=item.config,
    )


def watchdog_path(context: StageContext) -> Path:
    """Where the traceback of an item lies that was ended for exceeding its time limit."""
    return context.work_folder / f"watchdog-{context.item}-{context.attempt}.txt"


@contextlib.contextmanager
def _time_limit(item: WorkItem, *, armed: bool) -> Iterator[None]:
    if not armed:
        yield
        return
    path = watchdog_path(item.context)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        # Fires from a thread of its own, also while compiled code holds the interpreter's lock.
        faulthandler.dump_traceback_later(item.limit_s, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    path.unlink()


@contextlib.contextmanager
def _heard(warnings: list[str]) -> Iterator[None]:
    """Collect what raytrack's modules warn of meanwhile, each message once."""
    handler = _Collector(warnings)
    raytrack_logger = logging.getLogger("raytrack")
    raytrack_logger.addHandler(handler)
    try:
        yield
    finally:
        raytrack_logger.removeHandler(handler)


class _Collector(logging.Handler):
    """Keeps the messages of warnings."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message, unless it is kept already or there are many."""
        message = record.getMessage()
        if message not in self._messages and len(self._messages) < _MOST_WARNINGS:
            self._messages.append(message)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run numerical libraries on one thread each, so that sums are added up in the same order on every machine."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    torch, cv2 = sys.modules.get("torch"), sys.modules.get("cv2")
    torch_threads = torch.get_num_threads() if torch else 0
    cv2_threads = cv2.getNumThreads() if cv2 else 0
    try:
        if torch:
            torch.set_num_threads(1)
        if cv2:
            cv2.setNumThreads(1)
        yield
    finally:
        if torch:
            torch.set_num_threads(torch_threads)
        if cv2:
            cv2.setNumThreads(cv2_threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
