"""Kernels of the trilinear texture lookup.

A texture is square, its size a power of two, and halves down to 4 × 4. Level 0 is the texture itself; the other levels
lie one after another in one flat array, `offsets[level]` being where a level starts.
"""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.
# ruff: noqa: C901, PLR0917

import math

import numpy as np

from raytrack.render.jit import inlined, kernel
from raytrack.render.kernels_raster import chunk_rows, corners_at
from raytrack.render.texture import MIN_SIZE

NUM_BANDS = 4
"""Every level has at least four rows, so it can be made in four bands that do not need each other."""


def level_offsets(size: int, channels: int) -> tuple[np.ndarray, int]:
    """Where each level starts in the array of levels 1 and up (0 for level 0), and that array's length."""
    num_levels = int(math.log2(size // MIN_SIZE)) + 1
    lengths = [channels * (size >> level) ** 2 for level in range(1, num_levels)]
    return np.concatenate([[0, 0], np.cumsum(lengths)])[:num_levels].astype(np.int64), sum(lengths)


@kernel
def reduce_levels(texture, offsets, size, channels, levels, first, last):
    """Fill bands `first` to `last` of levels 1 and up, each the 2 × 2 mean of the one before."""
    quarter = texture.dtype.type(0.25)
    for band in range(first, last):
        for level in range(1, offsets.shape[0]):
            finer = texture if level == 1 else levels
            width = size >> level
            stride = 2 * width * channels
            for row in range(width * band // NUM_BANDS, width * (band + 1) // NUM_BANDS):
                source = offsets[level - 1] + 2 * row * stride
                upper, lower = finer[source : source + stride], finer[source + stride : source + 2 * stride]
                target = levels[offsets[level] + row * width * channels : offsets[level] + (row + 1) * width * channels]
                for x in range(width):
                    for k in range(channels):
                        at = 2 * x * channels + k
                        total = upper[at] + upper[at + channels] + lower[at] + lower[at + channels]
                        target[x * channels + k] = total * quarter


@kernel
def gather_levels(grad_texture, offsets, size, channels, grad_levels, first, last):
    """Add the gradients of levels 1 and up to level 0, in bands: the transpose of `reduce_levels`."""
    quarter = grad_texture.dtype.type(0.25)
    for band in range(first, last):
        for level in range(offsets.shape[0] - 1, 0, -1):
            finer = grad_texture if level == 1 else grad_levels
            width = size >> level
            stride = 2 * width * channels
            for row in range(width * band // NUM_BANDS, width * (band + 1) // NUM_BANDS):
                target = offsets[level - 1] + 2 * row * stride
                upper, lower = finer[target : target + stride], finer[target + stride : target + 2 * stride]
                source = grad_levels[
                    offsets[level] + row * width * channels : offsets[level] + (row + 1) * width * channels
                ]
                for x in range(width):
                    for k in range(channels):
                        share = source[x * channels + k] * quarter
                        at = 2 * x * channels + k
                        upper[at] += share
                        upper[at + channels] += share
                        lower[at] += share
                        lower[at + channels] += share


@inlined
def split_level(level, num_levels):
    """The finer of the two levels and the weight of the coarser."""
    real = type(level)
    finer = min(max(int(level), 0), num_levels - 1)
    return finer, level - real(finer)


@inlined
def texel_axis(coordinate, size):
    """The two texels beside a coordinate, the second one's weight, and texels per unit (0 beyond the edge)."""
    real = type(coordinate)
    scale = real(size)
    position = coordinate * scale - real(0.5)
    inside = min(max(position, real(0)), real(size - 1))
    low = min(max(int(inside), 0), size - 1)
    return low, min(low + 1, size - 1), inside - real(low), scale if inside == position else real(0)


@inlined
def texels(offset, size, channels, s, t):
    """Flat positions of the four texels around (s, t), the weights within them, texels per unit of s and t."""
    x_low, x_high, x_weight, x_scale = texel_axis(s, size)
    y_low, y_high, y_weight, y_scale = texel_axis(t, size)
    upper, lower = offset + y_low * size * channels, offset + y_high * size * channels
    upper_left, upper_right = upper + x_low * channels, upper + x_high * channels
    lower_left, lower_right = lower + x_low * channels, lower + x_high * channels
    return upper_left, upper_right, lower_left, lower_right, x_weight, y_weight, x_scale, y_scale


@inlined
def bilinear(source, upper_left, upper_right, lower_left, lower_right, x_weight, y_weight):
    """Value between four texels and its slope along x and y, in texels."""
    upper_slope = source[upper_right] - source[upper_left]
    lower_slope = source[lower_right] - source[lower_left]
    upper = source[upper_left] + upper_slope * x_weight
    y_slope = source[lower_left] + lower_slope * x_weight - upper
    return upper + y_slope * y_weight, upper_slope + (lower_slope - upper_slope) * y_weight, y_slope


@inlined
def mip_level(clip, frame, a, b, c, x, y, height, width, s_a, t_a, s_b, t_b, size, num_levels):
    """Log2 of the texels per pixel along the image axis that crosses more of them, within the levels there are.

    `s_a` … `t_b` are the texture coordinates of the first two corners less those of the third.
    """
    real = type(x)
    xa, ya, xb, yb, xc, yc = corners_at(clip, frame, a, b, c, x, y)
    wa, wb, wc = clip[frame, a, 3], clip[frame, b, 3], clip[frame, c, 3]
    area_a, area_b, area_c = xb * yc - yb * xc, xc * ya - yc * xa, xa * yb - ya * xb
    total = area_a + area_b + area_c
    inverse = real(1) / total
    weight_a, weight_b = area_a * inverse, area_b * inverse
    step = real(2) / real(width) * inverse
    area_a, area_b, area_c = wc * yb - wb * yc, wa * yc - wc * ya, wb * ya - wa * yb
    total = area_a + area_b + area_c
    slope_a, slope_b = (area_a - weight_a * total) * step, (area_b - weight_b * total) * step
    s_slope, t_slope = slope_a * s_a + slope_b * s_b, slope_a * t_a + slope_b * t_b
    along_x = s_slope * s_slope + t_slope * t_slope
    step = real(2) / real(height) * inverse
    area_a, area_b, area_c = wb * xc - wc * xb, wc * xa - wa * xc, wa * xb - wb * xa
    total = area_a + area_b + area_c
    slope_a, slope_b = (area_a - weight_a * total) * step, (area_b - weight_b * total) * step
    s_slope, t_slope = slope_a * s_a + slope_b * s_b, slope_a * t_a + slope_b * t_b
    along_y = s_slope * s_slope + t_slope * t_slope
    texels_squared = max(along_x, along_y) * real(size) * real(size)
    level = real(0.5) * np.log2(max(texels_squared, real(1e-12)))
    return min(max(level, real(0)), real(num_levels - 1))


@kernel
def find_levels(clip, faces, uv, uv_faces, face_index, size, num_levels, bands, level, first, last):
    """Mip level at each pixel; 0 off the surface."""
    real = clip.dtype.type
    half, one, two = real(0.5), real(1), real(2)
    height, width = face_index.shape[1], face_index.shape[2]
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        for row in range(y_first, y_end):
            y = (real(row) + half) * (two / real(height)) - one
            for column in range(width):
                face = face_index[frame, row, column]
                level[frame, row, column] = real(0)
                if face < 0:
                    continue
                x = (real(column) + half) * (two / real(width)) - one
                a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
                i, j, k = uv_faces[face, 0], uv_faces[face, 1], uv_faces[face, 2]
                s_a, t_a = uv[i, 0] - uv[k, 0], uv[i, 1] - uv[k, 1]
                s_b, t_b = uv[j, 0] - uv[k, 0], uv[j, 1] - uv[k, 1]
                level[frame, row, column] = mip_level(
                    clip, frame, a, b, c, x, y, height, width, s_a, t_a, s_b, t_b, size, num_levels
                )


@kernel
def sample_chunks(texture, levels, offsets, size, face_index, uv, level, bands, values, first, last):
    """Trilinear lookup at each pixel; 0 off the surface."""
    zero = texture.dtype.type(0)
    height, width, channels = values.shape[1], values.shape[2], values.shape[3]
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        for y in range(y_first, y_end):
            for x in range(width):
                for k in range(channels):
                    values[frame, y, x, k] = zero
                if face_index[frame, y, x] < 0:
                    continue
                finer, coarser_weight = split_level(level[frame, y, x], offsets.shape[0])
                for step in range(2):
                    at = finer + step
                    weight = coarser_weight if step else texture.dtype.type(1) - coarser_weight
                    if not weight > zero or at >= offsets.shape[0]:
                        continue
                    source = texture if at == 0 else levels
                    p, q, r, s, x_weight, y_weight, _, _ = texels(
                        offsets[at], size >> at, channels, uv[frame, y, x, 0], uv[frame, y, x, 1]
                    )
                    for k in range(channels):
                        value, _, _ = bilinear(source, p + k, q + k, r + k, s + k, x_weight, y_weight)
                        values[frame, y, x, k] += weight * value


@kernel
def sample_uv_gradient(texture, levels, offsets, size, face_index, uv, level, grad_values, bands, grad_uv, first, last):
    """Gradient of `sample_chunks` in the texture coordinates."""
    zero = texture.dtype.type(0)
    height, width, channels = grad_values.shape[1], grad_values.shape[2], grad_values.shape[3]
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        for y in range(y_first, y_end):
            for x in range(width):
                grad_s, grad_t = zero, zero
                if face_index[frame, y, x] >= 0:
                    finer, coarser_weight = split_level(level[frame, y, x], offsets.shape[0])
                    for step in range(2):
                        at = finer + step
                        weight = coarser_weight if step else texture.dtype.type(1) - coarser_weight
                        if not weight > zero or at >= offsets.shape[0]:
                            continue
                        source = texture if at == 0 else levels
                        p, q, r, s, x_weight, y_weight, x_scale, y_scale = texels(
                            offsets[at], size >> at, channels, uv[frame, y, x, 0], uv[frame, y, x, 1]
                        )
                        for k in range(channels):
                            _, x_slope, y_slope = bilinear(source, p + k, q + k, r + k, s + k, x_weight, y_weight)
                            grad = weight * grad_values[frame, y, x, k]
                            grad_s += grad * x_slope * x_scale
                            grad_t += grad * y_slope * y_scale
                grad_uv[frame, y, x, 0] = grad_s
                grad_uv[frame, y, x, 1] = grad_t


@kernel
def scatter_texels(
    grad_texture, grad_levels, offsets, size, face_index, uv, level, grad_values, num_owners, first, last
):
    """Gradient of `sample_chunks` in the texels, added to zeroed `grad_texture` and `grad_levels`.

    Each of `num_owners` calls goes over all pixels in order and adds to the texture rows it owns, so that a texel's sum
    is the same for any number of owners.
    """
    zero, one = grad_texture.dtype.type(0), grad_texture.dtype.type(1)
    frames, height, width, channels = grad_values.shape
    for owner in range(first, last):
        for frame in range(frames):
            for y in range(height):
                for x in range(width):
                    if face_index[frame, y, x] < 0:
                        continue
                    finer, coarser_weight = split_level(level[frame, y, x], offsets.shape[0])
                    for step in range(2):
                        at = finer + step
                        weight = coarser_weight if step else one - coarser_weight
                        if not weight > zero or at >= offsets.shape[0]:
                            continue
                        rows = size >> at
                        block = max(rows >> 5, 1)
                        upper, lower, y_weight, _ = texel_axis(uv[frame, y, x, 1], rows)
                        owns_upper = num_owners == 1 or (upper // block) % num_owners == owner
                        owns_lower = num_owners == 1 or (lower // block) % num_owners == owner
                        if not (owns_upper or owns_lower):
                            continue
                        left, right, x_weight, _ = texel_axis(uv[frame, y, x, 0], rows)
                        target = grad_texture if at == 0 else grad_levels
                        left_weight, right_weight = weight * (one - x_weight), weight * x_weight
                        if owns_upper:
                            p = offsets[at] + (upper * rows + left) * channels
                            q = offsets[at] + (upper * rows + right) * channels
                            share = one - y_weight
                            for k in range(channels):
                                grad = grad_values[frame, y, x, k] * share
                                target[p + k] += left_weight * grad
                                target[q + k] += right_weight * grad
                        if owns_lower:
                            p = offsets[at] + (lower * rows + left) * channels
                            q = offsets[at] + (lower * rows + right) * channels
                            for k in range(channels):
                                grad = grad_values[frame, y, x, k] * y_weight
                                target[p + k] += left_weight * grad
                                target[q + k] += right_weight * grad
