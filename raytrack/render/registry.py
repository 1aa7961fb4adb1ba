"""Renderers by name; a back end is imported when it is asked for."""

import importlib
import importlib.util
from typing import Any, Literal, get_args

import torch

from raytrack.render.protocol import Renderer, Topology

RendererName = Literal["auto", "numba", "torch", "nvdiffrast"]

_BACK_ENDS = {
    "numba": ("raytrack.render.numba_backend", "NumbaRenderer"),
    "torch": ("raytrack.render.torch_backend", "TorchRenderer"),
    "nvdiffrast": ("raytrack.render.nvdiffrast_backend", "NvdiffrastRenderer"),
}


def resolve_name(name: str) -> str:
    """What `auto` stands for on this machine: nvdiffrast where it is installed and CUDA is there, else numba."""
    if name != "auto":
        return name
    return "nvdiffrast" if torch.cuda.is_available() and importlib.util.find_spec("nvdiffrast") else "numba"


def make_renderer(name: str, topology: Topology, **options: Any) -> Renderer:
    """A renderer of one topology.

    Args:
        name: A `RendererName`; see `resolve_name`.
        topology: What to draw.
        **options: The back end's own: `num_threads` of numba; `device` of torch and nvdiffrast. `auto` takes both and
            passes on what applies.

    Raises:
        AssetError: nvdiffrast is asked for and not installed.
        ValueError: No such renderer.
    """
    resolved = resolve_name(name)
    if resolved not in _BACK_ENDS:
        raise ValueError(f"renderer: expected one of {', '.join(get_args(RendererName))}, got {name!r}")
    if name == "auto":
        options.pop("device" if resolved == "numba" else "num_threads", None)
    module, class_name = _BACK_ENDS[resolved]
    return getattr(importlib.import_module(module), class_name)(topology, **options)
