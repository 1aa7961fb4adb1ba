import dataclasses
import types

import pytest
import torch

from raytrack.config import PipelineConfig, RunConfig
from raytrack.errors import AssetError, ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.pipeline import ray_executor
from raytrack.pipeline.capacity import planned_capacity
from raytrack.pipeline.device import torch_device
from raytrack.pipeline.executor import device_of
from raytrack.pipeline.stage import Stage
from raytrack.pipeline.stages import all_stages
from raytrack.pipeline.subjects import find_identity, identity_stage


def stages(device: str = "auto", renderer: str = "auto", matting: str = "auto") -> dict[str, Stage]:
    config = RunConfig(
        pipeline=PipelineConfig(device=device),  # pyright: ignore[reportArgumentType]
        track=TrackConfig(renderer=renderer),  # pyright: ignore[reportArgumentType]
        matting=matting,  # pyright: ignore[reportArgumentType]
    )
    return {stage.name: stage for stage in all_stages(config)}


@pytest.mark.parametrize(
    ("device", "gpus", "expected"), [("auto", 0, "cpu"), ("auto", 1, "auto"), ("cpu", 4, "cpu"), ("cuda", 0, "cuda")]
)
def test_networks_go_where_the_configuration_says(device: str, gpus: float, expected: str) -> None:
    for name in ("landmarks", "alphas"):
        assert device_of(stages(device)[name], gpus) == expected


def test_only_what_uses_a_gpu_asks_for_one() -> None:
    asking = {name for name, stage in stages("cuda", matting="plate").items() if stage.resources.gpus}
    assert asking == {"landmarks"}
    asking = {name for name, stage in stages("cpu", renderer="nvdiffrast").items() if stage.resources.gpus}
    assert asking == {"track_shared", "track", "render"}
    for renderer in ("auto", "nvdiffrast"):
        chosen = stages(renderer=renderer)
        assert identity_stage(tuple(chosen.values())).resources == chosen["track"].resources


def test_a_joint_fit_is_given_the_cpus_of_a_track() -> None:
    config = RunConfig(pipeline=PipelineConfig(track_cpus=7))
    assert identity_stage(all_stages(config)).resources.cpus == 7


def test_a_joint_fit_refuses_a_gpu_that_torch_does_not_see(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    context = types.SimpleNamespace(device="cuda", stage="identity", config={"members": []})
    with pytest.raises(AssetError, match="CUDA build of torch"):
        find_identity(context)  # pyright: ignore[reportArgumentType]


def test_the_device_is_no_part_of_what_a_result_depends_on() -> None:
    for name, stage in stages("cuda").items():
        on_cpu, on_gpu = RunConfig(), RunConfig(pipeline=PipelineConfig(device="cuda"))
        assert stage.reads(on_cpu) == stage.reads(on_gpu), name


def test_a_gpu_that_torch_does_not_see(monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    context = types.SimpleNamespace(device="auto", stage="landmarks")
    assert torch_device(context) == "cpu"  # pyright: ignore[reportArgumentType]
    assert "landmarks" in caplog.text
    context.device = "cuda"
    with pytest.raises(AssetError, match="CUDA build of torch"):
        torch_device(context)  # pyright: ignore[reportArgumentType]


def test_preflight_refuses_a_machine_without_gpu() -> None:
    chosen = tuple(stages("cuda").values())
    executor = ray_executor.RayExecutor(cpus=2, stages=chosen)
    with pytest.raises(ConfigError, match=r"'alphas' needs 0\.125 GPUs"):
        executor._preflight(planned_capacity([{"CPU": 2.0, "memory": 1e12}], ()))
    executor._preflight(planned_capacity([{"CPU": 2.0, "memory": 1e12, "GPU": 1.0}], ()))
    optional = tuple(dataclasses.replace(stage) for stage in stages("auto").values())
    without = planned_capacity([{"CPU": 2.0, "memory": 1e12}], ())
    ray_executor.RayExecutor(cpus=2, stages=optional)._preflight(without)
