import math

import numpy as np
import pytest
import torch
from synthetic_track import head, make_track

from raytrack.export.neckline import neck_line_mask, neck_line_points, projected_neck_line_mask

BUST = np.array([20.0, 30.0])
LEVEL_SIDES = np.array([[40.0, 12.0], [4.0, 12.0]])


def test_points_lie_where_a_neck_line_needs_them():
    points, template = neck_line_points(head()), head().template
    bust, left, right = template[[points.bust, *points.sides]]
    assert abs(bust[0]) < 0.002
    assert bust[1] == pytest.approx(float(template[:, 1].min()), abs=0.002)
    assert bust[2] > 0
    assert torch.allclose(left * torch.tensor([-1.0, 1, 1]), right, atol=1e-4)
    assert 0.04 < left[0] < 0.1
    assert left[1] > bust[1] + 0.03


def test_a_level_line_cuts_at_the_bust_point():
    mask = neck_line_mask(BUST, LEVEL_SIDES, (48, 40), fade=0)
    assert (mask[:30] == 1).all()
    assert (mask[30:] == 0).all()


def test_the_fade_is_a_ramp_of_the_stated_width_about_the_line():
    mask = neck_line_mask(BUST, LEVEL_SIDES, (48, 40), fade=0.25)
    column = mask[:, 7]
    assert (mask == column[:, None]).all()
    expected = np.clip(0.5 + (30 - (np.arange(48) + 0.5)) / 10, 0, 1)
    np.testing.assert_allclose(column, expected, atol=1e-6)
    assert ((column > 0) & (column < 1)).sum() == 10


@pytest.mark.parametrize("roll_deg", [0, 25, -40, 90, 180, 200])
def test_the_line_turns_with_the_head_and_keeps_the_heads_side(roll_deg):
    size_hw, centre = (64, 64), np.array([32.0, 32.0])
    angle = math.radians(roll_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    bust, left, right, chin, below = (
        centre + turn @ np.array(offset) for offset in ([0, 10.0], [12, -4.0], [-12, -4.0], [0, 8.0], [0, 12.0])
    )
    mask = neck_line_mask(bust, np.stack([left, right]), size_hw, fade=0)
    at = {name: mask[int(point[1]), int(point[0])] for name, point in (("chin", chin), ("below", below))}
    assert at == {"chin": 1, "below": 0}
    assert 0.2 < mask.mean() < 0.9


def test_a_profile_whose_sides_coincide_gets_a_level_line():
    mask = neck_line_mask(BUST, np.array([[18.0, 12.0], [18.0, 12.0]]), (48, 40), fade=0)
    assert (mask[:30] == 1).all()
    assert (mask[30:] == 0).all()


def test_projected_line_runs_through_the_projected_bust_point():
    track, points = make_track(num_frames=1), neck_line_points(head())
    vertices = head().vertices(track.parameters, track.shape, track.static_offset[0])[0]
    mask = projected_neck_line_mask(vertices.numpy(), points, track.camera, fade=0.2)
    bust = track.camera.project(vertices[points.bust][None])[0]
    inside = 0 <= bust[0] < 96 and 0 <= bust[1] < 120
    assert inside
    assert mask[int(bust[1]), int(bust[0])] == pytest.approx(0.5, abs=0.06)
    nose = track.camera.project(head().landmarks_world(vertices)[1][None])[0]
    assert mask[int(nose[1]), int(nose[0])] == 1
