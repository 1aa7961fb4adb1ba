"""Carries out a plan: what is ready runs, later stages and earlier sequences first, and no fault spreads."""

import heapq
import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from raytrack.errors import OutputError, RaytrackError
from raytrack.pipeline.executor import Executor, device_of
from raytrack.pipeline.plan import FolderListings, PartState, SequencePlan
from raytrack.pipeline.records import FailureRecord, fold_records, write_failure
from raytrack.pipeline.stage import Stage, StageContext
from raytrack.pipeline.worker import Failure, ItemResult, WorkItem

logger = logging.getLogger(__name__)

_NODE_LOSSES = 8
"""How often an item may lose its node: not its fault, so counted apart from its own retries."""
_TICK_S = 0.5
_FIRST_PAUSE_S = 1.0
"""Before an item is tried again; each further pause is twice as long."""


class Watcher(Protocol):
    """Is told what happens; see `raytrack.pipeline.display`."""

    def started(self, plan: SequencePlan, stage: Stage, index: int) -> None:
        """An item has been handed to a worker."""
        ...

    def ended(self, plan: SequencePlan, stage: Stage, index: int, result: ItemResult, *, final: bool) -> None:
        """An item has ended; `final` unless it will be tried again."""
        ...

    def tick(self) -> None:
        """Called about twice a second while items run."""
        ...


@dataclass(frozen=True, order=True)
class _Ready:
    """A heap entry: depth first, so that sequences are finished early."""

    minus_depth: int
    sequence: int
    index: int


def _in_order(plans: list[SequencePlan]) -> tuple[Stage, ...]:
    """All stages, each after those that it needs; what finds an identity stands just before what uses it."""
    stages = {stage.name: stage for plan in plans for stage in plan.stages}
    finders = {stage.name: stage for plan in plans if plan.identity_from for stage in plan.identity_from.stages}
    others = [stage for stage in stages.values() if stage.name not in finders]
    place = next((index for index, stage in enumerate(others) if stage.uses_identity), len(others))
    return (*others[:place], *finders.values(), *others[place:])


class Driver:
    """Runs the items of several sequences' plans on one executor."""

    def __init__(self, plans: list[SequencePlan], *, run_id: str, time_limit_factor: float, watcher: Watcher) -> None:
        self._run_id = run_id
        self._plans = {plan.order: plan for plan in plans}
        self._order = {plan.name: plan.order for plan in plans}
        self._stages = _in_order(plans)
        self._dependents: dict[int, list[SequencePlan]] = {}
        for plan in plans:
            for other in (*plan.waits_for, *((plan.identity_from,) if plan.identity_from else ())):
                self._dependents.setdefault(other.order, []).append(plan)
        self._depth = {stage.name: depth for depth, stage in enumerate(self._stages)}
        self._time_limit_factor = time_limit_factor
        self._watcher = watcher
        self._ready: list[_Ready] = []
        self._queued: set[_Ready] = set()
        self._pausing: list[tuple[float, _Ready]] = []
        """Heap of items that are tried again from a time on."""
        self._swept: set[int] = set()
        self._num_running: Counter[int] = Counter()
        self._attempts: Counter[_Ready] = Counter()
        self._node_losses: Counter[_Ready] = Counter()

    def run(self, executor: Executor) -> None:
        """Work until nothing is left that can run."""
        for plan in self._plans.values():
            if plan.waits_for and not plan.finished:
                self._sweep_early(plan)
            self._queue(plan)
        busy_cpus = 0.0
        while self._ready or self._pausing or busy_cpus:
            while self._pausing and self._pausing[0][0] <= time.monotonic():
                heapq.heappush(self._ready, heapq.heappop(self._pausing)[1])
            while self._ready and busy_cpus < executor.cpus:
                busy_cpus += self._launch(heapq.heappop(self._ready), executor)
            if busy_cpus:
                for item, result in executor.wait(_TICK_S):
                    busy_cpus -= item.context.cpus
                    self._settle(item, result)
            elif self._pausing:
                time.sleep(min(_TICK_S, max(0.0, self._pausing[0][0] - time.monotonic())))
            self._watcher.tick()

    def _sweep_early(self, plan: SequencePlan) -> None:
        """Remove what refers to what is about to change; failing is left for its own time."""
        try:
            plan.sweep()
            self._swept.add(plan.order)
        except OSError as error:
            logger.warning("%s: cannot be tidied up (%s)", plan.name, error)

    def _queue(self, plan: SequencePlan) -> None:
        for stage, index in plan.ready():
            entry = _Ready(-self._depth[stage.name], plan.order, index)
            if entry not in self._queued:
                self._queued.add(entry)
                heapq.heappush(self._ready, entry)

    def _launch(self, entry: _Ready, executor: Executor) -> int:
        """Hand an item to the executor; the CPUs that it takes."""
        plan, stage = self._plans[entry.sequence], self._stages[-entry.minus_depth]
        if plan.order not in self._swept:
            try:
                plan.sweep()
            except OSError as error:
                self._give_up(plan, stage, entry.index, error)
                return 0
            self._swept.add(plan.order)
        self._attempts[entry] += 1
        cpus = max(1, int(min(stage.resources.cpus, executor.largest_node_cpus)))
        context = StageContext(
            out=plan.out,
            stage=stage.name,
            key=plan.key,
            sequence=plan.sequence,
            config=plan.configs[stage.name].value,
            fingerprint=plan.fingerprints[stage.name],
            head=plan.head,
            identity=plan.identity,
            parts={name: plan.part_paths(self._stages[self._depth[name]]) for name in stage.needs},
            chunk=plan.chunk(stage, entry.index),
            cpus=cpus,
            device=device_of(stage, executor.largest_node_gpus),
            attempt=self._attempts[entry],
        )
        plan.parts[stage.name][entry.index] = PartState.RUNNING
        self._num_running[plan.order] += 1
        self._watcher.started(plan, stage, entry.index)
        limit_s = plan.limit_s(stage, entry.index) * self._time_limit_factor
        config = plan.configs[stage.name].text
        executor.submit(WorkItem(stage=stage, context=context, config=config, limit_s=limit_s, run_id=self._run_id))
        return cpus

    def _settle(self, item: WorkItem, result: ItemResult) -> None:
        """Note how an item ended, and queue what follows from it."""
        context = item.context
        index = context.chunk.index if context.chunk else 0
        entry = _Ready(-self._depth[item.stage.name], self._order[context.name], index)
        plan = self._plans[entry.sequence]
        self._num_running[plan.order] -= 1
        retry = result.failure is not None and self._may_retry(entry, item.stage, result.failure)
        if not retry:
            self._queued.discard(entry)
        if result.failure is None:
            plan.parts[item.stage.name][index] = PartState.DONE
            try:
                plan.expand(FolderListings())
            except (OSError, RaytrackError) as error:
                self._give_up(plan, item.stage, index, error)
        else:
            plan.parts[item.stage.name][index] = PartState.TODO if retry else PartState.FAILED
            self._record(plan, item.stage, index, result.failure, attempt=item.context.attempt, final=not retry)
        if retry:
            self._try_later(entry)
        self._watcher.ended(plan, item.stage, index, result, final=not retry)
        self._queue(plan)
        for dependent in self._dependents.get(plan.order, ()):
            self._queue(dependent)
        if not self._num_running[plan.order] and not any(True for _ in plan.ready()):
            self._tidy(plan)

    def _try_later(self, entry: _Ready) -> None:
        """Queue an item again after a pause; the loss of a node needs none, for there are others."""
        own_failures = self._attempts[entry] - self._node_losses[entry]
        pause_s = _FIRST_PAUSE_S * 2.0 ** (own_failures - 1) if own_failures else 0.0
        heapq.heappush(self._pausing, (time.monotonic() + pause_s, entry))

    def _may_retry(self, entry: _Ready, stage: Stage, failure: Failure) -> bool:
        if failure.kind == "node":
            self._node_losses[entry] += 1
            return self._node_losses[entry] <= _NODE_LOSSES
        own_failures = self._attempts[entry] - self._node_losses[entry]
        return failure.kind in ("transient", "system") and failure.passing and own_failures <= stage.retries

    def _give_up(self, plan: SequencePlan, stage: Stage, index: int, error: Exception) -> None:
        """Note that the driver itself could not go on with an item; other sequences carry on."""
        failure = Failure(kind="system", error=f"{type(error).__name__}: {error}")
        plan.parts[stage.name][index] = PartState.FAILED
        self._record(plan, stage, index, failure, attempt=1, final=True)
        self._watcher.ended(plan, stage, index, ItemResult(seconds=0.0, failure=failure), final=True)

    def _tidy(self, plan: SequencePlan) -> None:
        """Gather the records of a sequence that has come to rest, and remove its scratch; failing is no harm."""
        try:
            fold_records(plan.out, plan.key)
            plan.sweep_scratch()
        except (OSError, RaytrackError) as error:
            logger.warning("%s: cannot be tidied up (%s)", plan.name, error)

    def _record(
        self, plan: SequencePlan, stage: Stage, index: int, failure: Failure, *, attempt: int, final: bool
    ) -> None:
        record = FailureRecord(
            stage=stage.name,
            chunk=index,
            fingerprint=plan.fingerprints[stage.name],
            kind=failure.kind,
            error=failure.error,
            traceback=failure.traceback,
            attempt=attempt,
            final=final,
            failed_at=datetime.now(tz=timezone.utc),
        )
        if final:
            plan.failures[stage.name] = record
        try:
            write_failure(plan.out, plan.key, record)
        except OutputError as error:
            logger.warning("%s: a failure cannot be recorded (%s)", plan.name, error)
