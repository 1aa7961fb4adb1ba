"""A small rig of sixteen calibrated cameras around the shipped head, with truth that the head's bases do not hold."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import torch

from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig import RigCamera
from raytrack.geometry.camera import Camera
from raytrack.geometry.harmonics import white_light
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SIZE_HW = (180, 130)
NUM_FRAMES = 4
AZIMUTHS_DEG = (-58, -40, -22, -8, 8, 22, 40, 58, -50, -25, 0, 25, 50, -35, 0, 35)
ELEVATIONS_DEG = (0,) * 8 + (22,) * 5 + (-18,) * 3
FRONT, PROFILE = 10, 0
WORLD_TURN = (0.4, 1.9, -0.3)
"""Axis-angle of the rig's world against the head's: the head faces nowhere in particular."""
WORLD_SHIFT_M = (0.7, -0.3, 1.6)
LANDMARK_NOISE_PX = 0.7
_DISTANCE_M = 1.05
_FOCAL_PX = 470.0
_SEEN_COS = 0.3
"""A face turned further away than this is not detected."""


@dataclass(frozen=True, kw_only=True)
class RigScene:
    """What was rendered, and what a tracker is given of it."""

    views: tuple[SequenceObservation, ...]
    parameters: FrameParameters
    vertices: torch.Tensor
    """(frames, vertices, 3) in the rig's world, metres."""


@functools.cache
def head():
    return load_head("default")


def camera_at(azimuth_deg: float, elevation_deg: float, rng: np.random.Generator) -> Camera:
    """Looks at about the head, which is at the origin and faces +z; its principal point is off the picture's centre."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    away = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    position = (_DISTANCE_M + 0.05 * rng.standard_normal()) * away
    forward = rng.normal(0, 0.006, 3) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.05 * rng.standard_normal(), 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    height, width = SIZE_HW
    focal = _FOCAL_PX * (1 + 0.05 * rng.standard_normal())
    centre = np.array([width, height]) / 2 + rng.uniform(-9, 9, 2)
    return Camera(
        intrinsics=torch.tensor([[focal, 0, centre[0]], [0, focal * 1.01, centre[1]], [0, 0, 1]], dtype=torch.float32),
        cam_from_world=torch.tensor(np.column_stack([rotation, -rotation @ position]), dtype=torch.float32),
        size_hw=SIZE_HW,
    )


def world_from_head() -> tuple[torch.Tensor, torch.Tensor]:
    return matrix_from_axis_angle(torch.tensor(WORLD_TURN)), torch.tensor(WORLD_SHIFT_M)


def in_rigs_world(camera: Camera) -> Camera:
    """The same camera when everything is moved into the rig's world."""
    turn, shift = world_from_head()
    rotation = camera.cam_from_world[:, :3] @ turn.T
    moved = torch.cat([rotation, camera.cam_from_world[:, 3:] - (rotation @ shift)[:, None]], dim=1)
    return dataclasses.replace(camera, cam_from_world=moved)


def true_parameters() -> FrameParameters:
    """The head turns, opens its mouth and smiles."""
    phase, zero = torch.linspace(0, 1, NUM_FRAMES), torch.zeros(NUM_FRAMES)
    expression = torch.zeros(NUM_FRAMES, head().num_expressions)
    for side in ("Left", "Right"):
        expression[:, head().expression_names.index(f"mouthSmile{side}")] = 0.5 * (1 - phase)
    return dataclasses.replace(
        FrameParameters.zeros(NUM_FRAMES, head().num_expressions),
        rotation=torch.stack([0.08 * phase, 0.5 * (phase - 0.5), 0.05 * phase], dim=1),
        translation=torch.stack([0.01 * phase, zero, 0.01 - 0.01 * phase], dim=1),
        neck_pose=torch.stack([zero, 0.2 * (phase - 0.5), zero], dim=1),
        jaw_pose=torch.stack([0.2 * phase, zero, zero], dim=1),
    )


def bumps() -> torch.Tensor:
    """Smooth offsets of about a millimetre on face, skull and neck."""
    rng, points = np.random.default_rng(5), head().template.numpy()
    skin = head().region("skin") & ~head().region("eyelids") & ~head().region("lips") & ~head().region("bust")
    centres = points[rng.choice(np.flatnonzero(skin.numpy()), 60, replace=False)]
    squared = ((points[:, None] - centres[None]) ** 2).sum(axis=2) / 0.018**2
    offset = np.exp(-0.5 * squared) @ rng.normal(0, 0.0009, (60, 3))
    return torch.tensor(offset * skin.numpy()[:, None], dtype=torch.float32)


@functools.cache
def scene() -> RigScene:
    model, rng = head(), np.random.default_rng(3)
    shape = torch.zeros(model.num_shapes)
    shape[:12] = torch.tensor(rng.normal(0, 0.8, 12), dtype=torch.float32)
    parameters = true_parameters()
    own = model.vertices(parameters, shape, bumps())
    cameras = [camera_at(*angles, rng) for angles in zip(AZIMUTHS_DEG, ELEVATIONS_DEG, strict=True)]
    views = tuple(rendered_view(index, camera, own, rng) for index, camera in enumerate(cameras))
    turn, shift = world_from_head()
    return RigScene(views=views, parameters=parameters, vertices=own @ turn.T + shift)


def rendered_view(index: int, camera: Camera, vertices: torch.Tensor, rng: np.random.Generator) -> SequenceObservation:
    model, light = head(), white_light()
    light[3], light[1] = torch.tensor([0.4, 0.35, 0.3]), 0.3
    topology = model.topology()
    mesh = Topology(faces=topology.faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=model.num_vertices)
    renderer = make_renderer("numba", mesh, num_threads=2)
    clip = camera.clip(vertices)
    room = torch.rand(1, *SIZE_HW, 3, generator=torch.Generator().manual_seed(index)).repeat(NUM_FRAMES, 1, 1, 1)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), model.albedo, light[None], room)
    image = renderer.antialias(image, clip, fragments)
    alpha = renderer.antialias(fragments.coverage.float()[..., None], clip, fragments)[..., 0]
    pictures, mattes = ((part.clamp(0, 1) * 255).round().to(torch.uint8).numpy() for part in (image, alpha))
    landmarks = camera.project(model.landmarks_world(vertices)).numpy()
    facing = vertices[:, model.region("nose")].mean(dim=1) - vertices[:, model.region("scalp")].mean(dim=1)
    position = -camera.cam_from_world[:, :3].T @ camera.cam_from_world[:, 3]
    cosine = torch.nn.functional.cosine_similarity(facing, position - vertices.mean(dim=1), dim=-1).numpy()
    seen = cosine > _SEEN_COS
    noisy = landmarks + rng.normal(0, LANDMARK_NOISE_PX, landmarks.shape)
    return SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{k:06d}" for k in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda frame: pictures[frame],
        load_alpha=lambda frame: mattes[frame],
        landmarks_px=np.where(seen[:, None, None], noisy, np.nan).astype(np.float32),
        scores=seen.astype(np.float32),
        calibrated=RigCamera(index=index, id=f"cam{index:02d}", camera=in_rigs_world(camera)),
    )


def of_timesteps(view: SequenceObservation, first: int, count: int) -> SequenceObservation:
    """Some of the view's frames."""
    frames = slice(first, first + count)
    matte = view.load_alpha
    return dataclasses.replace(
        view,
        timestep_ids=view.timestep_ids[frames],
        timestamps_s=view.timestamps_s[frames],
        landmarks_px=view.landmarks_px[frames],
        scores=view.scores[frames],
        load_image=lambda frame: view.load_image(frame + first),
        load_alpha=None if matte is None else lambda frame: matte(frame + first),
    )
