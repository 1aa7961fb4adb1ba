"""A cluster that grows with the work, from its head alone to three nodes, and shrinks when it is done."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml
from local_cluster import MARK

from raytrack.tables.store import read_table

NAMES = ("a", "b", "c")
JOB = {
    "sequences": [{"video": "assets:demo/demo.mp4", "name": name, "dataset": "raytrack"} for name in NAMES],
    "extract": {"max_frames": 6},
    "track": {"landmarks_only": True, "tracking_size_px": 96},
}
MOST_SECONDS = 90
"""On a machine of two cores that has nothing else to do."""


def is_of_the_cluster(pid: int, mark: str) -> bool:
    """Whether a process lives and was started by the cluster; numbers are given out anew."""
    try:
        return psutil.Process(pid).environ().get(MARK) == mark
    except psutil.Error:
        return False


def scaled(*arguments: object) -> str:
    """Run the script, which takes its cluster down whatever happens; what it said."""
    script = Path(__file__).with_name("scale_a_job.py")
    with subprocess.Popen(
        [sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        try:
            printed, _ = running.communicate(timeout=4 * MOST_SECONDS)
        except subprocess.TimeoutExpired:
            running.terminate()
            printed, _ = running.communicate(timeout=60)
    assert running.returncode == 0, printed
    return printed


def test_one_to_three_nodes_and_back(tmp_path):
    job, out, report = tmp_path / "job.yaml", tmp_path / "out", tmp_path / "report.json"
    job.write_text(yaml.safe_dump(JOB))
    slower = max(1.0, os.getloadavg()[0] / 2)
    started = time.monotonic()
    printed = scaled(report, "track", job, "--out", out)
    seconds = time.monotonic() - started
    happened = json.loads(report.read_text())
    assert happened["exit_code"] == 0, printed
    assert happened["nodes"][0] == happened["nodes"][-1] == 1
    assert max(happened["nodes"]) == 3
    assert len(happened["pids"]) > 5
    assert not happened["left"]
    assert not [pid for pid in happened["pids"] if is_of_the_cluster(pid, happened["mark"])], "no process is left"
    rows = read_table(out, "runs").to_pylist()
    assert {row["sequence"] for row in rows if row["stage"] == "track"} == set(NAMES)
    assert len({row["pid"] for row in rows}) >= 2
    assert seconds < MOST_SECONDS * slower
