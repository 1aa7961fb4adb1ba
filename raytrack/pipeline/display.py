"""What a person sees while a run goes on: one block that is redrawn on a terminal, plain lines elsewhere."""

import io
import shutil
import time
from collections.abc import Sequence
from typing import TextIO

from raytrack.pipeline.item_progress import ItemProgress, read_progress
from raytrack.pipeline.plan import PartState, SequencePlan, count_cached
from raytrack.pipeline.screen import Screen
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.worker import ItemResult

_PLAIN_INTERVAL_S = 30.0
_BAR_WIDTH = 20


class Display:
    """Shows the plan, then how far each sequence is.

    Args:
        stream: Where to write.
        live: Redraw one block (a terminal), or write a line now and then.
        quiet: Write nothing.
    """

    def __init__(self, stream: TextIO, *, live: bool, quiet: bool = False) -> None:
        self._screen = Screen(stream)
        self._live = live and not quiet
        self._quiet = quiet
        self._plans: Sequence[SequencePlan] = ()
        self._shared: Sequence[SequencePlan] = ()
        """Of what sequences have in common: identities."""
        self._first_start: dict[str, float] = {}
        self._drawn_lines = 0
        self._warned: set[str] = set()
        self._last_plain = time.monotonic()

    @classmethod
    def silent(cls) -> "Display":
        """Shows nothing."""
        return cls(io.StringIO(), live=False, quiet=True)

    def planned(
        self,
        plans: Sequence[SequencePlan],
        stages: Sequence[Stage],
        runs_on: str,
        unions: Sequence[SequencePlan] = (),
        identities: Sequence[SequencePlan] = (),
    ) -> None:
        """Write the plan in one line."""
        self._plans, self._shared = plans, identities
        cached = count_cached(plans)
        always = sum(not stage.is_for_some for stage in stages)
        # Only what is known to be needed is counted.
        to_run = sum(not plan.skips(stage.name) for plan in plans for stage in stages) - cached
        self._write(
            f"{_count(len(plans), 'sequence')}, {_count(always, 'stage')}; "
            f"{cached} cached, {to_run} to run; "
            f"{_in_words(identities, 'identity', 'identities')}{_in_words(unions, 'union', 'unions')}{runs_on}"
        )

    def warn(self, text: str) -> None:
        """Write a warning that concerns the whole run."""
        self._above(f"warning: {text}")

    def started(self, plan: SequencePlan, stage: Stage, index: int) -> None:  # noqa: ARG002
        """Note when a sequence's work begins."""
        self._first_start.setdefault(plan.name, time.monotonic())

    def ended(self, plan: SequencePlan, stage: Stage, index: int, result: ItemResult, *, final: bool) -> None:  # noqa: ARG002
        """Write warnings and what failed, and in plain mode also what is done."""
        for warning in result.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._above(f"{plan.name}: warning: {warning}")
        if result.failure is not None:
            what = "failed" if final else "is tried again"
            self._above(f"{plan.name}: {stage.name} {what} ({result.failure.kind}): {result.failure.error}")
        elif not self._live and plan.stage_done(stage.name):
            share, _ = progress_of(plan)
            of = "" if plan.waits_for else f" ({share:.0%} of the sequence)"
            self._write(f"{plan.name}: {stage.name} done{of}")

    def tick(self) -> None:
        """Redraw the block, or write a line where none has been written for a while."""
        if self._live:
            self._redraw(self._lines())
        elif time.monotonic() - self._last_plain > _PLAIN_INTERVAL_S:
            for line in self._lines():
                self._write(line)

    def close(self) -> None:
        """Take the block away."""
        if self._live:
            self._redraw([])

    def _lines(self) -> list[str]:
        # Also what is observed for an identity alone.
        known = {plan.name: plan for one in self._shared for plan in (one, *one.waits_for)}
        every = {**known, **{plan.name: plan for plan in self._plans}}.values()
        running = [plan for plan in every if any(PartState.RUNNING in states for states in plan.parts.values())]
        finished = sum(plan.finished for plan in self._plans)
        size = shutil.get_terminal_size()
        shown = running[: max(1, size.lines - 4)]
        lines = [self._line(plan) for plan in shown]
        if len(self._plans) > 1:
            failed = sum(plan.failed for plan in self._plans)
            more = len(running) - len(shown)
            lines.append(
                f"{finished} of {len(self._plans)} sequences finished"
                + (f", {failed} failed" if failed else "")
                + (f", {more} more running" if more else "")
            )
        return [line[: size.columns - 1] for line in lines]

    def _line(self, plan: SequencePlan) -> str:
        share, notes = progress_of(plan)
        elapsed = time.monotonic() - self._first_start.get(plan.name, time.monotonic())
        left = f"{clock(elapsed * (1 - share) / share)} left" if share > 0.02 and elapsed > 3 else ""
        bar = "█" * round(share * _BAR_WIDTH)
        return f"{plan.name}  {bar:░<{_BAR_WIDTH}} {share:4.0%}  {clock(elapsed)}  {left:10}  {', '.join(notes)}"

    def _redraw(self, lines: list[str]) -> None:
        up = f"\x1b[{self._drawn_lines}F" if self._drawn_lines else ""
        self._screen.write(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        self._drawn_lines = len(lines)

    def _above(self, text: str) -> None:
        if self._live:
            self._redraw([])
        self._write(text)

    def _write(self, text: str) -> None:
        if not self._quiet:
            self._screen.write(text + "\n")
        self._last_plain = time.monotonic()


def progress_of(plan: SequencePlan) -> tuple[float, list[str]]:
    """How much of a sequence's work of this run is done (0 to 1), and what is running, in words."""
    total, done, notes = 0.0, 0.0, []
    for stage in plan.stages:
        if stage.name in plan.cached or plan.skips(stage.name):
            continue
        states = plan.parts.get(stage.name) or [PartState.TODO]
        running = [_item_progress(plan, stage, i) for i, state in enumerate(states) if state is PartState.RUNNING]
        shares = [item.share if item else 0.0 for item in running]
        total += stage.cost
        done += stage.cost * (states.count(PartState.DONE) + sum(shares)) / len(states)
        if running:
            note = next((item.note for item in running if item and item.note), "")
            notes.append(f"{stage.name} ({note})" if note else stage.name)
    return (done / total if total else 1.0), notes


def _item_progress(plan: SequencePlan, stage: Stage, index: int) -> ItemProgress | None:
    return read_progress(plan.out / ".work" / plan.name / f"progress-{stage.part(index)}.json")


def _in_words(plans: Sequence[SequencePlan], one: str, several: str) -> str:
    """How many there are of what sequences have in common; empty where there is none."""
    if not plans:
        return ""
    cached = sum(plan.finished for plan in plans)
    return f"{len(plans)} {one if len(plans) == 1 else several}" + (f" ({cached} cached)" if cached else "") + "; "


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
