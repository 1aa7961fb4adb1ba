"""Where items run: the interface, and the executor that runs them one after the other in this process."""

import os
from collections import deque
from pathlib import Path
from typing import Protocol

from raytrack.pipeline.worker import ItemResult, WorkItem, run_item


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, or less where a container's quota is lower."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, int(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


class Executor(Protocol):
    """Runs items. The driver keeps no more in flight than `cpus` can work on."""

    cpus: float
    """CPUs to keep busy."""
    largest_node_cpus: float
    """No item can be given more."""

    def __enter__(self) -> "Executor":
        """Start what runs the items."""
        ...

    def __exit__(self, *details: object) -> None:
        """Stop what runs the items, and the items."""
        ...

    def submit(self, item: WorkItem) -> None:
        """Start an item, or queue it."""
        ...

    def wait(self, timeout_s: float) -> list[tuple[WorkItem, ItemResult]]:
        """Items that have ended; empty after `timeout_s` without any."""
        ...


class SequentialExecutor:
    """Runs each item in this process when it is waited for. No time limits: there is no other process to end."""

    def __init__(self, cpus: int) -> None:
        self.cpus: float = 1
        self.largest_node_cpus: float = cpus
        self._queue: deque[WorkItem] = deque()

    def __enter__(self) -> "SequentialExecutor":
        return self

    def __exit__(self, *details: object) -> None:
        self._queue.clear()

    def submit(self, item: WorkItem) -> None:
        """Queue an item."""
        self._queue.append(item)

    def wait(self, timeout_s: float) -> list[tuple[WorkItem, ItemResult]]:  # noqa: ARG002
        """Run the item that has waited longest."""
        item = self._queue.popleft()
        return [(item, run_item(item, own_process=False))]
