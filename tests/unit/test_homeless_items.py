"""Items that Ray was given for nodes that are gone by the time it could start them."""

import types

import pytest

from raytrack.pipeline import ray_executor
from raytrack.pipeline.capacity import NodeKind
from raytrack.pipeline.stage import Resources


class QuietRay:
    """A cluster on which nothing is ever started."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.resources = nodes
        self.asked: list[dict[str, float]] = []
        self.cancelled: list[str] = []

    def nodes(self) -> list[dict]:
        return [{"Resources": resources, "Alive": True} for resources in self.resources]

    def wait(self, refs, **_options) -> tuple[list, list]:
        return [], list(refs)

    def cancel(self, ref: str, *, force: bool) -> None:
        assert force
        self.cancelled.append(ref)

    def options(self, **options) -> "QuietRay":
        self.asked.append(options)
        return self

    def remote(self, _item) -> str:
        return f"item {len(self.asked)}"


LARGE, SMALL = {"CPU": 4.0, "GPU": 1.0}, {"CPU": 1.0}


def begun(monkeypatch, ray: QuietRay, kinds=(), *, gpus: float, cpus: float, device: str):
    """An executor that has handed out one item."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    for name, value in {"ray": ray, "_task": ray, "_gpu_task": ray, "_LOOK_S": -1.0}.items():
        monkeypatch.setattr(ray_executor, name, value)
    resources = Resources(cpus=cpus, gpus=gpus, gpu_required=device == "cuda")
    stage = types.SimpleNamespace(resources=resources, actor=False)
    executor = ray_executor.RayExecutor(cpus=None, stages=(stage,))
    executor._kinds = kinds
    executor._look()
    item = types.SimpleNamespace(stage=stage, context=types.SimpleNamespace(cpus=cpus, device=device))
    executor.submit(item)
    assert executor.wait(0.0) == [], "its node is there"
    return executor


@pytest.mark.parametrize(("gpus", "cpus", "device"), [(1, 1, "auto"), (0, 4, "cpu"), (1, 4, "auto")])
def test_they_are_taken_back_to_be_handed_out_anew(monkeypatch, gpus, cpus, device):
    ray = QuietRay(LARGE, SMALL)
    executor = begun(monkeypatch, ray, gpus=gpus, cpus=cpus, device=device)
    ray.resources = (SMALL,)
    ((_item, result),) = executor.wait(0.0)
    assert (result.failure.kind, ray.cancelled) == ("node", ["item 1"])
    assert (executor.largest_node_gpus, executor.largest_node_cpus) == (0, 1)
    assert executor.wait(0.0) == []


def test_such_a_node_may_come(monkeypatch):
    ray = QuietRay(LARGE, SMALL)
    kinds = (NodeKind(resources=LARGE, most=1),)
    executor = begun(monkeypatch, ray, kinds, gpus=1, cpus=4, device="auto")
    ray.resources = (SMALL,)
    assert executor.wait(0.0) == []
    assert executor.largest_node_gpus == 0, "what is handed out now need not wait for it"


def test_what_needs_a_gpu_waits_for_the_node_to_join_again(monkeypatch):
    ray = QuietRay(LARGE, SMALL)
    executor = begun(monkeypatch, ray, gpus=1, cpus=1, device="cuda")
    ray.resources = (SMALL,)
    assert executor.wait(0.0) == []
    monkeypatch.setattr(ray_executor, "_JOIN_S", 0.0)
    ((_item, result),) = executor.wait(0.0)
    assert result.failure.kind == "node"
