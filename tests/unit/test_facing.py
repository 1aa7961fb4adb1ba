"""Which pictures the final texture believes: those that see a place squarely, over those that see it edge-on."""

import math

import torch

from raytrack.fit.facing import facing_cosines, texel_trust
from raytrack.geometry.camera import monocular_camera

CAMERA = monocular_camera(torch.tensor(500.0), (256, 256))
FACES = torch.tensor([[0, 1, 2]])


def triangle(turn_deg: float) -> torch.Tensor:
    """A small triangle at the origin, turned about the vertical axis; at 0° it looks at the camera."""
    angle = math.radians(turn_deg)
    flat = 0.01 * torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.0, 1.0, 0.0]])
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    return (flat @ turn.T)[None]


def test_cosines_are_those_of_the_angle_to_the_line_of_sight():
    for angle in (0, 30, 60, 85):
        found = facing_cosines(triangle(angle), FACES, CAMERA)
        assert abs(float(found) - math.cos(math.radians(angle))) < 2e-3
    assert float(facing_cosines(triangle(120), FACES, CAMERA)) == 0


def test_a_grazing_look_counts_little_where_another_is_square_and_fully_where_none_is():
    shown = torch.zeros(1, 2, 2, dtype=torch.int32)
    grazing = torch.tensor([[0.2]])
    beside_square = texel_trust(grazing, torch.tensor([0.9]), shown)
    alone = texel_trust(grazing, torch.tensor([0.2]), shown)
    assert float(beside_square.max()) < 0.05
    assert float(alone.min()) == 1.0
    assert float(texel_trust(torch.tensor([[0.9]]), torch.tensor([0.9]), shown).min()) == 1.0
