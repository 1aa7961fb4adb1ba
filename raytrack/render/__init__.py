"""Differentiable rendering: one protocol, several back ends.

`make_renderer` gives one by name; `warm_up` compiles the numba kernels ahead of their first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytrack.render.registry import make_renderer
    from raytrack.render.warm import warm_up

__all__ = ["make_renderer", "warm_up"]

_HOMES = {"make_renderer": "raytrack.render.registry", "warm_up": "raytrack.render.warm"}


def __getattr__(name: str) -> Any:
    """Import on first use: the package itself stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
