"""Brows and lashes: short hairs that move with the skin."""

import numpy as np

from .head_asset import Array, HeadAsset
from .skin import BROWS
from .strands import RootedStrands, Strands, nearest_on_faces, root_strands, triangle_frames, unit

BROW_HAIRS = 420
LIDS = {
    ("right", True): (33, 246, 161, 160, 159, 158, 157, 173, 133),
    ("right", False): (33, 7, 163, 144, 145, 153, 154, 155, 133),
    ("left", True): (263, 466, 388, 387, 386, 385, 384, 398, 362),
    ("left", False): (263, 249, 390, 373, 374, 380, 381, 382, 362),
}
"""Face Mesh points along the lids' edges, from the outer corner."""
UPPER_LASHES, LOWER_LASHES = 64, 32


def grow_brows(head: HeadAsset, rest: Array) -> RootedStrands:
    """Short hairs inside the brows' landmark outlines."""
    rng = np.random.default_rng(31)
    marks = head.embedded(rest)
    roots, headings = [], []
    for outline, side in zip(BROWS, (-1.0, 1.0), strict=True):
        upper, lower = marks[list(outline[:5])][::-1], marks[list(outline[5:])]
        along = rng.beta(1.1, 1.15, BROW_HAIRS)  # 0 is the inner end
        across = np.clip(rng.normal(0.34, 0.22, BROW_HAIRS), -0.05, 0.95)
        knots = np.linspace(0, 1, 5)
        high = np.stack([np.interp(along, knots, upper[:, axis]) for axis in range(3)], axis=1)
        low = np.stack([np.interp(along, knots, lower[:, axis]) for axis in range(3)], axis=1)
        roots.append(low + (high - low) * across[:, None])
        angle_deg = np.interp(along, [0, 0.2, 0.6, 1], [68, 32, 10, -20]) + rng.normal(0, 9, BROW_HAIRS)
        angle = np.radians(angle_deg - 22 * (across - 0.5))
        headings.append(np.stack([side * np.cos(angle), np.sin(angle), -0.35 * along], axis=1))
    face, weights = nearest_on_faces(rest, head.faces[head.part_faces("head_skin")], np.concatenate(roots))
    root = np.einsum("sk,skc->sc", weights, rest[face])
    normal, heading = triangle_frames(rest, face)[:, 2], np.concatenate(headings)
    heading = unit(heading - normal * (heading * normal).sum(axis=1, keepdims=True))
    length = rng.uniform(0.0045, 0.0080, len(root))[:, None, None]
    t, lift = np.array([0, 0.4, 0.75, 1.0])[:, None], np.array([0.0, 0.22, 0.28, 0.18])[:, None]
    points = root[:, None] + length * (t * heading[:, None] + lift * normal[:, None])
    widths = np.tile(0.00040 * np.array([1, 0.9, 0.6, 0.2]), (len(root), 1))
    strands = Strands(points=points, widths=widths, tint=np.exp(0.3 * rng.normal(size=len(root))))
    return root_strands(rest, face, weights, strands)


def lid_margins(head: HeadAsset, vertices: Array) -> dict[tuple[str, bool], Array]:
    """Curves (200, 3) along the lids' edges from the outer to the inner corner; keys (side, is upper)."""
    marks = head.embedded(vertices)
    t, knots = np.linspace(0, 1, 200), np.linspace(0, 1, len(next(iter(LIDS.values()))))
    return {
        key: np.stack([np.interp(t, knots, marks[list(points)][:, axis]) for axis in range(3)], axis=1)
        for key, points in LIDS.items()
    }


def grow_lashes(head: HeadAsset, rest: Array) -> RootedStrands:
    """Curved lashes along both lids' edges."""
    rng = np.random.default_rng(41)
    skin_faces = head.faces[head.part_faces("head_skin")]
    skin_faces = skin_faces[triangle_frames(rest, skin_faces)[:, 2, 2] > 0.1]
    faces, weights, curves, widths = [], [], [], []
    for (side, upper), edge in lid_margins(head, rest).items():
        sign, count = (1.0 if side == "left" else -1.0), (UPPER_LASHES if upper else LOWER_LASHES)
        along = np.sort(rng.uniform(0.02, 0.86, count))  # 0 is the outer corner
        face, weight = nearest_on_faces(rest, skin_faces, edge[(along * 199).astype(int)])
        root = np.einsum("sk,skc->sc", weight, rest[face])
        outward = np.interp(along, [0, 1], [0.95, -0.45])
        heading = np.stack(
            [sign * outward * 0.75, np.full(count, 0.10 if upper else -0.50), np.full(count, 0.9)], axis=1
        )
        heading = unit(heading + 0.12 * rng.normal(size=(count, 3)))
        length = rng.uniform(0.0042, 0.0066, count) if upper else rng.uniform(0.003, 0.0045, count)
        bend = np.array([0, 0.45 if upper else -0.3, -0.15])
        t = np.linspace(0, 1, 4)
        curves.append(root[:, None] + length[:, None, None] * (t[:, None] * heading[:, None] + (t**2)[:, None] * bend))
        faces.append(face)
        weights.append(weight)
        widths.append(np.tile((0.00026 if upper else 0.00016) * np.array([1, 0.85, 0.6, 0.2]), (count, 1)))
    strands = Strands(
        points=np.concatenate(curves), widths=np.concatenate(widths), tint=np.full(sum(map(len, curves)), 0.5)
    )
    return root_strands(rest, np.concatenate(faces), np.concatenate(weights), strands)
