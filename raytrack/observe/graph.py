"""Run a small convolutional network, exported from TensorFlow Lite, with plain torch.

The file format is described in `assets/facemesh/export.py`, which writes it. Tensors keep TensorFlow Lite's layout,
(batch, height, width, channels), which is the memory order torch calls channels-last; so a convolution sees its usual
(batch, channels, height, width) by a view, never by a copy. A 1×1 convolution is a matrix product over the last axis.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from raytrack.errors import AssetError

Node = dict[str, Any]
Constants = dict[int, Tensor]
Operation = Callable[..., Tensor]
"""Takes the node's inputs that are not constants it has already bound, and gives its output."""

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu_,
    "relu6": lambda values: values.clamp_(0.0, 6.0),
}


def _activated(operation: Operation, node: Node) -> Operation:
    """Follow an operation, whose output is a fresh tensor, by the node's activation in place."""
    activation = _ACTIVATIONS.get(node["activation"])
    if activation is None:
        return operation
    return lambda *inputs: activation(operation(*inputs))


def same_padding(length: int, size: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: how much before, how much after (the odd one comes after)."""
    total = max((-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def _pad_same(values: Tensor, size: list[int], stride: list[int], dilation: list[int], fill: float) -> Tensor:
    height, width = values.shape[-2:]
    rows = same_padding(height, size[0], stride[0], dilation[0])
    columns = same_padding(width, size[1], stride[1], dilation[1])
    return functional.pad(values, (*columns, *rows), value=fill) if any(rows + columns) else values


def _convolution(node: Node, constants: Constants) -> Operation:
    weight = constants[node["inputs"][1]]
    bias = constants[node["inputs"][2]] if len(node["inputs"]) > 2 else None
    stride, dilation, size = node["stride"], node["dilation"], list(weight.shape[-2:])
    if node["op"] == "CONV_2D" and size == stride == [1, 1]:
        matrix = weight[:, :, 0, 0].contiguous()
        return _activated(lambda values: functional.linear(values, matrix, bias), node)
    groups = weight.shape[0] if node["op"] == "DEPTHWISE_CONV_2D" else 1
    # At stride 1, SAME pads both sides alike when the filter's reach is odd: the convolution does that by itself.
    reach = [(length - 1) * step for length, step in zip(size, dilation, strict=True)]
    built_in = node["padding"] == "same" and stride == [1, 1] and all(length % 2 == 0 for length in reach)
    padding = [length // 2 for length in reach] if built_in else [0, 0]

    def convolve(values: Tensor) -> Tensor:
        channels_first = values.permute(0, 3, 1, 2)
        if node["padding"] == "same" and not built_in:
            channels_first = _pad_same(channels_first, size, stride, dilation, 0.0)
        return functional.conv2d(channels_first, weight, bias, stride, padding, dilation, groups).permute(0, 2, 3, 1)

    return _activated(convolve, node)


def _transposed_convolution(node: Node, constants: Constants) -> Operation:
    weight = constants[node["inputs"][1]].permute(1, 0, 2, 3).contiguous()
    bias, stride = constants[node["inputs"][2]], node["stride"]
    return lambda values: functional.conv_transpose2d(values.permute(0, 3, 1, 2), weight, bias, stride).permute(
        0, 2, 3, 1
    )


def _prelu(node: Node, constants: Constants) -> Operation:
    slope = constants[node["inputs"][1]].reshape(-1)
    return lambda values: functional.prelu(values.permute(0, 3, 1, 2), slope).permute(0, 2, 3, 1)


def _pool(node: Node, _constants: Constants) -> Operation:
    size, stride, same = node["size"], node["stride"], node["padding"] == "same"
    if node["op"] == "AVERAGE_POOL_2D":
        if same:
            raise AssetError("average pooling with SAME padding is not supported")
        return lambda values: functional.avg_pool2d(values.permute(0, 3, 1, 2), size, stride).permute(0, 2, 3, 1)

    def pool(values: Tensor) -> Tensor:
        channels_first = values.permute(0, 3, 1, 2)
        if same:
            channels_first = _pad_same(channels_first, size, stride, [1, 1], float("-inf"))
        return functional.max_pool2d(channels_first, size, stride).permute(0, 2, 3, 1)

    return pool


def _arithmetic(node: Node, constants: Constants) -> Operation:
    function = {
        "ADD": torch.add,
        "SUB": torch.sub,
        "MUL": torch.mul,
        "DIV": torch.div,
        "SQUARED_DIFFERENCE": lambda a, b: (a - b).square_(),
    }[node["op"]]
    right = constants.get(node["inputs"][1])
    bound = function if right is None else lambda values: function(values, right)
    return _activated(bound, {"activation": "none", **node})


def _concatenate(node: Node, constants: Constants) -> Operation:
    axis, inputs = node["axis"], node["inputs"]
    fixed = {place: constants[index] for place, index in enumerate(inputs) if index in constants}

    def concatenate(*given: Tensor) -> Tensor:
        remaining, batch = iter(given), given[0].shape[0]
        parts = [
            fixed[place].expand(batch, *fixed[place].shape[1:]) if place in fixed else next(remaining)
            for place in range(len(inputs))
        ]
        return torch.cat(parts, axis)

    return concatenate


def _resize(node: Node, _constants: Constants) -> Operation:
    size, align = node["size"], node["align_corners"]
    if not (align or node["half_pixel_centers"]):
        raise AssetError("bilinear resizing is supported with half-pixel centres or aligned corners only")

    def resize(values: Tensor) -> Tensor:
        channels_first = values.permute(0, 3, 1, 2)
        return functional.interpolate(channels_first, size, mode="bilinear", align_corners=align).permute(0, 2, 3, 1)

    return resize


def _reduce(node: Node, _constants: Constants) -> Operation:
    function = torch.mean if node["op"] == "MEAN" else torch.sum
    axes, keep = node["axes"], node["keep_dims"]
    return lambda values: function(values, axes, keepdim=keep)


def _slice(node: Node, _constants: Constants) -> Operation:
    window = tuple(slice(*bounds) for bounds in node["slices"])
    return lambda values: values[window]


def _simple(function: Callable[..., Tensor], attribute: str | None = None) -> Callable[[Node, Constants], Operation]:
    """An operator that is one torch call, with at most one attribute."""
    if attribute is None:
        return lambda _node, _constants: function
    return lambda node, _constants: lambda values: function(values, node[attribute])


def _pad(values: Tensor, paddings: list[list[int]]) -> Tensor:
    return functional.pad(values, [length for pair in reversed(paddings) for length in pair])


_BUILDERS: dict[str, Callable[[Node, Constants], Operation]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "Convolution2DTransposeBias": _transposed_convolution,
    "PRELU": _prelu,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "ADD": _arithmetic,
    "SUB": _arithmetic,
    "MUL": _arithmetic,
    "DIV": _arithmetic,
    "SQUARED_DIFFERENCE": _arithmetic,
    "CONCATENATION": _concatenate,
    "RESIZE_BILINEAR": _resize,
    "MEAN": _reduce,
    "SUM": _reduce,
    "STRIDED_SLICE": _slice,
    "PAD": _simple(_pad, "paddings"),
    "TRANSPOSE": _simple(lambda values, order: values.permute(order), "permutation"),
    "RESHAPE": _simple(lambda values, shape: values.reshape(values.shape[0], *shape), "shape"),
    "RELU": _simple(functional.relu),
    "HARD_SWISH": _simple(functional.hardswish),
    "LOGISTIC": _simple(torch.sigmoid),
    "SQRT": _simple(torch.sqrt),
    "RSQRT": _simple(torch.rsqrt),
    "NEG": _simple(torch.neg),
}


class Graph:
    """A loaded network: call it on a batch to get its outputs. Holds nothing that a call changes.

    Attributes:
        input_shape: Shape of one item of the batch, (height, width, channels) for the image networks.
        device: Where it runs.
    """

    def __init__(self, description: dict[str, Any], constants: Constants, device: str = "cpu"):
        self.device = torch.device(device)
        self.input_shape = tuple(description["input_shape"][1:])
        constants = {index: array.float().to(self.device) for index, array in constants.items()}
        self._input: int = description["input"]
        self._outputs: list[int] = description["outputs"]
        self._steps: list[tuple[Operation, list[int], int, list[int]]] = []
        last_use = {index: step for step, node in enumerate(description["nodes"]) for index in node["inputs"]}
        for step, node in enumerate(description["nodes"]):
            if node["op"] not in _BUILDERS:
                raise AssetError(f"unknown operator {node['op']!r}; known: {', '.join(sorted(_BUILDERS))}")
            sources = [index for index in node["inputs"] if index not in constants]
            finished = [index for index in set(sources) if last_use[index] == step and index not in self._outputs]
            self._steps.append((_BUILDERS[node["op"]](node, constants), sources, node["output"], finished))

    @torch.inference_mode()
    def __call__(self, batch: Float[Tensor, "batch *item"]) -> list[Tensor]:
        """Run the network.

        Args:
            batch: Inputs of shape (batch, *input_shape), on any device.

        Returns:
            One tensor per output, batch first.

        Raises:
            ValueError: The batch has another shape.
        """
        if tuple(batch.shape[1:]) != self.input_shape:
            raise ValueError(f"expected a batch of {self.input_shape}, got {tuple(batch.shape)}")
        values = {self._input: batch.to(self.device)}
        for operation, sources, output, finished in self._steps:
            values[output] = operation(*[values[index] for index in sources])
            for index in finished:
                # Memory given back early is used again while it is still in the cache.
                del values[index]
        return [values[index] for index in self._outputs]


def load_graph(path: Path, device: str = "cpu") -> Graph:
    """Load an exported network.

    Args:
        path: The `.npz` file.
        device: Where to run it, as torch names devices.

    Raises:
        AssetError: The file is not an exported network, or uses an operator that is not known.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            description = json.loads(arrays["graph"].tobytes())
            constants = {int(name[1:]): torch.from_numpy(arrays[name]) for name in arrays.files if name != "graph"}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise AssetError(f"{path} is not an exported network ({error})") from error
    return Graph(description, constants, device)
