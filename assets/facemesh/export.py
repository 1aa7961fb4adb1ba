"""Turn MediaPipe's TensorFlow Lite models into the `.npz` graphs that `raytrack.observe.graph` runs.

Needed only to make the assets again; raytrack itself never imports it. It needs `pip install tflite numpy` and the
models as Google publishes them (Apache-2.0)::

    unzip face_landmarker.task     # face_detector.tflite, face_landmarks_detector.tflite, face_blendshapes.tflite
    python export.py face_detector.tflite face_landmarks_detector.tflite face_blendshapes.tflite --out assets/facemesh
    python export.py selfie_segmentation.tflite --out assets/selfie

An exported file holds one float16 array ``t<id>`` per constant tensor, and ``graph``: JSON bytes with

- ``input``, ``input_shape``: the tensor id and shape (batch first, channels last) of the one input;
- ``outputs``: tensor ids;
- ``nodes``: the operators in the order they run, each ``{"op", "inputs", "output", ...attributes}`` under TensorFlow
  Lite's operator names. Filters are stored (out, in, height, width). Integer tensors (axes, shapes, paddings) have
  become attributes. Batch size 1 is nowhere fixed: shapes leave the first axis out, and a slice that only picks the
  first item of the batch is dropped.
"""

import argparse
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite

ACTIVATIONS = {0: "none", 1: "relu", 3: "relu6"}
TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}
EPOCH = (1980, 1, 1, 0, 0, 0)


def _convolution(options: Any) -> dict[str, Any]:
    return {
        "stride": [options.StrideH(), options.StrideW()],
        "dilation": [options.DilationHFactor(), options.DilationWFactor()],
        "padding": "same" if options.Padding() == 0 else "valid",
        **_arithmetic(options),
    }


def _pooling(options: Any) -> dict[str, Any]:
    return {
        "stride": [options.StrideH(), options.StrideW()],
        "size": [options.FilterHeight(), options.FilterWidth()],
        "padding": "same" if options.Padding() == 0 else "valid",
    }


def _arithmetic(options: Any) -> dict[str, Any]:
    return {"activation": ACTIVATIONS[options.FusedActivationFunction()]}


def _resize(options: Any) -> dict[str, Any]:
    return {"align_corners": bool(options.AlignCorners()), "half_pixel_centers": bool(options.HalfPixelCenters())}


def _strided_slice(options: Any) -> dict[str, Any]:
    masks = {"begin_mask": options.BeginMask(), "end_mask": options.EndMask(), "shrink_mask": options.ShrinkAxisMask()}
    if options.EllipsisMask() or options.NewAxisMask():
        raise NotImplementedError("a strided slice with an ellipsis or a new axis")
    return masks


READERS: dict[str, tuple[Any, Callable[[Any], dict[str, Any]]]] = {
    "CONV_2D": (tflite.Conv2DOptions, _convolution),
    "DEPTHWISE_CONV_2D": (tflite.DepthwiseConv2DOptions, _convolution),
    "MAX_POOL_2D": (tflite.Pool2DOptions, _pooling),
    "AVERAGE_POOL_2D": (tflite.Pool2DOptions, _pooling),
    "ADD": (tflite.AddOptions, _arithmetic),
    "SUB": (tflite.SubOptions, _arithmetic),
    "MUL": (tflite.MulOptions, _arithmetic),
    "DIV": (tflite.DivOptions, _arithmetic),
    "CONCATENATION": (tflite.ConcatenationOptions, lambda options: {"axis": options.Axis()}),
    "RESIZE_BILINEAR": (tflite.ResizeBilinearOptions, _resize),
    "MEAN": (tflite.ReducerOptions, lambda options: {"keep_dims": bool(options.KeepDims())}),
    "SUM": (tflite.ReducerOptions, lambda options: {"keep_dims": bool(options.KeepDims())}),
    "STRIDED_SLICE": (tflite.StridedSliceOptions, _strided_slice),
}


def _attributes(name: str, operator: Any, out_shape: list[int]) -> dict[str, Any]:
    """The attributes of one TensorFlow Lite operator that the exported graph keeps."""
    if name in READERS:
        kind, read = READERS[name]
        table, options = operator.BuiltinOptions(), kind()
        options.Init(table.Bytes, table.Pos)
        return read(options)
    if name == "RESHAPE":
        return {"shape": out_shape}
    if name == "Convolution2DTransposeBias":
        # MediaPipe's own operator; its options are three little-endian ints: padding, stride across, stride down.
        _, across, down = struct.unpack("<3i", operator.CustomOptionsAsNumpy().tobytes())
        return {"stride": [down, across]}
    return {}


def read_tflite(path: Path) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Read operators and constants of a model with one subgraph."""
    names = {value: key for key, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    constants: dict[int, np.ndarray] = {}
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength():
            shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
            constants[index] = np.frombuffer(buffer.DataAsNumpy().tobytes(), TYPES[tensor.Type()]).reshape(shape)
    nodes = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        name = code.CustomCode().decode() if name == "CUSTOM" else name
        inputs, (output,) = operator.InputsAsNumpy().tolist(), operator.OutputsAsNumpy().tolist()
        if name == "DEQUANTIZE" and inputs[0] in constants:
            constants[output] = constants[inputs[0]]
            continue
        shape = graph.Tensors(output).ShapeAsNumpy().tolist() if graph.Tensors(output).ShapeLength() else []
        nodes.append({"op": name, "inputs": inputs, "output": output, **_attributes(name, operator, shape)})
    source = graph.InputsAsNumpy().tolist()[0]
    description = {
        "input": source,
        "input_shape": graph.Tensors(source).ShapeAsNumpy().tolist(),
        "outputs": graph.OutputsAsNumpy().tolist(),
        "nodes": nodes,
    }
    return description, constants


def _slices(node: dict[str, Any], begin: list[int], end: list[int], step: list[int]) -> list[list[int | None]]:
    begin_mask, end_mask = node.pop("begin_mask"), node.pop("end_mask")
    return [
        [None if begin_mask >> axis & 1 else begin[axis], None if end_mask >> axis & 1 else end[axis], step[axis]]
        for axis in range(len(begin))
    ]


def _fold_integers(node: dict[str, Any], constants: dict[int, np.ndarray]) -> None:
    """Turn integer tensor inputs of one node into attributes, in place."""
    op, inputs = node["op"], node["inputs"]
    attribute = {
        "PAD": "paddings",
        "MEAN": "axes",
        "SUM": "axes",
        "TRANSPOSE": "permutation",
        "RESIZE_BILINEAR": "size",
    }.get(op)
    if attribute is not None:
        values = constants[inputs.pop()]
        node[attribute] = (values if op == "PAD" else values.reshape(-1)).tolist()
    elif op == "RESHAPE":
        del inputs[1:]
        node["shape"] = node["shape"][1:]
    elif op == "STRIDED_SLICE":
        node["slices"] = _slices(node, *(constants[index].tolist() for index in inputs[1:4]))
        del inputs[1:]


def _picks_first_of_batch(node: dict[str, Any]) -> bool:
    return node["op"] == "STRIDED_SLICE" and node["shrink_mask"] == 1 and node["slices"][0][0] == 0


def simplify(graph: dict[str, Any], constants: dict[int, np.ndarray]) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Bring operators into the exported form (see the module's own text) and drop unused constants."""
    nodes, renamed = [], {}
    for node in graph["nodes"]:
        node["inputs"] = [renamed.get(index, index) for index in node["inputs"] if index >= 0]
        _fold_integers(node, constants)
        if _picks_first_of_batch(node):
            renamed[node["output"]] = node["inputs"][0]
            continue
        node.pop("shrink_mask", None)
        nodes.append(node)
    outputs = [renamed.get(index, index) for index in graph["outputs"]]
    filters = {node["inputs"][1]: node["op"] for node in nodes if "CONV" in node["op"].upper()}
    kept = {}
    for index in sorted({index for node in nodes for index in node["inputs"]} & set(constants)):
        array = constants[index]
        if index in filters:
            # From (out, height, width, in); a depthwise filter is (1, height, width, channels).
            array = (
                array.transpose(3, 0, 1, 2) if filters[index] == "DEPTHWISE_CONV_2D" else array.transpose(0, 3, 1, 2)
            )
        kept[index] = np.ascontiguousarray(array.astype(np.float16))
    return {**graph, "outputs": outputs, "nodes": nodes}, kept


def save(path: Path, graph: dict[str, Any], constants: dict[int, np.ndarray]) -> None:
    """Write a graph as compressed npz; the same graph gives the same bytes."""
    arrays = {"graph": np.frombuffer(json.dumps(graph, separators=(",", ":")).encode(), np.uint8)}
    arrays |= {f"t{index}": array for index, array in constants.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    """Export each model named on the command line."""
    parser = argparse.ArgumentParser(description="Export MediaPipe models for raytrack.")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    for model in arguments.models:
        save(arguments.out / f"{model.stem}.npz", *simplify(*read_tflite(model)))


if __name__ == "__main__":
    main()
