"""A few small frames of the shipped head with known parameters, for the `vhap` preset."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from raytrack.fit.observation import SequenceObservation
from raytrack.fit.shared import resampled_texture
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Renderer, Topology
from raytrack.render.registry import make_renderer

SIZE_HW = (96, 80)
NUM_FRAMES = 5
UNSEEN = 0
"""The frame in which no face was found."""
FOCAL_RATIO = 2.4
TEXTURE_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What was rendered, and what a tracker is given of it."""

    observation: SequenceObservation
    parameters: FrameParameters
    shape: torch.Tensor
    vertices: torch.Tensor
    landmarks_px: np.ndarray
    """True Face Mesh points of every frame."""


@functools.cache
def head() -> HeadModel:
    return load_head("default")


@functools.cache
def renderer() -> Renderer:
    shape = head().topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    return make_renderer("numba", topology, num_threads=1)


@functools.cache
def clip() -> Clip:
    """The head turns, comes nearer, opens its mouth and smiles before a wavy background."""
    model, time = head(), torch.linspace(0, 1, NUM_FRAMES)
    still = torch.zeros(NUM_FRAMES, 3)
    expression = torch.zeros(NUM_FRAMES, model.num_expressions)
    for side in ("Left", "Right"):
        expression[:, model.expression_names.index(f"mouthSmile{side}")] = 0.6 * time
    parameters = FrameParameters(
        rotation=torch.stack([0.1 * time, 0.34 * (time - 0.4), 0.05 * time], dim=1),
        translation=torch.stack([0.01 * time, 0.01 - 0.01 * time, 0.02 * time], dim=1),
        neck_pose=still,
        jaw_pose=torch.stack([0.15 * time, still[:, 0], still[:, 0]], dim=1),
        eyes_pose=torch.zeros(NUM_FRAMES, 6),
        expression=expression,
    )
    random = torch.Generator().manual_seed(1)
    shape = 0.7 * torch.randn(model.num_shapes, generator=random) * (torch.arange(model.num_shapes) < 10)
    light = white_light()
    light[1:] += 0.1 * torch.randn(8, 1, generator=random)
    vertices = model.vertices(parameters, shape)
    camera = monocular_camera(torch.tensor(FOCAL_RATIO * max(SIZE_HW)), SIZE_HW)
    texture = resampled_texture(model.albedo, TEXTURE_SIZE)
    images = draw(vertices, camera, texture, light, background())
    pictures = (images * 255).round().to(torch.uint8).numpy()
    landmarks = camera.project(model.landmarks_world(vertices)).numpy()
    scores, seen = np.ones(NUM_FRAMES), landmarks.copy()
    scores[UNSEEN], seen[UNSEEN] = 0, 1e4
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{index:06d}" for index in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda index: pictures[index],
        load_alpha=None,
        landmarks_px=seen,
        scores=scores,
    )
    return Clip(observation=observation, parameters=parameters, shape=shape, vertices=vertices, landmarks_px=landmarks)


def background() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIZE_HW[0]), torch.arange(SIZE_HW[1]), indexing="ij")
    waves = [torch.sin(columns / 7), torch.cos(rows / 9), torch.sin((rows + columns) / 11)]
    picture = torch.stack([0.15 + 0.1 * waves[0], 0.35 + 0.1 * waves[1], 0.45 + 0.1 * waves[2]], dim=-1)
    return picture[None].expand(NUM_FRAMES, -1, -1, -1).contiguous()


def draw(vertices, camera, texture, light, behind) -> torch.Tensor:
    clip_space = camera.clip(vertices)
    normals = renderer().vertex_normals(vertices)
    image, fragments = renderer().shade(clip_space, normals, texture, light[None], behind)
    return renderer().antialias(image, clip_space, fragments).clamp(0, 1)
