"""What surfaces are made of (numba): colour, relief and gloss at a hit."""

from typing import NamedTuple

import numba as nb
import numpy as np

from .sampling import normalised, smooth, wobble
from .scene import CLOTH, EYE_LEFT, EYE_RIGHT, HAIR, MOUTH, PROP, SKIN, SOCKET, TEETH_LOWER, TEETH_UPPER, TONGUE
from .skin import AXIS_Z_M, BOTTOM_M, TOP_M

SKIN_SHARP = (0.40, 0.66, 0.80)
"""Share of each colour's direct light that skin reflects where it falls; the rest spreads under the surface."""


class Look(NamedTuple):
    """A surface at one point; the normal is in the world (a hair's tangent)."""

    red: float
    green: float
    blue: float
    nx: float
    ny: float
    nz: float
    gloss: float
    """Reflectance at normal incidence."""
    rough: float
    scatters: bool


@nb.njit(cache=True, fastmath=True, inline="always")
def bilinear(array, channel, y0, y1, x0, x1, wy, wx):
    """One channel of a map between four texels."""
    low = array[y0, x0, channel] * (1 - wx) + array[y0, x1, channel] * wx
    high = array[y1, x0, channel] * (1 - wx) + array[y1, x1, channel] * wx
    return low * (1 - wy) + high * wy


@nb.njit(cache=True, fastmath=True, inline="always")
def rotated(matrix, x, y, z):
    """Matrix times vector."""
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z,
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z,
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z,
    )


@nb.njit(cache=True, fastmath=True)
def skin_look(frame, maps, px, py, pz, nx, ny, nz, lid_distance):
    """Skin at a template position, from the painted maps."""
    height, width = maps.gloss.shape[:2]
    angle = np.arctan2(px, pz - AXIS_Z_M)
    column = (angle / (2 * np.pi) + 0.5) * width - 0.5
    row = min(max((TOP_M - py) / (TOP_M - BOTTOM_M) * height - 0.5, 0.0), height - 1.001)
    x0, y0 = int(np.floor(column)), int(row)
    wx, wy = column - x0, row - y0
    x0, x1, y1 = x0 % width, (x0 + 1) % width, y0 + 1
    red = bilinear(maps.colour, 0, y0, y1, x0, x1, wy, wx)
    green = bilinear(maps.colour, 1, y0, y1, x0, x1, wy, wx)
    blue = bilinear(maps.colour, 2, y0, y1, x0, x1, wy, wx)
    across = bilinear(maps.slope, 0, y0, y1, x0, x1, wy, wx)
    upwards = bilinear(maps.slope, 1, y0, y1, x0, x1, wy, wx)
    gloss = bilinear(maps.gloss, 0, y0, y1, x0, x1, wy, wx)
    gx, gy, gz = rotated(frame.head_rotation, across * np.cos(angle), upwards, -across * np.sin(angle))
    along = gx * nx + gy * ny + gz * nz
    nx, ny, nz = normalised(nx - (gx - along * nx), ny - (gy - along * ny), nz - (gz - along * nz))
    if lid_distance < 0.0040:
        warm = 0.30 * smooth(0.0040, 0.0010, lid_distance)
        dark = 0.85 * smooth(0.0019, 0.0003, lid_distance)
        red = red * (1 - 0.2 * warm) * (1 - dark) + 0.020 * dark
        green = green * (1 - 0.5 * warm) * (1 - dark) + 0.012 * dark
        blue = blue * (1 - 0.5 * warm) * (1 - dark) + 0.010 * dark
    return Look(red, green, blue, nx, ny, nz, 0.030 * gloss, 0.46 if gloss < 1.5 else 0.34, True)


@nb.njit(cache=True, fastmath=True)
def iris_colour(palette, around, ratio):
    """Iris and pupil at an angle around the axis and a share of the limbus' angle."""
    fibre = 0.55 + 0.8 * (0.5 + 0.5 * np.sin(around * 37 + 3 * np.sin(around * 11 + ratio * 3)))
    ring = smooth(0.30, 0.52, ratio)
    level = fibre * (1 - 0.45 * smooth(0.55, 1.0, ratio)) * (1 - 0.75 * smooth(0.80, 0.99, ratio))
    pupil = smooth(0.40, 0.34, ratio)
    red = (0.160 - 0.075 * ring) * level * (1 - pupil) + 0.004 * pupil
    green = (0.085 - 0.010 * ring) * level * (1 - pupil) + 0.004 * pupil
    blue = (0.032 + 0.020 * ring) * level * (1 - pupil) + 0.004 * pupil
    return red * palette.iris[0], green * palette.iris[1], blue * palette.iris[2]


@nb.njit(cache=True, fastmath=True)
def eye_look(frame, side, px, py, pz, nx, ny, nz):
    """Eyeball at a template position; the cornea bulges."""
    centre = frame.eye_centre[side]
    dx, dy, dz = normalised(px - centre[0], py - centre[1], pz - centre[2])
    ratio = np.arccos(min(max(dz, -1.0), 1.0)) / frame.iris_angle
    vein = 1 - 0.28 * max(wobble(dx * 26 + side * 9, dy * 30, dz * 24), 0.0) ** 3
    corner = smooth(0.62, 1.05, abs(dx))
    red, green, blue = 0.54 - 0.03 * corner, (0.485 - 0.15 * corner) * vein, (0.45 - 0.16 * corner) * vein
    if ratio < 1.12:
        iris_red, iris_green, iris_blue = iris_colour(frame.palette, np.arctan2(dy, dx), ratio)
        white = smooth(0.96, 1.08, ratio)
        red, green, blue = (
            iris_red + (red - iris_red) * white,
            iris_green + (green - iris_green) * white,
            iris_blue + (blue - iris_blue) * white,
        )
        bulge = 1 + 0.9 * smooth(1.12, 0.85, ratio)
        ex, ey, ez = normalised(dx * bulge, dy * bulge, dz)
        nx, ny, nz = rotated(frame.eye_rotation[side], ex, ey, ez)
    return Look(red, green, blue, nx, ny, nz, 0.0, 0.1, False)


@nb.njit(cache=True, fastmath=True)
def teeth_look(frame, arch, px, py, pz, nx, ny, nz):
    """Teeth and gums at a template position."""
    gum_end, edge, centre_z, depth = frame.teeth[arch]
    angle = np.arctan2(px * 1.35, pz - centre_z + depth * 0.4)
    phase = angle / np.pi * 16.0
    phase = phase - np.floor(phase)
    from_gap = min(phase, 1 - phase)
    root = (py - edge) / (gum_end - edge)
    gap = smooth(0.07, 0.015, from_gap) * smooth(0.05, 0.25, root)
    scallop = 0.62 + 0.12 * np.sqrt(from_gap * 2)
    gum = smooth(scallop, scallop + 0.08, root)
    back = 1 - 0.6 * smooth(0.5, 1.3, abs(angle))
    red = back * (0.70 * (1 - 0.5 * gap) * (1 - gum) + 0.36 * gum)
    green = back * (0.64 * (1 - 0.6 * gap) * (1 - gum) + 0.11 * gum)
    blue = back * (0.53 * (1 - 0.7 * gap) * (1 - gum) + 0.10 * gum)
    return Look(red, green, blue, nx, ny, nz, 0.045, 0.25, False)


@nb.njit(cache=True, fastmath=True)
def cloth_look(palette, around, down, height, nx, ny, nz):
    """Knit, from metres around, metres down and the height; a height of 1 is the collar."""
    if height > 0.5:
        phase = around * 2 * np.pi / 0.0048
        shade, tilt = 0.80 + 0.20 * np.sin(phase), 0.40 * np.cos(phase)
    else:
        phase = around * 2 * np.pi / 0.0062 + 0.9 * np.sin(down * 2 * np.pi / 0.0075)
        shade, tilt = 0.90 + 0.10 * np.sin(phase), 0.14 * np.cos(phase)
    shade *= 1 + 0.09 * wobble(around * 120, down * 120, 3.0)
    red, green, blue = palette.cloth[0] * shade, palette.cloth[1] * shade, palette.cloth[2] * shade
    level = height + 0.004 * np.sin(around * 40)
    if height < 0.5 and (abs(level + 0.238) < 0.011 or abs(level + 0.268) < 0.005):
        red, green, blue = palette.stripe[0] * shade, palette.stripe[1] * shade, palette.stripe[2] * shade
    sx, _, sz = normalised(nz + 1e-6, 0.0, -nx)
    nx, ny, nz = normalised(nx + tilt * sx, ny, nz + tilt * sz)
    return Look(red, green, blue, nx, ny, nz, 0.02, 0.8, False)


@nb.njit(cache=True, fastmath=True)
def look_at(frame, maps, material, px, py, pz, nx, ny, nz, lid_distance):  # noqa: PLR0911
    """The surface of any material at its rest attributes p and world normal n."""
    if material == SKIN:
        return skin_look(frame, maps, px, py, pz, nx, ny, nz, lid_distance)
    if material == CLOTH:
        return cloth_look(frame.palette, px, py, pz, nx, ny, nz)
    if material == HAIR:  # p is (across, along, brightness)
        level = pz * (0.55 + 0.75 * py) * (0.8 + 0.35 * np.sin(px * 4.0 + pz * 17.0))
        colour = frame.palette.hair
        return Look(colour[0] * level, colour[1] * level, colour[2] * level, nx, ny, nz, 0.030, 0.3, False)
    if material in (EYE_LEFT, EYE_RIGHT):
        return eye_look(frame, material - EYE_LEFT, px, py, pz, nx, ny, nz)
    if material in (TEETH_UPPER, TEETH_LOWER):
        return teeth_look(frame, material - TEETH_UPPER, px, py, pz, nx, ny, nz)
    if material == TONGUE:
        level = 1 + 0.12 * wobble(px * 900, py * 900, pz * 900)
        return Look(0.34 * level, 0.105 * level, 0.095 * level, nx, ny, nz, 0.04, 0.35, False)
    if material == MOUTH:
        return Look(0.27, 0.065, 0.055, nx, ny, nz, 0.03, 0.4, False)
    if material == SOCKET:
        return Look(0.36, 0.14, 0.115, nx, ny, nz, 0.03, 0.35, False)
    if material == PROP:
        colour = frame.palette.prop
        return Look(colour[0], colour[1], colour[2], nx, ny, nz, 0.04, 0.4, False)
    colour = frame.palette.brow
    return Look(colour[0] * pz, colour[1] * pz, colour[2] * pz, nx, ny, nz, 0.008, 0.3, False)  # brows and lashes
