"""How points on the head's surface move in the image when a frame's parameters change.

A surface point is three vertices and their weights: a rasterized sample, a landmark, or a point on a silhouette edge
(third weight 0). Its Jacobian has two rows, x and y in pixels, and one column per row parameter
(`raytrack.head.parameters`): rotation, translation, neck, jaw, eyes, expression.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from raytrack.head.parameters import NUM_POSE
from raytrack.render.jit import kernel


@dataclass(frozen=True, kw_only=True)
class PosedSurface:
    """One frame's head, as the kernel needs it. All float32, contiguous."""

    rest: Float[np.ndarray, "vertices 3"]
    """Vertices before skinning: identity, offset, expression and correctives applied."""
    world: Float[np.ndarray, "vertices 3"]
    weights: Float[np.ndarray, "vertices 5"]
    expression_basis: Float[np.ndarray, "vertices 3 expressions"]
    transforms: Float[np.ndarray, "5 3 4"]
    axes: Float[np.ndarray, "5 3 3"]
    centres: Float[np.ndarray, "5 3"]
    translation: Float[np.ndarray, "3"]
    corrective_columns: Int[np.ndarray, " correctives"]
    """Row parameters whose change also changes the pose correctives."""
    correctives: Float[np.ndarray, "correctives vertices 3"]
    """Change of the rest vertices per unit of those parameters."""


@kernel
def _jacobian_kernel(
    corners, corner_weights, rest, world, weights, basis, transforms, axes, centres, translation, columns, correctives,
    cam, focal, out,
):  # fmt: skip
    num_expressions = basis.shape[2]
    blend = np.empty((3, 3), np.float32)
    arm = np.empty(3, np.float32)
    for point in range(corners.shape[0]):
        row = out[point]
        row[:] = np.float32(0)
        for corner in range(3):
            share = corner_weights[point, corner]
            if share == np.float32(0):
                continue
            v = corners[point, corner]
            x, y, z = world[v, 0], world[v, 1], world[v, 2]
            cx = cam[0, 0] * x + cam[0, 1] * y + cam[0, 2] * z + cam[0, 3]
            cy = cam[1, 0] * x + cam[1, 1] * y + cam[1, 2] * z + cam[1, 3]
            depth = cam[2, 0] * x + cam[2, 1] * y + cam[2, 2] * z + cam[2, 3]
            for i in range(3):
                for k in range(3):
                    total = np.float32(0)
                    for j in range(5):
                        total += weights[v, j] * transforms[j, i, k]
                    blend[i, k] = total
            for axis in range(2):
                pull = share * focal[axis] / depth
                along = (cx if axis == 0 else cy) / depth
                a0 = pull * (cam[axis, 0] - along * cam[2, 0])
                a1 = pull * (cam[axis, 1] - along * cam[2, 1])
                a2 = pull * (cam[axis, 2] - along * cam[2, 2])
                target = row[axis]
                target[3] += a0
                target[4] += a1
                target[5] += a2
                # Root: everything turns about the root joint.
                m0, m1, m2 = (
                    x - translation[0] - centres[0, 0],
                    y - translation[1] - centres[0, 1],
                    z - translation[2] - centres[0, 2],
                )
                t0, t1, t2 = m1 * a2 - m2 * a1, m2 * a0 - m0 * a2, m0 * a1 - m1 * a0
                for k in range(3):
                    target[k] += axes[0, k, 0] * t0 + axes[0, k, 1] * t1 + axes[0, k, 2] * t2
                # Neck, jaw, eyes: the weighted part of the vertex that hangs below each.
                n0 = np.float32(0)
                n1 = np.float32(0)
                n2 = np.float32(0)
                for j in range(1, 5):
                    w = weights[v, j]
                    if w == np.float32(0):
                        continue
                    for i in range(3):
                        arm[i] = (
                            transforms[j, i, 0] * rest[v, 0] + transforms[j, i, 1] * rest[v, 1]
                            + transforms[j, i, 2] * rest[v, 2] + transforms[j, i, 3]
                        )  # fmt: skip
                    n0 += w * (arm[0] - centres[1, 0])
                    n1 += w * (arm[1] - centres[1, 1])
                    n2 += w * (arm[2] - centres[1, 2])
                    if j > 1:
                        m0, m1, m2 = (
                            w * (arm[0] - centres[j, 0]),
                            w * (arm[1] - centres[j, 1]),
                            w * (arm[2] - centres[j, 2]),
                        )
                        t0, t1, t2 = m1 * a2 - m2 * a1, m2 * a0 - m0 * a2, m0 * a1 - m1 * a0
                        first = 3 + 3 * j
                        for k in range(3):
                            target[first + k] += axes[j, k, 0] * t0 + axes[j, k, 1] * t1 + axes[j, k, 2] * t2
                t0, t1, t2 = n1 * a2 - n2 * a1, n2 * a0 - n0 * a2, n0 * a1 - n1 * a0
                for k in range(3):
                    target[6 + k] += axes[1, k, 0] * t0 + axes[1, k, 1] * t1 + axes[1, k, 2] * t2
                b0 = blend[0, 0] * a0 + blend[1, 0] * a1 + blend[2, 0] * a2
                b1 = blend[0, 1] * a0 + blend[1, 1] * a1 + blend[2, 1] * a2
                b2 = blend[0, 2] * a0 + blend[1, 2] * a1 + blend[2, 2] * a2
                for c in range(columns.shape[0]):
                    target[columns[c]] += (
                        b0 * correctives[c, v, 0] + b1 * correctives[c, v, 1] + b2 * correctives[c, v, 2]
                    )
                p0, p1, p2 = basis[v, 0], basis[v, 1], basis[v, 2]
                for e in range(num_expressions):
                    target[18 + e] += b0 * p0[e] + b1 * p1[e] + b2 * p2[e]


def surface_jacobian(
    surface: PosedSurface,
    corners: Int[np.ndarray, "points 3"],
    corner_weights: Float[np.ndarray, "points 3"],
    cam_from_world: Float[np.ndarray, "3 4"],
    focal_xy_px: tuple[float, float],
) -> Float[np.ndarray, "points 2 columns"]:
    """Derivative of each surface point's pixel position with respect to the frame's row parameters.

    Args:
        surface: The posed head.
        corners: Vertex indices.
        corner_weights: Barycentric weights; a weight of 0 skips its corner. The point is taken as the weighted sum of
            the projected corners, which for the small faces of a head equals its projection to first order.
        cam_from_world: OpenCV axes.
        focal_xy_px: Focal lengths along x and y of the image the pixels belong to.

    Returns:
        x and y rows, pixels per unit of each parameter (radians, metres, coefficients).
    """
    out = np.empty((len(corners), 2, NUM_POSE + surface.expression_basis.shape[2]), np.float32)
    _jacobian_kernel(
        np.ascontiguousarray(corners, np.int64),
        np.ascontiguousarray(corner_weights, np.float32),
        surface.rest,
        surface.world,
        surface.weights,
        surface.expression_basis,
        surface.transforms,
        surface.axes,
        surface.centres,
        surface.translation,
        surface.corrective_columns,
        surface.correctives,
        np.ascontiguousarray(cam_from_world, np.float32),
        np.array(focal_xy_px, np.float32),
        out,
    )
    return out
