"""Kernels are compiled once ahead of several workers, and libraries keep to one thread in every stage."""

import dataclasses
import logging
import subprocess
import sys

import pytest
import torch

from raytrack.config import RunConfig, SequenceConfig
from raytrack.pipeline import warm
from raytrack.pipeline.plan import PartState, SequencePlan
from raytrack.pipeline.stages import all_stages
from raytrack.pipeline.worker import one_thread

STAGES = all_stages(RunConfig())


def plan_of(out, name, state) -> SequencePlan:
    sequence = SequenceConfig(video=f"{name}.mp4")
    return SequencePlan(
        out=out,
        order=0,
        sequence=sequence,
        key=sequence.key,
        stages=STAGES,
        chunk_frames=4,
        head="default",
        fingerprints={},
        configs={},
        parts={stage.name: [state] for stage in STAGES},
    )


@pytest.fixture
def started(monkeypatch):
    """Commands that would have been started."""
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(warm.subprocess, "run", run)
    return commands


def test_several_workers_find_the_kernels_compiled(out, started):
    todo = [plan_of(out, name, PartState.TODO) for name in "ab"]
    assert warm.compile_kernels(todo)
    assert [command[0] for command in started] == [sys.executable]


def test_one_worker_or_none_compiles_for_itself(out, started):
    assert not warm.compile_kernels([plan_of(out, "a", PartState.TODO), plan_of(out, "b", PartState.DONE)])
    footage = [dataclasses.replace(plan_of(out, name, PartState.TODO), stages=STAGES[:5]) for name in "ab"]
    assert not warm.compile_kernels(footage)
    assert started == []


def test_kernels_that_cannot_be_compiled_end_no_run(out, monkeypatch, caplog):
    monkeypatch.setattr(warm, "_WARM_UP", "raise SystemExit('no compiler')")
    with caplog.at_level(logging.WARNING):
        assert warm.compile_kernels([plan_of(out, name, PartState.TODO) for name in "ab"])
    assert "no compiler" in caplog.text


def test_torch_has_one_thread_while_a_stage_runs():
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
