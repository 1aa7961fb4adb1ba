"""The background's geometry: a wall with a bookshelf, a window, a picture and a plant."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .head_asset import Array

WALL_Z_M = -1.65
"""The wall behind the person."""
PLAIN, PLASTER, WOOD, OUTSIDE, LEAF, PAINTING, CURTAIN = range(7)
"""Kinds of surface."""


@dataclass
class Builder:
    """Collects coloured triangles."""

    vertices: list[Array] = field(default_factory=list)
    faces: list[npt.NDArray[np.int64]] = field(default_factory=list)
    colours: list[Array] = field(default_factory=list)
    kinds: list[npt.NDArray[np.uint8]] = field(default_factory=list)

    def add(
        self, vertices: Array, faces: npt.NDArray[np.int64], colour: tuple[float, float, float], kind: int = PLAIN
    ) -> None:
        """Append a mesh of one colour and texture kind."""
        start = sum(map(len, self.vertices))
        self.vertices.append(np.asarray(vertices, float))
        self.faces.append(np.asarray(faces) + start)
        self.colours.append(np.tile(colour, (len(faces), 1)))
        self.kinds.append(np.full(len(faces), kind, np.uint8))

    def box(
        self, low: tuple, high: tuple, colour: tuple[float, float, float], kind: int = PLAIN, lean: float = 0.0
    ) -> None:
        """Axis-aligned box; `lean` shifts its top sideways."""
        corner = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
        vertices = np.asarray(low) + corner * (np.asarray(high) - np.asarray(low))
        vertices[:, 0] += lean * corner[:, 1]
        quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
        self.add(vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]), colour, kind)

    def lathe(self, profile: list[tuple[float, float]], at: tuple, colour: tuple[float, float, float]) -> None:
        """Surface of revolution of (radius, height) about a vertical axis."""
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        rings = [np.stack([r * np.sin(angle), np.full(28, y), r * np.cos(angle)], axis=1) for r, y in profile]
        ring, k = np.meshgrid(np.arange(len(profile) - 1), np.arange(28), indexing="ij")
        a, b = ring * 28 + k, ring * 28 + (k + 1) % 28
        faces = np.stack([a, b, a + 28, b, b + 28, a + 28], axis=-1).reshape(-1, 3)
        self.add(np.concatenate(rings) + np.asarray(at), faces, colour)


def add_shelf(room: Builder, rng: np.random.Generator) -> None:
    """Two boards with books and pots."""
    palette = [
        (0.35, 0.06, 0.05),
        (0.05, 0.12, 0.22),
        (0.55, 0.45, 0.25),
        (0.08, 0.2, 0.12),
        (0.5, 0.5, 0.46),
        (0.30, 0.16, 0.06),
        (0.12, 0.1, 0.16),
        (0.55, 0.22, 0.08),
    ]
    for y in (-0.42, -0.08, 0.26):
        room.box((-1.1, y - 0.022, WALL_Z_M), (-0.16, y, WALL_Z_M + 0.24), (0.26, 0.145, 0.07), WOOD)
        x = -1.05
        while x < -0.30:
            width, height, depth = rng.uniform(0.018, 0.045), rng.uniform(0.17, 0.27), rng.uniform(0.12, 0.19)
            if rng.random() < 0.12:
                x += rng.uniform(0.03, 0.08)
                continue
            colour = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.6, 1.3)
            lean = rng.choice([0, 0, 0, 0.02])
            low, high = (x, y, WALL_Z_M + 0.02), (x + width, y + height, WALL_Z_M + 0.02 + depth)
            room.box(low, high, tuple(np.minimum(colour, 0.8)), PLAIN, lean)
            room.box(
                (x - 0.0005, y + height * 0.72, low[2]),
                (x + width + 0.0005, y + height * 0.8, high[2] + 0.001),
                (0.6, 0.5, 0.25),
                PLAIN,
                lean,
            )
            x += width + lean + 0.002
    room.box((-0.18, -1.0, WALL_Z_M), (-0.155, 0.62, WALL_Z_M + 0.24), (0.26, 0.145, 0.07), WOOD)
    room.lathe(
        [(0.0, 0.001), (0.035, 0.002), (0.05, 0.05), (0.03, 0.10), (0.02, 0.13), (0.028, 0.15)],
        (-0.235, -0.08, WALL_Z_M + 0.13),
        (0.55, 0.33, 0.2),
    )
    room.lathe(
        [(0.0, 0.001), (0.04, 0.002), (0.045, 0.07), (0.0, 0.08)], (-0.24, 0.26, WALL_Z_M + 0.13), (0.12, 0.25, 0.3)
    )


def add_window(room: Builder) -> None:
    """A window with muntins, a view of greenery and sky, a sill and a curtain."""
    left, right, low, high = 0.27, 1.0, -0.12, 0.85
    z = WALL_Z_M
    room.box((left, low, z - 0.004), (right, high, z + 0.002), (1.0, 1.0, 1.0), OUTSIDE)
    frame = (0.62, 0.60, 0.56)
    for x in (left - 0.02, (left + right) / 2 - 0.2):
        room.box((x, low, z), (x + 0.035, high, z + 0.035), frame)
    for y in (low - 0.02, (low + high) / 2 - 0.02):
        room.box((left, y, z), (right, y + 0.03, z + 0.035), frame)
    room.box((left - 0.06, low - 0.05, z), (right, low - 0.02, z + 0.10), frame)
    columns = np.linspace(0.16, 0.31, 40)
    wave = 0.05 + 0.018 * np.sin(columns * 190) + 0.008 * np.sin(columns * 71)
    top = np.stack([columns, np.full(40, 0.9), z + wave], axis=1)
    bottom = np.stack([columns * 1.0 - 0.01, np.full(40, -0.55), z + wave * 1.2], axis=1)
    k = np.arange(39)
    faces = np.concatenate([np.stack([k, k + 1, k + 40], 1), np.stack([k + 1, k + 41, k + 40], 1)])
    room.add(np.concatenate([top, bottom]), faces, (0.42, 0.30, 0.20), CURTAIN)


def add_plant(room: Builder, rng: np.random.Generator) -> None:
    """A pot with arching leaves, at the right."""
    base = np.array([0.50, -0.50, -1.20])
    room.lathe(
        [(0.0, -0.2), (0.07, -0.2), (0.095, 0.0), (0.10, 0.02), (0.085, 0.02), (0.0, 0.0)],
        tuple(base),
        (0.42, 0.16, 0.09),
    )
    for _ in range(46):
        heading, reach, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.24), rng.uniform(0.10, 0.42)
        direction = np.array([np.cos(heading), 0, np.sin(heading)])
        t = np.linspace(0, 1, 9)[:, None]
        spine = base + direction * reach * t + np.array([0, 1.0, 0]) * rise * (t - 0.45 * t**2)
        side = np.cross(direction, [0, 1.0, 0]) * 0.021 * np.sin(np.pi * np.clip(t * 0.96 + 0.04, 0, 1)) ** 0.8
        k = np.arange(8) * 3
        vertices = np.stack([spine - side, spine - np.array([0.0, 0.004, 0.0]), spine + side], axis=1).reshape(-1, 3)
        quads = [(k, k + 1, k + 3), (k + 1, k + 4, k + 3), (k + 1, k + 2, k + 4), (k + 2, k + 5, k + 4)]
        faces = np.concatenate([np.stack(q, axis=1) for q in quads])
        room.add(vertices, faces, tuple(np.array([0.055, 0.16, 0.04]) * rng.uniform(0.6, 1.4)), LEAF)


def build_room() -> Builder:
    """The whole background."""
    rng, room = np.random.default_rng(8), Builder()
    room.box((-3, -2, WALL_Z_M - 0.1), (3, 2, WALL_Z_M), (0.46, 0.36, 0.27), PLASTER)
    room.box((-3, -2, WALL_Z_M), (3, -0.43, WALL_Z_M + 0.015), (0.50, 0.47, 0.42), WOOD)
    room.box((-3, -0.455, WALL_Z_M), (3, -0.43, WALL_Z_M + 0.03), (0.54, 0.51, 0.46))
    add_shelf(room, rng)
    add_window(room)
    add_plant(room, rng)
    room.box((-0.085, 0.33, WALL_Z_M), (0.125, 0.62, WALL_Z_M + 0.018), (0.05, 0.04, 0.035))
    room.box((-0.068, 0.347, WALL_Z_M), (0.108, 0.603, WALL_Z_M + 0.0195), (0.7, 0.66, 0.58), PAINTING)
    return room
