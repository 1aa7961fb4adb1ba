"""Where the 478 Face Mesh points lie on the head, found by detecting them on rendered views.

Each point is the surface position that best explains its detections over identities and views, weighted by how much the
surface faces the viewer. Points are symmetric, smoothed along the face oval, and put back onto the surface. The
jawline's 17 points also get one set per yaw, slid along the surface to the visible outline.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from .eyes import IRIS_ANGLE_DEG, NUM_MERIDIANS, RING_ANGLES_DEG
from .render import View, render


def indices(text: str) -> tuple[int, ...]:
    """Whitespace-separated integers."""
    return tuple(int(word) for word in text.split())


NUM_MESH_POINTS, NUM_POINTS = 468, 478
RIGHT_IRIS, LEFT_IRIS = range(468, 473), range(473, 478)
"""Face Mesh order: centre, then four limbus points; the subject's right eye first."""
FACE_OVAL = indices(
    """
    10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136
    172 58 132 93 234 127 162 21 54 103 67 109
    """
)
POINTS_68 = indices(
    """
    162 234 93 58 172 136 149 148 152 377 378 365 397 288 323 454 389 70 63 105 66 107 336 296 334
    293 300 168 197 5 4 75 97 2 326 305 33 160 158 133 153 144 362 385 387 263 373 380 61 39 37 0
    267 269 291 405 314 17 84 181 78 81 13 311 308 402 14 178
    """
)
"""Face Mesh points that stand for the 68 iBUG points, in iBUG order."""
JAW_PATH = indices(
    """
    127 234 93 132 58 172 136 150 149 176 148 152 377 400 378 379 365 397 288 361 323 454 356
    """
)
"""Oval points from the subject's right temple, at eye height, under the chin to the left temple."""
NUM_JAW_POINTS = 17
SUBDIVISIONS = 5
SEARCH_RADIUS_M = 0.016
HUBER_M = 0.0025
TIE = 1e-3
"""Candidates whose cost differs by less than this share are equally good."""
OVAL_SMOOTHING = 1.4
"""Standard deviation, in points, of the smoothing along the face oval."""
YAW_BINS_DEG = np.arange(-39, 40)
SLAB_HALF_WIDTH_M = 0.0022
SLIDE_LIMIT_M = 0.060


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Dense points on the skin: face index and barycentrics."""

    face: np.ndarray
    bary: np.ndarray

    def on(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Positions (n, 3)."""
        return np.einsum("nk,nkc->nc", self.bary, vertices[faces[self.face]])


def surface_samples(allowed: np.ndarray) -> Samples:
    """A barycentric grid on each allowed face (mask over faces)."""
    grid = [(i, j, SUBDIVISIONS - i - j) for i in range(SUBDIVISIONS + 1) for j in range(SUBDIVISIONS + 1 - i)]
    chosen = np.flatnonzero(allowed)
    return Samples(face=np.repeat(chosen, len(grid)), bary=np.tile(np.array(grid) / SUBDIVISIONS, (len(chosen), 1)))


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One rendered view with its detection, in metres on the picture plane through the head's centre."""

    detected: np.ndarray  # (478, 3), x to the right of the picture's middle, y down, relative depth
    projected: np.ndarray  # (num_samples, 2)
    facing: np.ndarray  # (num_samples,) cosine to the viewer, 0 where hidden


def observe(vertices, faces, samples: Samples, view: View, *, detect: Callable, look: dict) -> Observation | None:
    """Render, detect, and project the surface samples."""
    image, index, _ = render(vertices, faces, view, **look)
    found = detect(image)
    if found is None:
        return None
    middle = np.array([view.size_hw[1] / 2, view.size_hw[0] / 2, 0.0])
    points = samples.on(vertices, faces)
    pixel = view.project(points)
    corner = vertices[faces[samples.face]]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    cosine = (normal @ view.rotation.T)[:, 2] / (np.linalg.norm(normal, axis=1) + 1e-12)
    column, row = (
        np.clip(pixel[:, 0].astype(int), 0, view.size_hw[1] - 1),
        np.clip(pixel[:, 1].astype(int), 0, view.size_hw[0] - 1),
    )
    hit = index[row, column]
    centre = corner.mean(axis=1)
    visible = (hit >= 0) & (np.linalg.norm(vertices[faces[np.maximum(hit, 0)]].mean(axis=1) - centre, axis=1) < 0.009)
    return Observation(
        detected=(found - middle) / view.px_per_m,
        projected=(pixel - middle)[:, :2] / view.px_per_m,
        facing=np.clip(cosine, 0, 1) * visible,
    )


def mirrored_samples(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Index of each surface sample's mirror image (normals tell touching lips apart)."""
    flip = np.array([-1.0, 1.0, 1.0])
    tree = cKDTree(np.hstack([points, 1e-3 * normals]))
    return tree.query(np.hstack([points * flip, 1e-3 * normals * flip]))[1]


def first_guess(first: Observation) -> np.ndarray:
    """Surface sample under each detection of the first, frontal view."""
    visible = np.flatnonzero(first.facing > 0.1)
    return visible[cKDTree(first.projected[visible]).query(first.detected[:NUM_MESH_POINTS, :2])[1]]


def evidence(observations: list[Observation], point: int, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Facing-weighted robust squared distances of candidates to one point's detections, and the weights' sum."""
    cost, weight = np.zeros(len(candidates)), np.zeros(len(candidates))
    for seen in observations:
        distance = np.linalg.norm(seen.projected[candidates] - seen.detected[point, :2], axis=1)
        robust = np.where(distance < HUBER_M, distance**2, 2 * HUBER_M * distance - HUBER_M**2)
        cost += seen.facing[candidates] * robust
        weight += seen.facing[candidates]
    return cost, weight


def locate(
    observations: list[Observation],
    samples_xyz: np.ndarray,
    start: np.ndarray,
    mirror: np.ndarray,
    mirror_sample: np.ndarray,
) -> np.ndarray:
    """Index of the best surface sample for each of the 468 mesh points, with the evidence of both sides of the face.

    Args:
        observations: All views.
        samples_xyz: Surface samples on the mean head (n, 3).
        start: First guesses (468,), as sample indices.
        mirror: Landmark mirror map (468,).
        mirror_sample: Sample mirror map (n,).
    """
    tree = cKDTree(samples_xyz)
    prior_weight, prior_cost = 0.4, 0.4 * (3 * HUBER_M) ** 2
    best = np.full(NUM_MESH_POINTS, -1)
    for k in range(NUM_MESH_POINTS):
        if best[mirror[k]] >= 0 and mirror[k] != k:
            best[k] = mirror_sample[best[mirror[k]]]
            continue
        candidates = np.array(tree.query_ball_point(samples_xyz[start[k]], SEARCH_RADIUS_M))
        cost, weight = evidence(observations, k, candidates)
        other_cost, other_weight = evidence(observations, mirror[k], mirror_sample[candidates])
        mean_cost = (cost + other_cost + prior_cost) / (weight + other_weight + prior_weight)
        # Neighbouring faces hold the same point: the lowest number wins, not the last bit of a sum.
        best[k] = candidates[mean_cost <= mean_cost.min() * (1 + TIE)].min()
    return best


def mirror_landmarks(points: np.ndarray) -> np.ndarray:
    """Mirror map of roughly symmetric points (n, 3) about x = 0: an involution.

    Raises:
        ValueError: the points are too asymmetric to pair up.
    """
    distance = np.linalg.norm((points * [-1, 1, 1])[:, None] - points[None], axis=2)
    mirror = linear_sum_assignment(distance + distance.T)[1]
    if (mirror[mirror] != np.arange(len(points))).any():
        raise ValueError("landmark mirror map is not an involution")
    return mirror


def smooth_oval(points: np.ndarray) -> np.ndarray:
    """Gaussian smoothing of the closed face oval, shrinkage undone by a second, outward pass (Taubin)."""
    oval = list(FACE_OVAL)
    offsets = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (offsets / OVAL_SMOOTHING) ** 2)
    kernel /= kernel.sum()

    def blur(p):
        return sum(w * np.roll(p, o, axis=0) for w, o in zip(kernel, offsets, strict=False))

    curve = points[oval]
    smooth = blur(curve)
    result = points.copy()
    result[oval] = smooth + blur(curve - smooth)
    return result


def even_jawline(points: np.ndarray) -> np.ndarray:
    """The 17 iBUG jawline points (17, 3): evenly spaced along JAW_PATH, exactly symmetric."""
    path = points[list(JAW_PATH)]
    path = (path + path[::-1] * np.array([-1.0, 1.0, 1.0])) / 2
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], NUM_JAW_POINTS)
    return np.stack([np.interp(wanted, along, path[:, axis]) for axis in range(3)], axis=1)


def snap(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, samples: Samples
) -> tuple[np.ndarray, np.ndarray]:
    """Face and barycentrics of the surface points nearest to `points`."""
    index = cKDTree(samples.on(vertices, faces)).query(points)[1]
    face = samples.face[index]
    a, b, c = np.moveaxis(vertices[faces[face]], 1, 0)
    system = np.stack([b - a, c - a, np.cross(b - a, c - a)], axis=2)
    uvw = np.linalg.solve(system, (points - a)[..., None])[..., 0]
    bary = np.clip(np.stack([1 - uvw[:, 0] - uvw[:, 1], uvw[:, 0], uvw[:, 1]], axis=1), 0, 1)
    return face, bary / bary.sum(axis=1, keepdims=True)


def iris_embedding(
    faces: np.ndarray, eyeball_offsets: dict[str, int], order: dict[str, list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Ten iris points: front pole and four limbus vertices per eye. `order` lists quarter turns per limbus point."""
    ring = RING_ANGLES_DEG.index(IRIS_ANGLE_DEG)
    face, bary = [], []
    for side in ("right", "left"):
        first = eyeball_offsets[side]
        vertices = [first] + [first + 1 + ring * NUM_MERIDIANS + q * NUM_MERIDIANS // 4 for q in order[side]]
        for vertex in vertices:
            f, k = np.argwhere(faces == vertex)[0]
            face.append(f)
            bary.append(np.eye(3)[k])
    return np.array(face), np.array(bary)


def iris_order(detected: np.ndarray, points: range) -> list[int]:
    """Quarter turns (0: +x of the picture, 1: up, 2, 3) of the four limbus detections around their centre."""
    offset = detected[list(points)[1:]] - detected[points[0]]
    return (np.round(np.arctan2(-offset[:, 1], offset[:, 0]) / (np.pi / 2)).astype(int) % 4).tolist()


def turned(points: np.ndarray, yaw: float) -> np.ndarray:
    """Picture coordinates (x right, y up) of points after the head turns by `yaw` about +y."""
    return np.stack([np.cos(yaw) * points[:, 0] + np.sin(yaw) * points[:, 2], points[:, 1]], axis=1)


def outward_frames(outline: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit tangents along a picture curve (n, 2) and unit normals pointing away from `middle`."""
    tangent = np.gradient(outline, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    return tangent, outward * np.sign(((outline - middle) * outward).sum(axis=1, keepdims=True))


def contour_by_yaw(jaw: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Index of the candidate for each yaw bin and jawline point (79, 17).

    In the turned view, a point may slide along the picture direction across the projected jawline, on the surface, from
    where it is towards the front of the face; the outermost candidate lies on the visible outline. On the near side
    that is the point itself. Yaw is the head's turn about +y, positive towards the subject's left.
    """
    chosen = np.zeros((len(YAW_BINS_DEG), len(jaw)), int)
    tree = cKDTree(candidates)
    near = [np.array(tree.query_ball_point(point, SLIDE_LIMIT_M)) for point in jaw]
    nearest = tree.query(jaw)[1]
    for j, yaw in enumerate(np.radians(YAW_BINS_DEG)):
        outline = turned(jaw, yaw)
        tangent, outward = outward_frames(outline, turned(jaw.mean(axis=0, keepdims=True), yaw))
        for i, index in enumerate(near):
            picture = turned(candidates[index], yaw) - outline[i]
            crossing_limit = -0.001 if abs(jaw[i, 0]) > 0.01 else -0.02  # only chin points may cross the middle
            allowed = np.abs(picture @ tangent[i]) < SLAB_HALF_WIDTH_M
            allowed &= candidates[index, 2] > jaw[i, 2] - 0.0015
            allowed &= candidates[index, 0] * np.sign(jaw[i, 0]) > crossing_limit
            reach = np.where(allowed, picture @ outward[i], -1.0)
            chosen[j, i] = index[reach.argmax()] if reach.max() > 0.0005 else nearest[i]
    return chosen
