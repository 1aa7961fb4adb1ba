"""The hair: short at the sides, combed over from a parting on top."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from .head_asset import Array, HeadAsset, vertex_normals
from .skin import hair_field, noise, ramp
from .strands import Strands, unit

NUM_HAIRS = 15000
NUM_CLUMPS = 900
HAIR_SEGMENTS = 7
PART_X_M = 0.030
"""The parting, on the subject's left."""


def sample_faces(
    vertices: Array, faces: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Array]:
    """Area-weighted random points: face rows (n,) and barycentrics (n, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    return chosen, np.stack([1 - u, u * (1 - v), u * v], axis=1)


def grow_hair(head: HeadAsset, rest: Array) -> Strands:
    """The hair in rest position: short at the sides, combed over from a parting on top."""
    rng = np.random.default_rng(21)
    ears = head.regions["left_ear"] | head.regions["right_ear"]
    skin_faces = head.faces[head.part_faces("head_skin") & ~ears[head.faces].any(axis=1)]
    face, weights = sample_faces(head.template, skin_faces, NUM_HAIRS * 5, rng)
    at = np.einsum("sk,skc->sc", weights, head.template[skin_faces[face]])
    chance = ramp(hair_field(at) + 0.003 * noise(at, 0.006, 22), -0.002, 0.010)
    keep = np.flatnonzero(rng.random(len(at)) < chance)[:NUM_HAIRS]
    corners, weights, at = skin_faces[face[keep]], weights[keep], at[keep]
    root = np.einsum("sk,skc->sc", weights, rest[corners])
    normal = unit(np.einsum("sk,skc->sc", weights, vertex_normals(rest, head.faces)[corners]))
    top = ramp(at[:, 1], 0.055, 0.098)
    points = comb(head, rest, root, normal, at, top, rng)
    points = clump(points, top, rng)
    taper = np.linspace(1, 0, HAIR_SEGMENTS + 1)
    widths = 0.00075 * (0.45 + 0.55 * rng.random(len(root)))[:, None] * (0.25 + 0.75 * taper**0.7)
    tint = np.exp(0.30 * rng.normal(size=len(root)) + 0.20 * noise(at, 0.012, 23))
    return Strands(points=points, widths=widths, tint=tint)


def comb_direction(at: Array, top: Array) -> Array:
    """Unit direction (S, 3) in which hair lies at template positions."""
    away_from_part = np.tanh((at[:, :1] - PART_X_M) / 0.012)
    front = ramp(at[:, 2], 0.02, 0.075)[:, None]
    over = np.concatenate([away_from_part * 0.9, 0.15 + 0.25 * front, -0.55 + 0.1 * front], axis=1)
    behind = ramp(-at[:, 2], -0.01, 0.06)[:, None]
    side = np.concatenate([np.zeros_like(behind), -np.ones_like(behind), -0.75 * (1 - behind)], axis=1)
    return unit(side * (1 - top[:, None]) + over * top[:, None])


def comb(
    head: HeadAsset, rest: Array, root: Array, normal: Array, at: Array, top: Array, rng: np.random.Generator
) -> Array:
    """Grow curves (S, P, 3): lifted at the root, bending along the combing direction, kept off the scalp."""
    scalp = np.flatnonzero(head.regions["scalp"] | head.regions["face"] | head.regions["neck"])
    tree, normals = cKDTree(rest[scalp]), vertex_normals(rest, head.faces)[scalp]
    count = len(root)
    hairline = ramp(hair_field(at), 0.0, 0.02)
    length = (0.010 + 0.010 * hairline) * (1 - top) + (0.034 + 0.024 * rng.random(count)) * top
    length *= 0.8 + 0.4 * rng.random(count)
    front = ramp(at[:, 2], 0.03, 0.075) * top
    layer = (0.0012 + 0.003 * rng.random(count)) * (1 - top) + (0.003 + 0.012 * rng.random(count) + 0.004 * front) * top
    flow = comb_direction(at, top)
    wander = 0.10 * rng.normal(size=(count, 3)) + 0.16 * np.stack(
        [noise(at, 0.014, seed) for seed in (24, 25, 26)], axis=1
    )
    lift = (0.35 + 0.55 * top + 0.25 * front)[:, None]
    direction = unit(flow + wander + normal * lift)
    points = [root]
    step = length / HAIR_SEGMENTS
    for index in range(HAIR_SEGMENTS):
        t = (index + 1) / HAIR_SEGMENTS
        position = points[-1] + direction * step[:, None]
        _, nearest = tree.query(position)
        n = normals[nearest]
        height = ((position - rest[scalp][nearest]) * n).sum(axis=1)
        position = position + n * np.maximum(layer * np.sqrt(t) - height, 0)[:, None]
        points.append(position)
        inwards = (direction * n).sum(axis=1, keepdims=True)
        tangent = flow + wander - n * ((flow + wander) * n).sum(axis=1, keepdims=True)
        direction = unit(direction * 0.75 - n * np.maximum(inwards, 0) * 0.35 + unit(tangent) * 0.4 + [0, -0.05, 0])
    return np.stack(points, axis=1)


def clump(points: Array, top: Array, rng: np.random.Generator) -> Array:
    """Draw strands towards those of nearby clumps, more towards the tip."""
    centres = rng.choice(len(points), NUM_CLUMPS, replace=False)
    nearest = centres[cKDTree(points[centres, 0]).query(points[:, 0])[1]]
    t = np.linspace(0, 1, points.shape[1])[None, :, None]
    goal = points[nearest] + (points[:, :1] - points[nearest, :1]) * (1 - 0.7 * t)
    share = (0.25 + 0.5 * top)[:, None, None] * t
    return points * (1 - share) + goal * share


def sky_share(hair: Strands, scalp: Array) -> Array:
    """How open each point lies (S, P), 0.12 to 1, from its depth under the outermost hair nearby.

    Args:
        hair: In rest position.
        scalp: Vertices (n, 3) under it.
    """
    points = hair.points.reshape(-1, 3)
    centre = scalp.mean(axis=0)
    radius = np.linalg.norm(points - centre, axis=1)
    directions = (points - centre) / radius[:, None]
    probe = np.random.default_rng(3).choice(len(points), 6000, replace=False)
    neighbours = cKDTree(directions).query(directions[probe], k=160)[1]
    outermost = np.percentile(radius[neighbours], 92, axis=1)
    depth = outermost[cKDTree(directions[probe]).query(directions)[1]] - radius
    return np.clip(1 - depth / 0.010, 0.12, 1.0).reshape(hair.points.shape[:2])
