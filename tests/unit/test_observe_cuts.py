"""Cuts: found where pictures change for good, not in flashes and fast motion; and what is said of them."""

import cv2
import numpy as np
import pytest
import torch

from raytrack import assets
from raytrack.fit.interpolation import interpolate_missing
from raytrack.media.resize import thumbnail
from raytrack.media.source import probe, read_pictures
from raytrack.observe.cuts import find_cuts, shots
from raytrack.observe.events import clip_events


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    source = probe(assets.asset_path("demo/demo.mp4"))
    return np.stack([picture.rgb for picture in read_pictures(source)])


def copies(frames) -> np.ndarray:
    return np.stack([thumbnail(frame) for frame in frames])


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_motion_is_no_cut(demo, step):
    assert find_cuts(copies(demo[::step])).tolist() == []


def unrelated(*lengths: int) -> np.ndarray:
    """Shots of a slowly changing picture each, which have nothing in common."""
    random = np.random.default_rng(0)
    shots = []
    for length in lengths:
        first, drift = random.uniform(20, 235, (16, 16, 3)), random.normal(0, 1, (16, 16, 3))
        shots.append(first + drift * np.arange(length)[:, None, None, None])
    return np.concatenate(shots).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("lengths", [(40, 6, 6, 6, 40), (4, 4, 4, 4), (20, *(4,) * 8, 20), (30, 5, 30)])
def test_cuts_in_quick_succession_are_found(lengths):
    assert find_cuts(unrelated(*lengths)).tolist() == np.cumsum(lengths[:-1]).tolist()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_pictures_that_all_differ_are_no_cuts(times):
    """Of a very low frame rate, also where each picture is there several times."""
    pictures = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3)).astype(np.uint8)
    assert find_cuts(np.repeat(pictures, times, axis=0)).tolist() == []


def closer(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    edge = height // 12
    return cv2.resize(frame[edge:-edge, edge:-edge], (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("change", [closer, lambda frame: frame[:, ::-1], lambda frame: 255 - frame])
def test_a_cut_is_found_where_it_is(demo, change):
    cut = copies([*demo[:41], *(change(frame) for frame in demo[41:])])
    assert find_cuts(cut).tolist() == [41]
    assert shots(cut, find_cuts(cut)).tolist() == [0] * 41 + [1] * 49


def test_flashes_and_fades_are_no_cuts(demo):
    frames = demo.astype(np.float32)
    frames[30] = 255
    frames[50:52] = 0.2 * frames[50:52] + 200
    frames[60:] *= np.linspace(1, 0.3, 30)[:, None, None, None]
    assert find_cuts(copies(frames.round().astype(np.uint8))).tolist() == []


def test_a_doubtful_change_is_a_cut_if_the_face_jumps():
    random = np.random.default_rng(0)
    first, other = random.integers(0, 255, (2, 16, 16, 3)).astype(np.float32)
    mixed = first + 0.3 * (other - first)
    pictures = np.stack([first] * 10 + [mixed] * 10).round().astype(np.uint8)
    still = np.tile(random.uniform(0, 90, (1, 40, 2)), (20, 1, 1))
    jumping = still.copy()
    jumping[10:, :, 0] += 30
    gone = still.copy()
    gone[10:] = np.nan
    assert find_cuts(pictures, still).tolist() == []
    assert find_cuts(pictures, jumping).tolist() == [10]
    assert find_cuts(pictures, gone).tolist() == [10]


def test_one_frame_and_none_have_no_cuts():
    assert find_cuts(np.zeros((1, 16, 16, 3), np.uint8)).tolist() == []
    assert find_cuts(np.zeros((9, 16, 16, 3), np.uint8)).tolist() == []


def test_frames_without_a_face_take_what_the_events_say():
    """Shots A, B, A again and C; faces are missing at the ends of shots and between them."""
    shot = np.repeat([0, 1, 0, 1, 2], (6, 4, 5, 3, 4))
    seen = np.ones(len(shot), bool)
    seen[[4, 5, 8, 12, 15, 16, 17, 18, 21]] = False
    events = clip_events(seen.astype(int), seen, shot, np.array([6, 10, 15, 18]))
    fates = {event.first_frame: event.text.partition(": ")[2] for event in events if event.kind == "no_face"}
    rows = torch.arange(float(len(shot)))[:, None]
    found = interpolate_missing(torch.where(torch.from_numpy(seen)[:, None], rows, -99.0), seen, shot)[:, 0].tolist()
    assert fates[4] == "not tracked, the last pose before them is kept"
    assert found[4:6] == [3, 3], "not what comes after the other shot"
    assert (fates[8], found[8]) == ("interpolated", 8)
    assert (fates[12], found[12]) == ("interpolated", 12)
    assert fates[15] == "not tracked"
    assert fates[18] == "not tracked, the first pose after them is kept"
    assert found[18] == 19
    assert fates[21] == "not tracked, the last pose before them is kept"
    assert found[21] == 20


def test_events_say_what_happens_and_what_becomes_of_it():
    faces = np.array([0, 0, 1, 1, 0, 1, 2, 2, 1, 1, 1, 0])
    seen = np.array([0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0], bool)
    shot = np.repeat([0, 1], (9, 3))
    texts = [event.text for event in clip_events(faces, seen, shot, np.array([9]))]
    assert texts == [
        "no face in frames 0–1: not tracked, the first pose after them is kept",
        "no face in frame 4: interpolated",
        "2 faces in frames 6–7: kept the one seen largest and longest in the clip",
        "cut at frame 9",
        "somebody else in frames 9–10: not tracked",
        "no face in frame 11: not tracked",
    ]
    assert clip_events(np.ones(5, int), np.ones(5, bool), np.zeros(5, int), np.zeros(0, int)) == ()


def test_a_view_that_comes_back_is_the_same_shot(demo):
    away = np.tile(np.arange(16, dtype=np.uint8)[:, None, None] * 15, (20, 1, 16, 3))
    pictures = copies(demo)
    back = np.concatenate([pictures[:30], away, pictures[38:60], 255 - pictures[60:]])
    cuts = find_cuts(back)
    assert cuts.tolist() == [30, 50, 72]
    numbers = shots(back, cuts)
    assert numbers.tolist() == [0] * 30 + [1] * 20 + [0] * 22 + [2] * 30
    seen = numbers != 1
    texts = [event.text for event in clip_events(seen.astype(int), seen, numbers, cuts)]
    assert "no face in frames 30–49: interpolated" in texts


def test_a_view_that_comes_back_when_the_head_has_moved_on_is_the_same_shot(demo):
    away = np.full((20, 16, 16, 3), 128, np.uint8)
    with np.load(assets.asset_path("demo/ground_truth.npz")) as archive:
        face = archive["landmarks_px"].astype(np.float32)
    face[20:40] = np.nan
    pictures = copies(demo)
    interrupted = np.concatenate([pictures[:20], away, pictures[40:]])
    cuts = find_cuts(interrupted, face)
    assert cuts.tolist() == [20, 40]
    assert shots(interrupted, cuts, face).tolist() == [0] * 20 + [1] * 20 + [0] * 50
    zoomed = np.concatenate([pictures[:20], away, copies([closer(frame) for frame in demo[40:]])])
    face[40:] = (face[40:] - 224) * 1.2 + 224
    assert shots(zoomed, cuts, face).tolist() == [0] * 20 + [1] * 20 + [2] * 50
