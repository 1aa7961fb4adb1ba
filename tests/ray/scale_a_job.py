"""A cluster on this machine that grows for a job of real footage, and shrinks afterwards. Run by `test_autoscaling.py`.

Ray's fake provider starts nodes as processes; Ray's wheel lets it be used as an `external` provider.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from local_cluster import LocalCluster, local_cluster

HEAD_ID = "f" * 51 + "00000"
HEAD_TYPE = "ray.head.default"
"""The fake provider knows the head by them."""
MOST_WORKERS = 2
_IDLE_MINUTES = 0.03
_SHRINK_S = 60.0
_STORE = 80_000_000


def autoscaling_config(cluster: LocalCluster) -> dict:
    """What `ray up` would leave on the head: a head that does no work, and workers of one CPU."""
    node = {"node_config": {}, "min_workers": 0}
    empty = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "raytrack-test",
        "max_workers": MOST_WORKERS,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": cluster.address,
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
        },
        "available_node_types": {
            HEAD_TYPE: {**node, "resources": {"CPU": 0}, "max_workers": 0},
            "cpu": {
                **node,
                "resources": {"CPU": 1, "object_store_memory": _STORE},
                "max_workers": MOST_WORKERS,
            },
        },
        "head_node_type": HEAD_TYPE,
        "idle_timeout_minutes": _IDLE_MINUTES,
        "upscaling_speed": 1.0,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in empty},
    }


def num_nodes() -> int:
    """Nodes that live, the head among them."""
    import ray

    return sum(node["Alive"] for node in ray.nodes())


def watch(job: subprocess.Popen, cluster: LocalCluster) -> list[int]:
    """How many nodes there were, change by change, until the job has ended and the cluster has shrunk."""
    counts = [num_nodes()]
    shrink_until = None
    while True:
        if (count := num_nodes()) != counts[-1]:
            counts.append(count)
            cluster.living()  # Notes who there is.
        if job.poll() is not None:
            shrink_until = shrink_until or time.monotonic() + _SHRINK_S
            if count == 1 or time.monotonic() > shrink_until:
                return counts
        time.sleep(0.2)


def scale(cluster: LocalCluster, arguments: list[str]) -> dict:
    """Run a job on a cluster that begins with its head alone."""
    path = cluster.folder / "autoscaling.json"
    path.write_text(json.dumps(autoscaling_config(cluster)))
    cluster.start_head(
        *(f"--autoscaling-config={path}", "--include-dashboard=false"),
        RAY_FAKE_CLUSTER="1",
        RAY_CLOUD_INSTANCE_ID=HEAD_ID,
        RAY_OVERRIDE_NODE_ID_FOR_TESTING=HEAD_ID,
        RAY_enable_autoscaler_v2="1",
        AUTOSCALER_UPDATE_INTERVAL_S="1",
    )
    environment = cluster.environment(RAY_ADDRESS=cluster.address, RAYTRACK_AUTOSCALING_CONFIG=str(path))
    os.environ.update({name: value for name, value in environment.items() if name.startswith("RAY_")})
    import ray  # Ray reads its environment when imported.

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    started = time.monotonic()
    job = subprocess.Popen([sys.executable, "-m", "raytrack", *arguments], env=environment, cwd=cluster.folder)
    counts = watch(job, cluster)
    ray.shutdown()
    cluster.stop()
    return {
        "nodes": counts,
        "exit_code": job.returncode,
        "seconds": time.monotonic() - started,
        "left": cluster.remains(),
        "pids": sorted(cluster.pids),
        "mark": str(cluster.folder),
    }


def main() -> int:
    """Run raytrack with the arguments given, and write what happened to the file named first."""
    report, *arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    with local_cluster() as cluster:
        Path(report).write_text(json.dumps(scale(cluster, arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
