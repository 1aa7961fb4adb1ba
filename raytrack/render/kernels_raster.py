"""Kernels that find the nearest face at each pixel and carry vertex values to pixels.

A chunk is a band of rows of one frame. How many there are follows from the number of frames alone, and each one sums
its own gradients, so that results do not depend on the number of threads.

In image coordinates (rows downwards) a face that looks towards the camera has a negative area.
"""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.

import numpy as np

from raytrack.render.jit import inlined, kernel

MIN_DEPTH = 1e-6
"""A face with a corner nearer to the camera plane than this is not drawn."""
MIN_RELATIVE_AREA = 1e-5
"""A face whose area is smaller than this part of the products it comes from is a sliver: its area is rounding error."""


@inlined
def chunk_rows(chunk, bands, height):
    """Frame, first row and end row of a chunk."""
    band = chunk % bands
    return chunk // bands, height * band // bands, height * (band + 1) // bands


@kernel
def prepare_frames(clip, faces, cull, height, width, screen, orientation, bounds, drawn, num_drawn, first, last):
    """Project the vertices of frames `first` to `last` and list the faces that may cover a pixel.

    `screen` becomes (x px, y px, depth) of each vertex, `orientation` the sign of each face's area (0: not drawable),
    `bounds` the pixel columns and rows of the faces in `drawn`.
    """
    real = clip.dtype.type
    half, one, zero, nearest = real(0.5), real(1), real(0), real(MIN_DEPTH)
    wide, high = real(width), real(height)
    for frame in range(first, last):
        for vertex in range(clip.shape[1]):
            inverse = one / clip[frame, vertex, 3]
            screen[frame, vertex, 0] = (clip[frame, vertex, 0] * inverse * half + half) * wide
            screen[frame, vertex, 1] = (clip[frame, vertex, 1] * inverse * half + half) * high
            screen[frame, vertex, 2] = clip[frame, vertex, 2] * inverse
        count = 0
        for face in range(faces.shape[0]):
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            orientation[frame, face] = 0
            depth = min(clip[frame, a, 3], clip[frame, b, 3], clip[frame, c, 3])
            if not depth > nearest:
                continue
            ax, ay = screen[frame, a, 0], screen[frame, a, 1]
            bx, by = screen[frame, b, 0], screen[frame, b, 1]
            cx, cy = screen[frame, c, 0], screen[frame, c, 1]
            area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
            if area < zero:
                orientation[frame, face] = -1
            elif area > zero:
                orientation[frame, face] = 1
                if cull:
                    continue
            else:
                continue
            # The pixels whose centres lie between the corners. Limits first: a float may be too large for an integer.
            x_first = int(np.ceil(max(min(ax, bx, cx), zero) - half))
            x_last = int(np.floor(min(max(ax, bx, cx), wide) - half))
            y_first = int(np.ceil(max(min(ay, by, cy), zero) - half))
            y_last = int(np.floor(min(max(ay, by, cy), high) - half))
            x_first, y_first = max(x_first, 0), max(y_first, 0)
            x_last, y_last = min(x_last, width - 1), min(y_last, height - 1)
            if x_first > x_last or y_first > y_last:
                continue
            drawn[frame, count] = face
            bounds[frame, count, 0], bounds[frame, count, 1] = x_first, x_last
            bounds[frame, count, 2], bounds[frame, count, 3] = y_first, y_last
            count += 1
        num_drawn[frame] = count


@inlined
def edge_line(screen, frame, start, end, scale):
    """The line through two vertices as (x, y, slope in x, slope in y): positive on one side, times `scale`.

    Both faces of an edge use the vertex of lower index as its origin, so that they round alike and leave no gap.
    """
    if start > end:
        start, end, scale = end, start, -scale
    x, y = screen[frame, start, 0], screen[frame, start, 1]
    return x, y, y - screen[frame, end, 1], screen[frame, end, 0] - x, scale


@inlined
def draw_face(screen, faces, frame, face, x_first, x_last, y_first, y_last, depth, face_index):
    """Depth-test one face against the pixels of a rectangle."""
    real = screen.dtype.type
    half, one, zero = real(0.5), real(1), real(0)
    a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
    ax, ay = screen[frame, a, 0], screen[frame, a, 1]
    area = (screen[frame, b, 0] - ax) * (screen[frame, c, 1] - ay) - (screen[frame, c, 0] - ax) * (
        screen[frame, b, 1] - ay
    )
    inverse = one / area
    x_a, y_a, dx_a, dy_a, scale_a = edge_line(screen, frame, b, c, inverse)
    x_b, y_b, dx_b, dy_b, scale_b = edge_line(screen, frame, c, a, inverse)
    x_c, y_c, dx_c, dy_c, scale_c = edge_line(screen, frame, a, b, inverse)
    depth_c = screen[frame, c, 2]
    depth_a, depth_b = screen[frame, a, 2] - depth_c, screen[frame, b, 2] - depth_c
    index = np.int32(face)
    for y in range(y_first, y_last + 1):
        row = real(y) + half
        row_a, row_b, row_c = dy_a * (row - y_a), dy_b * (row - y_b), dy_c * (row - y_c)
        depth_row = depth[frame, y, x_first : x_last + 1]
        index_row = face_index[frame, y, x_first : x_last + 1]
        for k in range(x_last - x_first + 1):
            column = real(np.int32(x_first + k)) + half
            weight_a = (dx_a * (column - x_a) + row_a) * scale_a
            weight_b = (dx_b * (column - x_b) + row_b) * scale_b
            weight_c = (dx_c * (column - x_c) + row_c) * scale_c
            here = depth_a * weight_a + depth_b * weight_b + depth_c
            nearer = (min(weight_a, weight_b, weight_c) >= zero) & (here < depth_row[k])
            depth_row[k] = here if nearer else depth_row[k]
            index_row[k] = index if nearer else index_row[k]


@inlined
def face_corners(faces, face):
    """The corners of a face, from the flat array of faces. Unsigned: numba need not ask whether they are negative."""
    at = 3 * np.uint32(face)
    return np.uint32(faces[at]), np.uint32(faces[at + 1]), np.uint32(faces[at + 2])


@inlined
def corners_at(positions, a, b, c, x, y):
    """Clip-space x and y of three corners relative to a pixel, times w: the origin is the pixel.

    `positions` are those of one frame, flat.
    """
    wa, wb, wc = positions[4 * a + 3], positions[4 * b + 3], positions[4 * c + 3]
    xa, ya = positions[4 * a] - x * wa, positions[4 * a + 1] - y * wa
    xb, yb = positions[4 * b] - x * wb, positions[4 * b + 1] - y * wb
    xc, yc = positions[4 * c] - x * wc, positions[4 * c + 1] - y * wc
    return xa, ya, xb, yb, xc, yc


@kernel
def rasterize_chunks(clip, faces, screen, bounds, drawn, num_drawn, bands, depth, face_index, barycentric, first, last):
    """Nearest face (−1: none), its depth and perspective-correct barycentric weights at each pixel of some chunks."""
    real = clip.dtype.type
    half, one, zero = real(0.5), real(1), real(0)
    height, width = depth.shape[1], depth.shape[2]
    x_pixel, y_pixel = real(2) / real(width), real(2) / real(height)
    flat_faces = faces.reshape(-1)
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        for y in range(y_first, y_end):
            for x in range(width):
                depth[frame, y, x] = np.inf
                face_index[frame, y, x] = -1
        for k in range(num_drawn[frame]):
            top, bottom = max(bounds[frame, k, 2], y_first), min(bounds[frame, k, 3], y_end - 1)
            if top <= bottom:
                left, right = bounds[frame, k, 0], bounds[frame, k, 1]
                draw_face(screen, faces, frame, drawn[frame, k], left, right, top, bottom, depth, face_index)
        positions = clip[frame].reshape(-1)
        for row in range(y_first, y_end):
            y = (real(row) + half) * y_pixel - one
            faces_row, weights_row = face_index[frame, row], barycentric[frame, row].reshape(-1)
            for column in range(width):
                face = faces_row[column]
                if face < 0:
                    weights_row[2 * column] = zero
                    weights_row[2 * column + 1] = zero
                    continue
                x = (real(column) + half) * x_pixel - one
                a, b, c = face_corners(flat_faces, face)
                xa, ya, xb, yb, xc, yc = corners_at(positions, a, b, c, x, y)
                area_a, area_b, area_c = xb * yc - yb * xc, xc * ya - yc * xa, xa * yb - ya * xb
                total = area_a + area_b + area_c
                inverse = one / total if total != zero else zero
                # The centre is inside; a weight outside [0, 1] is rounding error.
                weight_a = min(max(area_a * inverse, zero), one)
                weights_row[2 * column] = weight_a
                weights_row[2 * column + 1] = min(max(area_b * inverse, zero), one - weight_a)


@inlined
def add_barycentric_gradient(positions, a, b, c, x, y, grad_a, grad_b, grad_positions):
    """Add to `grad_positions` what gradients of the first two barycentric weights at a pixel mean for the corners."""
    real = positions.dtype.type
    xa, ya, xb, yb, xc, yc = corners_at(positions, a, b, c, x, y)
    area_a, area_b, area_c = xb * yc - yb * xc, xc * ya - yc * xa, xa * yb - ya * xb
    total = area_a + area_b + area_c
    terms = abs(xb * yc) + abs(yb * xc) + abs(xc * ya) + abs(yc * xa) + abs(xa * yb) + abs(ya * xb)
    if not abs(total) > real(MIN_RELATIVE_AREA) * terms:
        return
    inverse = real(1) / total
    mean = (grad_a * area_a + grad_b * area_b) * inverse
    on_a, on_b, on_c = (grad_a - mean) * inverse, (grad_b - mean) * inverse, -mean * inverse
    x_grad, y_grad = on_c * yb - on_b * yc, on_b * xc - on_c * xb
    grad_positions[4 * a] += x_grad
    grad_positions[4 * a + 1] += y_grad
    grad_positions[4 * a + 3] -= x * x_grad + y * y_grad
    x_grad, y_grad = on_a * yc - on_c * ya, on_c * xa - on_a * xc
    grad_positions[4 * b] += x_grad
    grad_positions[4 * b + 1] += y_grad
    grad_positions[4 * b + 3] -= x * x_grad + y * y_grad
    x_grad, y_grad = on_b * ya - on_a * yb, on_a * xb - on_b * xa
    grad_positions[4 * c] += x_grad
    grad_positions[4 * c + 1] += y_grad
    grad_positions[4 * c + 3] -= x * x_grad + y * y_grad


@kernel
def barycentric_gradient(clip, faces, face_index, grad_barycentric, bands, grad_clip, first, last):
    """Gradient of clip positions from that of barycentric weights, one sum for each chunk."""
    real = clip.dtype.type
    half, one, zero = real(0.5), real(1), real(0)
    height, width = face_index.shape[1], face_index.shape[2]
    x_pixel, y_pixel = real(2) / real(width), real(2) / real(height)
    flat_faces = faces.reshape(-1)
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        positions, grad_positions = clip[frame].reshape(-1), grad_clip[chunk].reshape(-1)
        grad_positions[:] = zero
        for row in range(y_first, y_end):
            y = (real(row) + half) * y_pixel - one
            for column in range(width):
                face = face_index[frame, row, column]
                if face < 0:
                    continue
                grad_a, grad_b = grad_barycentric[frame, row, column, 0], grad_barycentric[frame, row, column, 1]
                if grad_a == zero and grad_b == zero:
                    continue
                x = (real(column) + half) * x_pixel - one
                a, b, c = face_corners(flat_faces, face)
                add_barycentric_gradient(positions, a, b, c, x, y, grad_a, grad_b, grad_positions)


@kernel
def interpolate_chunks(attributes, corners, face_index, barycentric, bands, values, first, last):
    """Attributes of each face's three `corners` at each pixel, 0 off the surface."""
    real = attributes.dtype.type
    zero, one = real(0), real(1)
    height, width = face_index.shape[1], face_index.shape[2]
    channels = attributes.shape[2]
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        source = attributes[frame if attributes.shape[0] > 1 else 0]
        for y in range(y_first, y_end):
            for x in range(width):
                face = face_index[frame, y, x]
                if face < 0:
                    for k in range(channels):
                        values[frame, y, x, k] = zero
                    continue
                a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
                weight_a, weight_b = barycentric[frame, y, x, 0], barycentric[frame, y, x, 1]
                weight_c = one - weight_a - weight_b
                for k in range(channels):
                    values[frame, y, x, k] = weight_a * source[a, k] + weight_b * source[b, k] + weight_c * source[c, k]


@kernel
def interpolate_gradient(
    attributes, corners, face_index, barycentric, grad_values, bands, grad_attributes, grad_barycentric, first, last
):
    """Gradients of `interpolate_chunks`; `grad_attributes` (one sum for each chunk) may have no rows: not wanted."""
    real = attributes.dtype.type
    zero, one = real(0), real(1)
    height, width = face_index.shape[1], face_index.shape[2]
    wanted = grad_attributes.shape[1] > 0
    for chunk in range(first, last):
        frame, y_first, y_end = chunk_rows(chunk, bands, height)
        source = attributes[frame if attributes.shape[0] > 1 else 0]
        if wanted:
            grad_attributes[chunk] = zero
        for y in range(y_first, y_end):
            for x in range(width):
                face = face_index[frame, y, x]
                on_a, on_b = zero, zero
                if face >= 0:
                    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
                    weight_a, weight_b = barycentric[frame, y, x, 0], barycentric[frame, y, x, 1]
                    weight_c = one - weight_a - weight_b
                    for k in range(attributes.shape[2]):
                        grad = grad_values[frame, y, x, k]
                        on_a += grad * (source[a, k] - source[c, k])
                        on_b += grad * (source[b, k] - source[c, k])
                        if wanted:
                            grad_attributes[chunk, a, k] += weight_a * grad
                            grad_attributes[chunk, b, k] += weight_b * grad
                            grad_attributes[chunk, c, k] += weight_c * grad
                grad_barycentric[frame, y, x, 0] = on_a
                grad_barycentric[frame, y, x, 1] = on_b
