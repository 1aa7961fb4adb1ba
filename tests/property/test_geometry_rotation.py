import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle, skew

VECTORS = st.tuples(*[st.floats(-4, 4)] * 3).map(lambda v: torch.tensor(v, dtype=torch.float64))
SCALES = st.sampled_from([1e-12, 1e-8, 1e-5, 1e-3, 3e-2, 1.0])


@given(VECTORS, SCALES)
def test_exponential_is_a_rotation(vector, scale):
    matrix = matrix_from_axis_angle(scale * vector)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrix), torch.tensor(1.0, dtype=torch.float64))


@given(VECTORS, SCALES)
def test_exponential_is_that_of_the_cross_product_matrix(vector, scale):
    expected = torch.linalg.matrix_exp(skew(scale * vector))
    torch.testing.assert_close(matrix_from_axis_angle(scale * vector), expected, atol=1e-9, rtol=0)


@given(VECTORS)
def test_inverse_is_the_opposite_vector(vector):
    product = matrix_from_axis_angle(vector) @ matrix_from_axis_angle(-vector)
    torch.testing.assert_close(product, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)


@given(VECTORS, st.floats(-1, 1), st.floats(-1, 1))
def test_turns_about_one_axis_add_up(vector, first, second):
    product = matrix_from_axis_angle(first * vector) @ matrix_from_axis_angle(second * vector)
    torch.testing.assert_close(product, matrix_from_axis_angle((first + second) * vector), atol=1e-12, rtol=0)


@given(VECTORS, SCALES)
def test_matrix_and_axis_angle_are_inverse_to_each_other(vector, scale):
    matrix = matrix_from_axis_angle(scale * vector)
    again = axis_angle_from_matrix(matrix)
    assert float(again.norm()) <= math.pi + 1e-9
    torch.testing.assert_close(matrix_from_axis_angle(again), matrix, atol=1e-7, rtol=0)


@given(VECTORS, st.floats(0.01, 3.1))
def test_axis_angle_below_half_a_turn_comes_back(vector, angle):
    if float(vector.norm()) > 1e-3:
        wanted = vector / vector.norm() * angle
        torch.testing.assert_close(axis_angle_from_matrix(matrix_from_axis_angle(wanted)), wanted, atol=1e-8, rtol=0)


@given(VECTORS)
def test_half_turns_come_back_up_to_sign(vector):
    if float(vector.norm()) > 1e-3:
        matrix = matrix_from_axis_angle(vector / vector.norm() * math.pi)
        again = axis_angle_from_matrix(matrix)
        assert abs(float(again.norm()) - math.pi) < 1e-6
        torch.testing.assert_close(matrix_from_axis_angle(again), matrix, atol=1e-6, rtol=0)


@given(VECTORS, VECTORS)
def test_skew_is_the_cross_product(a, b):
    torch.testing.assert_close(skew(a) @ b, torch.linalg.cross(a, b))


def test_exponential_differentiates_at_and_near_zero():
    for scale in (0.0, 1e-9, 9e-4, 1.1e-3, 1.0, 3.0):
        vector = (scale * torch.randn(2, 3, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(matrix_from_axis_angle, (vector,), eps=1e-6, atol=1e-6)


def test_gradient_is_finite_in_single_precision_at_zero():
    vector = torch.zeros(1, 3, requires_grad=True)
    matrix_from_axis_angle(vector).sum().backward()
    assert vector.grad is not None
    assert bool(vector.grad.isfinite().all())


def test_batches_keep_their_shape():
    vectors = torch.randn(2, 4, 3)
    matrices = matrix_from_axis_angle(vectors)
    assert matrices.shape == (2, 4, 3, 3)
    assert axis_angle_from_matrix(matrices).shape == (2, 4, 3)
    torch.testing.assert_close(matrices[1, 2], matrix_from_axis_angle(vectors[1, 2]))
