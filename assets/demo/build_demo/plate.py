"""The picture of the background (numba): traced once, through a lens focused on the face."""

from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from .materials import rotated
from .room import CURTAIN, LEAF, OUTSIDE, PAINTING, PLASTER, WALL_Z_M, WOOD, build_room
from .sampling import about_normal, hash_seed, next_random, normalised, towards_light, wobble
from .scene import Lights, View, rectangle
from .tracer import STACK_SIZE, Bvh, any_hit, build_bvh, closest_hit

FOCUS_M = 1.0
"""Distance in focus: the face's."""
APERTURE_RADIUS_M = 0.0045
NUM_BOUNCES = 2
UNSEEN = (0.34, 0.31, 0.28)
"""Radiance of the room behind the camera."""


class Room(NamedTuple):
    """Triangles with a colour and a texture kind each."""

    bvh: Bvh
    normals: npt.NDArray[np.float32]
    """(F, 3)"""
    colours: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.uint8]


@nb.njit(cache=True, fastmath=True)
def surface_colour(kind, x, y, z, red, green, blue):  # noqa: PLR0911
    """Texture of a point: (colour, emitted share)."""
    if kind == PLASTER:
        g = 1 + 0.05 * wobble(x * 60, y * 60, 1.0) + 0.06 * wobble(x * 9, y * 9, 4.0)
        stripe = 1.0 - 0.10 * (np.sin(x * 2 * np.pi / 0.085) > 0.2)
        return red * g * stripe, green * g * stripe, blue * g * stripe, 0.0
    if kind == WOOD:
        g = (
            0.85
            + 0.22 * np.sin(y * 240 + z * 60 + 3 * wobble(x * 4, y * 30, z * 10)) * 0.5
            + 0.08 * wobble(x * 30, y * 200, z * 90)
        )
        return red * g, green * g, blue * g, 0.0
    if kind == OUTSIDE:
        tree = wobble(x * 17, y * 15, 2.0) + 0.7 * wobble(x * 47, y * 41, 5.0) - (y - 0.22) * 4.5
        if tree > 0:
            g = 0.45 + 0.30 * wobble(x * 70, y * 70, 9.0)
            return 0.55 * g, 0.85 * g, 0.35 * g, 1.0
        return 0.95, 1.12, 1.30, 1.0
    if kind == LEAF:
        g = 1 + 0.3 * wobble(x * 90, y * 60, z * 90)
        return red * g, green * g, blue * g, 0.0
    if kind == PAINTING:
        a, b = wobble(x * 31, y * 27, 3.0), wobble(x * 19 + 5, y * 37, 8.0)
        if a > 0.25:
            return 0.55, 0.16, 0.07, 0.0
        if b > 0.15:
            return 0.06, 0.17, 0.28, 0.0
        if a + b < -0.5:
            return 0.60, 0.42, 0.10, 0.0
        return red, green, blue, 0.0
    if kind == CURTAIN:
        g = 1 + 0.15 * np.sin(y * 2 * np.pi / 0.09) * (np.sin(x * 900) > 0)
        return red * g, green * g, blue * g, 0.10
    return red, green, blue, 0.0


@nb.njit(cache=True, fastmath=True)
def direct_light(room, lights, stack, ox, oy, oz, nx, ny, nz, state):
    """Direct light on a white surface, and the random state."""
    red, green, blue = 0.0, 0.0, 0.0
    for light in range(lights.area.shape[0]):
        a, state = next_random(state)
        b, state = next_random(state)
        lx, ly, lz, distance, angle = towards_light(lights, light, 2 * a - 1, 2 * b - 1, ox, oy, oz)
        n_l = nx * lx + ny * ly + nz * lz
        if n_l <= 0 or angle <= 0 or any_hit(room.bvh, stack, ox, oy, oz, lx, ly, lz, distance):
            continue
        weight = n_l * angle / np.pi
        red += weight * lights.radiance[light, 0]
        green += weight * lights.radiance[light, 1]
        blue += weight * lights.radiance[light, 2]
    return red, green, blue, state


@nb.njit(cache=True, fastmath=True)
def radiance(room, lights, stack, ox, oy, oz, dx, dy, dz, state):
    """Light arriving along a ray, followed over NUM_BOUNCES surfaces, and the random state."""
    red, green, blue = 0.0, 0.0, 0.0
    share_r, share_g, share_b = 1.0, 1.0, 1.0
    for _ in range(NUM_BOUNCES):
        t, face, _, _ = closest_hit(room.bvh, stack, ox, oy, oz, dx, dy, dz, 20.0)
        if face < 0:
            red, green, blue = red + share_r * UNSEEN[0], green + share_g * UNSEEN[1], blue + share_b * UNSEEN[2]
            break
        ox, oy, oz = ox + dx * t, oy + dy * t, oz + dz * t
        nx, ny, nz = room.normals[face, 0], room.normals[face, 1], room.normals[face, 2]
        if nx * dx + ny * dy + nz * dz > 0:
            nx, ny, nz = -nx, -ny, -nz
        colour = room.colours[face]
        r, g, b, emitted = surface_colour(room.kinds[face], ox, oy, oz, colour[0], colour[1], colour[2])
        share_r, share_g, share_b = share_r * r, share_g * g, share_b * b
        red, green, blue = red + share_r * emitted, green + share_g * emitted, blue + share_b * emitted
        if emitted == 1.0:
            break
        ox, oy, oz = ox + nx * 1e-4, oy + ny * 1e-4, oz + nz * 1e-4
        r, g, b, state = direct_light(room, lights, stack, ox, oy, oz, nx, ny, nz, state)
        red, green, blue = red + share_r * r, green + share_g * g, blue + share_b * b
        a, state = next_random(state)
        turn, state = next_random(state)
        side, turn = np.sqrt(a), 2 * np.pi * turn
        dx, dy, dz = about_normal(side * np.cos(turn), side * np.sin(turn), np.sqrt(1 - a), nx, ny, nz)
    return red, green, blue, state


@nb.njit(cache=True, fastmath=True, nogil=True)
def trace_rows(room, lights, image, first, last, focal, grid, view, focus):
    """Thin-lens picture, rows first…last, linear."""
    height, width = image.shape[:2]
    stack = np.empty(STACK_SIZE, np.int32)
    total = grid * grid
    for row in range(first, last):
        for column in range(width):
            red, green, blue = 0.0, 0.0, 0.0
            state = hash_seed(row, column, 999)
            for sample in range(total):
                a, state = next_random(state)
                b, state = next_random(state)
                radius, state = next_random(state)
                turn, state = next_random(state)
                x = (column + (sample % grid + a) / grid - width / 2) / focal * focus
                y = -(row + (sample // grid + b) / grid - height / 2) / focal * focus
                radius, turn = APERTURE_RADIUS_M * np.sqrt(radius), 2 * np.pi * turn
                ox, oy = radius * np.cos(turn), radius * np.sin(turn)
                dx, dy, dz = normalised(x - ox, y - oy, -focus)
                dx, dy, dz = rotated(view.rotation, dx, dy, dz)
                ox, oy, oz = rotated(view.rotation, ox, oy, 0.0)
                ox, oy, oz = ox + view.origin[0], oy + view.origin[1], oz + view.origin[2]
                r, g, b, state = radiance(room, lights, stack, ox, oy, oz, dx, dy, dz, state)
                red, green, blue = red + r, green + g, blue + b
            image[row, column, 0], image[row, column, 1], image[row, column, 2] = (
                red / total,
                green / total,
                blue / total,
            )


def room_lights() -> Lights:
    """A ceiling lamp and a floor lamp; the window glows by itself."""
    middle = np.array([0.0, -0.2, WALL_Z_M])
    rows = [
        rectangle(np.array([-0.7, 1.6, -0.3]), middle, (0.5, 0.5), 9.0 * np.array([1.0, 0.86, 0.68])),
        rectangle(np.array([1.2, 0.7, -0.9]), middle, (0.4, 0.6), 3.2 * np.array([0.8, 0.92, 1.0])),
    ]
    return Lights(*(np.array(column, np.float32) for column in zip(*rows, strict=True)))


def make_room() -> Room:
    """The room with its hierarchy."""
    built = build_room()
    vertices, faces = np.concatenate(built.vertices).astype(np.float32), np.concatenate(built.faces).astype(np.int32)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return Room(
        bvh=build_bvh(vertices, faces),
        normals=normals.astype(np.float32),
        colours=np.concatenate(built.colours).astype(np.float32),
        kinds=np.concatenate(built.kinds),
    )


def render_room(
    size_hw: tuple[int, int], focal_px: float, grid: int, run, view: View | None = None, focus_m: float = FOCUS_M
) -> npt.NDArray[np.float32]:
    """The background plate (H, W, 3), linear; `run` is Stage.run."""
    image = np.zeros((*size_hw, 3), np.float32)
    run(trace_rows, size_hw[0], make_room(), room_lights(), image, ..., focal_px, grid, view or View(), focus_m)
    return image
