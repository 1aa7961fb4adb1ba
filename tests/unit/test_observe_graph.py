"""The network executor, operator by operator, against arithmetic written out by hand."""

import io
import json

import numpy as np
import pytest
import torch

from raytrack.assets import asset_path
from raytrack.errors import AssetError
from raytrack.observe.graph import Graph, load_graph, same_padding


def run(node: dict, values: np.ndarray, *constants: np.ndarray) -> np.ndarray:
    """Run one operator on a batch (batch, height, width, channels); constants are its further inputs."""
    ids = list(range(2, 2 + len(constants)))
    node = {"inputs": [0, *ids], "output": 1, **node}
    description = {"input": 0, "input_shape": [1, *values.shape[1:]], "outputs": [1], "nodes": [node]}
    arrays = {index: torch.from_numpy(np.asarray(array)) for index, array in zip(ids, constants, strict=True)}
    return Graph(description, arrays)(torch.from_numpy(values))[0].numpy()


def pad_by_hand(values: np.ndarray, size: int, stride: int, dilation: int, same: bool, fill: float) -> np.ndarray:
    """TensorFlow's rule: as many outputs as strides begin in the input; the odd column goes to the end."""
    if not same:
        return values
    widths = [(0, 0)]
    for length in values.shape[1:3]:
        outputs = (length + stride - 1) // stride
        total = max((outputs - 1) * stride + dilation * (size - 1) + 1 - length, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(values, [*widths, (0, 0)], constant_values=fill)


def windows(padded: np.ndarray, size: int, stride: int, dilation: int):
    """Row, column and the (batch, size, size, channels) window of each output pixel."""
    reach = (size - 1) * dilation + 1
    for row, top in enumerate(range(0, padded.shape[1] - reach + 1, stride)):
        for column, left in enumerate(range(0, padded.shape[2] - reach + 1, stride)):
            yield row, column, padded[:, top : top + reach : dilation, left : left + reach : dilation]


def convolve_by_hand(values, weight, bias, size, stride, dilation, same, depthwise):
    padded = pad_by_hand(values, size, stride, dilation, same, 0.0)
    out: dict[tuple[int, int], np.ndarray] = {}
    for row, column, window in windows(padded, size, stride, dilation):
        if depthwise:
            out[row, column] = (window * weight[:, 0].transpose(1, 2, 0)).sum((1, 2)) + bias
        else:
            out[row, column] = np.einsum("nhwc,ochw->no", window, weight) + bias
    rows, columns = (max(key[axis] for key in out) + 1 for axis in (0, 1))
    return np.array([[out[row, column] for column in range(columns)] for row in range(rows)]).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 2, 1), (2, 2, 1), (3, 1, 2), (4, 1, 1)]
)
def test_convolution(size, stride, dilation, same, depthwise):
    rng = np.random.default_rng(size * 100 + stride * 10 + dilation)
    values = rng.normal(size=(2, 11, 8, 3))
    weight = rng.normal(size=(3, 1, size, size) if depthwise else (5, 3, size, size))
    bias = rng.normal(size=len(weight))
    node = {
        "op": "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        "stride": [stride, stride],
        "dilation": [dilation, dilation],
        "padding": "same" if same else "valid",
        "activation": "none",
    }
    expected = convolve_by_hand(values, weight, bias, size, stride, dilation, same, depthwise)
    actual = run(node, values.astype(np.float32), weight.astype(np.float32), bias.astype(np.float32))
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_same_padding_puts_the_odd_pixel_last():
    assert same_padding(256, 3, 2) == (0, 1)
    assert same_padding(255, 3, 2) == (1, 1)
    assert same_padding(128, 5, 2) == (1, 2)
    assert same_padding(7, 1, 2) == (0, 0)


@pytest.mark.parametrize(("activation", "low", "high"), [("relu", 0.0, np.inf), ("relu6", 0.0, 6.0)])
def test_fused_activation(activation, low, high):
    values = np.linspace(-9, 9, 24, dtype=np.float32).reshape(1, 2, 4, 3)
    node = {"op": "ADD", "activation": activation}
    np.testing.assert_allclose(run(node, values, np.float32(0.5)), np.clip(values + 0.5, low, high), atol=1e-6)


@pytest.mark.parametrize("same", [False, True])
def test_max_pooling_ignores_its_padding(same):
    values = -1.0 - np.random.default_rng(1).random((2, 5, 7, 3)).astype(np.float32)
    node = {"op": "MAX_POOL_2D", "size": [2, 2], "stride": [2, 2], "padding": "same" if same else "valid"}
    padded = pad_by_hand(values, 2, 2, 1, same, -np.inf)
    expected = {(row, column): window.max((1, 2)) for row, column, window in windows(padded, 2, 2, 1)}
    actual = run(node, values)
    assert actual.shape[1:3] == ((3, 4) if same else (2, 3))
    for (row, column), value in expected.items():
        np.testing.assert_array_equal(actual[:, row, column], value)


def test_average_pooling():
    values = np.random.default_rng(1).random((2, 4, 6, 3)).astype(np.float32)
    node = {"op": "AVERAGE_POOL_2D", "size": [4, 6], "stride": [4, 6], "padding": "valid"}
    np.testing.assert_allclose(run(node, values), values.mean((1, 2), keepdims=True), atol=1e-6)


def test_prelu_has_a_slope_for_each_channel():
    values = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    slope = np.linspace(-0.5, 2.0, 5, dtype=np.float32).reshape(1, 1, 5)
    expected = np.where(values > 0, values, values * slope)
    np.testing.assert_allclose(run({"op": "PRELU"}, values, slope), expected, atol=1e-6)


def test_transposed_convolution():
    rng = np.random.default_rng(1)
    values, weight = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(2, 6, 2, 2))
    expected = np.zeros((2, 6, 8, 2))
    for row in range(3):
        for column in range(4):
            patch = np.einsum("nc,ochw->nhwo", values[:, row, column], weight)
            expected[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += patch
    node = {"op": "Convolution2DTransposeBias", "stride": [2, 2]}
    bias = np.array([0.5, -1.0])
    actual = run(node, values.astype(np.float32), weight.astype(np.float32), bias.astype(np.float32))
    np.testing.assert_allclose(actual, expected + bias, atol=2e-5)


def test_bilinear_resizing_with_half_pixel_centres():
    values = np.random.default_rng(1).random((1, 4, 3, 2)).astype(np.float32)
    node = {"op": "RESIZE_BILINEAR", "size": [8, 6], "align_corners": False, "half_pixel_centers": True}

    def along(array, axis, count):
        length = array.shape[axis]
        place = np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1)
        low = np.floor(place).astype(int)
        weight = (place - low).reshape([-1 if other == axis else 1 for other in range(4)])
        upper = np.take(array, np.minimum(low + 1, length - 1), axis)
        return np.take(array, low, axis) * (1 - weight) + upper * weight

    np.testing.assert_allclose(run(node, values), along(along(values, 1, 8), 2, 6), atol=1e-6)
    with pytest.raises(AssetError, match="half-pixel"):
        run({**node, "half_pixel_centers": False}, values)


WIDTHS = [[0, 0], [1, 0], [0, 2], [0, 3]]
SLICES = [[None, None, 1], [1, 3, 1], [0, None, 2], [None, None, 1]]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"op": "PAD", "paddings": WIDTHS}, lambda v: np.pad(v, WIDTHS)),
        ({"op": "MEAN", "axes": [1, 2], "keep_dims": True}, lambda v: v.mean((1, 2), keepdims=True)),
        ({"op": "SUM", "axes": [-1], "keep_dims": False}, lambda v: v.sum(-1)),
        ({"op": "TRANSPOSE", "permutation": [0, 2, 1, 3]}, lambda v: v.swapaxes(1, 2)),
        ({"op": "RESHAPE", "shape": [12, 5]}, lambda v: v.reshape(2, 12, 5)),
        ({"op": "STRIDED_SLICE", "slices": SLICES}, lambda v: v[:, 1:3, ::2]),
        ({"op": "RELU"}, lambda v: np.maximum(v, 0)),
        ({"op": "HARD_SWISH"}, lambda v: v * np.clip(v + 3, 0, 6) / 6),
        ({"op": "LOGISTIC"}, lambda v: 1 / (1 + np.exp(-v))),
        ({"op": "NEG"}, lambda v: -v),
    ],
)  # fmt: skip
def test_operators_of_one_input(node, expected):
    values = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32) * 3
    np.testing.assert_allclose(run(node, values), expected(values), atol=1e-5)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("ADD", np.add),
        ("SUB", np.subtract),
        ("MUL", np.multiply),
        ("DIV", np.divide),
        ("SQUARED_DIFFERENCE", lambda a, b: (a - b) ** 2),
    ],
)
def test_operators_of_two_inputs(op, expected):
    values = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    other = np.linspace(1, 2, 5, dtype=np.float32)
    np.testing.assert_allclose(run({"op": op}, values, other), expected(values, other), rtol=1e-5, atol=1e-6)


def test_roots():
    values = np.array([[0.25, 4.0, 9.0]], np.float32)
    np.testing.assert_allclose(run({"op": "SQRT"}, values), [[0.5, 2.0, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(run({"op": "RSQRT"}, values), [[2.0, 0.5, 1 / 3]], rtol=1e-6)


def test_a_constant_is_joined_to_every_item_of_a_batch():
    values = np.random.default_rng(1).random((3, 2, 4)).astype(np.float32)
    constant = np.full((1, 1, 4), 7, np.float32)
    expected = np.concatenate([values, np.repeat(constant, 3, 0)], axis=1)
    np.testing.assert_array_equal(run({"op": "CONCATENATION", "axis": 1}, values, constant), expected)


def test_a_value_used_twice_is_kept():
    nodes = [
        {"op": "RELU", "inputs": [0], "output": 1},
        {"op": "NEG", "inputs": [1], "output": 2},
        {"op": "ADD", "inputs": [2, 0], "output": 3, "activation": "relu"},
        {"op": "ADD", "inputs": [3, 1], "output": 4, "activation": "none"},
    ]
    graph = Graph({"input": 0, "input_shape": [1, 3], "outputs": [4, 1], "nodes": nodes}, {})
    values = torch.tensor([[-2.0, 0.0, 5.0]])
    result, rectified = graph(values)
    assert result.tolist() == [[0.0, 0.0, 5.0]]
    assert rectified.tolist() == [[0.0, 0.0, 5.0]]
    assert values.tolist() == [[-2.0, 0.0, 5.0]]


def test_wrong_input_is_refused():
    graph = load_graph(asset_path("facemesh/face_detector.npz"))
    with pytest.raises(ValueError, match=r"\(128, 128, 3\), got \(1, 3, 128, 128\)"):
        graph(torch.zeros(1, 3, 128, 128))


def test_files_that_are_no_network_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(AssetError, match="not an exported network"):
        load_graph(path)
    np.savez(path, t1=np.zeros(3))
    with pytest.raises(AssetError, match="not an exported network"):
        load_graph(path)
    node = {"op": "GATHER", "inputs": [0], "output": 1}
    description = {"input": 0, "input_shape": [1, 3], "outputs": [1], "nodes": [node]}
    np.savez(path, graph=np.frombuffer(json.dumps(description).encode(), np.uint8))
    with pytest.raises(AssetError, match="unknown operator 'GATHER'"):
        load_graph(path)
    buffer = io.BytesIO()
    np.savez(buffer, graph=np.array([object()], dtype=object))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(AssetError, match="not an exported network"):
        load_graph(path)


@pytest.mark.parametrize(
    "name",
    [
        "facemesh/face_detector",
        "facemesh/face_landmarks_detector",
        "facemesh/face_blendshapes",
        "selfie/selfie_segmentation",
    ],
)
def test_a_batch_gives_what_its_items_give(name):
    graph = load_graph(asset_path(f"{name}.npz"))
    batch = torch.rand(3, *graph.input_shape)
    for together, alone in zip(graph(batch), zip(*(graph(item[None]) for item in batch), strict=True), strict=True):
        scale = max(float(together.abs().max()), 1.0)
        torch.testing.assert_close(together, torch.cat(list(alone)), atol=1e-5 * scale, rtol=1e-4)
