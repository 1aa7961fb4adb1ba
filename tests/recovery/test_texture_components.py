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
    """Skin that is darker, redder, and in patches of some size."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    pictures = [np.full((SIDE, SIDE, 3), (-0.10, -0.11, -0.12)), np.full((SIDE, SIDE, 3), (0.06, -0.01, -0.03))]
    for index in range(NUM_COMPONENTS - 2):
        phase = random.uniform(0, 6.3, 2)
        wave = np.cos(2 * np.pi * (1 + index / 2) * columns + phase[0]) * np.cos(2 * np.pi * (1 + index / 3) * rows + phase[1])
        pictures.append(0.06 * wave[..., None] * random.uniform(0.5, 1, 3))
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
