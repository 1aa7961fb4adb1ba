"""The data a frame's shading needs, and the lights."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .head_asset import Array
from .tracer import Bvh

SKIN, EYE_LEFT, EYE_RIGHT, MOUTH, TEETH_UPPER, TEETH_LOWER, TONGUE, SOCKET, HAIR, BROW, CLOTH, PROP = range(12)
"""Materials."""
BOUNCE = np.array(
    [
        [0.50, 0.29, 0.21], [0.6, 0.55, 0.5], [0.6, 0.55, 0.5], [0.22, 0.05, 0.045], [0.6, 0.5, 0.4], [0.6, 0.5, 0.4],
        [0.30, 0.08, 0.07], [0.30, 0.10, 0.09], [0.03, 0.02, 0.014], [0.05, 0.03, 0.02], [0.06, 0.12, 0.15],
        [0.05, 0.05, 0.05],
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


class Palette(NamedTuple):
    """Linear colours (3,) of what is not skin; the demo's unless told otherwise."""

    hair: npt.NDArray[np.float64] = np.array([0.050, 0.029, 0.0165])
    brow: npt.NDArray[np.float64] = np.array([0.032, 0.019, 0.012])
    iris: npt.NDArray[np.float64] = np.ones(3)
    """Factors on a brown iris."""
    cloth: npt.NDArray[np.float64] = np.array([0.034, 0.098, 0.128])
    stripe: npt.NDArray[np.float64] = np.array([0.46, 0.41, 0.31])
    prop: npt.NDArray[np.float64] = np.array([0.02, 0.02, 0.022])


class View(NamedTuple):
    """Where a camera stands, and how it is turned: columns are its right, its up and its back in the world."""

    origin: npt.NDArray[np.float64] = np.array([0.0, 0.0, 1.0])
    rotation: npt.NDArray[np.float64] = np.eye(3)


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
    palette: Palette


def rectangle(centre: Array, target: Array, size: tuple[float, float], colour: Array) -> tuple[Array, ...]:
    """A light of a size (m) that looks at a target."""
    normal = (target - centre) / np.linalg.norm(target - centre)
    u = np.cross(normal, [0.0, 1.0, 0.0])
    u /= np.linalg.norm(u)
    v = np.cross(u, normal)
    return centre, u * size[0] / 2, v * size[1] / 2, normal, np.array(size[0] * size[1]), colour


Lamp = tuple[tuple[float, float, float], tuple[float, float], float, tuple[float, float, float]]
"""Centre (m), size (m), strength and colour of a rectangle that lights the face."""
DEMO_LAMPS: tuple[Lamp, ...] = (
    ((-0.75, 0.70, 0.95), (0.50, 0.50), 14.5, (1.0, 0.90, 0.78)),
    ((1.30, 0.25, 0.75), (0.70, 1.00), 3.0, (0.72, 0.86, 1.0)),
    ((0.75, 0.85, -0.80), (0.35, 0.35), 11.0, (1.0, 0.86, 0.70)),
)
"""A soft key from the camera's upper left, a cool window from the right, a small lamp from behind."""


def make_lights(lamps: tuple[Lamp, ...] = DEMO_LAMPS) -> Lights:
    """Lamps that look at the face."""
    face = np.array([0.0, 0.0, 0.08])
    rows = [
        rectangle(np.array(centre), face, size, strength * np.array(colour)) for centre, size, strength, colour in lamps
    ]
    return Lights(*(np.array(column, np.float32) for column in zip(*rows, strict=True)))
