"""Kernels of vertex normals."""

# Kernels take arrays one by one (numba), and their loops are spelled out for speed.

import numpy as np

from raytrack.render.jit import inlined, kernel


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
