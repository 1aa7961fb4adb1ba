"""Kernels that find silhouette edges between pixels and blend across them.

A silhouette edge belongs to a drawn face and has no face of the same orientation on its other side. Between two
neighbouring pixel centres it is found by walking from the nearer pixel's face through edge neighbours towards the other
pixel: on a dense mesh the silhouette is often several faces away from both pixel centres.
"""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.

import numpy as np

from raytrack.render.jit import inlined, kernel
from raytrack.render.kernels_raster import chunk_rows

MAX_FACES = 8
"""Faces to walk through before giving up."""
MARGIN_PX = 1 / 16
"""How far beyond the two pixel centres a crossing still counts."""


@inlined
def is_silhouette(orientation, neighbours, frame, face, edge):
    """Whether the surface turns away or ends at an edge (opposite corner `edge`) of a face."""
    other = neighbours[face, edge]
    return other < 0 or orientation[frame, other] != orientation[frame, face]


@inlined
def edge_vertices(faces, face, edge):
    """The two vertices of the edge opposite a corner."""
    return faces[face, (edge + 1) % 3], faces[face, (edge + 2) % 3]


@kernel
def outline_edges(faces, orientation, neighbours, drawn_sides, frame):
    """All silhouette edges of a frame, as 3 × face + edge.

    `drawn_sides` is −1 where only front faces are drawn, else 1.
    """
    found = np.empty(3 * faces.shape[0], np.int32)
    count = 0
    for face in range(faces.shape[0]):
        if orientation[frame, face] == 0 or orientation[frame, face] > drawn_sides:
            continue
        for edge in range(3):
            if is_silhouette(orientation, neighbours, frame, face, edge):
                found[count] = 3 * face + edge
                count += 1
    return found[:count].copy()


@inlined
def mark_pairs(screen, faces, outline, frame, y_first, y_end, marks):
    """Set bit 1 (2) of the pixels whose segment to the right (lower) neighbour may cross a silhouette edge.

    An edge nearer to vertical counts between horizontal neighbours only, and the other way round: otherwise every
    displacement would count twice.
    """
    real = screen.dtype.type
    half, margin = real(0.5), real(MARGIN_PX)
    count = 0
    width = marks.shape[1]
    for item in outline:
        face = item // 3
        edge = item - 3 * face
        start, end = edge_vertices(faces, face, edge)
        left, right = screen[frame, start, 0], screen[frame, end, 0]
        top, bottom = screen[frame, start, 1], screen[frame, end, 1]
        steep = abs(bottom - top) >= abs(right - left)
        left, right = min(left, right) - half, max(left, right) - half
        top, bottom = min(top, bottom) - half, max(top, bottom) - half
        if steep:
            bit, left, right = 1, left - real(1) - margin, right + margin
        else:
            bit, top, bottom = 2, top - real(1) - margin, bottom + margin
        x_low = int(np.ceil(max(left, real(0))))
        x_high = int(np.floor(min(right, real(width))))
        y_low = int(np.ceil(max(top, real(y_first))))
        y_high = int(np.floor(min(bottom, real(y_end))))
        for y in range(max(y_low, y_first), min(y_high, y_end - 1) + 1):
            for x in range(max(x_low, 0), min(x_high, width - 1) + 1):
                if not marks[y - y_first, x] & bit:
                    marks[y - y_first, x] |= bit
                    count += 1
    return count


@inlined
def crossing(screen, frame, start, end, vertical, x, y):
    """Crossing of an edge with the row (or column) of pixel centres through (x, y).

    Returns whether there is one, its coordinate along that line, and whether the edge counts between pixels of that
    direction (see `mark_pairs`).
    """
    along_1, across_1 = screen[frame, start, 0] - x, screen[frame, start, 1] - y
    along_2, across_2 = screen[frame, end, 0] - x, screen[frame, end, 1] - y
    for_columns = abs(across_2 - across_1) >= abs(along_2 - along_1)
    if vertical:
        along_1, across_1, along_2, across_2 = across_1, along_1, across_2, along_2
    zero = screen.dtype.type(0)
    if (across_1 >= zero) == (across_2 >= zero):
        return False, zero, False
    fraction = across_1 / (across_1 - across_2)
    return True, along_1 + fraction * (along_2 - along_1), for_columns != vertical


@inlined
def walk_to_silhouette(screen, faces, orientation, neighbours, frame, face, other, vertical, direction, x, y):
    """Face and edge of the silhouette between a pixel centre and its neighbour `direction` (±1) away, or −1, −1."""
    real = screen.dtype.type
    margin, limit = real(MARGIN_PX), real(1) + real(MARGIN_PX)
    came_from = -1
    for _ in range(MAX_FACES):
        found, reach, is_steep = -1, real(-1e9), False
        for edge in range(3):
            if came_from >= 0 and neighbours[face, edge] == came_from:
                continue
            start, end = edge_vertices(faces, face, edge)
            crosses, along, steep = crossing(screen, frame, start, end, vertical, x, y)
            along *= direction
            if crosses and along > reach:
                found, reach, is_steep = edge, along, steep
        if found < 0 or reach > limit:
            return -1, -1
        if is_silhouette(orientation, neighbours, frame, face, found):
            return (face, found) if is_steep and reach > -margin else (-1, -1)
        came_from, face = face, neighbours[face, found]
        if face == other:
            return -1, -1
    return -1, -1


@kernel
def find_edges(screen, faces, orientation, neighbours, outline, depth, face_index, bands, chunk):
    """Silhouette edges between neighbouring pixels of one chunk: rows of (owner, other, first vertex, second vertex).

    Pixels count through all frames. `outline` are the frame's `outline_edges`.
    """
    real = screen.dtype.type
    half, one = real(0.5), real(1)
    height, width = depth.shape[1], depth.shape[2]
    frame, y_first, y_end = chunk_rows(chunk, bands, height)
    marks = np.zeros((y_end - y_first, width), np.uint8)
    count = mark_pairs(screen, faces, outline, frame, y_first, y_end, marks)
    edges = np.empty((count, 4), np.int32)
    count = 0
    for row in range(y_first, y_end):
        for column in range(width):
            for vertical in range(2):
                if not (marks[row - y_first, column] >> vertical) & 1:
                    continue
                next_row, next_column = row + vertical, column + 1 - vertical
                if next_row >= height or next_column >= width:
                    continue
                face, other = face_index[frame, row, column], face_index[frame, next_row, next_column]
                if face == other:
                    continue
                x, y, direction = real(column) + half, real(row) + half, one
                owner = (frame * height + row) * width + column
                far = (frame * height + next_row) * width + next_column
                if depth[frame, next_row, next_column] < depth[frame, row, column]:
                    face, other, direction = other, face, -one
                    x, y = real(next_column) + half, real(next_row) + half
                    owner, far = far, owner
                face, edge = walk_to_silhouette(
                    screen, faces, orientation, neighbours, frame, face, other, vertical == 1, direction, x, y
                )
                if face >= 0:
                    edges[count, 0], edges[count, 1] = owner, far
                    edges[count, 2], edges[count, 3] = edge_vertices(faces, face, edge)
                    count += 1
    return edges[:count]


@inlined
def edge_geometry(clip, edges, item, height, width):
    """Frame, whether the pair is vertical, its direction, the edge's slope, weight of its second end, reach."""
    real = clip.dtype.type
    half = real(0.5)
    owner, other = edges[item, 0], edges[item, 1]
    frame = owner // (height * width)
    row = (owner - frame * height * width) // width
    column = owner - (frame * height + row) * width
    vertical = abs(other - owner) == width
    direction = real(1) if other > owner else real(-1)
    start, end = edges[item, 2], edges[item, 3]
    wide, high = real(width), real(height)
    along_1 = (clip[frame, start, 0] / clip[frame, start, 3] * half + half) * wide - real(column) - half
    across_1 = (clip[frame, start, 1] / clip[frame, start, 3] * half + half) * high - real(row) - half
    along_2 = (clip[frame, end, 0] / clip[frame, end, 3] * half + half) * wide - real(column) - half
    across_2 = (clip[frame, end, 1] / clip[frame, end, 3] * half + half) * high - real(row) - half
    if vertical:
        along_1, across_1, along_2, across_2 = across_1, along_1, across_2, along_2
    rise = across_1 - across_2
    fraction = across_1 / rise if rise != real(0) else half
    reach = (along_1 + fraction * (along_2 - along_1)) * direction
    slope = (along_2 - along_1) / rise if rise != real(0) else real(0)
    return frame, vertical, direction, slope, fraction, reach


@kernel
def edge_positions(clip, edges, height, width, fraction, reach):
    """Where each edge is crossed between its vertices, and between the owner's centre (0) and the other's (1)."""
    real = clip.dtype.type
    for item in range(edges.shape[0]):
        _, _, _, _, on_edge, between = edge_geometry(clip, edges, item, height, width)
        fraction[item] = on_edge
        reach[item] = min(max(between, real(0)), real(1))


@kernel
def blend(image, clip, edges, height, width, result):
    """Add to `result`, a copy of `image` (pixels, channels), what each edge's blend changes."""
    real = clip.dtype.type
    half = real(0.5)
    for item in range(edges.shape[0]):
        _, _, _, _, _, reach = edge_geometry(clip, edges, item, height, width)
        reach = min(max(reach, real(0)), real(1))
        owner, other = edges[item, 0], edges[item, 1]
        if reach > half:
            for k in range(image.shape[1]):
                result[other, k] += (reach - half) * (image[owner, k] - image[other, k])
        else:
            for k in range(image.shape[1]):
                result[owner, k] += (half - reach) * (image[other, k] - image[owner, k])


@inlined
def add_screen_gradient(clip, frame, vertex, on_x, on_y, height, width, grad_clip):
    """Add the gradient of a vertex' image position (px) to that of its clip position."""
    real = clip.dtype.type
    half = real(0.5)
    inverse = real(1) / clip[frame, vertex, 3]
    on_x *= half * real(width) * inverse
    on_y *= half * real(height) * inverse
    grad_clip[frame, vertex, 0] += on_x
    grad_clip[frame, vertex, 1] += on_y
    grad_clip[frame, vertex, 3] -= (on_x * clip[frame, vertex, 0] + on_y * clip[frame, vertex, 1]) * inverse


@kernel
def blend_gradient(image, clip, edges, height, width, grad_result, grad_image, grad_clip):
    """Gradients of `blend`, added to `grad_image` (a copy of `grad_result`) and zeroed `grad_clip`."""
    real = clip.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    for item in range(edges.shape[0]):
        frame, vertical, direction, slope, fraction, reach = edge_geometry(clip, edges, item, height, width)
        clamped = min(max(reach, zero), one)
        owner, other = edges[item, 0], edges[item, 1]
        on_reach = zero
        changed, weight = (other, clamped - half) if clamped > half else (owner, half - clamped)
        for k in range(image.shape[1]):
            grad = grad_result[changed, k]
            on_reach += grad * (image[owner, k] - image[other, k])
            share = weight * grad
            if changed == other:
                share = -share
            grad_image[owner, k] -= share
            grad_image[other, k] += share
        if reach != clamped or on_reach == zero:
            continue
        on_along = on_reach * direction
        on_across = on_along * slope
        for end in range(2):
            weight = fraction if end else one - fraction
            on_x, on_y = weight * on_along, weight * on_across
            if vertical:
                on_x, on_y = on_y, on_x
            add_screen_gradient(clip, frame, edges[item, 2 + end], on_x, on_y, height, width, grad_clip)
