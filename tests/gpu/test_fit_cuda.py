"""The tracker with nvdiffrast on a GPU against the same with numba on the CPU."""

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from raytrack.assets import asset_path
from raytrack.datasets.monocular import monocular_sequence
from raytrack.fit.config import TrackConfig
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.fit.tracker import track_sequence
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_stages import run_vhap
from raytrack.head.library import load_head
from raytrack.observe.landmarks import make_landmark_detector
from raytrack.observe.matting import make_matter
from tests import rig_scene
from tests.recovery import test_texture_components as components
from tests.vhap_clip import TEXTURE_SIZE, clip
from tests.vhap_clip import head as clip_head

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not importlib.util.find_spec("nvdiffrast"), reason="nvdiffrast is not installed"),
]
NUM_FRAMES = 24


@pytest.fixture(scope="module")
def demo() -> SequenceObservation:
    """The first frames of the demo clip."""
    sequence = monocular_sequence(asset_path("demo/demo.mp4"), name="demo")
    images = [picture.rgb for picture in sequence.read(0, NUM_FRAMES)]
    faces = [found[0] for found in make_landmark_detector("facemesh", device="cuda").track(iter(images))]
    matter = make_matter("selfie", device="cuda")
    alphas = [matter.alpha(image) for image in images]
    return SequenceObservation(
        size_hw=sequence.size_hw,
        timestep_ids=sequence.frame_ids[:NUM_FRAMES],
        timestamps_s=sequence.timestamps_s[:NUM_FRAMES],
        load_image=images.__getitem__,
        load_alpha=alphas.__getitem__,
        landmarks_px=np.stack([face.landmarks for face in faces]),
        scores=np.array([face.score for face in faces]),
    )


@pytest.fixture(scope="module")
def tracked(demo: SequenceObservation) -> Callable[[str, str], tuple[Track, float]]:
    """A track, and the mean colour error that it ended with."""
    known: dict[tuple[str, str], tuple[Track, float]] = {}

    def track(renderer: str, matte: str) -> tuple[Track, float]:
        if (renderer, matte) not in known:
            errors: list[float] = []
            observation = demo if matte == "matte" else SequenceObservation(**{**vars(demo), "load_alpha": None})
            config = TrackConfig(renderer=renderer, num_threads=8)  # pyright: ignore[reportArgumentType]
            result = track_sequence(
                observation, load_head("default"), config, on_progress=lambda now: errors.append(now.photo_error)
            )
            known[renderer, matte] = result, errors[-1]
        return known[renderer, matte]

    return track


@pytest.mark.parametrize("matte", ["matte", "none"])
def test_the_track_is_as_good(tracked, matte: str, record_property) -> None:
    (numba, error), (nvdiffrast, error_cuda) = tracked("numba", matte), tracked("nvdiffrast", matte)
    record_property("colour error, numba and nvdiffrast", (error, error_cuda))
    assert error_cuda < 1.05 * error
    head = load_head("default")
    vertices = [
        head.vertices(track.parameters, track.shape, track.static_offset[0])[:, head.region("face")]
        for track in (numba, nvdiffrast)
        if track.static_offset is not None
    ]
    # A single view does not fix the distance: compare the pictures.
    points = [track.camera.project(found).numpy() for track, found in zip((numba, nvdiffrast), vertices, strict=True)]
    apart_px = np.linalg.norm(points[0] - points[1], axis=-1).mean()
    record_property("face vertices apart, px", apart_px)
    assert apart_px < 1.0


def test_the_vhap_preset_runs_on_the_gpu(record_property) -> None:
    short = VhapConfig(texture_size=TEXTURE_SIZE, batch_size=2, init_steps=45, sequential_steps=40, global_epochs=2)
    errors = {}
    for renderer in ("numba", "nvdiffrast"):
        config = TrackConfig(preset="vhap", renderer=renderer, focal_ratio=2.5, vhap=short)  # pyright: ignore[reportArgumentType]
        state = run_vhap(clip().observation, clip_head(), config)
        assert state.rows.device.type == state.shared.texture.device.type == "cpu"
        errors[renderer] = state.photo_error
    record_property("colour error", errors)
    assert errors["nvdiffrast"] < 1.1 * errors["numba"]


def test_a_rig_is_found_in_metres(record_property) -> None:
    sizes = {"tracking_size_px": 128, "texture_image_size_px": 128, "texture_size": 256, "final_texture_size": 256}
    errors = {}
    for renderer in ("numba", "nvdiffrast"):
        config = TrackConfig(rounds=1, num_threads=8, renderer=renderer, **sizes)  # pyright: ignore[reportArgumentType]
        track = track_sequence(rig_scene.scene().views, rig_scene.head(), config)
        offset = None if track.static_offset is None else track.static_offset[0]
        found = rig_scene.head().vertices(track.parameters, track.shape, offset)
        face = rig_scene.head().region("face") & ~rig_scene.head().region("mouth_interior")
        errors[renderer] = 1000 * float((found - rig_scene.scene().vertices)[:, face].norm(dim=-1).mean())
    record_property("face error, mm", errors)
    assert errors["nvdiffrast"] < 1.0
    assert abs(errors["nvdiffrast"] - errors["numba"]) < 0.1


def test_components_of_albedo_are_found(record_property) -> None:
    coefficients = {}
    for renderer in ("numba", "nvdiffrast"):
        track = track_sequence(
            components.scene().observation, components.scene().head, components.config(renderer=renderer)
        )
        assert track.texture_coefficients is not None
        coefficients[renderer] = track.texture_coefficients
    record_property("coefficients", {name: found.tolist() for name, found in coefficients.items()})
    assert float((coefficients["nvdiffrast"] - components.TRUE_COEFFICIENTS)[2:].abs().max()) < 0.25
