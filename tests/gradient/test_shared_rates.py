"""How points move with identity and focal length, against finite differences."""

import numpy as np
import pytest
import torch

from raytrack.fit.focal import FaceCentre
from raytrack.fit.shared_rates import SharedRates
from raytrack.fit.surface import SurfaceModel
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE, FrameParameters

FOCAL_PX, SIZE_HW = 600.0, (256, 320)


@pytest.mark.parametrize("known", [False, True])
def test_points_move_as_identity_and_focal_length_say(known):
    head = load_head("default")
    generator = torch.Generator().manual_seed(3)
    row = 0.15 * torch.randn(NUM_POSE + head.num_expressions, generator=generator)
    shape = 0.5 * torch.randn(head.num_shapes, generator=generator)
    surface_model, centre = SurfaceModel.create(head), FaceCentre.of(head, "facemesh")
    (surface,), chain = surface_model.pose(row[None], *head.identity(shape))
    rng = np.random.default_rng(3)
    corners = head.faces.numpy()[rng.integers(0, len(head.faces), 40)]
    weights = rng.dirichlet([1, 1, 1], 40).astype(np.float32)
    rates = SharedRates(
        world=torch.from_numpy(surface.world),
        moved=surface_model.shape_jacobian(chain, 0),
        camera=monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW),
        face_depth_m=float(centre.depth_m(row[None])),
        focal=None if known else 1,
        num_focals=2,
    )
    exact = head.to(torch.float64)

    def positions(shape_step, log_factor):
        moved = centre.moved(row[None].double(), torch.tensor([log_factor]).double())
        vertices = exact.vertices(FrameParameters.unpack(moved), shape.double() + shape_step)
        camera = monocular_camera(torch.tensor(FOCAL_PX).double() * np.exp(log_factor), SIZE_HW)
        projected = camera.project(vertices)[0][torch.from_numpy(corners)]
        return (projected * torch.from_numpy(weights).double()[..., None]).sum(dim=1).numpy()

    analytic, step = rates(corners, weights), 1e-4
    assert analytic.shape == (40, 2, head.num_shapes + 2)
    for coefficient in (0, 7, head.num_shapes - 1):
        shift = torch.zeros(head.num_shapes).double()
        shift[coefficient] = step
        numeric = (positions(shift, 0.0) - positions(-shift, 0.0)) / (2 * step)
        assert np.abs(numeric).max() > 0.05
        np.testing.assert_allclose(analytic[..., coefficient], numeric, atol=2e-3 * np.abs(numeric).max())
    nothing = torch.zeros(head.num_shapes).double()
    numeric = (positions(nothing, step) - positions(nothing, -step)) / (2 * step)
    assert np.abs(numeric).max() > 1
    assert not analytic[..., -2].any(), "the focal length of another group of frames"
    np.testing.assert_allclose(analytic[..., -1], 0 * numeric if known else numeric, atol=2e-3 * np.abs(numeric).max())
