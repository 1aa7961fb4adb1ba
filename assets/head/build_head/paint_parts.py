"""Paint eyeballs, teeth, tongue and the mouth's cavity."""

import numpy as np

from .brushes import blend, step, value_noise
from .eyes import IRIS_ANGLE_DEG, PUPIL_ANGLE_DEG
from .paint_skin import CORNER, LIP
from .texels import Texels

SCLERA = np.array([0.900, 0.885, 0.870])
VEIN = np.array([0.800, 0.560, 0.520])
IRIS_INNER = np.array([0.420, 0.290, 0.170])
IRIS_OUTER = np.array([0.290, 0.190, 0.110])
LIMBUS = np.array([0.100, 0.075, 0.060])
TOOTH = np.array([0.880, 0.850, 0.770])
GUM = np.array([0.640, 0.340, 0.330])
TONGUE = np.array([0.700, 0.390, 0.380])
CAVITY = np.array([0.420, 0.150, 0.140])
TEETH_PER_ARCH = 14


def paint_eyeball(texels: Texels, eye: np.ndarray, seed: int) -> np.ndarray:
    """Sclera with faint veins, limbus, striped iris, pupil, by angle from the gaze axis."""
    direction = texels.position - eye
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip(direction[:, 2], -1, 1)))
    around = np.arctan2(direction[:, 1], direction[:, 0])
    ring = np.stack([np.cos(around), np.sin(around), 0.02 * angle], axis=1)
    fibres = 0.6 * value_noise(ring, 0.06, seed) + 0.4 * value_noise(ring, 0.025, seed + 1)
    depth = np.clip(angle / IRIS_ANGLE_DEG, 0, 1)
    iris = blend(np.tile(IRIS_INNER, (len(angle), 1)), IRIS_OUTER, step(depth, 0.45, 0.95)) * (
        1 + 0.20 * fibres[:, None]
    )
    colour = np.tile(SCLERA, (len(angle), 1))
    veins = step(value_noise(direction * [1, 2.5, 1], 0.10, seed + 2), 1.1, 2.2)
    colour = blend(colour, VEIN, 0.22 * veins * step(angle, 32, 55))
    colour = blend(colour, CORNER, 0.30 * step(angle, 45, 75))
    colour = colour + (iris - colour) * step(IRIS_ANGLE_DEG - angle, -0.9, 0.9)[:, None]
    colour = blend(colour, LIMBUS, 0.62 * np.exp(-(((angle - IRIS_ANGLE_DEG + 1.0) / 1.7) ** 2)))
    return blend(colour, [0.02, 0.02, 0.02], step(PUPIL_ANGLE_DEG - angle, -0.6, 0.6))


def paint_teeth(texels: Texels, upwards: bool) -> np.ndarray:
    """Ivory, gaps between teeth spaced evenly by angle around the arch, scalloped gums towards the root."""
    p = texels.position
    angle = np.arctan2(p[:, 0], p[:, 2] - p[:, 2].min())
    phase = (angle / np.pi + 0.5) * TEETH_PER_ARCH % 1.0
    from_gap = np.minimum(phase, 1 - phase)
    low, high = np.percentile(p[:, 1], [1, 99])
    to_root = (p[:, 1] - low) / (high - low)
    to_root = to_root if upwards else 1 - to_root
    colour = np.tile(TOOTH, (len(p), 1)) * (1 + 0.02 * value_noise(p, 0.004, 21)[:, None])
    colour = blend(
        colour, TOOTH * [0.60, 0.48, 0.40], 0.60 * step(0.075 - from_gap, 0.0, 0.06) * step(to_root, 0.0, 0.06)
    )
    scallop = 0.66 + 0.10 * np.sqrt(np.clip(2 * from_gap, 0, 1))
    colour = blend(colour, GUM, step(to_root, scallop - 0.03, scallop + 0.04))
    return blend(colour, CAVITY, 0.55 * step(np.abs(angle), 0.5, 1.2))


def paint_mouth(texels: Texels, mouth: np.ndarray) -> np.ndarray:
    """Inner lips pink, darker towards the throat."""
    p = texels.position
    depth = step(mouth[2] - p[:, 2], 0.002, 0.035)
    colour = blend(np.tile(LIP * 0.92, (len(p), 1)), CAVITY, depth) * (1 + 0.04 * value_noise(p, 0.003, 22)[:, None])
    return colour * (1 - 0.55 * step(mouth[2] - p[:, 2], 0.03, 0.075))[:, None]


def paint_tongue(texels: Texels) -> np.ndarray:
    """Pink with fine grain and a soft middle groove."""
    p = texels.position
    colour = (
        np.tile(TONGUE, (len(p), 1))
        * (1 + 0.05 * value_noise(p, 0.0012, 23) + 0.04 * value_noise(p, 0.006, 24))[:, None]
    )
    return blend(colour, TONGUE * 0.72, 0.5 * np.exp(-((p[:, 0] / 0.0016) ** 2)))
