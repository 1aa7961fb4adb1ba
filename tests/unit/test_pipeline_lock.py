"""One writer per output folder; the lock dies with its owner."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from raytrack.config import SequenceConfig
from raytrack.errors import OutputError
from raytrack.pipeline import lock
from raytrack.pipeline.stage import Stage, StageContext
from raytrack.pipeline.worker import WorkItem, run_item
from raytrack.tables.keys import SequenceKey

HOLD = """
import sys, time
from pathlib import Path
from raytrack.pipeline.lock import sole_writer, working
out = Path(sys.argv[1])
with {what}:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(out):
    """Start a process that holds the writer's or a worker's lock, where a driver with the run id `one` has died."""
    (out / ".work").mkdir(parents=True)
    (out / ".work" / "lock").write_text('{"run": "one"}')
    holders = []

    def start(what):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(what=what), str(out)], stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()


def test_a_second_writer_is_told_who_the_first_is(out, hold):
    holder = hold("sole_writer(out)")
    with pytest.raises(OutputError, match=f"being written by process {holder.pid} of .* on "), lock.sole_writer(out):
        pass
    assert f"process {holder.pid}" in lock.owner(out)


def test_the_lock_dies_with_its_owner(out, hold):
    holder = hold("sole_writer(out)")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert lock.owner(out) is None
    with lock.sole_writer(out):
        assert f"process {os.getpid()}" in lock.owner(out)
    assert lock.owner(out) is None


def test_no_child_inherits_the_lock(out):
    (out / ".work").mkdir(parents=True)
    with lock.sole_writer(out):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    try:
        with lock.sole_writer(out):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_new_writer_waits_for_the_workers_of_a_dead_one(out, hold):
    worker = hold("working(out, 'one')")
    killed_at = []

    def kill_later():
        time.sleep(0.5)
        killed_at.append(time.monotonic())
        worker.kill()
        worker.wait()

    thread = threading.Thread(target=kill_later)
    thread.start()
    with lock.sole_writer(out):
        assert killed_at
    thread.join()


def test_workers_that_do_not_end_are_an_error(out, hold, monkeypatch):
    hold("working(out, 'one')")
    monkeypatch.setattr(lock, "_ORPHANS_END_S", 0.3)
    with pytest.raises(OutputError, match="wait for it to end"), lock.sole_writer(out):
        pass


def test_workers_of_a_run_that_has_ended_do_not_begin(out):
    (out / ".work").mkdir(parents=True)
    with lock.sole_writer(out) as first, lock.working(out, first):
        pass
    with pytest.raises(OutputError, match="has ended"), lock.working(out, first):
        pass
    with lock.sole_writer(out) as second:
        assert second != first
        with pytest.raises(OutputError, match="has ended"), lock.working(out, first):
            pass
        with lock.working(out, second):
            pass


def test_an_item_of_a_dead_run_writes_nothing(out):
    key = SequenceKey(dataset="d", subject="s", sequence="a")
    began = []
    stage = Stage(name="x", version=1, function=began.append, table="x")
    context = StageContext(
        out=out,
        stage="x",
        key=key,
        sequence=SequenceConfig(video="a.mp4"),
        config=None,
        fingerprint="f",
        head="default",
        parts={},
    )
    progress = out / ".work" / "a" / "progress-x-00000.json"
    progress.parent.mkdir(parents=True)
    progress.write_text("of the new run")
    with lock.sole_writer(out):
        item = WorkItem(stage=stage, context=context, config="", limit_s=1, run_id="of a dead driver")
        result = run_item(item, own_process=False)
    assert result.failure.kind == "system"
    assert not began
    assert sorted(path.name for path in out.rglob("*")) == [".work", "a", "lock", "progress-x-00000.json", "workers"]


def test_nobody_owns_what_is_not_there(out):
    assert lock.owner(out) is None
