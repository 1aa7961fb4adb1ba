"""A cluster on this machine whose only node with a GPU is lost. Run by `test_pipeline_cluster.py`.

Ray believes what it is told of GPUs.
"""

import dataclasses
import json
import os
import sys
import threading
import time
from pathlib import Path

import tiny_pipeline as tiny
from ray.cluster_utils import Cluster

from raytrack.pipeline.stage import Resources, StageOutput


def track_once_lost(context) -> StageOutput:
    """Hold the GPU until it is lost."""
    (context.out / ".work/held").touch()
    while not (context.out / ".work/lost").exists():
        time.sleep(0.05)
    return tiny.track(context)


def lose_the_gpus(cluster, node, out: Path) -> None:
    """Wait until one sequence holds the GPU and the other waits for it, then take the node away."""
    while not (out / ".work/held").exists() or len(list(out.glob("tables/frames/*/*/*/part-*"))) < 6:
        time.sleep(0.05)
    time.sleep(1.0)
    cluster.remove_node(node, allow_graceful=False)
    time.sleep(3.0)  # Its workers live on for a moment.
    (out / ".work/lost").touch()


def main() -> int:
    """Track two sequences with all CPUs and the GPU of the largest node."""
    arguments = json.loads(sys.argv[1])
    memory = {"object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    large = cluster.add_node(num_cpus=2, num_gpus=1, **memory)
    cluster.add_node(num_cpus=1, **memory)
    os.environ["RAY_ADDRESS"] = cluster.address
    out = Path(arguments["out"])
    optional = Resources(cpus=2, gpus=1, gpu_required=False)
    probe, frames, track, render = tiny.STAGES
    stages = (probe, frames, dataclasses.replace(track, function=track_once_lost, resources=optional), render)
    threading.Thread(target=lose_the_gpus, args=(cluster, large, out), daemon=True).start()
    config = tiny.job(Path(arguments["folder"]), arguments["sequences"])
    report = tiny.run(config, out, sequential=False, stages=stages, known=stages)
    cluster.shutdown()
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
