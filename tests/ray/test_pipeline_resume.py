"""Ray itself: the same bytes however a run went, and faults that take a process with them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_pipeline as tiny

from raytrack.pipeline import lock
from raytrack.tables.store import read_table

SEQUENCES = {"a": {"slow": 0.03}, "b": {"slow": 0.02}}


@pytest.fixture
def start(tmp_path, out):
    """Start the small pipeline on Ray in a process of its own."""
    drivers = []

    def run(sequences=SEQUENCES):
        arguments = json.dumps({"folder": str(tmp_path / "in"), "sequences": sequences, "out": str(out)})
        # As from a fresh shell: Ray's authentication in this process, if any, is that of other tests.
        fresh = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        driver = subprocess.Popen(
            [sys.executable, tiny.__file__, arguments],
            env=fresh,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        drivers.append(driver)
        return driver

    yield run
    for driver in drivers:
        driver.kill()
        driver.wait()


@pytest.fixture
def undisturbed(tmp_path):
    """What a run leaves that nothing interrupts, in one process."""
    config = tiny.job(tmp_path / "in", SEQUENCES)
    assert tiny.run(config, tmp_path / "undisturbed").exit_code == 0
    return tiny.contents(tmp_path / "undisturbed")


def wait_for(condition, *, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def workers_of(out: Path) -> list[int]:
    """Processes that hold the workers' lock."""
    inode = (out / ".work" / "workers").stat().st_ino
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return [int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}")]


def test_killed_anywhere_and_run_again_gives_the_same_bytes(out, start, undisturbed):
    moments = {
        "extracting": lambda: any((out / "frames/a/images").glob("*3.png")),
        "tracking": lambda: list((out / ".work/a").glob("track-*/state.json")),
        "drawing": lambda: any((out / "render/a/color").glob("*.png")),
    }
    for reached in moments.values():
        driver = start()
        wait_for(lambda reached=reached, driver=driver: reached() or driver.poll() is not None)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        assert lock.owner(out) is None, "the lock dies with the driver"
    wait_for(lambda: not workers_of(out), timeout_s=30)
    assert tiny.contents(out) != undisturbed
    driver = start()
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, output
    assert tiny.contents(out) == undisturbed


def test_interrupted_and_run_again(out, start, undisturbed):
    driver = start()
    wait_for(lambda: list((out / ".work/a").glob("track-*/state.json")))
    os.killpg(driver.pid, signal.SIGINT)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == -signal.SIGINT or "KeyboardInterrupt" in output
    assert "failed" not in output
    assert read_table(out, "failures") is None, "an interruption is nobody's failure"
    driver = start()
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, output
    assert tiny.contents(out) == undisturbed


def test_processes_that_die_or_hang_harm_no_other_sequence(out, start):
    driver = start({"good": {}, "exit": {"track": "exit"}, "crash": {"frames": "crash"}, "hang": {"frames": "hang"}})
    output, _ = driver.communicate(timeout=200)
    assert driver.returncode == 3, output
    rows = read_table(out, "failures").to_pylist()
    final = {row["sequence"]: row for row in rows if row["final"]}
    assert {name: row["kind"] for name, row in final.items()} == {
        "exit": "system",
        "crash": "system",
        "hang": "timeout",
    }
    assert final["exit"]["attempt"] == 3, "a process that dies is started again twice"
    assert final["hang"]["attempt"] == 1, "what takes too long is not"
    assert "misbehave" in final["hang"]["traceback"]
    assert (out / "render/good/color/000009.png").is_file()


def test_the_token_is_private(out, start):
    driver = start({"a": {}})
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, output
    token = out / ".work" / "ray-token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) == 64
