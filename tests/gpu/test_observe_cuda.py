"""The shipped networks on a CUDA device against the CPU, on the demo clip."""

import numpy as np
import pytest

from raytrack.assets import asset_path
from raytrack.datasets.monocular import monocular_sequence
from raytrack.observe.landmarks import make_landmark_detector
from raytrack.observe.matting import make_matter

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [picture.rgb for picture in monocular_sequence(asset_path("demo/demo.mp4"), name="demo").read(0, 12)]


def test_landmarks_are_the_same(images) -> None:
    found = []
    for device in ("cpu", "cuda"):
        faces = list(make_landmark_detector("facemesh", device=device).track(iter(images)))
        assert all(len(face) == 1 for face in faces)
        found.append(np.stack([face[0].landmarks for face in faces]))
    assert np.abs(found[0] - found[1]).max() < 0.1


def test_mattes_are_the_same(images) -> None:
    cpu, cuda = (
        np.stack([make_matter("selfie", device=device).alpha(image) for image in images[:4]]).astype(int)
        for device in ("cpu", "cuda")
    )
    assert np.abs(cpu - cuda).max() <= 4
