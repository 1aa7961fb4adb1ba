"""A renderer for a head."""

from raytrack.head.model import HeadModel
from raytrack.render.protocol import Renderer, Topology
from raytrack.render.registry import RendererName, make_renderer


def make_head_renderer(head: HeadModel, name: RendererName = "auto", num_threads: int = 1) -> Renderer:
    """A renderer of the head's mesh.

    Args:
        head: What to draw.
        name: A back end of `raytrack.render.registry`; `auto` means numba: a fit's own work is on the CPU, and a
            track is to be fitted and drawn alike on every machine.
        num_threads: Threads of the numba back end; results do not depend on it.
    """
    shape = head.topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    resolved = "numba" if name == "auto" else name
    return make_renderer(resolved, topology, **({"num_threads": num_threads} if resolved == "numba" else {}))
