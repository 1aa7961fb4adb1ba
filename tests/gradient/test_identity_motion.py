"""How points of a posed head move in a picture with the identity, against central differences."""

import numpy as np
import torch

from raytrack.fit.identity_motion import identity_rates
from raytrack.fit.surface import SurfaceModel
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE

STEP = 0.05


def test_rates_are_those_of_projected_points():
    head = load_head("default").landmark_subset("facemesh")
    model, camera = SurfaceModel.create(head), monocular_camera(torch.tensor(600.0), (400, 300))
    generator = torch.Generator().manual_seed(3)
    shape = torch.randn(head.num_shapes, generator=generator)
    row = 0.2 * torch.randn(1, NUM_POSE + head.num_expressions, generator=generator)
    points = head.landmarks["facemesh"]
    corners = head.faces[points.faces].numpy()
    weights = points.barycentric.float().numpy()

    def posed(values):
        (surface,), chain = model.pose(row, *head.identity(values))
        return surface, chain

    def projected(values):
        world = torch.from_numpy(posed(values)[0].world)
        return camera.project((world[corners] * torch.from_numpy(weights)[..., None]).sum(dim=1))

    surface, chain = posed(shape)
    rates = identity_rates(camera, surface.world, model.shape_jacobian(chain, 0), corners, weights)
    for number in (0, 7, head.num_shapes - 1):
        step = torch.zeros(head.num_shapes)
        step[number] = STEP
        numeric = (projected(shape + step) - projected(shape - step)) / (2 * STEP)
        assert numeric.abs().max() > 0.05, "the coefficient moves something"
        np.testing.assert_allclose(rates[..., number], numeric, atol=0.02 * float(numeric.abs().max()) + 5e-3)
