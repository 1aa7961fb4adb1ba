"""The same person throughout a clip, among drawn faces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrack.observe.faces import FaceObservation
from raytrack.observe.identity import select_face


def shape(person: int) -> np.ndarray:
    """A face of its own for each person: 478 points in a unit box, with depth."""
    return np.random.default_rng(person).uniform(-0.5, 0.5, (478, 3))


def face(person: int, x: float, y: float, size: float = 100.0, noise: int = 0, depth: bool = True) -> FaceObservation:
    """A person's face about (x, y), a little different in each frame."""
    points = shape(person) + np.random.default_rng(noise).normal(0, 0.01, (478, 3))
    points = (points * size + [x, y, 0]).astype(np.float32)
    return FaceObservation(
        landmarks=points[:, :2],
        depth=points[:, 2] if depth else None,
        score=1.0,
        expression_scores=None,
        box=np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]),
    )


def choose(clip: list[list[tuple[str, FaceObservation]]]) -> list[str]:
    """Names of the chosen faces ("-" for none), whatever the order in which each frame lists them."""
    chosen = select_face([[observation for _, observation in frame] for frame in clip])
    shuffled = [frame[::-1] for frame in clip]
    again = select_face([[observation for _, observation in frame] for frame in shuffled])
    names = ["-" if index < 0 else frame[index][0] for frame, index in zip(clip, chosen, strict=True)]
    assert names == ["-" if index < 0 else frame[index][0] for frame, index in zip(shuffled, again, strict=True)]
    return names


def test_one_face():
    clip = [[("a", face(1, 100 + 2 * t, 100, noise=t))] for t in range(20)]
    assert choose(clip) == ["a"] * 20


def test_no_face_at_all():
    assert select_face([[], [], []]).tolist() == [-1, -1, -1]
    assert select_face([]).shape == (0,)


def test_a_face_in_part_of_the_frames():
    clip = [[("a", face(1, 100, 100, noise=t))] if 5 <= t < 15 else [] for t in range(20)]
    assert choose(clip) == ["-"] * 5 + ["a"] * 10 + ["-"] * 5


def test_faces_listed_in_changing_order():
    clip = [
        [("a", face(1, 100, 100, 120, t)), ("b", face(2, 400, 100, 100, t))][:: 1 if t % 3 else -1] for t in range(30)
    ]
    assert choose(clip) == ["a"] * 30


def test_somebody_larger_enters_late():
    clip = [
        [("a", face(1, 100, 100, 100, t))] + ([("b", face(2, 400, 150, 160, t))] if t >= 25 else []) for t in range(50)
    ]
    assert choose(clip) == ["a"] * 50


def test_the_larger_of_two_who_stay():
    clip = [[("a", face(1, 100, 100, 100, t)), ("b", face(2, 400, 150, 160, t))] for t in range(10)]
    assert choose(clip) == ["b"] * 10


def test_two_who_pass_each_other():
    clip = [
        [("a", face(1, 150 + 5 * t, 200, 110, t)), ("b", face(2, 450 - 5 * t, 205, 100, t + 99))] for t in range(60)
    ]
    assert choose(clip) == ["a"] * 60


def test_hidden_while_another_stands_there():
    clip = []
    for t in range(90):
        seen = [] if 40 <= t < 60 else [("a", face(1, 300, 200, 120, t))]
        clip.append(seen + ([("b", face(2, 300 + 4 * (t - 50), 200, 115, t))] if 40 <= t < 60 else []))
    names = choose(clip)
    assert names[:40] == ["a"] * 40
    assert names[60:] == ["a"] * 30
    assert "a" not in names[40:60]


@pytest.mark.parametrize("depth", [True, False])
def test_lost_for_a_moment(depth):
    clip = [[("a", face(1, 300 + t, 200, 120, t, depth))] if t % 30 < 24 else [] for t in range(90)]
    assert choose(clip) == ["a" if t % 30 < 24 else "-" for t in range(90)]


def test_the_same_shape_after_a_cut_is_the_same_person():
    clip = [[("a", face(1, 300, 200, 120, t))] for t in range(40)]
    clip += [[("b", face(2, 320, 210, 118, t))] for t in range(30)]
    clip += [[("a", face(1, 700, 400, 60, t))] for t in range(20)]
    assert choose(clip) == ["a"] * 40 + ["-"] * 30 + ["a"] * 20


def test_without_depth_a_jump_is_another_person():
    clip = [[("a", face(1, 300, 200, 120, t, depth=False))] for t in range(40)]
    clip += [[("b", face(1, 900, 400, 120, t, depth=False))] for t in range(20)]
    assert choose(clip) == ["a"] * 40 + ["-"] * 20


def test_flickering_false_alarms_are_not_chosen():
    rng = np.random.default_rng(0)
    clip = []
    for t in range(100):
        alarms = [("x", face(int(rng.integers(100)), *rng.uniform(0, 2000, 2), 150, t)) for _ in range(2)]
        clip.append([*alarms, ("a", face(1, 300, 200, 60, t))])
    assert choose(clip) == ["a"] * 100


PEOPLE = [[face(p, 150 + 200 * p + 3 * t, 200 + 2 * t * p, 100 + p, t) for p in range(3)] for t in range(12)]


@settings(max_examples=20)
@given(st.lists(st.permutations([0, 1, 2]), min_size=12, max_size=12))
def test_the_order_within_a_frame_means_nothing(orders):
    chosen = select_face([[frame[p] for p in order] for frame, order in zip(PEOPLE, orders, strict=True)])
    assert [order[index] for order, index in zip(orders, chosen, strict=True)] == [2] * 12


def test_after_a_cut_the_same_person_is_known_by_the_face_alone():
    """Somebody else sits where the person sat; the person is elsewhere, then alone again."""
    clip = [[("a", face(1, 100, 100, 120, t))] for t in range(20)]
    clip += [[("b", face(2, 100, 100, 120, t)), ("a", face(1, 400, 200, 80, t))] for t in range(20, 40)]
    clip += [[("b", face(2, 100, 100, 120, t))] for t in range(40, 45)]
    clip += [[("a", face(1, 300, 100, 60, t))] for t in range(45, 60)]
    faces = [[observation for _, observation in frame] for frame in clip]
    chosen = select_face(faces, [20, 40, 45])
    names = ["-" if index < 0 else frame[index][0] for frame, index in zip(clip, chosen, strict=True)]
    assert names == ["a"] * 40 + ["-"] * 5 + ["a"] * 15


def test_without_depth_every_shot_keeps_somebody():
    clip = [[("a", face(1, 100, 100, 120, t, depth=False))] for t in range(10)]
    clip += [[("a", face(1, 400, 200, 110, t, depth=False))] for t in range(10, 20)]
    faces = [[observation for _, observation in frame] for frame in clip]
    assert (select_face(faces, [10]) == 0).all()
