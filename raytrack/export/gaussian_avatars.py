"""A tracked sequence of a FLAME head as programs of the GaussianAvatars family read it.

The layout is that of `raytrack.export.nerf`, and three things are otherwise. These readers take a camera's focal length
from `camera_angle_x` alone, so pictures are resampled until pixels are square and principal points in the middle. They
pose FLAME themselves, so other heads are refused. And they take the scene's extent, which scales the steps of the
optimisation, from how far the cameras are apart: one camera that stands still has none. So it is made to move around a
head that keeps still, unless `export.head_centric` says no or `export.world` asks for the capture's world.
"""

from raytrack.export.head_files import is_flame
from raytrack.head.model import HeadModel

NUM_VERTICES, NUM_SHAPES, NUM_EXPRESSIONS = 5143, 300, 100
"""What the readers expect: FLAME's vertices and 120 of teeth."""


def refusal(head: HeadModel) -> str:
    """Why a head cannot be exported so; "" where it can."""
    if not is_flame(head):
        return (
            f"its readers pose FLAME from FLAME's parameters, and {head.name!r} is no FLAME head; import FLAME "
            "(`raytrack assets import-flame`) and track with it (--head), or leave out this format"
        )
    sizes = head.num_vertices, head.num_shapes, head.num_expressions
    if sizes != (NUM_VERTICES, NUM_SHAPES, NUM_EXPRESSIONS):
        return (
            f"its readers expect FLAME with {NUM_VERTICES} vertices, {NUM_SHAPES} shape and {NUM_EXPRESSIONS} "
            f"expression coefficients, and {head.name!r} has {sizes[0]}, {sizes[1]} and {sizes[2]}; import FLAME again"
        )
    return ""
