"""What a cluster has, and what it could have: one that grows does so only when it is asked for more. Imports no Ray."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raytrack.pipeline.ray_environment import in_submitted_job

logger = logging.getLogger(__name__)

CONFIG_VARIABLE = "RAYTRACK_AUTOSCALING_CONFIG"
"""Environment variable that names the cluster's configuration, where it is not the file that `ray up` leaves."""
_BOOTSTRAP_FILE = "ray_bootstrap_config.yaml"


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """Nodes that an autoscaler may start."""

    resources: Mapping[str, float]
    most: int
    """So many at once."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """CPUs and nodes that work can be planned for."""

    cpus: float
    """On all nodes together; where the cluster grows, as many as it may grow to."""
    largest_node_cpus: float
    """Of one node that is there; of one that may come, where none with a CPU is there."""
    largest_gpu_node_cpus: float
    """Likewise, of one node with GPUs."""
    largest_node_gpus: float
    """Of one node that is there."""
    nodes: tuple[Mapping[str, float], ...]
    """Resources of the nodes that are there, and of each kind that may come."""

    def can_hold(self, demand: Mapping[str, float]) -> bool:
        """Whether one node, that is there or may come, has as much of everything."""
        return any(all(node.get(name, 0) >= amount for name, amount in demand.items()) for node in self.nodes)


def planned_capacity(present: Sequence[Mapping[str, float]], kinds: Sequence[NodeKind]) -> Capacity:
    """What the nodes that are there, and those that may come, amount to.

    Args:
        present: Resources of each node that is there.
        kinds: The kinds of nodes that the autoscaler starts, if there is one. Those that it has started count among
            them and are present, too.
    """
    here = [node.get("CPU", 0.0) for node in present]
    coming = [kind.resources.get("CPU", 0.0) for kind in kinds]
    possible = sum(kind.most * cpus for kind, cpus in zip(kinds, coming, strict=True))
    with_gpus = [node for node in present if node.get("GPU")] or [
        kind.resources for kind in kinds if kind.resources.get("GPU")
    ]
    return Capacity(
        cpus=max(sum(here), possible),
        largest_node_cpus=max(here, default=0.0) or max(coming, default=0.0),
        largest_gpu_node_cpus=max((node.get("CPU", 0.0) for node in with_gpus), default=0.0),
        largest_node_gpus=max((node.get("GPU", 0.0) for node in present), default=0.0),
        nodes=(*present, *(kind.resources for kind in kinds)),
    )


def autoscaled_kinds() -> tuple[NodeKind, ...]:
    """The kinds of nodes that the cluster's autoscaler starts; none where there is none, or nothing is known of it.

    `ray up` leaves the cluster's configuration in the home folder of the head node, where the drivers of submitted jobs
    run. Ray itself does not tell what a cluster may grow to.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if not named and not in_submitted_job():
        return ()
    path = Path(named).expanduser() if named else Path.home() / _BOOTSTRAP_FILE
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _kinds_of(config)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        logger.warning("%s: cannot be read, so the cluster is taken for one that does not grow (%s)", path, error)
        return ()


def _kinds_of(config: Mapping[str, Any]) -> tuple[NodeKind, ...]:
    most = int(config.get("max_workers") or 0)
    kinds = [
        NodeKind(
            resources={name: float(amount) for name, amount in (kind.get("resources") or {}).items()},
            most=min(most, int(kind.get("max_workers", most))),
        )
        for name, kind in (config.get("available_node_types") or {}).items()
        if name != config.get("head_node_type")
    ]
    return tuple(kind for kind in kinds if kind.most > 0)
