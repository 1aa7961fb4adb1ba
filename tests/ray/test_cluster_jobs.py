"""Jobs on a cluster of two nodes on this machine, with token authentication: the head does no work, the other does."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from local_cluster import BIN, ask, local_cluster, run

from raytrack.assets import asset_path, sha256_of
from raytrack.tables.store import read_table

RAYTRACK = (sys.executable, "-m", "raytrack")
TRACK = {
    "rounds": 1,
    "num_key_frames": 3,
    "texture_size": 64,
    "final_texture_size": 64,
    "tracking_size_px": 96,
    "texture_image_size_px": 96,
}


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as nodes:
        nodes.start_head(
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={nodes.dashboard_port}"),
            RAYTRACK_CACHE=f"{nodes.folder}/cache-of-head",
        )
        nodes.join(cpus=2, RAYTRACK_CACHE=f"{nodes.folder}/cache-of-worker")
        nodes.wait_for_jobs()
        yield nodes
        nodes.stop()
        assert nodes.pids
        assert not nodes.remains(), "the cluster's processes end with it"


def job_file(folder, videos: dict[str, str], head="default", **track):
    """A job of some sequences, of very few frames each."""
    job = {
        "head": head,
        "sequences": [{"video": video, "name": name, "dataset": "raytrack"} for name, video in videos.items()],
        "extract": {"max_frames": 6},
        "track": {**TRACK, **track},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def last_job(cluster) -> dict:
    """What the cluster says about the job that was submitted last."""
    return max(ask(cluster, "/api/jobs/"), key=lambda job: job["start_time"])


def assert_done_by_the_worker_node(cluster, out, sequences: set[str]) -> None:
    """Every row of `runs` was written by a process of the node that is not the head."""
    (worker,) = (
        node["node_id"]
        for node in ask(cluster, "/api/v0/nodes?detail=1")["data"]["result"]["result"]
        if not node["is_head_node"]
    )
    workers = ask(cluster, "/api/v0/workers?detail=1&limit=1000")["data"]["result"]["result"]
    pids = {one["pid"] for one in workers if one["node_id"] == worker}
    rows = read_table(out, "runs").to_pylist()
    assert {row["sequence"] for row in rows} == sequences
    assert rows
    assert {row["pid"] for row in rows} <= pids
    assert last_job(cluster)["driver_node_id"] != worker


def test_ray_job_submit_of_two_sequences(cluster, tmp_path):
    videos = dict.fromkeys(("a", "b"), "assets:demo/demo.mp4")
    job, out = job_file(tmp_path, videos, landmarks_only=True), tmp_path / "out"
    done = run(
        *(cluster, BIN / "ray", "job", "submit", "--address", cluster.url, "--"),
        *("python", "-m", "raytrack", "run", job, "--out", out),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 sequences finished" in done.stdout, "logs are followed"
    assert f"cluster {cluster.address}" in done.stdout
    assert last_job(cluster)["driver_exit_code"] == 0
    summary = json.loads((out / "summary.json").read_text())
    assert all(scores["landmark_error_px"] < 4 for scores in summary["sequences"].values())
    assert all((out / "export" / name / "transforms.json").is_file() for name in videos)
    assert_done_by_the_worker_node(cluster, out, {"a", "b"})


def test_raytrack_submit_has_the_exit_code_of_the_run(cluster, tmp_path):
    videos = {"a": "assets:demo/demo.mp4", "gone": str(tmp_path / "gone.mp4")}
    head = shutil.copy(asset_path("head/head.npz"), tmp_path / "own.npz")
    job, out = job_file(tmp_path, videos, head=f"file://{head}", landmarks_only=True), tmp_path / "out"
    submit = (*RAYTRACK, "submit", job, "--out", out, "--address", cluster.url, "--command", "track")
    done = run(cluster, *submit)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "gone.mp4: no such file or folder" in done.stdout
    assert "1 of 2 sequences finished" in done.stdout
    retry = " ".join(str(part) for part in submit[3:])
    assert f"to try again: raytrack {retry}" in done.stdout, "what was typed here, not there"
    sent = last_job(cluster)
    assert sent["driver_exit_code"] == 3
    assert len(sent["runtime_env"]["py_modules"]) == 1, "the raytrack that runs here was sent"
    assert_done_by_the_worker_node(cluster, out, {"a"})
    digest = sha256_of(head)
    for node in ("head", "worker"):
        assert (cluster.folder / f"cache-of-{node}" / digest / "own.npz").is_file(), "each node fetched the head"
    assert yaml.safe_load((out / "config.yaml").read_text())["head"] == f"file://{head}#sha256={digest}"


def test_a_job_that_nobody_waits_for(cluster, tmp_path):
    job, out = job_file(tmp_path, {"a": "assets:demo/demo.mp4"}, head="nobody"), tmp_path / "out"
    done = run(cluster, *RAYTRACK, "submit", job, "--out", out, "--address", cluster.url, "--installed", "--no-wait")
    assert done.returncode == 0, done.stderr
    sent = last_job(cluster)
    assert f"ray job logs --follow {sent['submission_id']} --address {cluster.url}" in done.stdout
    assert "py_modules" not in sent["runtime_env"]


def test_many_jobs_at_once(cluster, tmp_path, repository):
    jobs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        job = job_file(tmp_path / name, {"a": "assets:demo/demo.mp4"}, head=f"nobody-{name}")
        jobs.append(job.rename(tmp_path / f"{name}.yaml"))
    script = (sys.executable, repository / "jobs" / "submit.py", "--address", cluster.url, "--out", tmp_path / "out")
    done = run(cluster, *script, *jobs)
    assert done.returncode == 2, done.stdout + done.stderr
    for name in ("first", "second"):
        assert f"there is no head 'nobody-{name}'" in done.stdout, "names of heads are looked up on the cluster"
        assert f"{name}: exit code 2" in done.stdout


@pytest.mark.parametrize("stop", [True, False])
def test_ctrl_c(cluster, tmp_path, stop):
    job, out = job_file(tmp_path, {"a": "assets:demo/demo.mp4"}), tmp_path / "out"
    command = (*RAYTRACK, "submit", job, "--out", out, "--address", cluster.url, "--installed", "--command", "track")
    submitting = subprocess.Popen(
        [*map(str, command), *(["--stop-on-interrupt"] if stop else [])],
        env=cluster.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "tables").is_dir():
        assert time.monotonic() < deadline
        assert submitting.poll() is None, submitting.stderr.read()
        time.sleep(0.05)
    submitting.send_signal(signal.SIGINT)
    _, said = submitting.communicate(timeout=60)
    assert submitting.returncode == 130, said
    sent = last_job(cluster)
    if stop:
        assert f"{sent['submission_id']} is stopped" in said
        assert sent["status"] == "STOPPED"
        return
    assert f"{sent['submission_id']} goes on" in said
    assert f"ray job stop {sent['submission_id']}" in said
    assert sent["status"] == "RUNNING"
    done = run(cluster, BIN / "ray", "job", "stop", sent["submission_id"], "--address", cluster.url)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RAY_AUTH_TOKEN": "0" * 64}, "refuses the token"),
        ({"RAY_AUTH_TOKEN": ""}, "there is no token for the cluster"),
        ({"RAY_AUTH_MODE": "disabled"}, "wants a token"),
    ],
)
def test_nobody_gets_in_without_the_token(cluster, tmp_path, changes, message):
    job = job_file(tmp_path, {"a": "assets:demo/demo.mp4"})
    before = len(ask(cluster, "/api/jobs/"))
    done = run(cluster, *RAYTRACK, "submit", job, "--out", tmp_path / "out", "--address", cluster.url, **changes)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(ask(cluster, "/api/jobs/")) == before
