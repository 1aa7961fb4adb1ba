"""A head painted with known coefficients of its principal components of albedo: they are found again."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from raytrack.errors import ConfigError
from raytrack.fit.albedo import AlbedoBasis, base_albedo
from raytrack.fit.config import TrackConfig
from raytrack.fit.npz import read_npz
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.fit.tracker import track_sequence
from raytrack.fit.vhap_config import VhapConfig
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.head.texture_basis import TextureBasis
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SIZE_HW, FOCAL_PX, NUM_FRAMES = (144, 144), 1.8 * 144, 8
NUM_COMPONENTS, SIDE = 8, 128
TRUE_COEFFICIENTS = torch.tensor([1.2, -0.8, 1.0, -1.2, 0.9, 0.7, -1.0, 0.8])


def directions() -> np.ndarray:
    """Darker skin, redder skin, and stripes across the atlas, from broad to narrow."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    pictures = [np.full((SIDE, SIDE, 3), (-0.10, -0.11, -0.12)), np.full((SIDE, SIDE, 3), (0.06, -0.01, -0.03))]
    for index in range(NUM_COMPONENTS - 2):
        angle, cycles = 2.1 * index, 4 + 1.5 * index
        stripes = np.sin(2 * np.pi * cycles * (np.cos(angle) * columns + np.sin(angle) * rows))
        pictures.append(0.06 * stripes[..., None] * np.array([1.0, 0.9 - 0.1 * index, 0.5 + 0.1 * index]))
    return np.stack(pictures)


@functools.cache
def head_with_basis() -> HeadModel:
    return dataclasses.replace(load_head(), texture_basis=TextureBasis.compact(directions()))


@dataclasses.dataclass(frozen=True)
class Scene:
    """What was rendered, and what a perfect observer sees."""

    head: HeadModel
    vertices: torch.Tensor
    observation: SequenceObservation


@functools.cache
def scene() -> Scene:
    head = head_with_basis()
    phase = torch.linspace(0, 1, NUM_FRAMES)
    zero = torch.zeros(NUM_FRAMES)
    parameters = dataclasses.replace(
        FrameParameters.zeros(NUM_FRAMES, head.num_expressions),
        rotation=torch.stack([0.05 * torch.sin(6 * phase), 0.8 * (phase - 0.5), zero], dim=1),
        jaw_pose=torch.stack([0.2 * phase, zero, zero], dim=1),
        translation=torch.tensor([[0.01, -0.02, 0.25]]).repeat(NUM_FRAMES, 1),
    )
    shape = torch.zeros(head.num_shapes)
    shape[:6] = torch.tensor([0.8, -0.6, 0.5, 0.7, -0.4, 0.3])
    vertices = head.vertices(parameters, shape)
    camera, renderer = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW), renderer_of(head)
    light = white_light()
    light[3] = torch.tensor([0.5, 0.5, 0.5])
    albedo = base_albedo(head, TRUE_COEFFICIENTS, head.albedo.shape[0]).clamp(0, 1)
    room = torch.rand(1, *SIZE_HW, 3, generator=torch.Generator().manual_seed(0)).repeat(NUM_FRAMES, 1, 1, 1)
    clip = camera.clip(vertices)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), albedo, light[None], room)
    image = renderer.antialias(image, clip, fragments)
    alpha = renderer.antialias(fragments.coverage.float()[..., None], clip, fragments)[..., 0]
    images = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    alphas = (alpha.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{k:06d}" for k in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda k: images[k],
        load_alpha=lambda k: alphas[k],
        landmarks_px=camera.project(head.landmarks_world(vertices)).numpy(),
        scores=np.ones(NUM_FRAMES, np.float32),
    )
    return Scene(head=head, vertices=vertices, observation=observation)


def renderer_of(head: HeadModel):
    topology = head.topology()
    return make_renderer(
        "numba",
        Topology(faces=topology.faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=topology.num_vertices),
        num_threads=2,
    )


def config(model: str = "auto", **changes) -> TrackConfig:
    sizes = {"tracking_size_px": 144, "texture_image_size_px": 144, "texture_size": 128, "final_texture_size": 128}
    return TrackConfig(**{**sizes, "rounds": 1, "texture_model": model, **changes})


@functools.cache
def tracked(model: str = "auto") -> Track:
    return track_sequence(scene().observation, scene().head, config(model))


def albedo_error(track: Track) -> float:
    """Mean absolute error over the whole atlas, where nothing was seen, too; up to a tone, which may be the light's."""
    truth = base_albedo(scene().head, TRUE_COEFFICIENTS, len(track.texture)).clamp(0, 1)
    tone = (track.texture * truth).sum(dim=(0, 1)) / track.texture.square().sum(dim=(0, 1))
    return float((tone * track.texture - truth).abs().mean())


def test_coefficients_are_found_again():
    """To 0.2 of a standard deviation; but for the tone, which light can explain as well."""
    found = tracked().texture_coefficients
    assert found is not None
    assert float((found - TRUE_COEFFICIENTS)[2:].abs().max()) < 0.2


def test_components_know_what_was_not_seen():
    """Why `auto` takes them: the albedo is nearer the truth than the painted one, the rest of the fit no worse."""
    assert albedo_error(tracked("auto")) < 0.75 * albedo_error(tracked("painted"))
    assert tracked("painted").texture_coefficients is None


def test_a_head_without_components_is_tracked_as_ever():
    plain = dataclasses.replace(scene().head, texture_basis=None)
    track = track_sequence(scene().observation, plain, config("auto"))
    painted = tracked("painted")
    assert torch.equal(track.texture, painted.texture)
    assert torch.equal(track.parameters.pack(), painted.parameters.pack())
    assert torch.equal(track.lights, painted.lights)


def test_what_is_missing_is_said():
    plain = dataclasses.replace(scene().head, texture_basis=None)
    with pytest.raises(
        ConfigError, match=r"texture_model: pca needs a head with a texture space, and 'default' has none"
    ):
        track_sequence(scene().observation, plain, config("pca"))


def test_the_file_says_how_the_texture_is_made(tmp_path):
    head, track = scene().head, tracked()
    base = base_albedo(head, track.texture_coefficients, len(track.texture))
    track.save(tmp_path / "t.npz", base_albedo=base)
    arrays = read_npz(tmp_path / "t.npz")
    assert (arrays["tex"].shape, arrays["tex"].dtype) == ((NUM_COMPONENTS,), np.float32)
    own = base_albedo(head, None, len(track.texture)).numpy()
    by_hand = np.tensordot(arrays["tex"], head.texture_basis.directions(SIDE).numpy(), axes=1)
    again = own + by_hand + arrays["tex_extra"].transpose(1, 2, 0)
    np.testing.assert_allclose(again, track.texture.numpy(), atol=2e-5)
    loaded = Track.load(tmp_path / "t.npz")
    assert torch.equal(loaded.texture_coefficients, track.texture_coefficients)


def test_a_fit_goes_on_with_its_components(tmp_path, monkeypatch):
    saves = []

    class Interrupted(Exception):
        pass

    def stop(progress):
        saves.append(progress)
        if len(saves) == 5:
            raise Interrupted

    monkeypatch.setattr("raytrack.fit.stage_loop.CHECKPOINT_INTERVAL_S", 0.0)
    with pytest.raises(Interrupted):
        track_sequence(scene().observation, scene().head, config(), checkpoint_folder=tmp_path, on_progress=stop)
    track = track_sequence(scene().observation, scene().head, config(), checkpoint_folder=tmp_path)
    assert torch.equal(track.texture_coefficients, tracked().texture_coefficients)
    assert torch.equal(track.texture, tracked().texture)


def test_landmarks_alone_say_nothing_of_colours():
    assert AlbedoBasis.create(scene().head, config("pca", landmarks_only=True)) is None


def test_the_vhap_preset_moves_towards_them():
    """VHAP's learning rate is small: in a tenth of its steps coefficients go part of the way, the right one."""
    vhap = VhapConfig(
        image_size_px=96, texture_size=128, init_steps=60, sequential_steps=10, global_epochs=3, batch_size=4
    )
    track = track_sequence(scene().observation, scene().head, config("pca", preset="vhap", vhap=vhap))
    found = track.texture_coefficients
    assert found is not None
    assert float(torch.cosine_similarity(found[2:], TRUE_COEFFICIENTS[2:], dim=0)) > 0.85
    assert float(found[2:].norm()) > 0.1 * float(TRUE_COEFFICIENTS[2:].norm())
