"""Analytic derivatives of the second-order solvers against finite differences."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.fit.config import Weights
from raytrack.fit.kinematics import left_jacobian
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.surface import SurfaceModel, rotation_rates
from raytrack.fit.surface_jacobian import surface_jacobian
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE, FrameParameters

FOCAL_PX = 600.0
SIZE_HW = (256, 320)


def random_row(head, seed):
    generator = torch.Generator().manual_seed(seed)
    row = 0.15 * torch.randn(NUM_POSE + head.num_expressions, generator=generator)
    row[NUM_POSE:] = 0.5 * torch.rand(head.num_expressions, generator=generator)
    return row


def central_difference(function, point, step):
    columns = []
    for index in range(len(point)):
        shift = torch.zeros_like(point)
        shift[index] = step
        columns.append((function(point + shift) - function(point - shift)) / (2 * step))
    return torch.stack(columns, dim=-1)


@pytest.mark.parametrize("seed", [0, 1])
def test_surface_points_move_as_the_jacobian_says(seed):
    head = load_head("default")
    surface_model = SurfaceModel.create(head)
    row = random_row(head, seed)
    shape = 0.5 * torch.randn(head.num_shapes, generator=torch.Generator().manual_seed(seed))
    neutral, joints = head.identity(shape)
    (surface,), _ = surface_model.pose(row[None], neutral, joints)
    rng = np.random.default_rng(seed)
    corners = head.faces.numpy()[rng.integers(0, len(head.faces), 60)]
    weights = rng.dirichlet([1, 1, 1], 60).astype(np.float32)
    camera = monocular_camera(torch.tensor(FOCAL_PX, dtype=torch.float64), SIZE_HW)
    exact_head = head.to(torch.float64)

    def positions(values):
        vertices = exact_head.vertices(FrameParameters.unpack(values[None]), shape.double())
        projected = camera.project(vertices)[0][torch.from_numpy(corners)]
        return (projected * torch.from_numpy(weights).double()[..., None]).sum(dim=1)

    jacobian = surface_jacobian(surface, corners, weights, camera.cam_from_world.float().numpy(), (FOCAL_PX, FOCAL_PX))
    numeric = central_difference(positions, row.double(), 1e-5).numpy()
    assert np.abs(numeric).max() > 100
    np.testing.assert_allclose(jacobian, numeric, atol=2e-3, rtol=1e-4)


def test_identity_jacobian_carries_the_joints_along():
    head = load_head("default").landmark_subset("facemesh")
    model = SurfaceModel.create(head)
    row, shape = random_row(head, 3), torch.zeros(head.num_shapes)
    neutral, joints = head.identity(shape)
    _, chain = model.pose(row[None], neutral, joints)
    jacobian = model.shape_jacobian(chain, 0)
    exact_head = head.to(torch.float64)
    parameters = FrameParameters.unpack(row[None].double())
    for component in (0, 7, 140):
        direction = torch.zeros(head.num_shapes, dtype=torch.float64)
        direction[component] = 1e-4
        plus, minus = (exact_head.vertices(parameters, sign * direction)[0] for sign in (1, -1))
        torch.testing.assert_close(jacobian[..., component].double(), (plus - minus) / 2e-4, atol=1e-6, rtol=1e-3)


def test_rotation_rates_match_finite_differences():
    vector = torch.tensor([0.3, -0.8, 0.2], dtype=torch.float64)
    numeric = central_difference(matrix_from_axis_angle, vector, 1e-6).permute(2, 0, 1)
    torch.testing.assert_close(rotation_rates(vector), numeric, atol=1e-8, rtol=1e-6)


def test_left_jacobian_is_continuous_at_zero():
    tiny = torch.tensor([1e-5, -2e-5, 3e-5], dtype=torch.float64)
    larger = tiny * 200
    torch.testing.assert_close(left_jacobian(tiny), torch.eye(3, dtype=torch.float64), atol=1e-4, rtol=0)
    linear = torch.eye(3, dtype=torch.float64) + (left_jacobian(tiny) - torch.eye(3, dtype=torch.float64)) * 200
    torch.testing.assert_close(left_jacobian(larger), linear, atol=1e-4, rtol=0)


def test_row_prior_quadratic_is_its_gradient():
    head = load_head("default")
    prior = RowPrior.create(head, Weights())
    row = random_row(head, 5).double()
    row[NUM_POSE] = -0.4
    row[NUM_POSE + 1] = 1.7
    row[9] = -0.2
    exact = dataclasses.replace(prior, squares=prior.squares.double())
    leaf = row.clone().requires_grad_(True)
    exact.value(leaf[None]).sum().backward()
    curvature, gradient = exact.quadratic(row)
    torch.testing.assert_close(gradient, leaf.grad, atol=1e-9, rtol=1e-9)
    # Quadratic: one full step from any row of the same branch is the minimum, the eyes' difference included.
    stepped = row - torch.linalg.solve(curvature + 1e-9 * torch.eye(len(row)), gradient)
    assert float((stepped[12:15] - stepped[15:18]).norm()) < 1e-6
    assert float(exact.value(stepped[None])) < 1e-3 * float(exact.value(row[None]))
