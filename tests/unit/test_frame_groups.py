"""Groups of frames: their own light and focal length in the fit's state, the track's file, drawings and datasets."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from synthetic_track import head, make_image, make_track, make_view

from raytrack.errors import InputError
from raytrack.export.config import ExportConfig
from raytrack.export.formats import write_dataset
from raytrack.export.scores import jitter_px
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.groups import joined_to_seen, longest, numbered
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.key_frames import key_frames_of_groups
from raytrack.fit.neighbours import link_weights
from raytrack.fit.painting import FramePainter
from raytrack.fit.shared import GroupAdam, SharedParameters
from raytrack.fit.track import Track

GROUP = np.array([0, 0, 1, 1, 1])


def track_with_a_cut() -> Track:
    track = make_track(num_frames=5)
    assert track.focal_px is not None
    darker = torch.stack([0.5 * track.lights if group == 0 else track.lights for group in GROUP])
    focals = torch.tensor([track.focal_px * (1.3 if group == 0 else 1.0) for group in GROUP])
    group = torch.from_numpy(GROUP)
    return dataclasses.replace(track, group=group, lights_per_frame=darker, focal_px_per_frame=focals)


def test_groups_are_counted_in_the_order_of_their_appearance():
    assert numbered(np.array([7, 7, 3, 9, 3])).tolist() == [0, 0, 1, 2, 1]
    assert longest(np.array([0, 1, 1, 2, 2])) == 1


def test_a_group_in_which_nothing_is_seen_joins_its_neighbours():
    group, seen = np.repeat([0, 1, 2, 3], 4), np.zeros(16, bool)
    seen[[5, 6, 12, 13]] = True
    assert joined_to_seen(group, seen).tolist() == [0] * 10 + [1] * 6
    assert joined_to_seen(group, ~np.zeros(16, bool)).tolist() == group.tolist()
    assert joined_to_seen(group, np.zeros(16, bool)).tolist() == group.tolist()


def test_nothing_is_taken_from_beyond_a_cut():
    rows = torch.tensor([[1.0], [0.0], [0.0], [5.0], [6.0]])
    known = np.array([True, False, False, True, True])
    assert interpolate_missing(rows, known, GROUP).flatten().tolist() == [1, 1, 5, 5, 6]
    alone = np.array([True, True, False, False, False])
    assert interpolate_missing(rows, alone, GROUP).flatten().tolist() == [1, 0, 0, 0, 0]
    assert link_weights(np.arange(5) / 25, np.ones(5, bool), GROUP).tolist() == pytest.approx([1, 0, 1, 1])


def test_every_group_has_key_frames():
    scores, poses = np.ones(40), np.random.default_rng(0).normal(size=(40, 3))
    group = np.repeat([0, 1], (35, 5))
    chosen = key_frames_of_groups(scores, poses, group, 8)
    assert (group[chosen] == 1).sum() == 4
    assert (group[chosen] == 0).sum() == 7
    scores[35:] = 0
    assert (group[key_frames_of_groups(scores, poses, group, 8)] == 0).all()
    with pytest.raises(ValueError, match="no frame"):
        key_frames_of_groups(np.zeros(40), poses, group, 8)


def test_groups_outside_a_batch_neither_move_nor_age():
    adam, value = GroupAdam(0.1), torch.ones(3, 9, 3)
    for _ in range(3):
        value = adam.step(value, torch.tensor([0, 2]), torch.ones(3, 9, 3))
    assert torch.equal(value[1], torch.ones(9, 3))
    torch.testing.assert_close(value[0], torch.full((9, 3), 0.7))
    again = GroupAdam(0.1)
    again.restore(adam.state())
    own, other = (one.step(value, torch.tensor([1, 2]), 2 * torch.ones(3, 9, 3)) for one in (adam, again))
    assert torch.equal(own, other)
    torch.testing.assert_close(own[1], torch.full((9, 3), 0.9))


def test_checkpoints_keep_every_groups_values(tmp_path):
    shared = SharedParameters.start(head(), torch.zeros(head().num_shapes), (500.0, 800.0), 32, num_lights=2)
    assert shared.light.shape == (2, 9, 3)
    state = FitState(rows=torch.zeros(5, 3), shared=shared, stages_done=1, photo_error=0, rows_error=1, converged=False)
    Checkpoint(tmp_path).save(state)
    loaded = Checkpoint(tmp_path).load()
    assert loaded is not None
    torch.testing.assert_close(loaded.shared.log_focal.exp(), torch.tensor([500.0, 800.0]))
    assert torch.equal(loaded.shared.light, shared.light)


def test_a_tracks_file_keeps_vhaps_keys_and_says_more_per_frame(tmp_path):
    track = track_with_a_cut()
    track.save(tmp_path / "t.npz", base_albedo=head().albedo)
    with np.load(tmp_path / "t.npz") as arrays:
        assert arrays["lights"].shape == (9, 3)
        assert arrays["focal_length"].shape == (1,)
        assert arrays["lights_per_frame"].shape == (5, 9, 3)
    loaded = Track.load(tmp_path / "t.npz")
    for name in ("group", "lights_per_frame", "focal_px_per_frame"):
        assert torch.equal(getattr(loaded, name), getattr(track, name))
    assert not {"group", "lights_per_frame"} & set(make_track().vhap_arrays(head().albedo))


def test_frames_are_drawn_in_their_own_light_with_their_own_lens():
    track = track_with_a_cut()
    painter, plain = FramePainter(track, head()), FramePainter(make_track(num_frames=5), head())
    image = make_image(0, track.size_hw)
    own, other = painter.paint(0, image), plain.paint(0, image)
    assert own.mask.sum() > 1.3 * other.mask.sum()
    assert own.color[own.mask].mean() < 0.7 * other.color[other.mask].mean()
    centre = np.array([track.size_hw[1], track.size_hw[0]]) / 2
    np.testing.assert_allclose(own.landmarks_px - centre, 1.3 * (other.landmarks_px - centre), atol=1e-2)
    assert np.array_equal(painter.paint(3, image).color, plain.paint(3, image).color)


def test_datasets_say_each_frames_focal_length(tmp_path):
    track = track_with_a_cut()
    write_dataset(track, head(), tmp_path / "nerf", ExportConfig(), views=[make_view(track)])
    document = json.loads((tmp_path / "nerf" / "transforms.json").read_text())
    assert "fl_x" not in document
    assert track.focal_px is not None
    found = [frame["fl_x"] / track.focal_px for frame in document["frames"]]
    assert found == pytest.approx([1.3, 1.3, 1, 1, 1])
    with pytest.raises(InputError):
        write_dataset(track, head(), tmp_path / "x", ExportConfig(), views=[make_view(track)], format_name="imavatar")


def test_a_cut_is_no_jitter():
    points = np.zeros((6, 4, 2))
    points[3:] += 100
    group, valid = np.repeat([0, 1], 3), np.ones(6, bool)
    assert jitter_px(points, valid, None, group) == 0
    assert (jitter_px(points, valid) or 0) > 50
