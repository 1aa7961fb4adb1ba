"""Things before the face: a microphone that comes and goes, and the frame of a pair of glasses."""

import numpy as np

from assets.demo.build_demo.head_asset import Array, HeadAsset
from assets.demo.build_demo.person import Person
from assets.demo.build_demo.stage import Prop

MICROPHONE_FRAMES = (10, 27)
"""The microphone is fully there in these frames and those between."""
_RISE_M, _RISE_FRAMES = 0.16, 4


def make_props(kind: str, person: Person, num_frames: int) -> tuple[Prop, ...]:
    """The props of a kind, for a person; none for an empty name.

    Raises:
        ValueError: There is no such kind.
    """
    if not kind:
        return ()
    makers = {"microphone": _microphone, "glasses": _glasses}
    if kind not in makers:
        raise ValueError(f"no prop {kind!r}; there are {', '.join(makers)}")
    return (makers[kind](person.head, person.rest, num_frames),)


def _microphone(head: HeadAsset, rest: Array, num_frames: int) -> Prop:
    lips = head.embedded(rest)[[13, 14]].mean(axis=0) + np.array([0.0, 0.012, -0.050])  # where people stand
    ball = lips + np.array([0.014, -0.016, 0.052])
    angle = np.linspace(0, np.pi, 12)
    profile = [(0.024 * np.sin(a), 0.024 * np.cos(a)) for a in angle]
    handle = [(0.012, -0.022), (0.011, -0.20), (0.0, -0.20)]
    head_part, faces_a = _lathe(profile)
    rod, faces_b = _lathe(handle)
    vertices = np.concatenate([head_part, rod])
    lean = np.array([[1, 0, 0], [0, 0.94, -0.34], [0, 0.34, 0.94]])
    frames = np.arange(num_frames)
    first, last = MICROPHONE_FRAMES
    below = np.maximum(np.maximum(first - frames, frames - last), 0) / _RISE_FRAMES
    path = np.stack([0.002 * np.sin(frames / 4), -_RISE_M * below, 0.002 * np.cos(frames / 5)], axis=1)
    path[below > 1] = np.nan
    return Prop(
        vertices=vertices @ lean.T + ball, faces=np.concatenate([faces_a, faces_b + len(head_part)]), joint=None,
        path=path,
    )  # fmt: skip


def _glasses(head: HeadAsset, rest: Array, num_frames: int) -> Prop:
    marks = head.embedded(rest)
    parts, faces, start = [], [], 0
    depth = marks[[168, 6]].mean(axis=0)[2] + 0.006
    for side, eye in ((1.0, head.joints[3]), (-1.0, head.joints[4])):
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        ring = np.stack([0.0245 * np.cos(turn), 0.0195 * np.sin(turn), np.zeros(40)], axis=1)
        ring += [eye[0] + side * 0.002, eye[1] - 0.002, 0.0]
        ring[:, 2] = depth - 6.0 * ring[:, 0] ** 2
        temple = np.linspace(0, 1, 12)[:, None]
        hinge = ring[np.argmax(side * ring[:, 0])]
        ear = np.array([side * np.abs(rest[head.regions["left_ear"], 0]).mean(), eye[1] + 0.004, 0.012])
        for line, closed in ((ring, True), (hinge + (ear - hinge) * temple, False)):
            tube, tube_faces = _tube(line, 0.0017, closed=closed)
            parts.append(tube)
            faces.append(tube_faces + start)
            start += len(tube)
    bridge = np.array([[-0.011, marks[168, 1] - 0.004, depth], [0, marks[168, 1], depth + 0.001],
                       [0.011, marks[168, 1] - 0.004, depth]])  # fmt: skip
    tube, tube_faces = _tube(bridge, 0.0017, closed=False)
    return Prop(
        vertices=np.concatenate([*parts, tube]), faces=np.concatenate([*faces, tube_faces + start]), joint=1,
        path=np.zeros((num_frames, 3)),
    )  # fmt: skip


def _lathe(profile: list[tuple[float, float]], sides: int = 20) -> tuple[Array, np.ndarray]:
    """Surface of revolution of (radius, height) about the y axis."""
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rings = [np.stack([r * np.sin(turn), np.full(sides, y), r * np.cos(turn)], axis=1) for r, y in profile]
    return np.concatenate(rings), _strip(len(profile), sides, closed=False)


def _tube(line: Array, radius: float, *, closed: bool, sides: int = 8) -> tuple[Array, np.ndarray]:
    """A round tube along points."""
    along = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(along, [0.31, 0.45, 0.84])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[None, :, None] * first[:, None] + np.sin(turn)[None, :, None] * second[:, None]
    return (line[:, None] + radius * ring).reshape(-1, 3), _strip(len(line), sides, closed=closed)


def _strip(rows: int, sides: int, *, closed: bool) -> np.ndarray:
    """Triangles between consecutive rings of vertices."""
    row, k = np.meshgrid(np.arange(rows if closed else rows - 1), np.arange(sides), indexing="ij")
    a, b = row * sides + k, row * sides + (k + 1) % sides
    c, d = (a + sides) % (rows * sides), (b + sides) % (rows * sides)
    return np.stack([a, c, b, b, c, d], axis=-1).reshape(-1, 3)
