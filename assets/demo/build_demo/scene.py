"""The data a frame's shading needs, and the lights."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .head_asset import Array
from .tracer import Bvh

SKIN, EYE_LEFT, EYE_RIGHT, MOUTH, TEETH_UPPER, TEETH_LOWER, TONGUE, SOCKET, HAIR, BROW, CLOTH = range(11)
"""Materials."""
BOUNCE = np.array(
    [
        [0.50, 0.29, 0.21], [0.6, 0.55, 0.5], [0.6, 0.55, 0.5], [0.22, 0.05, 0.045], [0.6, 0.5, 0.4], [0.6, 0.5, 0.4],
        [0.30, 0.08, 0.07], [0.30, 0.10, 0.09], [0.03, 0.02, 0.014], [0.05, 0.03, 0.02], [0.06, 0.12, 0.15],
    ], np.float32,
)  # fmt: skip
"""Mean linear colour of each material, for light that it passes on."""


class Lights(NamedTuple):
    """Rectangles that emit towards one side."""

    centre: npt.NDArray[np.float32]
    """(L, 3)"""
    half_u: npt.NDArray[np.float32]
    half_v: npt.NDArray[np.float32]
    normal: npt.NDArray[np.float32]
    area: npt.NDArray[np.float32]
    """(L,) square metres."""
    radiance: npt.NDArray[np.float32]
    """(L, 3) linear."""


class Frame(NamedTuple):
    """Everything that is traced and shaded in one frame."""

    bvh: Bvh
    faces: npt.NDArray[np.int32]
    material: npt.NDArray[np.uint8]
    """(F,)"""
    position: npt.NDArray[np.float32]
    """(V, 3) world."""
    normal: npt.NDArray[np.float32]
    """(V, 3) world; the tangent for hair."""
    rest: npt.NDArray[np.float32]
    """(V, 3) template position; for hair (across, along, tint), for cloth (around, down, collar)."""
    ambient: npt.NDArray[np.float32]
    """(V, 3) sky and bounced light, as the radiance of a white surface."""
    scatter: npt.NDArray[np.float32]
    """(V, 3) direct light blurred under the skin, likewise."""
    lid_distance: npt.NDArray[np.float32]
    """(V, 1) distance (m) from the upper lids' edges."""
    head_rotation: npt.NDArray[np.float32]
    """(3, 3) world from rest, of the skull."""
    eye_rotation: npt.NDArray[np.float32]
    """(2, 3, 3)"""
    eye_centre: npt.NDArray[np.float32]
    """(2, 3) rest."""
    iris_angle: float
    teeth: npt.NDArray[np.float32]
    """(2, 4): for each arch the rest heights of gum end and cutting edge, and the arch centre's z and depth."""


def rectangle(centre: Array, target: Array, size: tuple[float, float], colour: Array) -> tuple[Array, ...]:
    """A light of a size (m) that looks at a target."""
    normal = (target - centre) / np.linalg.norm(target - centre)
    u = np.cross(normal, [0.0, 1.0, 0.0])
    u /= np.linalg.norm(u)
    v = np.cross(u, normal)
    return centre, u * size[0] / 2, v * size[1] / 2, normal, np.array(size[0] * size[1]), colour


def make_lights() -> Lights:
    """A soft key from the camera's upper left, a cool window from the right, a small lamp from behind."""
    face = np.array([0.0, 0.0, 0.08])
    rows = [
        rectangle(np.array([-0.75, 0.70, 0.95]), face, (0.50, 0.50), 14.5 * np.array([1.0, 0.90, 0.78])),
        rectangle(np.array([1.30, 0.25, 0.75]), face, (0.70, 1.00), 3.0 * np.array([0.72, 0.86, 1.0])),
        rectangle(np.array([0.75, 0.85, -0.80]), face, (0.35, 0.35), 11.0 * np.array([1.0, 0.86, 0.70])),
    ]
    return Lights(*(np.array(column, np.float32) for column in zip(*rows, strict=True)))
