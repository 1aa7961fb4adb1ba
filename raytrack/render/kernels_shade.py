"""Kernels of the fused shading (texture × spherical-harmonic light over a background) and of vertex normals."""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917

import numpy as np

from raytrack.geometry.harmonics import FACTORS
from raytrack.render.jit import inlined, kernel
from raytrack.render.kernels_raster import add_barycentric_gradient, chunk_rows
from raytrack.render.kernels_texture import bilinear, mip_level, split_level, texels

BAND_0, BAND_1, BAND_2, BAND_2_XX, BAND_2_ZZ = FACTORS[0], FACTORS[1], FACTORS[4], FACTORS[7], FACTORS[8]


@inlined
def fill_basis(x, y, z, basis):
    """The nine spherical harmonics of `raytrack.geometry.harmonics`."""
    real = type(x)
    basis[0] = real(BAND_0)
    basis[1], basis[2], basis[3] = real(BAND_1) * x, real(BAND_1) * y, real(BAND_1) * z
    basis[4], basis[5], basis[6] = real(BAND_2) * x * y, real(BAND_2) * x * z, real(BAND_2) * y * z
    basis[7] = real(BAND_2_XX) * (x * x - y * y)
    basis[8] = real(BAND_2_ZZ) * (real(3) * z * z - real(1))


@inlined
def basis_gradient(x, y, z, grad):
    """Gradient of the unit normal from that of the nine harmonics."""
    real = type(x)
    one, two, twice, six = real(BAND_1), real(BAND_2), real(2 * BAND_2_XX), real(6 * BAND_2_ZZ)
    return (
        one * grad[1] + two * (grad[4] * y + grad[5] * z) + twice * grad[7] * x,
        one * grad[2] + two * (grad[4] * x + grad[6] * z) - twice * grad[7] * y,
        one * grad[3] + two * (grad[5] * x + grad[6] * y) + six * grad[8] * z,
    )


@inlined
def normal_at(normals, frame, a, b, c, weight_a, weight_b):
    """Interpolated unit normal and one over its length before."""
    real = type(weight_a)
    weight_c = real(1) - weight_a - weight_b
    x = weight_a * normals[frame, a, 0] + weight_b * normals[frame, b, 0] + weight_c * normals[frame, c, 0]
    y = weight_a * normals[frame, a, 1] + weight_b * normals[frame, b, 1] + weight_c * normals[frame, c, 1]
    z = weight_a * normals[frame, a, 2] + weight_b * normals[frame, b, 2] + weight_c * normals[frame, c, 2]
    inverse = real(1) / np.sqrt(x * x + y * y + z * z + real(1e-20))
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
def shade_chunks(
    clip,
    normals,
    faces,
    uv_table,
    uv_faces,
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
    half, zero, one, two = real(0.5), real(0), real(1), real(2)
    height, width = face_index.shape[1], face_index.shape[2]
    basis, albedo = np.empty(9, clip.dtype), np.empty(3, clip.dtype)
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        lamp = light[frame if light.shape[0] > 1 else 0]
        for row in range(y_first, y_end):
            y = (real(row) + half) * (two / real(height)) - one
            for column in range(width):
                face = face_index[frame, row, column]
                if face < 0:
                    for k in range(3):
                        image[frame, row, column, k] = background[frame, row, column, k]
                    continue
                x = (real(column) + half) * (two / real(width)) - one
                weight_a, weight_b = barycentric[frame, row, column, 0], barycentric[frame, row, column, 1]
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                i, j, k = uv_faces[face, 0], uv_faces[face, 1], uv_faces[face, 2]
                s_a, t_a = uv_table[i, 0] - uv_table[k, 0], uv_table[i, 1] - uv_table[k, 1]
                s_b, t_b = uv_table[j, 0] - uv_table[k, 0], uv_table[j, 1] - uv_table[k, 1]
                s = uv_table[k, 0] + weight_a * s_a + weight_b * s_b
                t = uv_table[k, 1] + weight_a * t_a + weight_b * t_b
                mip = mip_level(clip, frame, a, b, c, x, y, height, width, s_a, t_a, s_b, t_b, size, offsets.shape[0])
                uv[frame, row, column, 0], uv[frame, row, column, 1], level[frame, row, column] = s, t, mip
                finer, coarser_weight = split_level(mip, offsets.shape[0])
                source = texture if finer == 0 else levels
                p, q, u, v, x_weight, y_weight, _, _ = texels(offsets[finer], size >> finer, 3, s, t)
                for m in range(3):
                    albedo[m], _, _ = bilinear(source, p + m, q + m, u + m, v + m, x_weight, y_weight)
                if coarser_weight > zero and finer + 1 < offsets.shape[0]:
                    p, q, u, v, x_weight, y_weight, _, _ = texels(offsets[finer + 1], size >> (finer + 1), 3, s, t)
                    for m in range(3):
                        value, _, _ = bilinear(levels, p + m, q + m, u + m, v + m, x_weight, y_weight)
                        albedo[m] += (value - albedo[m]) * coarser_weight
                nx, ny, nz, _ = normal_at(normals, frame, a, b, c, weight_a, weight_b)
                fill_basis(nx, ny, nz, basis)
                for m in range(3):
                    diffuse = zero
                    for n in range(9):
                        diffuse += basis[n] * lamp[n, m]
                    image[frame, row, column, m] = albedo[m] * diffuse


@kernel
def shade_gradient(
    clip,
    normals,
    faces,
    uv_table,
    uv_faces,
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
    half, zero, one, two = real(0.5), real(0), real(1), real(2)
    height, width = face_index.shape[1], face_index.shape[2]
    basis, grad_basis = np.empty(9, clip.dtype), np.empty(9, clip.dtype)
    value, s_slope, t_slope = np.empty(3, clip.dtype), np.empty(3, clip.dtype), np.empty(3, clip.dtype)
    extra = grad_barycentric.shape[0] > 0
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        lamp = light[frame if light.shape[0] > 1 else 0]
        grad_clip[chunk] = zero
        grad_normals[chunk] = zero
        grad_light[chunk] = zero
        for row in range(y_first, y_end):
            y = (real(row) + half) * (two / real(height)) - one
            for column in range(width):
                for m in range(3):
                    grad_albedo[frame, row, column, m] = zero
                face = face_index[frame, row, column]
                if face < 0:
                    continue
                red, green = grad_image[frame, row, column, 0], grad_image[frame, row, column, 1]
                blue = grad_image[frame, row, column, 2]
                if red == zero and green == zero and blue == zero and not extra:
                    continue
                weight_a, weight_b = barycentric[frame, row, column, 0], barycentric[frame, row, column, 1]
                weight_c = one - weight_a - weight_b
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                s, t = uv[frame, row, column, 0], uv[frame, row, column, 1]
                for m in range(3):
                    value[m], s_slope[m], t_slope[m] = zero, zero, zero
                finer, coarser_weight = split_level(level[frame, row, column], offsets.shape[0])
                for step in range(2):
                    at = finer + step
                    weight = coarser_weight if step else one - coarser_weight
                    if not weight > zero or at >= offsets.shape[0]:
                        continue
                    source = texture if at == 0 else levels
                    p, q, u, v, x_weight, y_weight, x_scale, y_scale = texels(offsets[at], size >> at, 3, s, t)
                    for m in range(3):
                        colour, x_slope, y_slope = bilinear(source, p + m, q + m, u + m, v + m, x_weight, y_weight)
                        value[m] += weight * colour
                        s_slope[m] += weight * x_slope * x_scale
                        t_slope[m] += weight * y_slope * y_scale
                nx, ny, nz, inverse = normal_at(normals, frame, a, b, c, weight_a, weight_b)
                fill_basis(nx, ny, nz, basis)
                for n in range(9):
                    grad_basis[n] = zero
                grad_s, grad_t = zero, zero
                for m in range(3):
                    grad = grad_image[frame, row, column, m]
                    grad_diffuse = grad * value[m]
                    diffuse = zero
                    for n in range(9):
                        diffuse += basis[n] * lamp[n, m]
                        grad_basis[n] += grad_diffuse * lamp[n, m]
                        grad_light[chunk, n, m] += grad_diffuse * basis[n]
                    on_albedo = grad * diffuse
                    grad_albedo[frame, row, column, m] = on_albedo
                    grad_s += on_albedo * s_slope[m]
                    grad_t += on_albedo * t_slope[m]
                if uv_detached[face]:
                    grad_s, grad_t = zero, zero
                gx, gy, gz = basis_gradient(nx, ny, nz, grad_basis)
                along = gx * nx + gy * ny + gz * nz
                gx, gy, gz = (gx - along * nx) * inverse, (gy - along * ny) * inverse, (gz - along * nz) * inverse
                grad_normals[chunk, a, 0] += weight_a * gx
                grad_normals[chunk, a, 1] += weight_a * gy
                grad_normals[chunk, a, 2] += weight_a * gz
                grad_normals[chunk, b, 0] += weight_b * gx
                grad_normals[chunk, b, 1] += weight_b * gy
                grad_normals[chunk, b, 2] += weight_b * gz
                grad_normals[chunk, c, 0] += weight_c * gx
                grad_normals[chunk, c, 1] += weight_c * gy
                grad_normals[chunk, c, 2] += weight_c * gz
                i, j, k = uv_faces[face, 0], uv_faces[face, 1], uv_faces[face, 2]
                on_a = (
                    gx * (normals[frame, a, 0] - normals[frame, c, 0])
                    + gy * (normals[frame, a, 1] - normals[frame, c, 1])
                    + gz * (normals[frame, a, 2] - normals[frame, c, 2])
                    + grad_s * (uv_table[i, 0] - uv_table[k, 0])
                    + grad_t * (uv_table[i, 1] - uv_table[k, 1])
                )
                on_b = (
                    gx * (normals[frame, b, 0] - normals[frame, c, 0])
                    + gy * (normals[frame, b, 1] - normals[frame, c, 1])
                    + gz * (normals[frame, b, 2] - normals[frame, c, 2])
                    + grad_s * (uv_table[j, 0] - uv_table[k, 0])
                    + grad_t * (uv_table[j, 1] - uv_table[k, 1])
                )
                if extra:
                    on_a += grad_barycentric[frame, row, column, 0]
                    on_b += grad_barycentric[frame, row, column, 1]
                x = (real(column) + half) * (two / real(width)) - one
                add_barycentric_gradient(clip, frame, a, b, c, x, y, on_a, on_b, grad_clip, chunk)


@inlined
def face_sides(vertices, frame, a, b, c):
    """The sides from the first corner to the second and to the third."""
    ax, ay, az = vertices[frame, a, 0], vertices[frame, a, 1], vertices[frame, a, 2]
    return (
        vertices[frame, b, 0] - ax,
        vertices[frame, b, 1] - ay,
        vertices[frame, b, 2] - az,
        vertices[frame, c, 0] - ax,
        vertices[frame, c, 1] - ay,
        vertices[frame, c, 2] - az,
    )


@kernel
def normals_of_frames(vertices, faces, normals, lengths, first, last):
    """Unit area-weighted vertex normals of some frames, and their lengths before (twice the area around a vertex)."""
    real = vertices.dtype.type
    for frame in range(first, last):
        normals[frame] = real(0)
        for face in range(faces.shape[0]):
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            ux, uy, uz, vx, vy, vz = face_sides(vertices, frame, a, b, c)
            x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            for corner in (a, b, c):
                normals[frame, corner, 0] += x
                normals[frame, corner, 1] += y
                normals[frame, corner, 2] += z
        for vertex in range(vertices.shape[1]):
            x, y, z = normals[frame, vertex, 0], normals[frame, vertex, 1], normals[frame, vertex, 2]
            length = max(np.sqrt(x * x + y * y + z * z), real(1e-12))
            lengths[frame, vertex] = length
            normals[frame, vertex, 0] = x / length
            normals[frame, vertex, 1] = y / length
            normals[frame, vertex, 2] = z / length


@kernel
def normals_gradient(vertices, faces, normals, lengths, grad_normals, grad_vertices, first, last):
    """Gradient of `normals_of_frames` in the vertices."""
    real = vertices.dtype.type
    on_sum = np.empty((vertices.shape[1], 3), vertices.dtype)
    for frame in range(first, last):
        for vertex in range(vertices.shape[1]):
            x, y, z = normals[frame, vertex, 0], normals[frame, vertex, 1], normals[frame, vertex, 2]
            gx, gy, gz = grad_normals[frame, vertex, 0], grad_normals[frame, vertex, 1], grad_normals[frame, vertex, 2]
            along = gx * x + gy * y + gz * z
            length = lengths[frame, vertex]
            on_sum[vertex, 0] = (gx - along * x) / length
            on_sum[vertex, 1] = (gy - along * y) / length
            on_sum[vertex, 2] = (gz - along * z) / length
        grad_vertices[frame] = real(0)
        for face in range(faces.shape[0]):
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            ux, uy, uz, vx, vy, vz = face_sides(vertices, frame, a, b, c)
            x = on_sum[a, 0] + on_sum[b, 0] + on_sum[c, 0]
            y = on_sum[a, 1] + on_sum[b, 1] + on_sum[c, 1]
            z = on_sum[a, 2] + on_sum[b, 2] + on_sum[c, 2]
            du, dv = vy * z - vz * y, y * uz - z * uy
            grad_vertices[frame, b, 0] += du
            grad_vertices[frame, c, 0] += dv
            grad_vertices[frame, a, 0] -= du + dv
            du, dv = vz * x - vx * z, z * ux - x * uz
            grad_vertices[frame, b, 1] += du
            grad_vertices[frame, c, 1] += dv
            grad_vertices[frame, a, 1] -= du + dv
            du, dv = vx * y - vy * x, x * uy - y * ux
            grad_vertices[frame, b, 2] += du
            grad_vertices[frame, c, 2] += dv
            grad_vertices[frame, a, 2] -= du + dv
