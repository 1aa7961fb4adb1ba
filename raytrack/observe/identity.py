"""Who is who: from the faces found in each frame to one person throughout the clip.

Faces are first linked from frame to frame by where they are and how large, into stretches, which end where the rigid
shape of the face changes at once (a cut to somebody else). Stretches are then joined into people, where the shape is
the same, or one goes on about where another left off. The person who is seen largest and longest is the clip's. Nothing
here depends on the order of the faces within a frame.
"""

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from raytrack.observe.faces import FaceObservation

MAX_GAP = 12
"""Frames for which a face may be lost and still be linked by its motion alone."""
MAX_PAUSE = 50
"""Frames after which a face in the same place need no longer be the same person."""
MAX_SIZE_RATIO = 1.6
SAME_SHAPE = 0.05
"""Shapes of one person in one clip differ by 0.01 to 0.04 (they depend a little on the view), of two by 0.075 and more:
measured on long stretches of the clips that the method was developed on."""
SAME_SHAPE_AFTER_CUT = 0.062
"""The limit for faces of different shots, in which the head is turned otherwise for good."""
SHAPE_JUMP, SHAPE_DRIFT = 0.055, 0.003
"""From one frame to the next the shape of one person changes by 0.04 at most, and by a little more over a gap; two
people's differ by 0.058 and more."""
MAX_JOINED = 200
"""Only so many stretches, those of the largest presence, are considered for joining."""
_UNLINKED = 1e6

# Points that expressions hardly move: eye corners, nose, cheekbones, temples, forehead.
_RIGID_POINTS = (33, 133, 362, 263, 168, 6, 197, 5, 98, 327, 234, 454, 10, 127, 356, 70, 300, 108, 337, 50, 280)
_NUM_FACEMESH_POINTS = 478
_SHAPE_SAMPLES = 64


@dataclass(kw_only=True)
class _Stretch:
    """One face followed through consecutive frames, with short gaps."""

    frames: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Index of the face within its frame's list."""
    faces: list[FaceObservation] = field(default_factory=list)

    def add(self, frame: int, place: int, face: FaceObservation) -> None:
        self.frames.append(frame)
        self.places.append(place)
        self.faces.append(face)

    def part(self, start: int, stop: int) -> "_Stretch":
        """The faces `start` to `stop` (not included) as a stretch of their own."""
        return _Stretch(frames=self.frames[start:stop], places=self.places[start:stop], faces=self.faces[start:stop])

    def expected_center(self, frame: int) -> Float[np.ndarray, "2"]:
        """Where the face should be, by its last motion."""
        last = _center(self.faces[-1])
        if len(self.faces) < 2:
            return last
        velocity = (last - _center(self.faces[-2])) / (self.frames[-1] - self.frames[-2])
        return last + velocity * min(frame - self.frames[-1], 3)


def _center(face: FaceObservation) -> Float[np.ndarray, "2"]:
    return (face.box[:2] + face.box[2:]).astype(np.float64) / 2


def _size(face: FaceObservation) -> float:
    return max(float(np.sqrt((face.box[2:] - face.box[:2]).astype(np.float64).prod())), 1e-6)


def _presence(stretch: _Stretch) -> float:
    """Sum of the face's size over the frames it is seen in."""
    return sum(_size(face) for face in stretch.faces)


def _link_cost(stretch: _Stretch, frame: int, face: FaceObservation) -> float:
    """How badly a face continues a stretch: distance in face sizes and change of size; `_UNLINKED` if it cannot."""
    gap = frame - stretch.frames[-1]
    size = np.sqrt(_size(stretch.faces[-1]) * _size(face))
    distance = float(np.linalg.norm(_center(face) - stretch.expected_center(frame))) / size
    growth = abs(np.log(_size(face) / _size(stretch.faces[-1])))
    reachable = distance < min(0.6 + 0.1 * (gap - 1), 1.2) and growth < np.log(MAX_SIZE_RATIO)
    return distance + 0.5 * growth if reachable else _UNLINKED


def _link(frames: Sequence[Sequence[FaceObservation]], cuts: Set[int]) -> list[_Stretch]:
    """Follow each face from frame to frame, up to the next cut."""
    closed: list[_Stretch] = []
    active: list[_Stretch] = []
    for frame, unordered in enumerate(frames):
        # A canonical order, so that equal costs are broken the same way whatever the detector's order.
        faces = sorted(enumerate(unordered), key=lambda item: tuple(item[1].box.tolist()))
        longest = 0 if frame in cuts else MAX_GAP
        closed += [stretch for stretch in active if frame - stretch.frames[-1] > longest]
        active = [stretch for stretch in active if frame - stretch.frames[-1] <= longest]
        costs = np.array([[_link_cost(stretch, frame, face) for _, face in faces] for stretch in active])
        linked = set()
        if costs.size:
            for row, column in zip(*linear_sum_assignment(costs), strict=True):
                if costs[row, column] < _UNLINKED:
                    active[row].add(frame, *faces[column])
                    linked.add(column)
        for column, (place, face) in enumerate(faces):
            if column not in linked:
                active.append(_Stretch(frames=[frame], places=[place], faces=[face]))
    return sorted(closed + active, key=lambda stretch: (stretch.frames[0], tuple(stretch.faces[0].box.tolist())))


def _aligned(
    points: Float[np.ndarray, "points 3"], reference: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Turn a centred shape onto another (Kabsch 1976)."""
    left, _, right = np.linalg.svd(points.T @ reference)
    handedness = np.sign(np.linalg.det(left @ right))
    return points @ (left * np.array([1.0, 1.0, handedness])) @ right


def _normalized(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    centered = points - points.mean(axis=0)
    return centered / np.sqrt((centered**2).sum(axis=1).mean())


def _face_shape(face: FaceObservation) -> Float[np.ndarray, "points 3"]:
    """The face's rigid points, of unit size; not a number where the detector gives no depth."""
    if face.depth is None or len(face.landmarks) != _NUM_FACEMESH_POINTS:
        return np.full((len(_RIGID_POINTS), 3), np.nan)
    return _normalized(np.column_stack([face.landmarks, face.depth])[list(_RIGID_POINTS)].astype(np.float64))


def _mean_shape(stretch: _Stretch) -> Float[np.ndarray, "points 3"]:
    """Mean shape over a stretch; not a number where the detector gives no depth."""
    picked = np.unique(np.linspace(0, len(stretch.faces) - 1, _SHAPE_SAMPLES).round().astype(int))
    shapes = [_face_shape(stretch.faces[index]) for index in picked]
    mean = shapes[0]
    if np.isnan(shapes).any():
        return np.full_like(mean, np.nan)
    for _ in range(3):
        mean = _normalized(np.mean([_aligned(shape, mean) for shape in shapes], axis=0))
    return mean


def _shape_distance(
    a: Float[np.ndarray, "*#pairs points 3"], b: Float[np.ndarray, "*#pairs points 3"]
) -> Float[np.ndarray, "*pairs"]:
    """Root mean square distance of two unit shapes after alignment; not a number where one is not known."""
    products = np.nan_to_num(a.swapaxes(-1, -2) @ b)
    lengths = np.linalg.svd(products, compute_uv=False)
    lengths[..., 2] *= np.where(np.linalg.det(products) < 0, -1.0, 1.0)
    squared = 2.0 - 2.0 * lengths.sum(axis=-1) / a.shape[-2]
    unknown = np.isnan(a).any(axis=(-1, -2)) | np.isnan(b).any(axis=(-1, -2))
    return np.where(unknown, np.nan, np.sqrt(np.maximum(squared, 0.0)))


def _shape_changes(stretch: _Stretch) -> Float[np.ndarray, " steps"]:
    """How much the shape changes from each face of a stretch to the next; 0 where it is not known."""
    shapes = np.stack([_face_shape(face) for face in stretch.faces])
    return np.nan_to_num(_shape_distance(shapes[1:], shapes[:-1]))


def _split(stretches: list[_Stretch]) -> tuple[list[_Stretch], float]:
    """Cut stretches where the shape changes at once.

    Returns:
        The stretches, and the change from one frame to the next that counts as a jump. It is larger in a clip whose
        frames lie far apart, in which every change is large.
    """
    changes = [_shape_changes(stretch) for stretch in stretches]
    usual = float(np.median(np.concatenate([*changes, np.zeros(1)])))
    jump = max(SHAPE_JUMP, 4.0 * usual)
    parts = []
    for stretch, stretch_changes in zip(stretches, changes, strict=True):
        gaps = [b - a for a, b in pairwise(stretch.frames)]
        limits = [jump + SHAPE_DRIFT * (gap - 1) for gap in gaps]
        cuts = [place + 1 for place, change in enumerate(stretch_changes) if change > limits[place]]
        for start, stop in pairwise([0, *cuts, len(stretch.frames)]):
            parts.append(stretch.part(start, stop))
    return parts, jump


def _continues(earlier: _Stretch, later: _Stretch, jump: float) -> float | None:
    """How badly one stretch goes on where another, which ended before it, left off; None if it does not."""
    pause = later.frames[0] - earlier.frames[-1]
    last, first = earlier.faces[-1], later.faces[0]
    moved = float(np.linalg.norm(_center(first) - _center(last))) / np.sqrt(_size(first) * _size(last))
    growth = abs(np.log(_size(first) / _size(last)))
    if moved >= 1.0 or growth >= np.log(MAX_SIZE_RATIO) or pause > MAX_PAUSE:
        return None
    changed = _shape_distance(_face_shape(last), _face_shape(first))
    return None if changed > jump + SHAPE_DRIFT * (pause - 1) else moved + growth


def _match(earlier: _Stretch, later: _Stretch, distance: float, jump: float, cuts: Set[int]) -> float | None:
    """How badly two stretches are of one person, whose mean shapes are so far apart; None if they are not."""
    cut_between = any(earlier.frames[-1] < cut <= later.frames[0] for cut in cuts)
    if distance < (SAME_SHAPE_AFTER_CUT if cut_between else SAME_SHAPE):
        return distance
    if not cut_between:
        rest = _continues(earlier, later, jump)
        return None if rest is None else 1.0 + rest
    if not np.isnan(distance):
        return None
    # The detector tells nothing of shapes: faces of the same size are the best guess.
    return 2.0 + abs(float(np.log(_size(later.faces[0]) / _size(earlier.faces[-1]))))


def _join(stretches: list[_Stretch], jump: float, cuts: Set[int]) -> list[list[_Stretch]]:
    """Join stretches into people: the best matching first, never two that are seen at the same time.

    Beyond a cut, where a face is says nothing about whose it is.
    """
    largest = sorted(range(len(stretches)), key=lambda index: -_presence(stretches[index]))[:MAX_JOINED]
    shapes = np.stack([_mean_shape(stretches[index]) for index in largest])
    distances = _shape_distance(shapes[:, None], shapes[None, :])
    pairs = []
    for row, first in enumerate(largest):
        for column, second in enumerate(largest):
            if stretches[second].frames[0] <= stretches[first].frames[-1]:
                continue
            cost = _match(stretches[first], stretches[second], float(distances[row, column]), jump, cuts)
            if cost is not None:
                pairs.append((cost, first, second))
    group_of = list(range(len(stretches)))
    seen = [set(stretch.frames) for stretch in stretches]
    for _, first, second in sorted(pairs):
        a, b = group_of[first], group_of[second]
        if a != b and seen[a].isdisjoint(seen[b]):
            seen[a] |= seen[b]
            group_of = [a if group == b else group for group in group_of]
    members: dict[int, list[_Stretch]] = {}
    for group, stretch in zip(group_of, stretches, strict=True):
        members.setdefault(group, []).append(stretch)
    return list(members.values())


def select_face(frames: Sequence[Sequence[FaceObservation]], cuts: Collection[int] = ()) -> Int[np.ndarray, " frames"]:
    """Choose the same person's face in every frame of a clip.

    The person is the one with the largest presence: the sum of the face's size over the frames it is seen in. The
    result is the same whatever the order of the faces within a frame, and for a clip whose chunks were observed apart.

    Args:
        frames: The faces found in each frame of the whole clip, in time order.
        cuts: First frames of shots (`raytrack.observe.cuts`), where they are known: faces are then known again by
            their shape alone.

    Returns:
        For each frame the index of the person's face in its list; −1 where the person is not seen.
    """
    chosen = np.full(len(frames), -1, dtype=np.int64)
    known_cuts = frozenset(int(cut) for cut in cuts)
    stretches, jump = _split(_link(frames, known_cuts))
    if stretches:
        people = _join(stretches, jump, known_cuts)
        presence = [sum(_presence(stretch) for stretch in person) for person in people]
        for stretch in people[int(np.argmax(presence))]:
            chosen[stretch.frames] = stretch.places
    return chosen
