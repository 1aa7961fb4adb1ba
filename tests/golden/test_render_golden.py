"""Small pictures that must not change. To renew them on purpose: RAYTRACK_WRITE_GOLDEN=1, and look at them."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from render_scenes import BACK_ENDS, head_mesh, scene

from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", BACK_ENDS)
def test_head(name: str) -> None:
    """The shipped head before a gradient, lit from the upper left, antialiased, in two poses."""
    view = scene(head_mesh(), size_hw=(128, 96), seed=4)
    renderer = view.renderer(name)
    light = white_light()
    light[1], light[2], light[3] = torch.tensor(-0.5), torch.tensor(0.5), torch.tensor(0.4)
    rows = torch.linspace(0.2, 0.6, 128)[None, :, None, None].expand(2, -1, 96, 3).contiguous()
    normals = renderer.vertex_normals(view.vertices)
    image, fragments = renderer.shade(view.clip, normals, load_head().albedo.contiguous(), light[None], rows)
    picture = renderer.antialias(image, view.clip, fragments)
    pixels = (picture.clamp(0, 1) * 255).round().byte().numpy()
    compare_with_golden(np.concatenate(list(pixels), axis=1), "render_head.png")


def compare_with_golden(pixels: np.ndarray, name: str) -> None:
    path = FOLDER / name
    if os.environ.get("RAYTRACK_WRITE_GOLDEN"):
        cv2.imwrite(str(path), pixels[..., ::-1])
    golden = cv2.imread(str(path))[..., ::-1].astype(int)
    difference = np.abs(pixels - golden).max(axis=2)
    assert (difference > 2).mean() < 1e-3
