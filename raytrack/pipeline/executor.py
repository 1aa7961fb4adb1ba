"""Where items run: the interface, and the executor that runs them one after the other in this process."""

import os
from collections import deque
from pathlib import Path
from typing import Protocol

from raytrack.config import Device
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.worker import ItemResult, WorkItem, run_item


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, or less where a container's quota is lower."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, int(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def nvidia_gpus() -> int:
    """NVIDIA GPUs that this machine shows, without loading anything that could use them."""
    return sum(1 for path in Path("/dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit())


def device_of(stage: Stage, largest_node_gpus: float) -> Device:
    """Where a stage's networks and renderers are to run.

    Args:
        stage: The stage.
        largest_node_gpus: See `Executor`.
    """
    wanted = stage.resources.gpus
    if not wanted:
        return "cpu"
    if stage.resources.gpu_required:
        return "cuda"
    return "auto" if largest_node_gpus >= wanted else "cpu"


class Executor(Protocol):
    """Runs items. The driver keeps no more in flight than `cpus` can work on."""

    cpus: float
    """CPUs to keep busy."""
    largest_node_cpus: float
    """No item can be given more."""
    largest_node_gpus: float
    """GPUs of the node that has most, now."""

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
        self.largest_node_gpus: float = nvidia_gpus()
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
