"""Each term of the vhap preset against a value computed by hand."""

import math

import numpy as np
import pytest
import torch

from raytrack.fit import vhap_terms as terms
from raytrack.fit.row_priors import smoothness_weights
from raytrack.fit.vhap_config import VhapConfig, VhapWeights
from raytrack.fit.vhap_objective import row_terms
from raytrack.geometry.harmonics import white_light
from raytrack.geometry.mesh import uniform_laplacian
from raytrack.head.parameters import FrameParameters


def test_ndc_of_the_image_corners():
    points = torch.tensor([[0.0, 0.0], [80.0, 40.0], [20.0, 30.0]])
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-0.5, 0.5]])
    assert torch.equal(terms.ndc_from_px(points, (40, 80)), expected)


@pytest.mark.parametrize(("point", "factor"), [(0, 1), (26, 1), (27, 10), (35, 10), (36, 1)])
def test_landmarks_of_the_nose_count_ten_times(point, factor):
    predicted, detected = torch.zeros(2, 68, 2), torch.zeros(2, 68, 2)
    detected[1, point] = torch.tensor([0.01, -0.02])
    assert float(terms.landmark_term(predicted, detected)) == pytest.approx(factor * 0.03 / (2 * 68))


def test_landmarks_without_jawline_or_face():
    detected = torch.zeros(2, 68, 2)
    predicted = detected.clone()
    predicted[:, :17], predicted[0, 30] = 5.0, 0.3
    assert float(terms.landmark_term(predicted, detected, jawline=False)) == pytest.approx(0.6 / (2 * 51))
    unseen = terms.landmark_term(predicted, detected, torch.tensor([0.0, 1.0]), jawline=False)
    assert float(unseen) == 0


def test_photo_divides_by_the_covered_pixels():
    target = torch.full((1, 2, 2, 3), 0.5)
    image = target.clone()
    image[0, 0, 0] = torch.tensor([0.6, 0.4, 0.5])
    image[0, 1, 1, 2] = 0.9
    coverage = torch.tensor([[[1.0, 0.1], [0.0, 0.0]]])
    assert float(terms.photo_term(image, target, coverage)) == pytest.approx(0.6 / (3 * 2))
    assert float(terms.photo_term(image, target, torch.zeros(1, 2, 2))) == pytest.approx(0.6 / 3)


def test_rotation_prior_of_a_quarter_turn():
    turn = torch.tensor([[0.0, 0.0, math.pi / 2]])
    assert float(terms.rotation_term(turn)) == pytest.approx(4 / 9)
    two = torch.cat([turn, torch.zeros(1, 3)])
    assert float(terms.rotation_term(two)) == pytest.approx(4 / 18 * 2 / 3)


def test_jaw_prior_punishes_closing_and_sideways():
    jaw = torch.tensor([[-0.1, 0.2, 0.1], [0.3, 0.0, 0.0]])
    expected = float(terms.rotation_term(jaw)) + 10 * 0.1 / 2 + 3 * 0.05 / 4
    assert float(terms.jaw_term(jaw)) == pytest.approx(expected)


def test_eyes_prior_counts_their_difference_twice():
    eyes = torch.tensor([[0.1, 0.0, 0.0, 0.0, 0.0, 0.0]])
    turned = 4 * (1 - math.cos(0.1)) / 9
    assert float(terms.eyes_term(eyes)) == pytest.approx(turned + 2 * 0.01 / 3, rel=1e-4)


def test_row_terms_carry_their_weights():
    parameters = FrameParameters.zeros(1, 4)
    quarter = torch.tensor([[0.0, 0.0, math.pi / 2]])
    changed = FrameParameters(
        rotation=quarter, translation=quarter, neck_pose=quarter, jaw_pose=parameters.jaw_pose,
        eyes_pose=parameters.eyes_pose, expression=torch.tensor([[1.0, 0.0, 2.0, 1.0]]),
    )  # fmt: skip
    assert float(row_terms(parameters, VhapWeights())) == 0
    assert float(row_terms(changed, VhapWeights())) == pytest.approx(0.3 * 4 / 9 + 0.03 * 6 / 4)


def test_texture_variation_adds_both_directions():
    texture = torch.zeros(2, 2, 3)
    texture[0, 0] = torch.tensor([0.3, 0.0, 0.0])
    assert float(terms.texture_variation_term(texture)) == pytest.approx(2 * 0.09 / 6)


def test_texture_residual_is_a_mean_over_the_whole_map():
    base = torch.full((2, 2, 3), 0.2)
    mask = torch.tensor([[True, False], [False, False]])
    assert float(terms.texture_residual_term(base + 0.5, base, mask)) == pytest.approx(0.25 / 4)


def test_diffuse_wants_light_that_is_white_and_not_too_bright():
    normals = torch.nn.functional.normalize(torch.ones(1, 1, 2, 3), dim=-1)
    covered = torch.tensor([[[True, False]]])
    light = white_light()
    assert float(terms.diffuse_term(normals, covered, light)) == pytest.approx(0, abs=1e-6)
    tinted = light * torch.tensor([1.5, 1.0, 0.5])
    assert float(terms.diffuse_term(normals, covered, tinted)) == pytest.approx(0.5 + 0.25, rel=1e-5)
    assert float(terms.diffuse_term(normals, covered, 0.5 * tinted)) == pytest.approx(0.25 / 4, rel=1e-5)


def test_diffuse_moves_the_light_only():
    normals = torch.nn.functional.normalize(torch.randn(1, 2, 2, 3), dim=-1).requires_grad_()
    light = (white_light() * 1.2 + 0.1 * torch.randn(9, 3)).requires_grad_()
    terms.diffuse_term(normals, torch.ones(1, 2, 2, dtype=torch.bool), light).backward()
    assert normals.grad is None
    assert light.grad is not None
    assert float(light.grad.abs().max()) > 0


def test_offset_laplacian_of_a_triangle():
    matrix = uniform_laplacian(np.array([[0, 1, 2]]), 3).toarray()
    offset = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    weight = torch.tensor([1.0, 1.0, 0.1])
    value = terms.offset_laplacian_term(offset, torch.from_numpy(matrix).to_sparse(), weight)
    assert float(value) == pytest.approx((4 + 1 + 0.1) / 3)


def test_rigidity_is_the_variance_inside_each_region():
    offset = torch.zeros(5, 3)
    offset[1, 0], offset[4] = 2.0, 7.0
    regions = (torch.tensor([0, 1]), torch.tensor([2, 3]))
    assert float(terms.offset_rigidity_term(offset, regions)) == pytest.approx(2 / 3)
    assert float(terms.offset_rigidity_term(offset + 3, regions)) == pytest.approx(2 / 3)


def test_smoothness_looks_back_and_moves_no_other_frame():
    rows = torch.zeros(2, 22, requires_grad=True)
    previous = torch.zeros(2, 22)
    previous[0, 3], previous[1, 0], previous[0, 19] = 0.1, 0.2, 0.5
    previous.requires_grad_()
    columns = smoothness_weights(4, VhapWeights())
    value = terms.smooth_term(rows, previous, columns)
    assert value.item() == pytest.approx((300 * 0.01 / 3 + 30 * 0.04 / 3 + 0.25 / 4) / 2)
    value.backward()
    assert previous.grad is None
    assert rows.grad is not None
    assert float(rows.grad[0, 3]) == pytest.approx(-2 * 300 * 0.1 / 3 / 2)


def test_smoothness_leaves_eyes_alone():
    assert torch.equal(smoothness_weights(4, VhapWeights())[12:18], torch.zeros(6))


@pytest.mark.parametrize(
    ("field", "value"),
    [("texture_size", 1000), ("batch_size", 0), ("image_size_px", 3), ("perturb_foreground", 1.5)],
)
def test_numbers_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"vhap.{field}"):
        VhapConfig(**{field: value})
