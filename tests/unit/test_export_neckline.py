import itertools
import math

import flame_files
import numpy as np
import pytest
import torch
from synthetic_track import head, make_track

from raytrack.export.neckline import (
    NeckLine,
    neck_line,
    neck_line_mask,
    neck_line_points,
    projected_neck_line_mask,
)
from raytrack.geometry.camera import GL_FROM_CV, Camera
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.parameters import FrameParameters

LEVEL = NeckLine(through_px=np.array([20.0, 30.0]), towards_head=np.array([0.0, -1.0]))
UP = np.array([0.0, -5.0])


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
    mask = neck_line_mask(LEVEL, (48, 40), fade=0)
    assert (mask[:30] == 1).all()
    assert (mask[30:] == 0).all()


def test_the_fade_is_a_ramp_of_the_stated_width_about_the_line():
    mask = neck_line_mask(LEVEL, (48, 40), fade=0.25)
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
    line = neck_line(bust, np.stack([left, right]), turn @ UP, 24.0)
    mask = neck_line_mask(line, size_hw, fade=0)
    at = {name: mask[int(point[1]), int(point[0])] for name, point in (("chin", chin), ("below", below))}
    assert at == {"chin": 1, "below": 0}
    assert 0.2 < mask.mean() < 0.9


def test_the_line_is_parallel_to_the_sides_in_either_order():
    sides = np.array([[40.0, 8.0], [4.0, 16.0]])
    for order in ([0, 1], [1, 0]):
        line = neck_line(LEVEL.through_px, sides[order], UP, 40.0)
        assert line.towards_head @ (sides[1] - sides[0]) == pytest.approx(0, abs=1e-9)
        assert line.towards_head[1] < 0


def test_sides_that_nearly_coincide_say_nothing():
    for sides in ([[18.0, 12.0], [18.0, 12.0]], [[18.0, 12.0], [19.0, 30.0]], [[18.0, 30.0], [19.0, 12.0]]):
        line = neck_line(LEVEL.through_px, np.array(sides), UP, 40.0)
        np.testing.assert_allclose(line.towards_head, [0, -1], atol=1e-9)
    # From straight above there is no up either.
    line = neck_line(LEVEL.through_px, np.array([[18.0, 12.0], [18.0, 12.0]]), np.zeros(2), 40.0)
    np.testing.assert_allclose(line.towards_head, [0, -1], atol=1e-9)


@pytest.mark.parametrize("model_name", ["default", "flame"])
@pytest.mark.parametrize("pitch_deg", [-20, 0, 25])
def test_from_all_around_the_head_stays_and_its_line_never_jumps(model_name, pitch_deg):
    model = head() if model_name == "default" else flame_files.imported_head()
    rest = FrameParameters.zeros(1, model.num_expressions)
    vertices = model.vertices(rest, torch.zeros(1))[0]
    points, masks = neck_line_points(model), []
    above = vertices[:, 1] > vertices[list(points.sides), 1].mean()
    tilt = matrix_from_axis_angle(torch.tensor([math.radians(pitch_deg), 0.0, 0.0]))
    for yaw_deg in range(-180, 181, 5):
        turn = matrix_from_axis_angle(torch.tensor([0.0, math.radians(yaw_deg), 0.0]))
        rotation = GL_FROM_CV @ tilt @ turn
        shift = -rotation @ vertices.mean(dim=0) + torch.tensor([0.0, 0.0, 1.0])
        camera = Camera(
            intrinsics=torch.tensor([[200.0, 0, 60], [0, 200, 60], [0, 0, 1]]),
            cam_from_world=torch.cat([rotation, shift[:, None]], dim=1),
            size_hw=(120, 120),
        )
        masks.append(projected_neck_line_mask(vertices.numpy(), points, camera, fade=0))
        columns, rows = camera.project(vertices[above]).numpy().astype(int).T
        kept = masks[-1][rows, columns].mean()
        assert kept > 0.85, f"from {yaw_deg} degrees, {kept:.0%} of the head is left"
    jumps = [np.abs(after - before).mean() for before, after in itertools.pairwise(masks)]
    assert max(jumps) < 0.08


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
