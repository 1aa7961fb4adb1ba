"""Landmarks by face-alignment and by STAR: what they lack is said, and generated weights go the real way."""

import sys
import types
from typing import ClassVar

import numpy as np
import pytest
import torch
from tiny_networks import TinyStar, save_torchscript

from raytrack.assets import asset_path
from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import AssetError, ConfigError
from raytrack.mapping import from_mapping
from raytrack.media.source import probe, read_pictures
from raytrack.observe.blazeface import BlazeFace
from raytrack.observe.faces import LandmarkDetector
from raytrack.observe.landmarks import make_landmark_detector
from raytrack.observe.star import window_of_detection
from raytrack.observe.weights import HUB_WEIGHTS, hub_weights, resolve_landmark_method, weights_identity
from raytrack.pipeline.stage import config_json
from raytrack.pipeline.stages import check_job
from raytrack.pipeline.stages_observe import LANDMARKS


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No weights of the machine's, and no way to get any."""
    monkeypatch.delenv("RAYTRACK_ASSETS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*arguments, **options):
        raise RuntimeError(f"a download was tried: {arguments}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A frame of the demo clip."""
    return next(read_pictures(probe(asset_path("demo/demo.mp4")))).rgb


def put_hub_files(home, *, content: bytes = b"x") -> None:
    folder = home / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name in {name for names in HUB_WEIGHTS.values() for name in names}:
        (folder / name).write_bytes(content)


def test_missing_face_alignment_weights_say_which_from_where_and_where_to(home):
    with pytest.raises(
        AssetError, match=r"python-fan/s3fd-619a316812\.pth and https.*2DFAN4-11f355bf06\.pth\.tar"
    ) as no:
        make_landmark_detector("face-alignment")
    assert str(home / "torch" / "hub" / "checkpoints") in str(no.value)
    put_hub_files(home)
    (home / "torch" / "hub" / "checkpoints" / "s3fd-619a316812.pth").unlink()
    with pytest.raises(AssetError, match=r"s3fd-619a316812\.pth and put them") as no:
        hub_weights("face-alignment")
    assert "2DFAN4" not in str(no.value)


def test_missing_package_is_named(home, monkeypatch):
    put_hub_files(home)
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(AssetError, match=r"pip install 'raytrack\[face-alignment\]'"):
        make_landmark_detector("face-alignment")


class FakeAligner:
    """Stands for the package's class: two faces, the smaller one first."""

    options: ClassVar[dict] = {}
    boxes = ([10.0, 12.0, 30.0, 34.0, 0.7], [40.0, 20.0, 90.0, 80.0, 1.2])

    def __init__(self, kind, **options):
        FakeAligner.options = {"kind": kind, **options}
        self.face_detector = self

    def detect_from_image(self, image):
        assert image.shape == (100, 120, 3)
        return [np.array(box) for box in self.boxes] if image.any() else []

    def get_landmarks_from_image(self, image, detected_faces):
        corners = np.linspace(0, 1, 68)[:, None]
        return [box[:2] + corners * (box[2:4] - box[:2]) for box in detected_faces]


def test_face_alignment_is_called_uncompiled_and_read_largest_first(home, monkeypatch):
    put_hub_files(home)
    package = types.ModuleType("face_alignment")
    package.LandmarksType = types.SimpleNamespace(TWO_D=1, TWO_HALF_D=2)
    package.FaceAlignment = FakeAligner
    monkeypatch.setitem(sys.modules, "face_alignment", package)
    detector = make_landmark_detector("face-alignment")
    assert FakeAligner.options == {"kind": 1, "device": "cpu", "face_detector": "sfd", "compile": False}
    assert isinstance(detector, LandmarkDetector)
    white, black = np.full((100, 120, 3), 255, np.uint8), np.zeros((100, 120, 3), np.uint8)
    first, none = detector.track([white, black])
    assert none == ()
    assert [face.score for face in first] == pytest.approx([1.0, 0.7])
    np.testing.assert_allclose(first[0].box, (40, 20, 90, 80))
    assert first[0].landmarks.shape == (68, 2)
    assert first[0].landmarks.dtype == np.float32
    assert {face.landmark_set for face in first} == {"ibug"}
    assert first[0].depth is None
    assert len(make_landmark_detector("face-alignment", max_faces=1).observe(white)) == 1
    deep = make_landmark_detector("face-alignment-2.5d")
    assert FakeAligner.options["kind"] == 2
    assert (deep.name, deep.landmark_set, deep.observe(white)[0].landmark_set) == (
        "face-alignment-2.5d",
        "ibug-3d",
        "ibug-3d",
    )


@pytest.mark.parametrize(
    ("method", "name"),
    [("face-alignment", "2DFAN4-11f355bf06.pth.tar"), ("face-alignment-2.5d", "3DFAN4-7835d9f11d.pth.tar")],
)
def test_face_alignment_loads_generated_weights(home, method, name):
    """The package's own networks, with random weights in its files' format."""
    package = pytest.importorskip("face_alignment")
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    put_hub_files(home)
    with pytest.raises(AssetError, match="damaged, or of another network"):
        make_landmark_detector("face-alignment")
    folder = home / "torch" / "hub" / "checkpoints"
    torch.manual_seed(0)
    torch.save(s3fd().state_dict(), folder / "s3fd-619a316812.pth")
    torch.save(FAN(4).state_dict(), folder / name)
    detector = make_landmark_detector(method)
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    assert isinstance(detector.observe(image), tuple)
    # Random networks find no face: the second one is shown where to look.
    detector._aligner.face_detector.detect_from_image = lambda _: [np.array([20.0, 20.0, 70.0, 80.0, 0.9])]
    (face,) = detector.observe(image)
    assert face.landmarks.shape == (68, 2)
    assert np.isfinite(face.landmarks).all()
    assert face.landmark_set == detector.landmark_set
    assert detector._aligner.landmarks_type == package.LandmarksType.TWO_D + (method != "face-alignment")


def test_star_runs_from_a_torchscript_export(home, portrait):
    path = save_torchscript(TinyStar(), home / "star.torchscript")
    detector = make_landmark_detector("star", weights=str(path))
    (face,) = detector.observe(portrait)
    (detection,) = BlazeFace().detect(portrait)
    window = window_of_detection(detection)
    angle = np.linspace(0, 6, 68)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * window.size_px / 4 + np.array(window.center_px)
    np.testing.assert_allclose(face.landmarks, circle, atol=1e-2)
    assert (face.landmark_set, face.score) == ("ibug", detection.score)
    empty, again = detector.track([np.zeros_like(portrait), portrait])
    assert empty == ()
    np.testing.assert_array_equal(again[0].landmarks, face.landmarks)


def test_star_refuses_what_it_cannot_load(home, portrait, monkeypatch):
    with pytest.raises(AssetError, match=r"TorchScript export.*published \.pkl is a state without its network"):
        make_landmark_detector("star")
    (home / "official.pkl").write_bytes(b"x")
    with pytest.raises(AssetError, match=r"files that end with \.torchscript"):
        make_landmark_detector("star", weights=str(home / "official.pkl"))
    other = save_torchscript(torch.nn.Identity(), home / "other.pt")
    with pytest.raises(AssetError, match=r"gives \(1, 3, 256, 256\) in place of points \(1, 68, 2\)"):
        make_landmark_detector("star", weights=str(other)).observe(portrait)


def test_auto_takes_star_where_it_is_installed(home, monkeypatch):
    assert resolve_landmark_method("auto") == "facemesh"
    job = RunConfig(sequences=(SequenceConfig(video="a.mp4"),))
    before = config_json(LANDMARKS, job)
    assert "face_landmarks_detector" in str(LANDMARKS.assets(job))
    monkeypatch.setenv("RAYTRACK_ASSETS", str(home))
    (home / "star").mkdir()
    save_torchscript(TinyStar(), home / "star" / "mine.torchscript")
    assert resolve_landmark_method("auto") == "star"
    assert make_landmark_detector("auto").name == "star"
    # Installing weights makes earlier detections outdated.
    assert config_json(LANDMARKS, job) != before
    assert weights_identity("star")["sha256"] in config_json(LANDMARKS, job)
    assert LANDMARKS.assets(job) == ("facemesh/face_detector.npz",)
    with pytest.raises(ConfigError, match="unknown landmark method 'magic'; known: auto, face-alignment, face"):
        resolve_landmark_method("magic")


def test_a_job_without_landmark_weights_fails_before_any_work():
    data = {"sequences": [{"video": "a.mp4"}], "landmarks": {"method": "face-alignment"}}
    with pytest.raises(AssetError, match="weights are missing"):
        check_job(from_mapping(RunConfig, data, where="job"))
