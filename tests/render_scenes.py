"""Meshes, cameras and lights that the tests of the renderers share."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.library import load_head
from raytrack.render import make_renderer
from raytrack.render.protocol import Renderer, Topology

BACK_ENDS = ("numba", "torch")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A mesh before a camera, with something to look at."""

    topology: Topology
    vertices: Tensor
    camera: Camera
    texture: Tensor
    light: Tensor
    background: Tensor

    @property
    def clip(self) -> Tensor:
        return self.camera.clip(self.vertices)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.camera.size_hw

    def renderer(self, name: str, **options: object) -> Renderer:
        if name == "numba":
            options.setdefault("num_threads", 2)
        return make_renderer(name, self.topology, **options)


def ellipsoid(rows: int, columns: int, bumps: float = 0.0) -> tuple[np.ndarray, Topology]:
    """A closed star-shaped surface about the size of a head, and its latitude-longitude texture coordinates."""
    latitude = np.linspace(0, np.pi, rows + 1)[1:-1, None]
    longitude = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    directions = np.stack(
        np.broadcast_arrays(
            np.sin(latitude) * np.sin(longitude), np.cos(latitude), np.sin(latitude) * np.cos(longitude)
        ),
        axis=-1,
    ).reshape(-1, 3)
    directions = np.concatenate([directions, [[0, 1, 0], [0, -1, 0]]])
    x, y, z = directions.T
    radius = 1 + bumps * (np.sin(9 * x + 1) * np.cos(7 * y) + np.sin(11 * z * y) + 0.5 * np.sin(23 * x * z))
    vertices = directions * radius[:, None] * np.array([0.085, 0.12, 0.1])
    grid = np.arange((rows - 1) * columns).reshape(rows - 1, columns)
    upper, lower = grid[:-1], grid[1:]
    upper_next, lower_next = np.roll(upper, -1, axis=1), np.roll(lower, -1, axis=1)
    faces = [
        np.stack([upper, lower, lower_next], axis=-1).reshape(-1, 3),
        np.stack([upper, lower_next, upper_next], axis=-1).reshape(-1, 3),
    ]
    top, bottom = len(vertices) - 2, len(vertices) - 1
    first, last = grid[0], grid[-1]
    faces.append(np.stack([np.full(columns, top), first, np.roll(first, -1)], axis=-1))
    faces.append(np.stack([last, np.full(columns, bottom), np.roll(last, -1)], axis=-1))
    faces = np.concatenate(faces)
    uv = 0.5 + 0.35 * np.stack([np.arctan2(x, np.abs(z) + 0.3), -1.2 * y], axis=-1)
    return vertices, Topology(faces=faces, uv=uv, uv_faces=faces, num_vertices=len(vertices))


def head_mesh() -> tuple[np.ndarray, Topology]:
    """The shipped head, its teeth and eyes included."""
    head = load_head("default")
    topology = head.topology()
    return head.template.numpy().astype(np.float64), Topology(
        faces=topology.faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=topology.num_vertices
    )


def scene(
    mesh: tuple[np.ndarray, Topology],
    *,
    size_hw: tuple[int, int],
    frames: int = 2,
    texture_size: int = 32,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Scene:
    """Poses within ±35°, filling most of the image; random texture, light and background."""
    random = torch.Generator().manual_seed(seed)
    vertices = torch.tensor(mesh[0] - mesh[0].mean(axis=0), dtype=dtype)
    angles = (torch.rand(frames, 3, generator=random, dtype=dtype) - 0.5) * 1.2
    shift = (torch.rand(frames, 1, 3, generator=random, dtype=dtype) - 0.5) * 0.02
    posed = vertices @ matrix_from_axis_angle(angles).mT + shift
    extent = float(vertices[:, 1].max() - vertices[:, 1].min())
    focal = torch.tensor(0.8 * min(size_hw) / extent, dtype=dtype)
    light = white_light(dtype) + 0.3 * torch.randn(frames, 9, 3, generator=random, dtype=dtype)
    return Scene(
        topology=mesh[1],
        vertices=posed,
        camera=monocular_camera(focal, size_hw),
        texture=torch.rand(texture_size, texture_size, 3, generator=random, dtype=dtype),
        light=light,
        background=torch.rand(frames, *size_hw, 3, generator=random, dtype=dtype),
    )
