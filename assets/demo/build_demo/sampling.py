"""Random numbers, directions and light samples shared by the kernels (numba)."""

import numba as nb
import numpy as np


@nb.njit(cache=True, inline="always")
def next_random(state):
    """PCG step: (uniform 0…1, new state)."""
    state = (state * 747796405 + 2891336453) & 0xFFFFFFFF
    word = (((state >> ((state >> 28) + 4)) ^ state) * 277803737) & 0xFFFFFFFF
    word = (word >> 22) ^ word
    return word * (1.0 / 4294967296.0), state


@nb.njit(cache=True, inline="always")
def hash_seed(a, b, c):
    """A well-mixed 32-bit seed of three integers."""
    h = (a * 73856093 ^ b * 19349663 ^ c * 83492791) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return h ^ (h >> 16)


@nb.njit(cache=True, inline="always")
def smooth(low, high, value):
    """Smooth step."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@nb.njit(cache=True, fastmath=True, inline="always")
def normalised(x, y, z):
    """Unit vector."""
    s = 1.0 / np.sqrt(max(x * x + y * y + z * z, 1e-20))
    return x * s, y * s, z * s


@nb.njit(cache=True, fastmath=True)
def wobble(x, y, z):
    """Cheap smooth noise in −1…1 of a point in cells."""
    a = np.sin(x * 1.7 + 1.3 * np.sin(y * 1.1 + 0.7) + 2.1 * np.sin(z * 1.3))
    b = np.sin(y * 2.3 + 1.7 * np.sin(z * 0.9 + 1.9) + 1.4 * np.sin(x * 1.9))
    c = np.sin(z * 2.9 + 1.1 * np.sin(x * 1.5 + 0.2) + 1.9 * np.sin(y * 0.8))
    return (a + b + c) / 3.0


@nb.njit(cache=True, fastmath=True, inline="always")
def about_normal(x, y, z, nx, ny, nz):
    """A direction given about +z, turned to lie about a unit normal (frame of Duff et al. 2017)."""
    sign = 1.0 if nz >= 0 else -1.0
    a = -1.0 / (sign + nz)
    b = nx * ny * a
    dx = x * (1 + sign * nx * nx * a) + y * b + z * nx
    dy = x * sign * b + y * (sign + ny * ny * a) + z * ny
    dz = -x * sign * nx - y * ny + z * nz
    return dx, dy, dz


@nb.njit(cache=True, fastmath=True, inline="always")
def towards_light(lights, k, a, b, ox, oy, oz):
    """From a point to the place (a, b) in −1…1 on light k: unit direction, distance, solid angle of the whole light.

    The solid angle is zero or less behind the light.
    """
    lx = lights.centre[k, 0] + a * lights.half_u[k, 0] + b * lights.half_v[k, 0] - ox
    ly = lights.centre[k, 1] + a * lights.half_u[k, 1] + b * lights.half_v[k, 1] - oy
    lz = lights.centre[k, 2] + a * lights.half_u[k, 2] + b * lights.half_v[k, 2] - oz
    distance = np.sqrt(lx * lx + ly * ly + lz * lz)
    lx, ly, lz = lx / distance, ly / distance, lz / distance
    leaving = -(lx * lights.normal[k, 0] + ly * lights.normal[k, 1] + lz * lights.normal[k, 2])
    return lx, ly, lz, distance, leaving * lights.area[k] / (distance * distance)


@nb.njit(cache=True, fastmath=True)
def sky(y, z):
    """Radiance of the room around the person: bright ceiling, dim floor, lighter in front."""
    up = smooth(-0.6, 0.9, y)
    front = 0.5 + 0.5 * z
    level = 0.13 + 0.36 * up + 0.10 * front
    return level * (1.0 + 0.06 * (1 - up)), level * 0.97, level * (0.90 + 0.14 * up)
