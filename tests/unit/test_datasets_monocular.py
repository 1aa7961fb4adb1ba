"""Monocular footage as a sequence: names, frame selection, reading."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import encode, numbered_frames

from raytrack.datasets.monocular import distinct_names, monocular_sequence
from raytrack.datasets.selection import select_frames
from raytrack.errors import ConfigError, InputError
from raytrack.media.config import ExtractConfig
from raytrack.media.images import write_png
from raytrack.tables.keys import footage_name


def test_a_video_becomes_a_sequence(tmp_path):
    times_ms = [0, 40, 90, 120, 400]
    path = encode(tmp_path / "My clip (1).MP4", numbered_frames(5), times_ms=times_ms)
    sequence = monocular_sequence(path, subject="074", dataset="phones")
    assert (sequence.key.dataset, sequence.key.subject, sequence.key.sequence) == ("phones", "074", "My_clip_1_")
    assert (sequence.num_frames, sequence.size_hw, sequence.has_alpha) == (5, (48, 64), False)
    assert sequence.frame_ids == ("000000", "000001", "000002", "000003", "000004")
    np.testing.assert_allclose(sequence.timestamps_s, np.array(times_ms) / 1000)
    assert len(sequence.cameras) == 1


def test_selected_frames_are_those_of_the_footage(tmp_path):
    frames = numbered_frames(10)
    path = encode(tmp_path / "a.mkv", frames, codec="ffv1", pixel_format="bgr0")
    sequence = monocular_sequence(path, extract=ExtractConfig(every=3, max_frames=3))
    assert sequence.source_index.tolist() == [0, 3, 6]
    assert sequence.frame_ids == ("000000", "000003", "000006")
    for picture, index in zip(sequence.read(), (0, 3, 6), strict=True):
        np.testing.assert_array_equal(picture.rgb, frames[index])
    (middle,) = sequence.read(1, 2)
    np.testing.assert_array_equal(middle.rgb, frames[3])
    assert list(sequence.read(2, 2)) == []
    with pytest.raises(ValueError, match="not within the 3"):
        next(sequence.read(0, 4))


def test_a_folder_keeps_its_ids(tmp_path):
    for number in (3, 4, 9):
        write_png(tmp_path / "me" / f"{number:06d}.png", np.zeros((4, 4, 3), np.uint8))
    sequence = monocular_sequence(tmp_path / "me")
    assert sequence.key.sequence == "me"
    assert sequence.frame_ids == ("000003", "000004", "000009")
    np.testing.assert_allclose(sequence.timestamps_s, [0.0, 0.04, 0.24])


@pytest.mark.parametrize("name", ["../escape", "a/b", "..", ".hidden", "a b", "x" * 200])
def test_names_that_would_leave_their_folder_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        monocular_sequence(tmp_path / "none.mp4", name=name)


def test_default_names_stay_in_their_folder(tmp_path):
    for stem in ("..", "...", "a:b", "привет", "-x", "con fig"):
        name = footage_name(str(tmp_path / f"{stem}.mp4"))
        assert "/" not in name
        assert name[0].isalnum()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ben.v2", "ben.v2"),
        ("x/ben.v2/", "ben.v2"),
        ("me.MP4", "me"),
        ("take.1.mov", "take.1"),
        ("face.png", "face"),
        ("assets:demo/demo.mp4", "demo"),
    ],
)
def test_default_names(source, name):
    assert footage_name(source) == name


def test_missing_footage(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        monocular_sequence(tmp_path / "none.mp4")


def test_equal_stems_get_distinct_names(tmp_path):
    paths = [str(tmp_path / part) for part in ("a/me.mp4", "b/me.mov", "b/ME.mp4", "c/me-2.mp4", "d/you.mp4")]
    assert distinct_names(paths) == ("me", "me-2", "ME-3", "me-2-2", "you")
    assert distinct_names(paths) == distinct_names(paths)


def test_rate_selection_takes_the_nearest_frames():
    times = np.arange(30) / 30
    assert select_frames(times, target_fps=10).tolist() == list(range(0, 30, 3))
    assert select_frames(times, target_fps=30).tolist() == list(range(30))
    assert select_frames(times, target_fps=500).tolist() == list(range(30))
    # Halfway ticks go to the earlier frame: 12.5 a second of 25.
    assert select_frames(np.arange(25) / 25, target_fps=12.5).tolist() == list(range(0, 25, 2))
    assert select_frames(np.array([0.0, 0.01, 0.02, 0.5, 1.0]), target_fps=2).tolist() == [0, 3, 4]
    assert select_frames(np.zeros(1), target_fps=10).tolist() == [0]


@given(
    st.lists(st.floats(0.001, 1.0), min_size=0, max_size=60),
    st.floats(0.5, 120.0),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_selection_is_increasing_and_starts_at_the_first_frame(steps, fps, every, limit):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    index = select_frames(times, target_fps=fps, every=every, max_frames=limit)
    assert index[0] == 0
    assert (np.diff(index) > 0).all()
    assert index[-1] < len(times)
    assert 1 <= len(index) <= limit
