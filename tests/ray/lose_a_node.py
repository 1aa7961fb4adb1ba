"""A cluster of three nodes on this machine; the one that tracks is lost. Run by `test_pipeline_cluster.py`."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import tiny_pipeline as tiny
from ray.cluster_utils import Cluster


def lose_the_tracking_node(cluster, nodes, work: Path) -> None:
    """Wait until tracking has left a checkpoint, then take its node away."""
    while not list(work.glob("track-*/state.json")):
        time.sleep(0.05)
    node_id = (work / "node").read_text()
    (node,) = (node for node in nodes if node.node_id == node_id)
    cluster.remove_node(node, allow_graceful=False)


def main() -> int:
    """Run the small pipeline on the cluster."""
    arguments = json.loads(sys.argv[1])
    memory = {"object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    nodes = [cluster.add_node(num_cpus=2, **memory) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address
    out = Path(arguments["out"])
    config = tiny.job(Path(arguments["folder"]), arguments["sequences"])
    (name,) = arguments["sequences"]
    threading.Thread(target=lose_the_tracking_node, args=(cluster, nodes, out / ".work" / name), daemon=True).start()
    report = tiny.run(config, out, sequential=False)
    cluster.shutdown()
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
