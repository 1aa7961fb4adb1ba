"""Light transport of one frame (numba): direct light with traced shadows, sky, highlights, mirrors."""

import numba as nb
import numpy as np

from .materials import SKIN_SHARP, look_at, rotated
from .sampling import about_normal, hash_seed, next_random, normalised, sky, towards_light
from .scene import BROW, EYE_LEFT, EYE_RIGHT, HAIR
from .tracer import STACK_SIZE, any_hit, closest_hit

OFFSET_M, HAIR_OFFSET_M, BROW_OFFSET_M, BAKE_OFFSET_M = 0.0006, 0.0022, 0.0008, 0.0009
"""How far shadow rays start from a surface."""
BOUNCE_LEVEL = 0.42
"""Typical radiance arriving at a surface that passes light on."""
BLOCKED_HAIR = 0.22
"""Share of light that other hair lets through."""
WET_GAIN = 2.2
"""Lights mirrored in the eye count a little more than Fresnel's share, to read at this picture size."""
RADIANCE_LIMIT = 8.0


@nb.njit(cache=True, fastmath=True, inline="always")
def highlight(rough, gloss, n_l, n_v, n_h, v_h):
    """Cook–Torrance with the GGX distribution, already times n·l."""
    a2 = rough**4
    d = a2 / (np.pi * (n_h * n_h * (a2 - 1) + 1) ** 2)
    k = (rough + 1) ** 2 / 8
    g = 1 / ((n_l * (1 - k) + k) * (n_v * (1 - k) + k) * 4)
    return d * g * (gloss + (1 - gloss) * (1 - v_h) ** 5) * n_l


@nb.njit(cache=True, fastmath=True)
def hair_light(tx, ty, tz, lx, ly, lz, vx, vy, vz, shift):
    """Kajiya–Kay with two shifted highlights: (diffuse, white highlight, coloured highlight)."""
    t_l, t_v = tx * lx + ty * ly + tz * lz, tx * vx + ty * vy + tz * vz
    s_l, s_v = np.sqrt(max(1 - t_l * t_l, 0.0)), np.sqrt(max(1 - t_v * t_v, 0.0))
    first = s_l * s_v - (t_l + shift) * t_v
    second = s_l * s_v - (t_l - 1.6 * shift) * t_v
    return s_l, min(max(first, 0.0), 1.0) ** 90 * s_l, min(max(second, 0.0), 1.0) ** 22 * s_l


@nb.njit(cache=True, fastmath=True)
def mirrored(frame, lights, stack, ox, oy, oz, nx, ny, nz, vx, vy, vz):
    """Reflected light of a wet surface: lights seen in a mirror, else the sky; times Fresnel."""
    n_v = max(nx * vx + ny * vy + nz * vz, 0.0)
    rx, ry, rz = 2 * n_v * nx - vx, 2 * n_v * ny - vy, 2 * n_v * nz - vz
    fresnel = 0.028 + 0.972 * (1 - n_v) ** 5
    red, green, blue = sky(ry, rz)
    for k in range(lights.area.shape[0]):
        normal, u, v = lights.normal[k], lights.half_u[k], lights.half_v[k]
        facing = -(rx * normal[0] + ry * normal[1] + rz * normal[2])
        dx, dy, dz = lights.centre[k, 0] - ox, lights.centre[k, 1] - oy, lights.centre[k, 2] - oz
        t = -(dx * normal[0] + dy * normal[1] + dz * normal[2]) / max(facing, 1e-4)
        if facing < 1e-4 or t <= 0:
            continue
        hx, hy, hz = rx * t - dx, ry * t - dy, rz * t - dz
        a = (hx * u[0] + hy * u[1] + hz * u[2]) / (u[0] ** 2 + u[1] ** 2 + u[2] ** 2)
        b = (hx * v[0] + hy * v[1] + hz * v[2]) / (v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
        if abs(a) < 1 and abs(b) < 1:
            red, green, blue = lights.radiance[k, 0], lights.radiance[k, 1], lights.radiance[k, 2]
            fresnel *= WET_GAIN
    if any_hit(frame.bvh, stack, ox + nx * OFFSET_M, oy + ny * OFFSET_M, oz + nz * OFFSET_M, rx, ry, rz, 1.0):
        red, green, blue = 0.04, 0.022, 0.018
    return red * fresnel, green * fresnel, blue * fresnel


@nb.njit(cache=True, fastmath=True, inline="always")
def mixed(array, channel, i, j, k, u, v):
    """A vertex attribute at barycentrics (1 − u − v, u, v)."""
    return (1 - u - v) * array[i, channel] + u * array[j, channel] + v * array[k, channel]


@nb.njit(cache=True, fastmath=True)
def direct_hair(frame, lights, stack, look, start, hx, hy, hz, vx, vy, vz, tint, sample, seed):
    """Direct light on a strand."""
    out_r, out_g, out_b = 0.0, 0.0, 0.0
    for light in range(lights.area.shape[0]):
        a, seed = next_random(seed)
        b, seed = next_random(seed)
        cell = (sample * 7 + light * 5) & 15
        a, b = ((cell & 3) + a) * 0.5 - 1.0, ((cell >> 2) + b) * 0.5 - 1.0
        lx, ly, lz, distance, angle = towards_light(lights, light, a, b, hx, hy, hz)
        if angle <= 0:
            continue
        if any_hit(frame.bvh, stack, hx + lx * start, hy + ly * start, hz + lz * start, lx, ly, lz, distance):
            angle *= BLOCKED_HAIR
        shift = 0.07 + 0.05 * np.sin(tint * 40.0)
        matt, white, coloured = hair_light(look.nx, look.ny, look.nz, lx, ly, lz, vx, vy, vz, shift)
        gain = 0.28 * matt + 2.2 * coloured
        out_r += angle * lights.radiance[light, 0] * (look.red * gain + look.gloss * white)
        out_g += angle * lights.radiance[light, 1] * (look.green * gain + look.gloss * white)
        out_b += angle * lights.radiance[light, 2] * (look.blue * gain + look.gloss * white)
    return out_r, out_g, out_b


@nb.njit(cache=True, fastmath=True)
def direct_surface(frame, lights, stack, look, gx, gy, gz, hx, hy, hz, vx, vy, vz, sample, seed):
    """Direct light on anything else; g is the unbumped normal on the viewer's side."""
    out_r, out_g, out_b = 0.0, 0.0, 0.0
    nx, ny, nz = look.nx, look.ny, look.nz
    n_v = max(nx * vx + ny * vy + nz * vz, 0.02)
    ox, oy, oz = hx + gx * OFFSET_M, hy + gy * OFFSET_M, hz + gz * OFFSET_M
    sharp_r, sharp_g, sharp_b = SKIN_SHARP if look.scatters else (1.0, 1.0, 1.0)
    for light in range(lights.area.shape[0]):
        a, seed = next_random(seed)
        b, seed = next_random(seed)
        cell = (sample * 7 + light * 5) & 15
        a, b = ((cell & 3) + a) * 0.5 - 1.0, ((cell >> 2) + b) * 0.5 - 1.0
        lx, ly, lz, distance, angle = towards_light(lights, light, a, b, ox, oy, oz)
        n_l = nx * lx + ny * ly + nz * lz
        if angle <= 0 or n_l <= 0 or gx * lx + gy * ly + gz * lz <= 0:
            continue
        if any_hit(frame.bvh, stack, ox, oy, oz, lx, ly, lz, distance):
            continue
        matt, shine = n_l / np.pi, 0.0
        if look.gloss > 0.0:
            mx, my, mz = normalised(lx + vx, ly + vy, lz + vz)
            n_h, v_h = max(nx * mx + ny * my + nz * mz, 0.0), max(vx * mx + vy * my + vz * mz, 0.0)
            shine = highlight(look.rough, look.gloss, n_l, n_v, n_h, v_h)
        out_r += angle * lights.radiance[light, 0] * (look.red * sharp_r * matt + shine)
        out_g += angle * lights.radiance[light, 1] * (look.green * sharp_g * matt + shine)
        out_b += angle * lights.radiance[light, 2] * (look.blue * sharp_b * matt + shine)
    return out_r, out_g, out_b


@nb.njit(cache=True, fastmath=True, nogil=True)
def shade(frame, maps, lights, stack, face, u, v, hx, hy, hz, vx, vy, vz, sample, seed):
    """Radiance (red, green, blue) leaving a hit towards the viewer v (unit)."""
    i, j, k = frame.faces[face, 0], frame.faces[face, 1], frame.faces[face, 2]
    material = frame.material[face]
    px, py, pz = (
        mixed(frame.rest, 0, i, j, k, u, v),
        mixed(frame.rest, 1, i, j, k, u, v),
        mixed(frame.rest, 2, i, j, k, u, v),
    )
    gx, gy, gz = normalised(
        mixed(frame.normal, 0, i, j, k, u, v),
        mixed(frame.normal, 1, i, j, k, u, v),
        mixed(frame.normal, 2, i, j, k, u, v),
    )
    is_hair = material == HAIR or material == BROW  # noqa: PLR1714 (twice as fast here)
    if not is_hair and gx * vx + gy * vy + gz * vz < 0:  # the inside of a shell
        gx, gy, gz = -gx, -gy, -gz
    look = look_at(frame, maps, material, px, py, pz, gx, gy, gz, mixed(frame.lid_distance, 0, i, j, k, u, v))
    out_r = look.red * mixed(frame.ambient, 0, i, j, k, u, v)
    out_g = look.green * mixed(frame.ambient, 1, i, j, k, u, v)
    out_b = look.blue * mixed(frame.ambient, 2, i, j, k, u, v)
    if is_hair:
        start = HAIR_OFFSET_M if material == HAIR else BROW_OFFSET_M
        r, g, b = direct_hair(frame, lights, stack, look, start, hx, hy, hz, vx, vy, vz, pz, sample, seed)
    else:
        r, g, b = direct_surface(frame, lights, stack, look, gx, gy, gz, hx, hy, hz, vx, vy, vz, sample, seed)
    out_r, out_g, out_b = out_r + r, out_g + g, out_b + b
    if look.scatters:
        out_r += look.red * (1 - SKIN_SHARP[0]) * mixed(frame.scatter, 0, i, j, k, u, v)
        out_g += look.green * (1 - SKIN_SHARP[1]) * mixed(frame.scatter, 1, i, j, k, u, v)
        out_b += look.blue * (1 - SKIN_SHARP[2]) * mixed(frame.scatter, 2, i, j, k, u, v)
    if material in (EYE_LEFT, EYE_RIGHT):
        r, g, b = mirrored(frame, lights, stack, hx, hy, hz, look.nx, look.ny, look.nz, vx, vy, vz)
        out_r, out_g, out_b = out_r + r, out_g + g, out_b + b
    return min(out_r, RADIANCE_LIMIT), min(out_g, RADIANCE_LIMIT), min(out_b, RADIANCE_LIMIT)


@nb.njit(cache=True, fastmath=True, nogil=True)
def render_rows(frame, maps, lights, plate, image, alpha, view, first, last, focal, grid, seed):
    """Trace rows first…last: writes linear colour over the background plate, and the share of samples that hit."""
    height, width = alpha.shape
    ox, oy, oz = view.origin[0], view.origin[1], view.origin[2]
    stack = np.empty(STACK_SIZE, np.int32)
    total = grid * grid
    for row in range(first, last):
        for column in range(width):
            red, green, blue, hits = 0.0, 0.0, 0.0, 0
            state = hash_seed(row, column, seed)
            for sample in range(total):
                a, state = next_random(state)
                b, state = next_random(state)
                x = column + (sample % grid + a) / grid - width / 2
                y = row + (sample // grid + b) / grid - height / 2
                dx, dy, dz = normalised(x / focal, -y / focal, -1.0)
                dx, dy, dz = rotated(view.rotation, dx, dy, dz)
                t, face, u, v = closest_hit(frame.bvh, stack, ox, oy, oz, dx, dy, dz, 10.0)
                if face < 0:
                    r, g, b = plate[row, column, 0], plate[row, column, 1], plate[row, column, 2]
                else:
                    hits += 1
                    point = (ox + dx * t, oy + dy * t, oz + dz * t)
                    own = hash_seed(state & 0xFFFF, sample + column * 17, row)
                    r, g, b = shade(frame, maps, lights, stack, face, u, v, *point, -dx, -dy, -dz, sample, own)
                red, green, blue = red + r, green + g, blue + b
            image[row, column, 0], image[row, column, 1], image[row, column, 2] = (
                red / total,
                green / total,
                blue / total,
            )
            alpha[row, column] = hits / total


@nb.njit(cache=True, fastmath=True, nogil=True)
def first_faces(bvh, faces, view, first, last, focal):
    """The face seen at the centre of each pixel of rows first…last; −1 for none."""
    height, width = faces.shape
    ox, oy, oz = view.origin[0], view.origin[1], view.origin[2]
    stack = np.empty(STACK_SIZE, np.int32)
    for row in range(first, last):
        for column in range(width):
            x, y = column + 0.5 - width / 2, row + 0.5 - height / 2
            dx, dy, dz = normalised(x / focal, -y / focal, -1.0)
            dx, dy, dz = rotated(view.rotation, dx, dy, dz)
            _, faces[row, column], _, _ = closest_hit(bvh, stack, ox, oy, oz, dx, dy, dz, 10.0)


@nb.njit(cache=True, fastmath=True, nogil=True)
def bake_sky(bvh, material, bounce, position, normal, ambient, first, last, samples):
    """Sky and bounced light at vertices first…last, as the radiance of a white surface."""
    stack = np.empty(STACK_SIZE, np.int32)
    for vertex in range(first, last):
        n, o = normal[vertex], position[vertex] + normal[vertex] * BAKE_OFFSET_M
        turn, _ = next_random(hash_seed(vertex, 17, 5))
        red, green, blue = 0.0, 0.0, 0.0
        for k in range(samples):
            radius, angle = np.sqrt((k + 0.5) / samples), (k * 0.61803398875 + turn) * 2 * np.pi
            x, y, z = radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius * radius)
            dx, dy, dz = about_normal(x, y, z, n[0], n[1], n[2])
            t, face, _, _ = closest_hit(bvh, stack, o[0], o[1], o[2], dx, dy, dz, 2.0)
            if face < 0:
                r, g, b = sky(dy, dz)
            else:
                level, m = BOUNCE_LEVEL * min(t / 0.03, 1.0), material[face]
                r, g, b = level * bounce[m, 0], level * bounce[m, 1], level * bounce[m, 2]
            red, green, blue = red + r, green + g, blue + b
        ambient[vertex, 0], ambient[vertex, 1], ambient[vertex, 2] = red / samples, green / samples, blue / samples


@nb.njit(cache=True, fastmath=True, nogil=True)
def bake_direct(bvh, lights, position, normal, direct, first, last, samples):
    """Direct light with shadows at vertices first…last, as the radiance of a white surface."""
    stack = np.empty(STACK_SIZE, np.int32)
    for vertex in range(first, last):
        n, o = normal[vertex], position[vertex] + normal[vertex] * BAKE_OFFSET_M
        state = hash_seed(vertex, 29, 3)
        for light in range(lights.area.shape[0]):
            for _ in range(samples):
                a, state = next_random(state)
                b, state = next_random(state)
                lx, ly, lz, distance, angle = towards_light(lights, light, 2 * a - 1, 2 * b - 1, o[0], o[1], o[2])
                cosine = n[0] * lx + n[1] * ly + n[2] * lz
                if cosine <= 0 or angle <= 0 or any_hit(bvh, stack, o[0], o[1], o[2], lx, ly, lz, distance):
                    continue
                for c in range(3):
                    direct[vertex, c] += cosine * angle / np.pi / samples * lights.radiance[light, c]
