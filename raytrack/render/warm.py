"""Compiles the numba kernels ahead of their first use."""

import numpy as np
import torch

from raytrack.render.numba_backend import NumbaRenderer
from raytrack.render.perturbation import perturb_regions
from raytrack.render.protocol import Topology


def warm_up(dtype: torch.dtype = torch.float32) -> None:
    """Compile every numba kernel, or load it from the cache: seconds the first time, else a moment."""
    topology = Topology(
        faces=np.array([[0, 2, 1]]), uv=np.eye(3, 2, dtype=np.float32), uv_faces=np.array([[0, 1, 2]]), num_vertices=3
    )
    renderer = NumbaRenderer(topology, num_threads=1)
    corners = torch.tensor([[[-0.5, -0.5, 0, 1], [0.5, -0.5, 0, 1], [0, 0.5, 0, 1]]], dtype=dtype, requires_grad=True)
    texture = torch.ones(8, 8, 3, dtype=dtype, requires_grad=True)
    light = torch.ones(1, 9, 3, dtype=dtype)
    normals = renderer.vertex_normals(corners[..., :3])
    image, fragments = renderer.shade(corners, normals, texture, light, torch.zeros(1, 16, 16, 3, dtype=dtype))
    image = perturb_regions(
        image,
        fragments.face_index,
        torch.zeros(1, dtype=torch.int64),
        1,
        foreground_probability=0.5,
        background_probability=0.5,
        generator=torch.Generator(),
    )
    renderer.antialias(image, corners, fragments).sum().backward()
    fragments = renderer.rasterize(corners, (16, 16))
    uv = renderer.interpolate_uv(fragments)
    values = renderer.interpolate(normals.detach(), fragments) + renderer.sample_texture(texture, uv, fragments)
    values.sum().backward()
    renderer.silhouette_edges(corners, fragments)
