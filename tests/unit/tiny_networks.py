"""Small networks with the interfaces of published ones, to test what loads those."""

from pathlib import Path

import torch
from torch import Tensor


class TinyVideoMatting(torch.nn.Module):
    """RobustVideoMatting's interface: the matte is a decaying mean of the clip's brightness, times the ratio."""

    def forward(
        self,
        src: Tensor,
        r1: Tensor | None = None,
        r2: Tensor | None = None,
        r3: Tensor | None = None,
        r4: Tensor | None = None,
        downsample_ratio: float = 1.0,
    ) -> list[Tensor]:
        grey = src.mean(dim=1, keepdim=True)
        state = torch.zeros_like(grey) if r1 is None else r1
        state = 0.5 * state + 0.5 * grey
        return [src, state * downsample_ratio, state, state, state, state]


class TinyBackgroundMatting(torch.nn.Module):
    """BackgroundMattingV2's interface: the matte is the difference to the plate."""

    backbone_scale: float
    refine_mode: str
    refine_sample_pixels: int

    def __init__(self) -> None:
        super().__init__()
        self.backbone_scale = 1.0
        self.refine_mode = "full"
        self.refine_sample_pixels = 0

    def forward(self, src: Tensor, bgr: Tensor) -> list[Tensor]:
        if src.size(2) % 4 != 0 or src.size(3) % 4 != 0 or self.refine_mode != "sampling":
            raise RuntimeError("sides must be multiples of 4, pixels sampled")
        return [(src - bgr).abs().amax(dim=1, keepdim=True), src]


def save_torchscript(module: torch.nn.Module, path: Path) -> Path:
    """Write a module as TorchScript."""
    torch.jit.script(module).save(str(path))
    return path


def save_onnx_video_matting(path: Path) -> Path:
    """`TinyVideoMatting` as ONNX, with the published file's names."""
    from onnx import TensorProto, helper, save

    def values(names: list[str], *shape: int | str) -> list:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]

    states = [f"r{level}" for level in range(1, 5)]
    sizes = ("n", "channels", "height", "width")
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    nodes = [
        helper.make_node("ReduceMean", ["src"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["grey", "half"], ["now"]),
        helper.make_node("Mul", ["r1i", "half"], ["before"]),
        helper.make_node("Add", ["now", "before"], ["r1o"]),
        helper.make_node("Mul", ["r1o", "downsample_ratio"], ["pha"]),
        helper.make_node("Identity", ["src"], ["fgr"]),
        *(helper.make_node("Add", [f"{name}i", "now"], [f"{name}o"]) for name in states[1:]),
    ]
    inputs = [*values(["src"], "n", 3, "height", "width"), *values([f"{name}i" for name in states], *sizes)]
    outputs = values(["fgr", "pha", *(f"{name}o" for name in states)], *sizes)
    graph = helper.make_graph(nodes, "tiny", [*inputs, *values(["downsample_ratio"], 1)], outputs, [half])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


class TinyStar(torch.nn.Module):
    """The interface of STAR's export: 68 points on a circle, moved by the crop's brightness, after a heat map."""

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        angle = torch.linspace(0, 6.0, 68)
        circle = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1) * 0.5
        brightness = crops.mean(dim=(1, 2, 3)) * 0.0
        return crops, circle[None] + brightness[:, None, None]
