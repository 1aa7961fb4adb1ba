"""A bounding volume hierarchy over triangles and the two ray queries on it (numba)."""

from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

NUM_BINS = 12
LEAF_SIZE = 3
STACK_SIZE = 96


class Bvh(NamedTuple):
    """Boxes (N, 6), links (N, 4: left child, right child or −1, first triangle, count), triangles in leaf order."""

    boxes: npt.NDArray[np.float32]
    links: npt.NDArray[np.int32]
    corner: npt.NDArray[np.float32]
    """(F, 9): first corner and the two edges from it, in leaf order."""
    order: npt.NDArray[np.int32]
    """(F,) original index of each triangle in leaf order."""


def build_bvh(vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int32]) -> Bvh:
    """Binned surface-area-heuristic hierarchy."""
    corners = vertices[faces]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    order, node_boxes, links = _build(boxes)
    first = corners[order]
    packed = np.concatenate([first[:, 0], first[:, 1] - first[:, 0], first[:, 2] - first[:, 0]], axis=1)
    return Bvh(node_boxes, links, np.ascontiguousarray(packed, np.float32), order)


@nb.njit(cache=True, inline="always")
def _half_area(box):
    x, y, z = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    return x * y + y * z + z * x


@nb.njit(cache=True)
def _grow(box, other):
    for k in range(3):
        box[k] = min(box[k], other[k])
        box[k + 3] = max(box[k + 3], other[k + 3])


@nb.njit(cache=True)
def _empty(box):
    box[:3] = np.float32(1e30)
    box[3:] = np.float32(-1e30)


@nb.njit(cache=True)
def _best_split(boxes, order, start, end, bounds):
    """Axis, plane and cost of the best binned split of order[start:end] by box centres; axis −1 if none."""
    best_axis, best_plane, best_cost = -1, 0.0, 1e30
    bin_boxes = np.empty((NUM_BINS, 6), np.float32)
    counts = np.empty(NUM_BINS, np.int64)
    right_cost = np.empty(NUM_BINS, np.float64)
    accumulated = np.empty(6, np.float32)
    for axis in range(3):
        low, high = bounds[axis], bounds[axis + 3]
        if high - low < 1e-7:
            continue
        scale = NUM_BINS / (high - low) * 0.9999
        for k in range(NUM_BINS):
            _empty(bin_boxes[k])
        counts[:] = 0
        for i in range(start, end):
            box = boxes[order[i]]
            k = int((0.5 * (box[axis] + box[axis + 3]) - low) * scale)
            counts[k] += 1
            _grow(bin_boxes[k], box)
        _empty(accumulated)
        total = 0
        for k in range(NUM_BINS - 1, 0, -1):
            _grow(accumulated, bin_boxes[k])
            total += counts[k]
            right_cost[k] = _half_area(accumulated) * total if total else 1e30
        _empty(accumulated)
        total = 0
        for k in range(NUM_BINS - 1):
            _grow(accumulated, bin_boxes[k])
            total += counts[k]
            if total and right_cost[k + 1] < 1e29:
                cost = _half_area(accumulated) * total + right_cost[k + 1]
                if cost < best_cost:
                    best_axis, best_plane, best_cost = axis, low + (k + 1) / scale, cost
    return best_axis, best_plane


@nb.njit(cache=True)
def _partition(boxes, order, start, end, axis, plane):
    i, j = start, end - 1
    while i <= j:
        box = boxes[order[i]]
        if 0.5 * (box[axis] + box[axis + 3]) < plane:
            i += 1
        else:
            order[i], order[j] = order[j], order[i]
            j -= 1
    return i


@nb.njit(cache=True)
def _build(boxes):
    count = boxes.shape[0]
    order = np.arange(count).astype(np.int32)
    node_boxes = np.empty((2 * count, 6), np.float32)
    links = np.full((2 * count, 4), -1, np.int32)
    todo = np.empty((STACK_SIZE * 4, 3), np.int64)
    todo[0, 0], todo[0, 1], todo[0, 2] = 0, 0, count
    depth, used = 1, 1
    bounds = np.empty(6, np.float64)
    while depth > 0:
        depth -= 1
        node, start, end = todo[depth]
        _empty(node_boxes[node])
        bounds[:3], bounds[3:] = 1e30, -1e30
        for i in range(start, end):
            box = boxes[order[i]]
            _grow(node_boxes[node], box)
            for k in range(3):
                centre = 0.5 * (box[k] + box[k + 3])
                bounds[k], bounds[k + 3] = min(bounds[k], centre), max(bounds[k + 3], centre)
        middle = start
        if end - start > LEAF_SIZE:
            axis, plane = _best_split(boxes, order, start, end, bounds)
            if axis >= 0:
                middle = _partition(boxes, order, start, end, axis, plane)
            if middle in (start, end):
                middle = (start + end) // 2
        if middle == start:
            links[node, 2], links[node, 3] = start, end - start
            continue
        links[node, 0], links[node, 1] = used, used + 1
        todo[depth, 0], todo[depth, 1], todo[depth, 2] = used, start, middle
        todo[depth + 1, 0], todo[depth + 1, 1], todo[depth + 1, 2] = used + 1, middle, end
        depth += 2
        used += 2
    return order, node_boxes[:used].copy(), links[:used].copy()


@nb.njit(cache=True, inline="always", fastmath=True)
def _box_entry(box, ox, oy, oz, ix, iy, iz, limit):
    """Distance at which a ray enters a box, or 1e30."""
    ax, bx = (box[0] - ox) * ix, (box[3] - ox) * ix
    ay, by = (box[1] - oy) * iy, (box[4] - oy) * iy
    az, bz = (box[2] - oz) * iz, (box[5] - oz) * iz
    near = max(min(ax, bx), min(ay, by), min(az, bz), 0.0)
    far = min(max(ax, bx), max(ay, by), max(az, bz), limit)
    return near if near <= far else 1e30


@nb.njit(cache=True, inline="always", fastmath=True)
def _triangle(c, ox, oy, oz, dx, dy, dz):
    """Möller–Trumbore: distance (1e30 for a miss) and barycentrics of the second and third corner."""
    px, py, pz = dy * c[8] - dz * c[7], dz * c[6] - dx * c[8], dx * c[7] - dy * c[6]
    determinant = c[3] * px + c[4] * py + c[5] * pz
    if abs(determinant) < 1e-14:
        return 1e30, 0.0, 0.0
    inverse = 1.0 / determinant
    tx, ty, tz = ox - c[0], oy - c[1], oz - c[2]
    u = (tx * px + ty * py + tz * pz) * inverse
    if u < 0.0 or u > 1.0:
        return 1e30, 0.0, 0.0
    qx, qy, qz = ty * c[5] - tz * c[4], tz * c[3] - tx * c[5], tx * c[4] - ty * c[3]
    v = (dx * qx + dy * qy + dz * qz) * inverse
    if v < 0.0 or u + v > 1.0:
        return 1e30, 0.0, 0.0
    t = (c[6] * qx + c[7] * qy + c[8] * qz) * inverse
    return (t, u, v) if t > 0.0 else (1e30, 0.0, 0.0)


@nb.njit(cache=True, fastmath=True, nogil=True)
def closest_hit(bvh, stack, ox, oy, oz, dx, dy, dz, limit):
    """Nearest triangle along a ray: (distance, original index or −1, barycentric u, v)."""
    ix = 1.0 / (dx if abs(dx) > 1e-12 else 1e-12)
    iy = 1.0 / (dy if abs(dy) > 1e-12 else 1e-12)
    iz = 1.0 / (dz if abs(dz) > 1e-12 else 1e-12)
    best_t, best, best_u, best_v = limit, -1, 0.0, 0.0
    depth, node = 0, 0
    if _box_entry(bvh.boxes[0], ox, oy, oz, ix, iy, iz, limit) > 1e29:
        return best_t, best, best_u, best_v
    while True:
        if bvh.links[node, 0] < 0:
            start = bvh.links[node, 2]
            for i in range(start, start + bvh.links[node, 3]):
                t, u, v = _triangle(bvh.corner[i], ox, oy, oz, dx, dy, dz)
                if t < best_t:
                    best_t, best, best_u, best_v = t, i, u, v
        else:
            left, right = bvh.links[node, 0], bvh.links[node, 1]
            near_left = _box_entry(bvh.boxes[left], ox, oy, oz, ix, iy, iz, best_t)
            near_right = _box_entry(bvh.boxes[right], ox, oy, oz, ix, iy, iz, best_t)
            if near_left > near_right:
                left, right = right, left
                near_left, near_right = near_right, near_left
            if near_left < 1e29:
                if near_right < 1e29:
                    stack[depth] = right
                    depth += 1
                node = left
                continue
        if depth == 0:
            break
        depth -= 1
        node = stack[depth]
    if best >= 0:
        best = bvh.order[best]
    return best_t, best, best_u, best_v


@nb.njit(cache=True, fastmath=True, nogil=True)
def any_hit(bvh, stack, ox, oy, oz, dx, dy, dz, limit):
    """Whether anything lies on a ray before `limit`."""
    ix = 1.0 / (dx if abs(dx) > 1e-12 else 1e-12)
    iy = 1.0 / (dy if abs(dy) > 1e-12 else 1e-12)
    iz = 1.0 / (dz if abs(dz) > 1e-12 else 1e-12)
    depth, node = 0, 0
    if _box_entry(bvh.boxes[0], ox, oy, oz, ix, iy, iz, limit) > 1e29:
        return False
    while True:
        if bvh.links[node, 0] < 0:
            start = bvh.links[node, 2]
            for i in range(start, start + bvh.links[node, 3]):
                if _triangle(bvh.corner[i], ox, oy, oz, dx, dy, dz)[0] < limit:
                    return True
        else:
            left, right = bvh.links[node, 0], bvh.links[node, 1]
            near_left = _box_entry(bvh.boxes[left], ox, oy, oz, ix, iy, iz, limit)
            near_right = _box_entry(bvh.boxes[right], ox, oy, oz, ix, iy, iz, limit)
            if near_left > near_right:
                left, right = right, left
                near_left, near_right = near_right, near_left
            if near_left < 1e29:
                if near_right < 1e29:
                    stack[depth] = right
                    depth += 1
                node = left
                continue
        if depth == 0:
            return False
        depth -= 1
        node = stack[depth]
