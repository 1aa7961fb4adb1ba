"""A cluster: the work spreads over nodes, and a lost node costs nothing but time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import tiny_pipeline as tiny

from raytrack.tables.store import read_table

SEQUENCES = {"a": {"slow": 0.3}}


def run_on_a_cluster(script: str, folder: Path, sequences: dict, out: Path) -> subprocess.CompletedProcess:
    arguments = json.dumps({"folder": str(folder / "in"), "sequences": sequences, "out": str(out)})
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        env={**os.environ, **token, "RAY_health_check_initial_delay_ms": "0", "RAY_health_check_period_ms": "1000"},
    )


def test_a_lost_node_is_nobodys_fault(tmp_path, out):
    done = run_on_a_cluster("lose_a_node.py", tmp_path, SEQUENCES, out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 cached, 4 to run; cluster " in done.stdout
    (row,) = read_table(out, "failures").to_pylist()
    assert (row["stage"], row["kind"], row["final"]) == ("track", "node", False)
    config = tiny.job(tmp_path / "in", SEQUENCES)
    assert tiny.run(config, tmp_path / "undisturbed").exit_code == 0
    assert tiny.contents(out) == tiny.contents(tmp_path / "undisturbed")


def test_what_waits_for_a_lost_gpu_goes_on_without(tmp_path, out):
    done = run_on_a_cluster("lose_the_gpus.py", tmp_path, {"a": {}, "b": {}}, out)
    assert done.returncode == 0, done.stdout + done.stderr
    failures = read_table(out, "failures").to_pylist()
    assert {(row["sequence"], row["stage"], row["kind"], row["final"]) for row in failures} == {
        ("a", "track", "node", False),
        ("b", "track", "node", False),
    }
