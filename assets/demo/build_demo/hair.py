"""The hair: short at the sides, combed over from a parting on top; other people's longer, curlier, shorter, or none."""

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class HairStyle:
    """How somebody's hair differs from the demo's."""

    num_hairs: int = NUM_HAIRS
    """0: bald."""
    length: float = 1.0
    """Factor on the length of short hair."""
    volume: float = 1.0
    """Factor on how far short hair stands off the scalp."""
    curl: float = 1.0
    """Factor on how much strands wander."""
    hanging_m: tuple[float, float] | None = None
    """Shortest and longest strand of hair that hangs down; None for short hair."""
    part_x_m: float = PART_X_M
    hairline_m: float = 0.0
    """How much lower the hairline is."""
    width: float = 1.0
    seed: int = 21


def sample_faces(
    vertices: Array, faces: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Array]:
    """Area-weighted random points: face rows (n,) and barycentrics (n, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    return chosen, np.stack([1 - u, u * (1 - v), u * v], axis=1)


def grow_hair(head: HeadAsset, rest: Array, style: HairStyle | None = None) -> Strands:
    """The hair in rest position: by default short at the sides, combed over from a parting on top."""
    style = style or HairStyle()
    if style.num_hairs == 0:
        none = np.zeros((0, HAIR_SEGMENTS + 1))
        return Strands(points=np.zeros((0, HAIR_SEGMENTS + 1, 3)), widths=none, tint=np.zeros(0))
    rng = np.random.default_rng(style.seed)
    ears = head.regions["left_ear"] | head.regions["right_ear"]
    skin_faces = head.faces[head.part_faces("head_skin") & ~ears[head.faces].any(axis=1)]
    face, weights = sample_faces(head.template, skin_faces, style.num_hairs * 5, rng)
    at = np.einsum("sk,skc->sc", weights, head.template[skin_faces[face]])
    chance = ramp(hair_field(at) + style.hairline_m + 0.003 * noise(at, 0.006, 22), -0.002, 0.010)
    keep = np.flatnonzero(rng.random(len(at)) < chance)[: style.num_hairs]
    corners, weights, at = skin_faces[face[keep]], weights[keep], at[keep]
    root = np.einsum("sk,skc->sc", weights, rest[corners])
    normal = unit(np.einsum("sk,skc->sc", weights, vertex_normals(rest, head.faces)[corners]))
    top = ramp(at[:, 1], 0.055, 0.098)
    if style.hanging_m is None:
        points = comb(head, rest, root, normal, at, top, rng, style)
        points = clump(points, top, rng)
    else:
        points = hang(head, rest, root, normal, at, rng, style)
        points = clump(points, np.full(len(root), 0.6), rng)
    taper = np.linspace(1, 0, points.shape[1])
    widths = style.width * 0.00075 * (0.45 + 0.55 * rng.random(len(root)))[:, None] * (0.25 + 0.75 * taper**0.7)
    tint = np.exp(0.30 * rng.normal(size=len(root)) + 0.20 * noise(at, 0.012, 23))
    return Strands(points=points, widths=widths, tint=tint)


def comb_direction(at: Array, top: Array, part_x_m: float) -> Array:
    """Unit direction (S, 3) in which hair lies at template positions."""
    away_from_part = np.tanh((at[:, :1] - part_x_m) / 0.012)
    front = ramp(at[:, 2], 0.02, 0.075)[:, None]
    over = np.concatenate([away_from_part * 0.9, 0.15 + 0.25 * front, -0.55 + 0.1 * front], axis=1)
    behind = ramp(-at[:, 2], -0.01, 0.06)[:, None]
    side = np.concatenate([np.zeros_like(behind), -np.ones_like(behind), -0.75 * (1 - behind)], axis=1)
    return unit(side * (1 - top[:, None]) + over * top[:, None])


def comb(
    head: HeadAsset, rest: Array, root: Array, normal: Array, at: Array, top: Array, rng: np.random.Generator,
    style: HairStyle,
) -> Array:  # fmt: skip
    """Grow curves (S, P, 3): lifted at the root, bending along the combing direction, kept off the scalp."""
    scalp = np.flatnonzero(head.regions["scalp"] | head.regions["face"] | head.regions["neck"])
    tree, normals = cKDTree(rest[scalp]), vertex_normals(rest, head.faces)[scalp]
    count = len(root)
    hairline = ramp(hair_field(at), 0.0, 0.02)
    length = (0.010 + 0.010 * hairline) * (1 - top) + (0.034 + 0.024 * rng.random(count)) * top
    length *= style.length * (0.8 + 0.4 * rng.random(count))
    front = ramp(at[:, 2], 0.03, 0.075) * top
    layer = (0.0012 + 0.003 * rng.random(count)) * (1 - top) + (0.003 + 0.012 * rng.random(count) + 0.004 * front) * top
    layer = style.volume * layer
    flow = comb_direction(at, top, style.part_x_m)
    wander = 0.10 * rng.normal(size=(count, 3)) + 0.16 * np.stack(
        [noise(at, 0.014, seed) for seed in (24, 25, 26)], axis=1
    )
    wander = style.curl * wander
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


def hang(
    head: HeadAsset, rest: Array, root: Array, normal: Array, at: Array, rng: np.random.Generator, style: HairStyle
) -> Array:
    """Grow curves (S, P, 3) that leave a parting, lie over the head and fall down beside the face."""
    shortest, longest = style.hanging_m or (0.0, 0.0)
    body = np.flatnonzero(head.part_vertices("head_skin", "neck_skin"))
    tree, normals = cKDTree(rest[body]), vertex_normals(rest, head.faces)[body]
    count, num_steps = len(root), 3 * HAIR_SEGMENTS
    step = (shortest + (longest - shortest) * rng.random(count)[:, None]) / num_steps
    layer = 0.002 + 0.012 * rng.random(count) ** 1.5
    side = np.where(at[:, 0] + 0.002 * rng.normal(size=count) > style.part_x_m, 1.0, -1.0)
    wave = style.curl * np.stack([noise(at, 0.014, seed) for seed in (24, 25, 26)], axis=1)
    points, direction = [root], unit(normal + 0.4 * side[:, None] * [1.0, 0, 0])
    for index in range(num_steps):
        position = points[-1] + direction * step
        _, nearest = tree.query(position)
        n, at_depth = normals[nearest], position[:, 2:]
        height = ((position - rest[body][nearest]) * n).sum(axis=1)
        goal = layer * min(1.0, (index + 1) / 5)
        near = np.clip(1 - height / 0.03, 0, 1)[:, None]
        position = position + n * np.maximum(goal - height, 0)[:, None]
        points.append(position)
        above = ramp(n[:, 1], 0.1, 0.8)[:, None]
        # In front of the temples hair goes outwards and back, so that it frames the face.
        frame = ramp(at_depth, 0.045, 0.085) * (1 - above)
        pull = np.concatenate([side[:, None] * (0.9 * above + 0.8 * frame), -1 + 0.5 * above, -0.9 * frame], axis=1)
        pull = pull + 0.22 * wave * np.sin(0.55 * index + 3 * wave[:, :1])
        flat = pull - n * np.minimum((pull * n).sum(axis=1, keepdims=True), 0) * near
        direction = unit(0.55 * direction + 0.45 * unit(flat))
    return np.stack(points, axis=1)[:, ::2]


def clump(points: Array, top: Array, rng: np.random.Generator) -> Array:
    """Draw strands towards those of nearby clumps, more towards the tip."""
    centres = rng.choice(len(points), min(NUM_CLUMPS, len(points)), replace=False)
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
    if not len(hair.points):
        return np.zeros(hair.points.shape[:2])
    points = hair.points.reshape(-1, 3)
    centre = scalp.mean(axis=0)
    radius = np.linalg.norm(points - centre, axis=1)
    directions = (points - centre) / radius[:, None]
    probe = np.random.default_rng(3).choice(len(points), min(6000, len(points)), replace=False)
    neighbours = cKDTree(directions).query(directions[probe], k=160)[1]
    outermost = np.percentile(radius[neighbours], 92, axis=1)
    depth = outermost[cKDTree(directions[probe]).query(directions)[1]] - radius
    return np.clip(1 - depth / 0.010, 0.12, 1.0).reshape(hair.points.shape[:2])
