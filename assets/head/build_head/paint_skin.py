"""Paint face, scalp, ears and neck."""

import numpy as np

from .brushes import blend, bump, step, value_noise
from .regions import hairline_field
from .texels import Texels

SKIN = np.array([0.790, 0.615, 0.520])
BLUSH = np.array([0.760, 0.470, 0.410])
LIP = np.array([0.690, 0.440, 0.410])
SHADOW = np.array([0.560, 0.390, 0.330])
HAIR = np.array([0.175, 0.125, 0.095])
STUBBLE = np.array([0.430, 0.340, 0.295])
CORNER = np.array([0.780, 0.530, 0.490])
SCALP_STUBBLE_STRENGTH = 0.45


def paint_skin(
    texels: Texels, points: dict, *, occlusion: np.ndarray, lips: np.ndarray, brows: np.ndarray
) -> np.ndarray:
    """Face, scalp, ears and neck."""
    p = texels.position
    colour = np.tile(SKIN, (len(p), 1))
    shade = 0.020 * value_noise(p, 0.018, 1) + 0.014 * value_noise(p, 0.005, 2) + 0.012 * value_noise(p, 0.0016, 3)
    colour *= 1 + shade[:, None]
    colour = blend(colour, BLUSH, 0.10 * step(value_noise(p, 0.010, 4), 0.0, 2.0))
    eyes, mouth, nose = points["eyes"], points["mouth"], points["nose"]
    for eye in eyes:
        side = np.sign(eye[0])
        colour = blend(
            colour, BLUSH, 0.36 * bump(p, eye + np.array([side * 0.012, -0.038, 0.005]), [0.024, 0.019, 0.05])
        )
        colour = blend(
            colour, SHADOW, 0.30 * bump(p, eye + np.array([-side * 0.007, -0.010, 0.012]), [0.016, 0.010, 0.03])
        )
        colour = blend(colour, SHADOW, 0.26 * bump(p, eye + np.array([0.0, 0.011, 0.012]), [0.020, 0.007, 0.03]))
        colour = blend(
            colour, SHADOW, 0.20 * bump(p, eye + np.array([-side * 0.016, 0.004, 0.010]), [0.007, 0.010, 0.03])
        )
    colour = blend(
        colour,
        BLUSH,
        0.38 * bump(p, nose, [0.017, 0.016, 0.025])
        + 0.18 * bump(p, mouth + np.array([0, -0.030, 0.0]), [0.02, 0.012, 0.03]),
    )
    colour = blend(colour, BLUSH, 0.24 * texels.of(points["ear_mask"].astype(float)))
    colour = blend(colour, SHADOW, 0.22 * beard_mask(p, mouth) * step(value_noise(p, 0.0013, 5), -1.2, 1.2))
    colour = paint_scalp(colour, p, points)
    colour = paint_lips(colour, p, lips, mouth)
    colour = blend(colour, HAIR, brows)
    colour = paint_lid_edges(colour, texels, points)
    deep = step(1 - occlusion, 0.46, 0.90)
    return blend(colour, SHADOW * 0.35, 0.75 * deep)


def beard_mask(p: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """Faint shade where a beard would grow."""
    chin = bump(p, mouth + np.array([0, -0.030, -0.010]), [0.045, 0.024, 0.05])
    return np.maximum(chin, 0.8 * bump(p, mouth + np.array([0, 0.013, 0.0]), [0.028, 0.007, 0.03]))


def paint_scalp(colour: np.ndarray, p: np.ndarray, points: dict) -> np.ndarray:
    """Short stubble above a soft hairline; none on neck, ears and face."""
    above = hairline_field(p, points["eyes"][:, 1].mean()) + 0.004 * value_noise(p, 0.006, 6)
    sideburn = (
        points["ear_depth"] + 0.020 + 0.25 * (p[:, 1] - points["eyes"][:, 1].mean()) + 0.006 * value_noise(p, 0.005, 10)
    )
    behind = step(sideburn - p[:, 2], -0.010, 0.014) * step(p[:, 1] - points["nape_height"], -0.016, 0.018)
    hair = np.maximum(step(above, -0.006, 0.018), behind)
    dots = 0.55 + 0.45 * step(value_noise(p, 0.0011, 7), -0.5, 1.0)
    return blend(colour, STUBBLE, SCALP_STUBBLE_STRENGTH * hair * dots * (1 - points["ear_texels"]))


def paint_lips(colour: np.ndarray, p: np.ndarray, lips: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """Soft-edged vermilion with fine vertical creases and a darker inner line."""
    creases = 1 + 0.06 * value_noise(p * [6.0, 1.0, 1.0], 0.0045, 8)[:, None]
    share = step(lips + 0.06 * value_noise(p, 0.003, 9), 0.25, 0.85)
    colour = colour * (1 - 0.80 * share[:, None]) + LIP * creases * 0.80 * share[:, None]
    return blend(colour, LIP * 0.55, 0.45 * share * step(mouth[2] - 0.002 - p[:, 2], 0.0, 0.008))


def paint_lid_edges(colour: np.ndarray, texels: Texels, points: dict) -> np.ndarray:
    """Dark lash line on the upper lid's thick rim, moist pink and a faint lash line on the lower one."""
    p = texels.position
    for eye in points["eyes"]:
        offset = p - eye
        height = np.linalg.norm(offset, axis=1) - points["eye_radius"]
        in_front = (offset[:, 2] > 0.2 * points["eye_radius"]) & (np.abs(offset[:, 0]) < 0.02)
        is_upper = step(offset[:, 1] + 0.12 * np.abs(offset[:, 0]), -0.0005, 0.0020)
        outward = step(offset[:, 0] * np.sign(eye[0]), -0.0135, -0.0085)
        colour = blend(colour, CORNER, 0.55 * in_front * step(0.0022 - height, 0.0, 0.0010) * (1 - is_upper))
        colour = blend(colour, HAIR * 0.7, 0.90 * in_front * step(0.0032 - height, 0.0, 0.0009) * is_upper * outward)
        lower = in_front * step(height, 0.0016, 0.0022) * step(0.0032 - height, 0.0, 0.0008) * (1 - is_upper) * outward
        colour = blend(colour, HAIR, 0.16 * lower)
    return colour
