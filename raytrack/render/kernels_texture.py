"""Kernels of the trilinear texture lookup.

A texture is square, its size a power of two, and halves down to 4 × 4. Level 0 is the texture itself; the other levels
lie one after another in one flat array, `offsets[level]` being where a level starts.
"""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.

import math

import numpy as np

from raytrack.render.jit import inlined, kernel
from raytrack.render.kernels_raster import chunk_rows, corners_at, face_corners
from raytrack.render.texture import MIN_SIZE

NUM_BLOCKS = 32
"""Blocks of rows of a level that `scatter_texels` deals out to its owners."""
NUM_BANDS = 4
"""Every level has at least four rows, so it can be made in four bands that do not need each other."""


def level_offsets(size: int, channels: int) -> tuple[np.ndarray, int]:
    """Where each level starts in the array of levels 1 and up (0 for level 0), and that array's length."""
    num_levels = int(math.log2(size // MIN_SIZE)) + 1
    lengths = [channels * (size >> level) ** 2 for level in range(1, num_levels)]
    return np.concatenate([[0, 0], np.cumsum(lengths)])[:num_levels].astype(np.int64), sum(lengths)


@inlined
def halve_row(finer, start, stride, channels, coarser, target):
    """Mean of 2 × 2 texels along a row of the coarser level; `start` and `stride` are those of the finer one's two."""
    quarter = finer.dtype.type(0.25)
    upper, lower = np.uint32(start), np.uint32(start + stride)
    at = np.uint32(target)
    for _ in range(stride // (2 * channels)):
        for k in range(channels):
            k_ = np.uint32(k)
            k_2 = np.uint32(k + channels)
            total = finer[upper + k_] + finer[upper + k_2] + finer[lower + k_] + finer[lower + k_2]
            coarser[at + k_] = total * quarter
        upper = np.uint32(upper + 2 * channels)
        lower = np.uint32(lower + 2 * channels)
        at = np.uint32(at + channels)


@kernel
def reduce_levels(texture, offsets, size, channels, levels, first, last):
    """Fill bands `first` to `last` of levels 1 and up, each the 2 × 2 mean of the one before."""
    for band in range(first, last):
        for level in range(1, offsets.shape[0]):
            width = size >> level
            stride = 2 * width * channels
            for row in range(width * band // NUM_BANDS, width * (band + 1) // NUM_BANDS):
                start, target = offsets[level - 1] + 2 * row * stride, offsets[level] + row * width * channels
                if level == 1 and channels == 3:
                    halve_row(texture, start, stride, 3, levels, target)
                elif level == 1:
                    halve_row(texture, start, stride, channels, levels, target)
                else:
                    halve_row(levels, start, stride, channels, levels, target)


@inlined
def spread_row(grad_finer, start, stride, channels, grad_coarser, source):
    """Add the gradient of a coarser row to the two rows it came from: the transpose of `halve_row`."""
    quarter = grad_finer.dtype.type(0.25)
    upper, lower = np.uint32(start), np.uint32(start + stride)
    at = np.uint32(source)
    for _ in range(stride // (2 * channels)):
        for k in range(channels):
            k_ = np.uint32(k)
            k_2 = np.uint32(k + channels)
            share = grad_coarser[at + k_] * quarter
            grad_finer[upper + k_] += share
            grad_finer[upper + k_2] += share
            grad_finer[lower + k_] += share
            grad_finer[lower + k_2] += share
        upper = np.uint32(upper + 2 * channels)
        lower = np.uint32(lower + 2 * channels)
        at = np.uint32(at + channels)


@kernel
def gather_levels(grad_texture, offsets, size, channels, grad_levels, first, last):
    """Add the gradients of levels 1 and up to level 0, in bands: the transpose of `reduce_levels`."""
    for band in range(first, last):
        for level in range(offsets.shape[0] - 1, 0, -1):
            width = size >> level
            stride = 2 * width * channels
            for row in range(width * band // NUM_BANDS, width * (band + 1) // NUM_BANDS):
                start, source = offsets[level - 1] + 2 * row * stride, offsets[level] + row * width * channels
                if level == 1 and channels == 3:
                    spread_row(grad_texture, start, stride, 3, grad_levels, source)
                elif level == 1:
                    spread_row(grad_texture, start, stride, channels, grad_levels, source)
                else:
                    spread_row(grad_levels, start, stride, channels, grad_levels, source)


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
    inside = min(max(position, real(0)), scale - real(1))
    low = min(max(int(inside), 0), size - 1)
    return low, min(low + 1, size - 1), inside - real(low), scale if inside == position else real(0)


@inlined
def texels(offset, size, channels, s, t):
    """Flat positions of the four texels around (s, t), the weights within them, texels per unit of s and t."""
    x_low, x_high, x_weight, x_scale = texel_axis(s, size)
    y_low, y_high, y_weight, y_scale = texel_axis(t, size)
    upper, lower = offset + y_low * size * channels, offset + y_high * size * channels
    upper_left, upper_right = np.uintp(upper + x_low * channels), np.uintp(upper + x_high * channels)
    lower_left, lower_right = np.uintp(lower + x_low * channels), np.uintp(lower + x_high * channels)
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
def mip_level(positions, a, b, c, x, y, x_pixel, y_pixel, s_a, t_a, s_b, t_b, s, t, size, num_levels):
    """Log2 of the texels per pixel along the image axis that crosses more of them, within the levels there are.

    `positions` are those of the frame, flat; (x, y) is the pixel in clip space, `x_pixel` by `y_pixel` large.
    Texture coordinates count from those of the third corner: (s_a, t_a), (s_b, t_b) of the first two, (s, t) of the
    pixel.
    """
    real = type(x)
    xa, ya, xb, yb, xc, yc = corners_at(positions, a, b, c, x, y)
    wa, wb, wc = positions[4 * a + 3], positions[4 * b + 3], positions[4 * c + 3]
    inverse = real(1) / ((xb * yc - yb * xc) + (xc * ya - yc * xa) + (xa * yb - ya * xb))
    area_a, area_b = wc * yb - wb * yc, wa * yc - wc * ya
    total = area_a + area_b + (wb * ya - wa * yb)
    s_slope, t_slope = area_a * s_a + area_b * s_b - total * s, area_a * t_a + area_b * t_b - total * t
    along_x = (s_slope * s_slope + t_slope * t_slope) * (x_pixel * x_pixel)
    area_a, area_b = wb * xc - wc * xb, wc * xa - wa * xc
    total = area_a + area_b + (wa * xb - wb * xa)
    s_slope, t_slope = area_a * s_a + area_b * s_b - total * s, area_a * t_a + area_b * t_b - total * t
    along_y = (s_slope * s_slope + t_slope * t_slope) * (y_pixel * y_pixel)
    texels_squared = max(along_x, along_y) * (inverse * inverse) * (real(size) * real(size))
    level = real(0.5) * np.log2(max(texels_squared, real(1e-12)))
    return min(max(level, real(0)), real(num_levels - 1))


@inlined
def face_texture(face_uv, face):
    """Texture coordinates of a face's third corner, and of the first two less those."""
    at = 6 * np.uint32(face)
    return face_uv[at], face_uv[at + 1], face_uv[at + 2], face_uv[at + 3], face_uv[at + 4], face_uv[at + 5]


@kernel
def find_levels(clip, faces, face_uv, face_index, barycentric, size, num_levels, bands, level, first, last):
    """Mip level at each pixel; 0 off the surface."""
    real = clip.dtype.type
    half, one = real(0.5), real(1)
    height, width = face_index.shape[1], face_index.shape[2]
    x_pixel, y_pixel = real(2) / real(width), real(2) / real(height)
    flat_faces = faces.reshape(-1)
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        positions = clip[frame].reshape(-1)
        for row in range(y_first, y_end):
            y = (real(row) + half) * y_pixel - one
            for column in range(width):
                face = face_index[frame, row, column]
                level[frame, row, column] = real(0)
                if face < 0:
                    continue
                x = (real(column) + half) * x_pixel - one
                a, b, c = face_corners(flat_faces, face)
                _, _, s_a, t_a, s_b, t_b = face_texture(face_uv, face)
                weight_a, weight_b = barycentric[frame, row, column, 0], barycentric[frame, row, column, 1]
                s, t = weight_a * s_a + weight_b * s_b, weight_a * t_a + weight_b * t_b
                level[frame, row, column] = mip_level(
                    positions, a, b, c, x, y, x_pixel, y_pixel, s_a, t_a, s_b, t_b, s, t, size, num_levels
                )


@inlined
def add_sample(source, offset, size, channels, s, t, weight, values):
    """Add one level's value, times its weight, to `values`."""
    p, q, u, v, x_weight, y_weight, _, _ = texels(offset, size, channels, s, t)
    for k in range(channels):
        k_ = np.uintp(k)
        value, _, _ = bilinear(source, p + k_, q + k_, u + k_, v + k_, x_weight, y_weight)
        values[k] += weight * value


@kernel
def sample_chunks(texture, levels, offsets, size, face_index, uv, level, bands, values, first, last):
    """Trilinear lookup at each pixel; 0 off the surface."""
    zero, one = texture.dtype.type(0), texture.dtype.type(1)
    height, width, channels = values.shape[1], values.shape[2], values.shape[3]
    num_levels = offsets.shape[0]
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        for y in range(y_first, y_end):
            for x in range(width):
                result = values[frame, y, x]
                result[:] = zero
                if face_index[frame, y, x] < 0:
                    continue
                s, t = uv[frame, y, x, 0], uv[frame, y, x, 1]
                finer, coarser_weight = split_level(level[frame, y, x], num_levels)
                if finer == 0:
                    add_sample(texture, 0, size, channels, s, t, one - coarser_weight, result)
                else:
                    add_sample(levels, offsets[finer], size >> finer, channels, s, t, one - coarser_weight, result)
                coarser = finer + 1
                if coarser_weight > zero and coarser < num_levels:
                    add_sample(levels, offsets[coarser], size >> coarser, channels, s, t, coarser_weight, result)


@inlined
def sample_slopes(source, offset, size, channels, s, t, grad_values):
    """Gradient of one level's value in s and t."""
    p, q, u, v, x_weight, y_weight, x_scale, y_scale = texels(offset, size, channels, s, t)
    grad_s, grad_t = type(s)(0), type(s)(0)
    for k in range(channels):
        k_ = np.uintp(k)
        _, x_slope, y_slope = bilinear(source, p + k_, q + k_, u + k_, v + k_, x_weight, y_weight)
        grad_s += grad_values[k] * x_slope
        grad_t += grad_values[k] * y_slope
    return grad_s * x_scale, grad_t * y_scale


@kernel
def sample_uv_gradient(texture, levels, offsets, size, face_index, uv, level, grad_values, bands, grad_uv, first, last):
    """Gradient of `sample_chunks` in the texture coordinates."""
    zero, one = texture.dtype.type(0), texture.dtype.type(1)
    height, width, channels = grad_values.shape[1], grad_values.shape[2], grad_values.shape[3]
    num_levels = offsets.shape[0]
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        for y in range(y_first, y_end):
            for x in range(width):
                grad_uv[frame, y, x] = zero
                if face_index[frame, y, x] < 0:
                    continue
                s, t, grad = uv[frame, y, x, 0], uv[frame, y, x, 1], grad_values[frame, y, x]
                finer, coarser_weight = split_level(level[frame, y, x], num_levels)
                if finer == 0:
                    on_s, on_t = sample_slopes(texture, 0, size, channels, s, t, grad)
                else:
                    on_s, on_t = sample_slopes(levels, offsets[finer], size >> finer, channels, s, t, grad)
                on_s, on_t = on_s * (one - coarser_weight), on_t * (one - coarser_weight)
                coarser = finer + 1
                if coarser_weight > zero and coarser < num_levels:
                    more_s, more_t = sample_slopes(levels, offsets[coarser], size >> coarser, channels, s, t, grad)
                    on_s, on_t = on_s + more_s * coarser_weight, on_t + more_t * coarser_weight
                grad_uv[frame, y, x, 0], grad_uv[frame, y, x, 1] = on_s, on_t


@inlined
def add_texels(target, left, right, left_weight, right_weight, grad_values, pixel, channels):
    """Add a pixel's gradient to two texels of a row."""
    p, q, source = np.uintp(left), np.uintp(right), np.uintp(pixel * channels)
    for k in range(channels):
        grad = grad_values[source + np.uintp(k)]
        target[p + np.uintp(k)] += left_weight * grad
        target[q + np.uintp(k)] += right_weight * grad


@inlined
def scatter_level(target, offset, size, channels, s, t, weight, grad_values, pixel, num_owners, owner):
    """Add a pixel's gradient to the texels of one level, as far as `owner` owns their rows."""
    upper, lower, y_weight, _ = texel_axis(t, size)
    owns_upper, owns_lower = True, True
    if num_owners > 1:
        block = max(size // NUM_BLOCKS, 1)
        owns_upper, owns_lower = (upper // block) % num_owners == owner, (lower // block) % num_owners == owner
        if not (owns_upper or owns_lower):
            return
    left, right, x_weight, _ = texel_axis(s, size)
    left, right = offset + left * channels, offset + right * channels
    lower_weight = weight * y_weight
    upper_weight = weight - lower_weight
    if owns_upper:
        at, right_weight = upper * size * channels, upper_weight * x_weight
        add_texels(
            target, at + left, at + right, upper_weight - right_weight, right_weight, grad_values, pixel, channels
        )
    if owns_lower:
        at, right_weight = lower * size * channels, lower_weight * x_weight
        add_texels(
            target, at + left, at + right, lower_weight - right_weight, right_weight, grad_values, pixel, channels
        )


@inlined
def scatter_pixels(
    grad_texture, grad_levels, offsets, size, channels, faces, uv, level, grad_values, num_owners, owner
):
    """Add the gradient of all pixels, in order, to the texels that `owner` owns. Everything flat."""
    zero, one = grad_texture.dtype.type(0), grad_texture.dtype.type(1)
    num_levels = offsets.shape[0]
    for pixel in range(faces.shape[0]):
        if faces[pixel] < 0:
            continue
        s, t = uv[2 * pixel], uv[2 * pixel + 1]
        finer, coarser_weight = split_level(level[pixel], num_levels)
        weight = one - coarser_weight
        if finer == 0:
            scatter_level(grad_texture, 0, size, channels, s, t, weight, grad_values, pixel, num_owners, owner)
        else:
            at = offsets[finer]
            scatter_level(grad_levels, at, size >> finer, channels, s, t, weight, grad_values, pixel, num_owners, owner)
        coarser = finer + 1
        if coarser_weight > zero and coarser < num_levels:
            at, weight = offsets[coarser], coarser_weight
            scatter_level(
                grad_levels, at, size >> coarser, channels, s, t, weight, grad_values, pixel, num_owners, owner
            )


@kernel
def scatter_texels(
    grad_texture, grad_levels, offsets, size, face_index, uv, level, grad_values, num_owners, first, last
):
    """Gradient of `sample_chunks` in the texels, added to zeroed `grad_texture` and `grad_levels`.

    Each of `num_owners` calls goes over all pixels in order and adds to the texture rows it owns, so that a texel's sum
    is the same for any number of owners.
    """
    faces, grads, channels = face_index.reshape(-1), grad_values.reshape(-1), grad_values.shape[3]
    uv_flat, level_flat = uv.reshape(-1), level.reshape(-1)
    for owner in range(first, last):
        if channels == 3:  # with a constant, the compiler unrolls the loops over channels
            scatter_pixels(
                grad_texture, grad_levels, offsets, size, 3, faces, uv_flat, level_flat, grads, num_owners, owner
            )
        else:
            scatter_pixels(
                grad_texture, grad_levels, offsets, size, channels, faces, uv_flat, level_flat, grads, num_owners, owner
            )
