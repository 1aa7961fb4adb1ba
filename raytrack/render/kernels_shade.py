"""Kernels of the fused shading: texture × spherical-harmonic light, over a background."""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.
# ruff: noqa: C901, PLR0915

import numpy as np

from raytrack.geometry.harmonics import FACTORS
from raytrack.render.jit import inlined, kernel
from raytrack.render.kernels_raster import add_barycentric_gradient, chunk_rows, face_corners
from raytrack.render.kernels_texture import bilinear, face_texture, mip_level, split_level, texels

ONE, TWO = np.uintp(1), np.uintp(2)


@inlined
def sample_colour(source, offset, size, s, t):
    """Red, green and blue of one texture level."""
    p, q, u, v, x_weight, y_weight, _, _ = texels(offset, size, 3, s, t)
    red, _, _ = bilinear(source, p, q, u, v, x_weight, y_weight)
    green, _, _ = bilinear(source, p + ONE, q + ONE, u + ONE, v + ONE, x_weight, y_weight)
    blue, _, _ = bilinear(source, p + TWO, q + TWO, u + TWO, v + TWO, x_weight, y_weight)
    return red, green, blue


@inlined
def sample_slopes(source, offset, size, s, t):
    """Red, green and blue of one texture level, then their slopes in s, then in t."""
    p, q, u, v, x_weight, y_weight, x_scale, y_scale = texels(offset, size, 3, s, t)
    red, red_s, red_t = bilinear(source, p, q, u, v, x_weight, y_weight)
    green, green_s, green_t = bilinear(source, p + ONE, q + ONE, u + ONE, v + ONE, x_weight, y_weight)
    blue, blue_s, blue_t = bilinear(source, p + TWO, q + TWO, u + TWO, v + TWO, x_weight, y_weight)
    return (
        red,
        green,
        blue,
        red_s * x_scale,
        green_s * x_scale,
        blue_s * x_scale,
        red_t * y_scale,
        green_t * y_scale,
        blue_t * y_scale,
    )


@inlined
def fill_lamp(light, lamp):
    """Coefficients times their factors, flat, which leaves the basis [1, x, y, z, xy, xz, yz, x² − y², 3z² − 1]."""
    real = light.dtype.type
    for n in range(9):
        for m in range(3):
            lamp[3 * n + m] = light[n, m] * real(FACTORS[n])


@inlined
def irradiance(lamp, channel, x, y, z):
    """Light of one channel on a unit normal."""
    real = type(x)
    linear = lamp[channel] + lamp[channel + 3] * x + lamp[channel + 6] * y + lamp[channel + 9] * z
    mixed = (lamp[channel + 12] * y + lamp[channel + 15] * z) * x + lamp[channel + 18] * y * z
    return linear + mixed + lamp[channel + 21] * (x * x - y * y) + lamp[channel + 24] * (real(3) * z * z - real(1))


@inlined
def irradiance_slope(lamp, channel, x, y, z):
    """Gradient of `irradiance` in the unit normal."""
    real = type(x)
    two, six = real(2), real(6)
    xy, xz, yz = lamp[channel + 12], lamp[channel + 15], lamp[channel + 18]
    difference, polar = lamp[channel + 21], lamp[channel + 24]
    return (
        lamp[channel + 3] + xy * y + xz * z + two * difference * x,
        lamp[channel + 6] + xy * x + yz * z - two * difference * y,
        lamp[channel + 9] + xz * x + yz * y + six * polar * z,
    )


@inlined
def add_lamp_gradient(sums, channel, grad, x, y, z):
    """Add the gradient of one channel's nine coefficients."""
    real = type(x)
    sums[channel] += grad
    sums[channel + 3] += grad * x
    sums[channel + 6] += grad * y
    sums[channel + 9] += grad * z
    sums[channel + 12] += grad * x * y
    sums[channel + 15] += grad * x * z
    sums[channel + 18] += grad * y * z
    sums[channel + 21] += grad * (x * x - y * y)
    sums[channel + 24] += grad * (real(3) * z * z - real(1))


@inlined
def normal_at(directions, a, b, c, weight_a, weight_b, weight_c):
    """Interpolated unit normal and one over its length before. `directions` are those of one frame, flat."""
    real = type(weight_a)
    x = weight_a * directions[3 * a] + weight_b * directions[3 * b] + weight_c * directions[3 * c]
    y = weight_a * directions[3 * a + 1] + weight_b * directions[3 * b + 1] + weight_c * directions[3 * c + 1]
    z = weight_a * directions[3 * a + 2] + weight_b * directions[3 * b + 2] + weight_c * directions[3 * c + 2]
    inverse = real(1) / np.sqrt(x * x + y * y + z * z + real(1e-20))
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
def shade_chunks(
    clip,
    normals,
    faces,
    face_uv,
    texture,
    levels,
    offsets,
    size,
    light,
    face_index,
    barycentric,
    background,
    bands,
    image,
    uv,
    level,
    first,
    last,
):
    """Albedo × light at each pixel, the background elsewhere; keeps texture coordinates and mip level."""
    real = clip.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    height, width, num_levels = face_index.shape[1], face_index.shape[2], offsets.shape[0]
    x_pixel, y_pixel = real(2) / real(width), real(2) / real(height)
    flat_faces = faces.reshape(-1)
    lamp = np.empty(27, clip.dtype)
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        fill_lamp(light[frame if light.shape[0] > 1 else 0], lamp)
        positions, directions = clip[frame].reshape(-1), normals[frame].reshape(-1)
        for row in range(y_first, y_end):
            y = (real(row) + half) * y_pixel - one
            faces_row, level_row = face_index[frame, row], level[frame, row]
            weights_row, uv_row = barycentric[frame, row].reshape(-1), uv[frame, row].reshape(-1)
            behind_row, image_row = background[frame, row].reshape(-1), image[frame, row].reshape(-1)
            for column in range(width):
                face = faces_row[column]
                if face < 0:
                    for m in range(3):
                        image_row[3 * column + m] = behind_row[3 * column + m]
                    continue
                x = (real(column) + half) * x_pixel - one
                weight_a, weight_b = weights_row[2 * column], weights_row[2 * column + 1]
                a, b, c = face_corners(flat_faces, face)
                s_c, t_c, s_a, t_a, s_b, t_b = face_texture(face_uv, face)
                s, t = weight_a * s_a + weight_b * s_b, weight_a * t_a + weight_b * t_b
                mip = mip_level(positions, a, b, c, x, y, x_pixel, y_pixel, s_a, t_a, s_b, t_b, s, t, size, num_levels)
                s, t = s + s_c, t + t_c
                uv_row[2 * column], uv_row[2 * column + 1], level_row[column] = s, t, mip
                finer, coarser_weight = split_level(mip, num_levels)
                if finer == 0:
                    red, green, blue = sample_colour(texture, 0, size, s, t)
                else:
                    red, green, blue = sample_colour(levels, offsets[finer], size >> finer, s, t)
                coarser = finer + 1
                if coarser_weight > zero and coarser < num_levels:
                    red_2, green_2, blue_2 = sample_colour(levels, offsets[coarser], size >> coarser, s, t)
                    red += (red_2 - red) * coarser_weight
                    green += (green_2 - green) * coarser_weight
                    blue += (blue_2 - blue) * coarser_weight
                nx, ny, nz, _ = normal_at(directions, a, b, c, weight_a, weight_b, one - weight_a - weight_b)
                image_row[3 * column] = red * irradiance(lamp, 0, nx, ny, nz)
                image_row[3 * column + 1] = green * irradiance(lamp, 1, nx, ny, nz)
                image_row[3 * column + 2] = blue * irradiance(lamp, 2, nx, ny, nz)


@kernel
def shade_gradient(
    clip,
    normals,
    faces,
    face_uv,
    uv_detached,
    texture,
    levels,
    offsets,
    size,
    light,
    face_index,
    barycentric,
    uv,
    level,
    grad_image,
    grad_barycentric,
    bands,
    grad_clip,
    grad_normals,
    grad_light,
    grad_albedo,
    first,
    last,
):
    """Gradients of `shade_chunks`: sums for each chunk, and of the albedo at each pixel (for `scatter_texels`).

    `grad_barycentric` adds to the barycentric weights' gradient; it may have no frames. The faces marked in
    `uv_detached` pass no gradient through their texture coordinates.
    """
    real = clip.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    height, width, num_levels = face_index.shape[1], face_index.shape[2], offsets.shape[0]
    x_pixel, y_pixel = real(2) / real(width), real(2) / real(height)
    flat_faces = faces.reshape(-1)
    extra = grad_barycentric.shape[0] > 0
    lamp, lamp_sums = np.empty(27, clip.dtype), np.empty(27, clip.dtype)
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        fill_lamp(light[frame if light.shape[0] > 1 else 0], lamp)
        lamp_sums[:] = zero
        positions, directions = clip[frame].reshape(-1), normals[frame].reshape(-1)
        on_positions, on_directions = grad_clip[chunk].reshape(-1), grad_normals[chunk].reshape(-1)
        on_positions[:] = zero
        on_directions[:] = zero
        for row in range(y_first, y_end):
            y = (real(row) + half) * y_pixel - one
            faces_row, level_row = face_index[frame, row], level[frame, row]
            weights_row, uv_row = barycentric[frame, row].reshape(-1), uv[frame, row].reshape(-1)
            grad_row, albedo_row = grad_image[frame, row].reshape(-1), grad_albedo[frame, row].reshape(-1)
            for column in range(width):
                face = faces_row[column]
                red_grad, green_grad, blue_grad = (
                    grad_row[3 * column],
                    grad_row[3 * column + 1],
                    grad_row[3 * column + 2],
                )
                still = red_grad == zero and green_grad == zero and blue_grad == zero and not extra
                if face < 0 or still:
                    for m in range(3):
                        albedo_row[3 * column + m] = zero
                    continue
                weight_a, weight_b = weights_row[2 * column], weights_row[2 * column + 1]
                weight_c = one - weight_a - weight_b
                a, b, c = face_corners(flat_faces, face)
                s, t = uv_row[2 * column], uv_row[2 * column + 1]
                finer, coarser_weight = split_level(level_row[column], num_levels)
                if finer == 0:
                    red, green, blue, red_s, green_s, blue_s, red_t, green_t, blue_t = sample_slopes(
                        texture, 0, size, s, t
                    )
                else:
                    red, green, blue, red_s, green_s, blue_s, red_t, green_t, blue_t = sample_slopes(
                        levels, offsets[finer], size >> finer, s, t
                    )
                coarser = finer + 1
                if coarser_weight > zero and coarser < num_levels:
                    red_2, green_2, blue_2, red_s2, green_s2, blue_s2, red_t2, green_t2, blue_t2 = sample_slopes(
                        levels, offsets[coarser], size >> coarser, s, t
                    )
                    red += (red_2 - red) * coarser_weight
                    green += (green_2 - green) * coarser_weight
                    blue += (blue_2 - blue) * coarser_weight
                    red_s += (red_s2 - red_s) * coarser_weight
                    green_s += (green_s2 - green_s) * coarser_weight
                    blue_s += (blue_s2 - blue_s) * coarser_weight
                    red_t += (red_t2 - red_t) * coarser_weight
                    green_t += (green_t2 - green_t) * coarser_weight
                    blue_t += (blue_t2 - blue_t) * coarser_weight
                nx, ny, nz, inverse = normal_at(directions, a, b, c, weight_a, weight_b, weight_c)
                on_red = red_grad * irradiance(lamp, 0, nx, ny, nz)
                on_green = green_grad * irradiance(lamp, 1, nx, ny, nz)
                on_blue = blue_grad * irradiance(lamp, 2, nx, ny, nz)
                albedo_row[3 * column], albedo_row[3 * column + 1], albedo_row[3 * column + 2] = (
                    on_red,
                    on_green,
                    on_blue,
                )
                grad_s = on_red * red_s + on_green * green_s + on_blue * blue_s
                grad_t = on_red * red_t + on_green * green_t + on_blue * blue_t
                red, green, blue = red * red_grad, green * green_grad, blue * blue_grad
                add_lamp_gradient(lamp_sums, 0, red, nx, ny, nz)
                add_lamp_gradient(lamp_sums, 1, green, nx, ny, nz)
                add_lamp_gradient(lamp_sums, 2, blue, nx, ny, nz)
                rx, ry, rz = irradiance_slope(lamp, 0, nx, ny, nz)
                ux, uy, uz = irradiance_slope(lamp, 1, nx, ny, nz)
                vx, vy, vz = irradiance_slope(lamp, 2, nx, ny, nz)
                gx = red * rx + green * ux + blue * vx
                gy = red * ry + green * uy + blue * vy
                gz = red * rz + green * uz + blue * vz
                if uv_detached[face]:
                    grad_s, grad_t = zero, zero
                along = gx * nx + gy * ny + gz * nz
                gx, gy, gz = (gx - along * nx) * inverse, (gy - along * ny) * inverse, (gz - along * nz) * inverse
                _, _, s_a, t_a, s_b, t_b = face_texture(face_uv, face)
                on_a, on_b, on_c = grad_s * s_a + grad_t * t_a, grad_s * s_b + grad_t * t_b, zero
                if extra:
                    on_a += grad_barycentric[frame, row, column, 0]
                    on_b += grad_barycentric[frame, row, column, 1]
                on_a += gx * directions[3 * a] + gy * directions[3 * a + 1] + gz * directions[3 * a + 2]
                on_b += gx * directions[3 * b] + gy * directions[3 * b + 1] + gz * directions[3 * b + 2]
                on_c += gx * directions[3 * c] + gy * directions[3 * c + 1] + gz * directions[3 * c + 2]
                on_directions[3 * a] += weight_a * gx
                on_directions[3 * a + 1] += weight_a * gy
                on_directions[3 * a + 2] += weight_a * gz
                on_directions[3 * b] += weight_b * gx
                on_directions[3 * b + 1] += weight_b * gy
                on_directions[3 * b + 2] += weight_b * gz
                on_directions[3 * c] += weight_c * gx
                on_directions[3 * c + 1] += weight_c * gy
                on_directions[3 * c + 2] += weight_c * gz
                x = (real(column) + half) * x_pixel - one
                add_barycentric_gradient(positions, a, b, c, x, y, on_a - on_c, on_b - on_c, on_positions)
        for n in range(9):
            for m in range(3):
                grad_light[chunk, n, m] = lamp_sums[3 * n + m] * real(FACTORS[n])
