"""The shipped networks on a drawn picture: numbers that the TensorFlow Lite runtime's graphs gave when exported."""

import numpy as np
import pytest
import torch

from raytrack.assets import asset_path
from raytrack.observe.graph import load_graph


def pattern(height: int, width: int) -> np.ndarray:
    """A smooth coloured picture in [0, 1] with a face-like arrangement of blobs."""
    y, x = np.mgrid[:height, :width]
    y, x = (y + 0.5) / height, (x + 0.5) / width

    def blob(center_y, center_x, size):
        return np.exp(-((y - center_y) ** 2 + (x - center_x) ** 2) / (2 * size**2))

    face = blob(0.5, 0.5, 0.22)
    dark = blob(0.42, 0.4, 0.03) + blob(0.42, 0.6, 0.03) + 0.7 * blob(0.65, 0.5, 0.05)
    channels = [face * level - 0.5 * dark + 0.15 + 0.1 * x for level in (0.8, 0.6, 0.45)]
    return np.clip(np.stack(channels, -1), 0, 1).astype(np.float32)


GOLDEN = {
    "facemesh/face_detector": (
        (14336, [1.0551, 4.5481, 5.22, 3.622, -9.7915, -4.0866], 6.6636, 25.4878),
        (896, [-5.563, -3.85, -4.767, -4.5988, -3.9833, -0.6563], -4.2067, 3.0918),
    ),
    "facemesh/face_landmarks_detector": (
        (1434, [129.1927, -17.6696, 106.1225, 117.2643, -11.4367, 109.5146], 89.4475, 69.2097),
        (1, [3.5289], 3.5289, 0.0),
    ),
    "selfie/selfie_segmentation": ((65536, [0.0001, 1.0, 0.6319, 0.5718, 0.9979, 0.0031], 0.7237, 0.2479),),
}
"""For each output: its size, six values evenly spaced through it, its mean and standard deviation."""


@pytest.mark.parametrize("name", GOLDEN)
def test_image_networks(name):
    graph = load_graph(asset_path(f"{name}.npz"))
    picture = pattern(*graph.input_shape[:2])
    picture = picture * 2 - 1 if name == "facemesh/face_detector" else picture
    outputs = graph(torch.from_numpy(picture)[None])
    for output, (size, values, mean, deviation) in zip(outputs, GOLDEN[name], strict=False):
        flat = output.reshape(-1).numpy()
        assert flat.size == size
        np.testing.assert_allclose(flat[:: max(size // 6, 1)][:6], values, atol=1e-3)
        np.testing.assert_allclose([flat.mean(), flat.std()], [mean, deviation], atol=1e-3)


def test_expression_network():
    graph = load_graph(asset_path("facemesh/face_blendshapes.npz"))
    turn, radius = 0.7 * np.arange(146), np.sqrt((np.arange(146) + 1) / 146)
    points = np.stack([100 + 40 * np.cos(turn) * radius, 120 + 50 * np.sin(turn) * radius], -1)
    scores = graph(torch.from_numpy(points.astype(np.float32))[None])[0][0].numpy()
    assert scores.shape == (52,)
    np.testing.assert_allclose(scores[::8], [0.0002, 0.0001, 0.9159, 0.0008, 0.2777, 0.4051, 0.5691], atol=2e-4)
    np.testing.assert_allclose(scores.mean(), 0.18468, atol=1e-4)


def test_expression_scores_do_not_depend_on_where_and_how_large_the_face_is():
    graph = load_graph(asset_path("facemesh/face_blendshapes.npz"))
    points = torch.rand(1, 146, 2) * 100
    torch.testing.assert_close(graph(points)[0], graph(points * 3 + 50)[0], atol=1e-4, rtol=1e-3)
