"""Procedural skin, painted on a cylinder around the head from template positions: colour, relief and gloss."""

from typing import NamedTuple

import cv2
import numba as nb
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .head_asset import Array, HeadAsset
from .tracer import STACK_SIZE, Bvh, build_bvh, closest_hit

AXIS_Z_M = 0.010
BOTTOM_M, TOP_M = -0.195, 0.155
MAP_HW = (1400, 2304)

SKIN = np.array([0.565, 0.325, 0.225])
FLUSH = np.array([0.52, 0.20, 0.145])
SHADE = np.array([0.34, 0.175, 0.135])
LIP = np.array([0.40, 0.135, 0.115])
HAIR = np.array([0.030, 0.018, 0.012])
STUBBLE = np.array([0.16, 0.105, 0.085])
FRECKLE = np.array([0.28, 0.125, 0.070])
"""Linear colours."""

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
"""Outlines in Face Mesh points: upper edge from the temple inwards, then the lower edge back."""


class Complexion(NamedTuple):
    """Linear colours of somebody's skin and of what shows through it; the demo's unless told otherwise."""

    skin: Array = SKIN
    flush: Array = FLUSH
    shade: Array = SHADE
    lip: Array = LIP
    hair: Array = HAIR
    stubble: Array = STUBBLE
    beard: float = 1.0
    """How strong the stubble is."""
    freckles: float = 1.0
    hairline_m: float = 0.0
    """How much lower the hairline is than the demo's; strongly negative: no hair."""
    seed: int = 0
    """Added to the seeds of blotches and shades."""


class SkinMaps(NamedTuple):
    """Row 0 is the top; columns run from the back over the subject's right, the front and the left."""

    colour: npt.NDArray[np.float32]
    """(H, W, 3) linear."""
    slope: npt.NDArray[np.float32]
    """(H, W, 2) relief slope along the columns (angle) and up."""
    gloss: npt.NDArray[np.float32]
    """(H, W, 1) strength of the shine: about 1 on skin, more on lips and the nose."""


def map_coordinates_of(points: Array) -> tuple[Array, Array]:
    """Column and row (texel centres at half-integers) of template positions (..., 3)."""
    angle = np.arctan2(points[..., 0], points[..., 2] - AXIS_Z_M)
    column = (angle / (2 * np.pi) + 0.5) * MAP_HW[1]
    row = (TOP_M - points[..., 1]) / (TOP_M - BOTTOM_M) * MAP_HW[0]
    return column, row


def noise(points: Array, cell_m: float, seed: int) -> Array:
    """Smooth noise of unit variance with features of `cell_m`."""
    grid = np.random.default_rng(seed).normal(0, 1, (64, 64, 64)).astype(np.float32)
    coordinates = np.moveaxis(points / cell_m + 500.0, -1, 0) % 64.0
    return 1.6 * ndimage.map_coordinates(grid, coordinates, order=1, mode="grid-wrap")


def ramp(value: Array, low: float, high: float) -> Array:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def spot(points: Array, near: Array, offset: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """Gaussian around `near` + `offset`, with a radius per axis."""
    return np.exp(-(((points - near - np.asarray(offset)) / np.asarray(radii)) ** 2).sum(axis=-1))


def mix(colour: Array, other: Array, share: Array) -> Array:
    """Blend towards a colour."""
    share = np.clip(share, 0, 1)[..., None]
    return colour * (1 - share) + other * share


@nb.njit(cache=True)
def _cast_inwards(bvh: Bvh, height: int, width: int, axis_z: float, bottom: float, top: float):
    """Outermost surface point under every texel: face index (−1: none) and barycentrics."""
    stack = np.empty(STACK_SIZE, np.int32)
    face = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    for row in range(height):
        y = top - (row + 0.5) / height * (top - bottom)
        for column in range(width):
            angle = ((column + 0.5) / width - 0.5) * 2 * np.pi
            dx, dz = np.sin(angle), np.cos(angle)
            _, hit, u, v = closest_hit(bvh, stack, dx * 0.5, y, axis_z + dz * 0.5, -dx, 0.0, -dz, 0.5)
            face[row, column] = hit
            bary[row, column, 0], bary[row, column, 1] = u, v
    return face, bary


def surface_points(head: HeadAsset) -> tuple[Array, Array]:
    """Template position (H, W, 3) and ear share (H, W) under every texel."""
    faces = head.faces[head.part_faces("head_skin", "neck_skin")].astype(np.int32)
    bvh = build_bvh(head.template.astype(np.float32), faces)
    face, bary = _cast_inwards(bvh, *MAP_HW, AXIS_Z_M, BOTTOM_M, TOP_M)
    weights = np.stack([1 - bary.sum(axis=-1), bary[..., 0], bary[..., 1]], axis=-1).astype(float)
    corners = faces[np.maximum(face, 0)]
    points = np.einsum("hwk,hwkc->hwc", weights, head.template[corners])
    ears = (head.regions["left_ear"] | head.regions["right_ear"]).astype(float)
    ear_share = np.einsum("hwk,hwk->hw", weights, ears[corners])
    rows, columns = np.mgrid[0 : MAP_HW[0], 0 : MAP_HW[1]] + 0.5
    angle = (columns / MAP_HW[1] - 0.5) * 2 * np.pi
    empty = np.stack(
        [0.05 * np.sin(angle), TOP_M - rows / MAP_HW[0] * (TOP_M - BOTTOM_M), AXIS_Z_M + 0.05 * np.cos(angle)], axis=-1
    )
    return np.where((face >= 0)[..., None], points, empty), np.where(face >= 0, ear_share, 0.0)


def hair_field(points: Array) -> Array:
    """Signed height (m) above the hairline, positive where hair grows; template positions."""
    angle = np.abs(np.arctan2(points[..., 0], points[..., 2] - AXIS_Z_M))
    degrees = (0, 22, 38, 50, 60, 68, 76, 84, 98, 112, 130, 150, 180)
    heights = (0.101, 0.1015, 0.101, 0.086, 0.066, 0.040, 0.014, 0.018, 0.036, 0.010, -0.018, -0.034, -0.040)
    return points[..., 1] - np.interp(np.degrees(angle), degrees, heights)


def outline_distance(head: HeadAsset, indices: tuple[int, ...], smooth_px: float) -> Array:
    """Distance (texels, positive inside) to a closed outline of landmarks, (H, W)."""
    columns, rows = map_coordinates_of(head.embedded(head.template)[list(indices)])
    loop = np.stack([columns, rows], axis=1)
    count = len(loop)
    dense = ndimage.gaussian_filter1d(np.repeat(loop, 1, axis=0), 0.35, axis=0, mode="wrap")
    along = np.arange(0, count, 0.05)
    knots = np.concatenate([dense, dense[:1]])
    curve = np.stack([np.interp(along, np.arange(count + 1), knots[:, axis]) for axis in (0, 1)], axis=1)
    curve = ndimage.gaussian_filter1d(curve, 7, axis=0, mode="wrap")
    inside = np.zeros(MAP_HW, np.uint8)
    cv2.fillPoly(inside, [np.round(curve * 16).astype(np.int32)], 1, shift=4)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return cv2.GaussianBlur(distance, (0, 0), smooth_px).astype(float)


def paint_freckles(colour: Array, points: Array, nose: Array, strength: float) -> Array:
    """Freckles over nose and cheeks, and a few moles."""
    rng = np.random.default_rng(77)
    layer = np.zeros(MAP_HW, np.float32)
    near_nose = np.exp(-(((points - nose) / [0.052, 0.026, 0.08]) ** 2).sum(axis=-1))
    candidates = np.argwhere(rng.random(MAP_HW) < 0.0011 * near_nose + 0.00003)
    for row, column in candidates:
        size = rng.gamma(2.0, 0.55) + 0.7
        cv2.circle(
            layer, (int(column * 8), int(row * 8)), int(size * 8), float(rng.uniform(0.25, 0.8)), -1, cv2.LINE_AA, 3
        )
    layer = cv2.GaussianBlur(layer, (0, 0), 0.9)
    colour = mix(colour, FRECKLE, strength * 0.55 * layer)
    for x, y, size in ((0.033, -0.012, 1.1), (-0.040, -0.036, 0.9), (0.014, -0.066, 0.8)):
        distance = np.hypot(points[..., 0] - x, points[..., 1] - y) * (points[..., 2] > 0.03) + (points[..., 2] <= 0.03)
        colour = mix(colour, np.array([0.09, 0.035, 0.022]), 0.7 * ramp(-distance, -0.0012 * size, -0.0006 * size))
    return colour


def paint_colour(head: HeadAsset, points: Array, ears: Array, lips: Array, complexion: Complexion) -> Array:
    """Linear colour (H, W, 3)."""
    marks = head.embedded(head.template)
    nose, chin = marks[4], marks[152]
    flush, seed = complexion.flush, complexion.seed
    colour = np.tile(complexion.skin, (*MAP_HW, 1))
    shade = 0.06 * noise(points, 0.022, seed + 1) + 0.045 * noise(points, 0.007, seed + 2)
    shade = shade + 0.04 * noise(points, 0.0022, seed + 3)
    colour = colour * (1 + shade[..., None] * np.array([0.7, 1.0, 1.1]))
    blotch = ramp(noise(points, 0.012, seed + 4), 0.2, 2.2) + 0.6 * ramp(noise(points, 0.004, seed + 5), 0.4, 2.5)
    colour = mix(colour, flush, 0.22 * blotch)
    for side, eye in ((1.0, head.joints[3]), (-1.0, head.joints[4])):
        colour = mix(colour, flush, 0.42 * spot(points, eye, (side * 0.013, -0.040, 0.0), (0.022, 0.018, 0.06)))
        colour = mix(
            colour, complexion.shade, 0.34 * spot(points, eye, (-side * 0.005, -0.0125, 0.012), (0.014, 0.006, 0.03))
        )
        colour = mix(colour, complexion.shade, 0.25 * spot(points, eye, (0.0, 0.011, 0.012), (0.018, 0.005, 0.03)))
    colour = mix(
        colour,
        flush,
        0.45 * spot(points, nose, (0, 0, 0), (0.014, 0.013, 0.022))
        + 0.25 * spot(points, chin, (0, 0, 0), (0.016, 0.014, 0.02)),
    )
    colour = mix(colour, flush, 0.40 * ears)
    mouth = marks[list(OUTER_LIPS)].mean(axis=0)
    beard = np.maximum(
        spot(points, mouth, (0, -0.034, -0.02), (0.060, 0.030, 0.055)),
        spot(points, mouth, (0, 0.014, 0), (0.026, 0.0075, 0.03)),
    )
    grain = ramp(noise(points, 0.0009, 6), -0.6, 1.6)
    colour = mix(colour, complexion.stubble, complexion.beard * ramp(beard, 0.15, 0.9) * (0.13 + 0.36 * grain))
    colour = paint_freckles(colour, points, nose + np.array([0, 0.01, -0.02]), complexion.freckles)
    share = ramp(lips + 1.5 * noise(points, 0.003, 7), -3.5, 3.0)
    crease = 1 + 0.10 * noise(points * np.array([4.0, 1.0, 1.0]), 0.0045, 8)
    colour = colour * (1 - 0.9 * share[..., None]) + complexion.lip * crease[..., None] * 0.9 * share[..., None]
    scalp = ramp(hair_field(points) + complexion.hairline_m + 0.003 * noise(points, 0.005, 9), -0.003, 0.009)
    scalp = scalp * (1 - ramp(ears, 0.1, 0.5))
    return mix(colour, complexion.hair * 2.2, 0.88 * scalp * (0.82 + 0.18 * ramp(noise(points, 0.001, 10), -1, 1)))


def paint_relief(points: Array, lips: Array, eyes: Array) -> Array:
    """Height (H, W) in metres: pores, forehead lines, crow's feet, lip creases, neck folds."""
    x, y, z = np.moveaxis(points, -1, 0)
    height = 1.2e-5 * noise(points, 0.0009, 11) + 3.0e-5 * noise(points, 0.0026, 12) + 9e-5 * noise(points, 0.012, 13)
    on_forehead = np.exp(-((x / 0.042) ** 2)) * (z > 0.04)
    for level, depth in ((0.069, 1.0), (0.078, 0.8), (0.087, 0.5)):
        line = y - level - 0.0016 * np.sin(x / 0.017 + level * 900) + 5 * x**2 * 0.4
        height -= depth * 1.1e-4 * on_forehead * np.exp(-((line / 0.0011) ** 2))
    for side, eye in ((1.0, eyes[0]), (-1.0, eyes[1])):
        dx, dy = (x - eye[0]) * side - 0.021, y - eye[1]
        fan = np.arctan2(dy, np.maximum(dx, 1e-4))
        feet = np.exp(-(((dx - 0.009) / 0.006) ** 2) - (fan / 0.9) ** 2) * (dx > 0)
        height += 5e-5 * feet * np.cos(fan * 12)
        bag = np.exp(-(((x - eye[0]) / 0.013) ** 2)) * (z > 0.05)
        height -= 9e-5 * bag * np.exp(-(((dy + 0.0135 - 8 * (x - eye[0]) ** 2) / 0.0012) ** 2))
    height += 7e-5 * ramp(lips, -2, 3) * noise(points * np.array([5.0, 1.0, 1.0]), 0.005, 14)
    for level in (-0.100, -0.118):
        height -= 1.6e-4 * np.exp(-(((y - level - 0.004 * np.cos(x / 0.03)) / 0.0012) ** 2)) * (z > 0)
    return height


def make_skin_maps(head: HeadAsset, complexion: Complexion | None = None) -> SkinMaps:
    """Paint all three maps."""
    complexion = complexion or Complexion()
    points, ears = surface_points(head)
    lips = outline_distance(head, OUTER_LIPS, 2.0)
    colour = paint_colour(head, points, ears, lips, complexion)
    for outline in BROWS:
        share = ramp(outline_distance(head, outline, 3.0), -5.0, 7.0)
        colour = mix(colour, complexion.hair * 2.0, 0.42 * share)
    height = cv2.GaussianBlur(paint_relief(points, lips, head.joints[3:5]), (0, 0), 0.8)
    radius = np.hypot(points[..., 0], points[..., 2] - AXIS_Z_M)
    across = np.gradient(height, axis=1) / np.maximum(radius * 2 * np.pi / MAP_HW[1], 1e-4)
    upwards = -np.gradient(height, axis=0) / ((TOP_M - BOTTOM_M) / MAP_HW[0])
    nose = head.embedded(head.template)[4]
    gloss = 0.8 + 0.5 * spot(points, nose, (0, 0.01, 0), (0.012, 0.03, 0.03)) + 1.3 * ramp(lips, -2, 4)
    gloss += 0.25 * np.exp(-(((points[..., 1] - 0.075) / 0.02) ** 2) - (points[..., 0] / 0.04) ** 2)
    gloss *= 1 + 0.15 * noise(points, 0.003, 15)
    return SkinMaps(
        np.clip(colour, 0.003, 1).astype(np.float32),
        np.clip(np.stack([across, upwards], axis=-1), -0.6, 0.6).astype(np.float32),
        np.maximum(gloss, 0.1).astype(np.float32)[..., None],
    )
