"""Runs items as Ray tasks and actors, on this machine or on the cluster that `RAY_ADDRESS` names.

Imported only after `raytrack.pipeline.ray_environment.prepare_environment`.
"""

import contextlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayError, RayTaskError

from raytrack.config import Device
from raytrack.errors import ConfigError
from raytrack.pipeline.capacity import CONFIG_VARIABLE, Capacity, NodeKind, autoscaled_kinds, planned_capacity
from raytrack.pipeline.executor import device_of
from raytrack.pipeline.ray_environment import cluster_address, cluster_worker_environment, in_submitted_job
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.worker import Failure, ItemResult, WorkItem, run_item, watchdog_path

logger = logging.getLogger(__name__)

_OBJECT_STORE_BYTES = 128 << 20  # Items pass rows of a few hundred bytes; pictures go through files.
_CONNECT_S = 30.0
_JOIN_S = 60.0
"""So long a cluster may have no node that works."""
_LOOK_S = 2.0
"""So often a cluster is looked at anew: nodes come and go."""
_START_ERRORS = (RuntimeError, OSError, ValueError, AssertionError, RayError)
_NODE_WORDS = ("node has died", "node was terminated", "node failure", "node died", "unreachable")


def _run(item: WorkItem) -> ItemResult:
    return run_item(item, own_process=True)


# Retries are the driver's: it counts, records and bounds them, also when a process dies.
_task = ray.remote(max_retries=0)(_run)
# Ray's default for tasks with a GPU is a new process, and a model to load, for every call; not settable in .options().
_gpu_task = ray.remote(max_retries=0, max_calls=64)(_run)


@ray.remote(max_restarts=0, max_task_retries=0)
class _SequenceActor:
    """A process for one item, such as tracking one sequence; resumes from checkpoints when it is started again."""

    def run(self, item: WorkItem) -> ItemResult:
        return run_item(item, own_process=True)

    def is_alive(self) -> bool:
        """Whether it is."""
        return True


@contextlib.contextmanager
def _kept_signal_handler() -> Iterator[None]:
    """Keep Ray from taking SIGTERM over: it would end the process without a word, and with exit code 1."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@dataclass(frozen=True, kw_only=True)
class _InFlight:
    """An item that Ray has been given."""

    item: WorkItem
    actor: Any
    """None where it runs as a task."""
    start: float
    demand: dict[str, float]
    """What a node must have to run it."""


class RayExecutor:
    """Runs items on Ray."""

    def __init__(self, *, cpus: int | None, stages: tuple[Stage, ...]) -> None:
        self._num_cpus = cpus
        self._stages = stages
        self._in_flight: dict[Any, _InFlight] = {}
        self._homeless_since: dict[Any, float] = {}
        """Items in flight that no node can hold."""
        self._owns_ray = False
        self._looked_at = 0.0
        self._kinds: tuple[NodeKind, ...] = ()
        self._gpu_node_cpus: float = 0
        self.cpus: float = 1
        self.largest_node_cpus: float = 1
        self.largest_node_gpus: float = 0

    def __enter__(self) -> "RayExecutor":
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            with _kept_signal_handler():
                self._connect()
        self._kinds = autoscaled_kinds() if cluster_address() else ()
        self._preflight(self._first_look())
        return self

    def _first_look(self) -> Capacity:
        """What there is to work with; nodes that are about to join a cluster are given some time.

        Raises:
            ConfigError: No node has a CPU.
        """
        deadline = time.monotonic() + _JOIN_S
        while not (capacity := self._look()).largest_node_cpus:
            if not cluster_address() or time.monotonic() > deadline:
                raise ConfigError(
                    "no node of this cluster has a CPU to work with; if it starts nodes when there is work, say so in "
                    f"{CONFIG_VARIABLE} (docs/cluster.md)"
                )
            time.sleep(1.0)
        return capacity

    def _look(self) -> Capacity:
        """See how much work can be given out now."""
        present = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        capacity = planned_capacity(present, self._kinds)
        self.cpus = max(1.0, capacity.cpus)
        self.largest_node_cpus = max(1.0, capacity.largest_node_cpus)
        self.largest_node_gpus = capacity.largest_node_gpus
        self._gpu_node_cpus = capacity.largest_gpu_node_cpus
        self._looked_at = time.monotonic()
        return capacity

    def _connect(self) -> None:
        address = cluster_address()
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address and not in_submitted_job():
            _check_cluster(address)
        try:
            if address:
                ray.init(address=address, runtime_env={"env_vars": cluster_worker_environment()}, **quiet)
                return
            ray.init(
                address="local",
                num_cpus=self._num_cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
        except _START_ERRORS as error:
            raise _not_started(address, str(error)) from error

    def _preflight(self, capacity: Capacity) -> None:
        """Refuse a stage that no node could ever hold; CPUs are not asked for beyond what a node has."""
        for stage in self._stages:
            gpus = stage.resources.gpus if stage.resources.gpu_required else 0
            wanted = {"GPU": gpus, "memory": stage.resources.memory_gb * 2**30}
            if not capacity.can_hold(wanted):
                raise ConfigError(
                    f"stage {stage.name!r} needs {gpus} GPUs and {stage.resources.memory_gb} GB of memory on one "
                    f"node; no node of this {'cluster' if cluster_address() else 'machine'} has as much"
                )

    def __exit__(self, *details: object) -> None:
        if self._owns_ray:
            ray.shutdown()
        else:
            for ref, flight in self._in_flight.items():
                _stop(ref, flight)
        self._in_flight.clear()

    def submit(self, item: WorkItem) -> None:
        """Hand an item to Ray's scheduler."""
        demand = self._demand(item.stage, item.context.cpus, item.context.device)
        options: dict[str, Any] = {"num_cpus": demand["CPU"], "num_gpus": demand["GPU"]}
        if demand["memory"]:
            options["memory"] = demand["memory"]
        if item.stage.actor:
            actor = _SequenceActor.options(**options).remote()
            ref = actor.run.remote(item)
        else:
            actor = None
            task = _gpu_task if demand["GPU"] else _task
            ref = task.options(**options, scheduling_strategy="SPREAD").remote(item)
        self._in_flight[ref] = _InFlight(item=item, actor=actor, start=time.perf_counter(), demand=demand)

    def _demand(self, stage: Stage, cpus: float, device: Device) -> dict[str, float]:
        """What a node must have to run a stage on so many CPUs, as Ray names it."""
        gpus = 0 if device == "cpu" else stage.resources.gpus
        # Nodes with GPUs may have fewer CPUs than others.
        cpus = min(cpus, self._gpu_node_cpus or cpus) if gpus else cpus
        return {"CPU": cpus, "GPU": gpus, "memory": int(stage.resources.memory_gb * 2**30)}

    def wait(self, timeout_s: float) -> list[tuple[WorkItem, ItemResult]]:
        """Items that have ended; empty after `timeout_s` without any."""
        due = cluster_address() and time.monotonic() - self._looked_at > _LOOK_S
        if due and (taken := self._take_back(self._look())):
            return taken
        ended, _ = ray.wait(list(self._in_flight), num_returns=1, timeout=timeout_s)
        return [settled for ref in ended if (settled := self._settle(ref)) is not None]

    def _take_back(self, capacity: Capacity) -> list[tuple[WorkItem, ItemResult]]:
        """Take back items that wait for nodes that are gone: Ray would let them wait for ever.

        That happens at once where some node can hold the item when it is handed out anew, with fewer CPUs or without
        GPU. Else a node may still join, for as long as a cluster may have none that works.
        """
        waiting = {ref: flight for ref, flight in self._in_flight.items() if not capacity.can_hold(flight.demand)}
        self._homeless_since = {ref: self._homeless_since.get(ref, time.monotonic()) for ref in waiting}
        if not waiting:
            return []
        ended, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        taken = []
        for ref in waiting.keys() - set(ended):
            flight, since = waiting[ref], self._homeless_since[ref]
            stage = flight.item.stage
            cpus = min(flight.item.context.cpus, self.largest_node_cpus)
            anew = self._demand(stage, cpus, device_of(stage, self.largest_node_gpus))
            if not capacity.can_hold(anew) and time.monotonic() - since < _JOIN_S:
                continue
            _stop(ref, self._in_flight.pop(ref))
            failure = Failure(kind="node", error="no node is left that could hold it")
            taken.append((flight.item, ItemResult(seconds=time.perf_counter() - flight.start, failure=failure)))
        return taken

    def _settle(self, ref: Any) -> tuple[WorkItem, ItemResult] | None:
        """How an item ended; None while that is still being found out."""
        flight = self._in_flight.pop(ref)
        item, actor, start = flight.item, flight.actor, flight.start
        try:
            result = ray.get(ref)
        except ActorUnavailableError:
            # Its connection broke. The next call to it will fail with the reason, once the cluster knows.
            self._in_flight[actor.is_alive.remote()] = flight
            return None
        except RayError as error:
            result = ItemResult(seconds=time.perf_counter() - start, failure=_lost(item, error))
        if actor is not None:
            ray.kill(actor)
        if not isinstance(result, ItemResult):
            failure = Failure(kind="node", error="the connection to the item's node broke")
            result = ItemResult(seconds=time.perf_counter() - start, failure=failure)
        return item, result


def _stop(ref: Any, flight: _InFlight) -> None:
    """End an item, or take it from the queue."""
    if flight.actor is None:
        ray.cancel(ref, force=True)
    else:
        ray.kill(flight.actor)


def _check_cluster(address: str) -> None:
    """Connect to a cluster from another process first: where nobody answers, Ray waits for minutes or aborts.

    Raises:
        ConfigError: There is no cluster that can be used.
    """
    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
    try:
        done = subprocess.run(  # noqa: S603 (this very Python, and no shell)
            [sys.executable, "-c", code, address], capture_output=True, text=True, check=False, timeout=_CONNECT_S
        )
    except subprocess.TimeoutExpired as error:
        raise _not_started(address, f"no answer within {_CONNECT_S:.0f} s") from error
    if done.returncode:
        raise _not_started(address, (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])


def _not_started(address: str, reason: str) -> ConfigError:
    first = next(iter(reason.splitlines()), "no reason given")
    if not address:
        return ConfigError(f"Ray cannot be started on this machine ({first}): work without it, with --sequential")
    return ConfigError(
        f"there is no usable Ray cluster at RAY_ADDRESS={address} ({first}): correct or unset RAY_ADDRESS, "
        "or work without Ray, with --sequential"
    )


def _lost(item: WorkItem, error: RayError) -> Failure:
    """What became of an item whose process did not answer."""
    path = watchdog_path(item.context)
    trace = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    if trace:
        return Failure(kind="timeout", error=f"no result within {item.limit_s:.0f} s", traceback=trace[-20000:])
    if isinstance(error, NodeDiedError) or any(word in str(error) for word in _NODE_WORDS):
        return Failure(kind="node", error="the node that it ran on was lost", traceback=str(error))
    if isinstance(error, RayTaskError) and not isinstance(error, (OutOfMemoryError, RayActorError)):
        return Failure(kind="bug", error=text, traceback=str(error))
    return Failure(kind="system", error=f"the worker process died ({text})", traceback=str(error))
