"""A renderer for a head, and the device that goes with it."""

import torch

from raytrack.head.model import HeadModel
from raytrack.render.protocol import Renderer, Topology
from raytrack.render.registry import RendererName, make_renderer


def fit_device(name: RendererName) -> torch.device:
    """Where what frames share is fitted with a renderer."""
    return torch.device("cuda" if name == "nvdiffrast" else "cpu")


def row_renderer(name: RendererName) -> RendererName:
    """What draws the frames whose rows are solved: rows are solved on the CPU, frame by frame."""
    return "numba" if name == "nvdiffrast" else name


def make_head_renderer(head: HeadModel, name: RendererName = "auto", num_threads: int = 1) -> Renderer:
    """A renderer of the head's mesh.

    Args:
        head: What to draw.
        name: A back end of `raytrack.render.registry`; `auto` means numba, so that a track is fitted and drawn alike on
            every machine.
        num_threads: Threads of the numba back end; results do not depend on it.

    Raises:
        AssetError: nvdiffrast is asked for and not installed.
    """
    shape = head.topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    resolved = "numba" if name == "auto" else name
    # nvdiffrast's own antialiasing misses silhouettes on a mesh as dense as a head's.
    options = {"numba": {"num_threads": num_threads}, "nvdiffrast": {"walk": True}}
    return make_renderer(resolved, topology, **options.get(resolved, {}))
