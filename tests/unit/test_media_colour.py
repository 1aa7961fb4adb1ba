"""Colour corrections and lens distortion on their own."""

import cv2
import numpy as np
import pytest

from raytrack.media.colour import (
    TERMS,
    AffineColour,
    PolynomialColour,
    linear_from_srgb,
    polynomial_terms,
    srgb_from_linear,
)
from raytrack.media.undistort import Undistortion

LEVELS = np.arange(256, dtype=np.uint8)


def every_level() -> np.ndarray:
    return np.stack([LEVELS, LEVELS[::-1], np.roll(LEVELS, 77)], axis=-1)[None]


def test_srgb_curve():
    # From the standard's table: encoded 188/255 is linear 0.5029; the curve meets its straight part smoothly.
    assert linear_from_srgb(np.array([188 / 255]))[0] == pytest.approx(0.5029, abs=1e-4)
    assert linear_from_srgb(np.array([0.0, 0.04045, 1.0])).tolist() == pytest.approx([0, 0.0031308, 1], abs=1e-6)
    assert (np.diff(linear_from_srgb(np.linspace(0, 1, 1000))) > 0).all()
    values = np.linspace(0, 1, 777)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-7)
    assert linear_from_srgb(np.zeros(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("num_terms", TERMS)
def test_a_polynomial_that_changes_nothing_gives_every_level_back(num_terms):
    matrix = np.zeros((3, num_terms))
    matrix[:, :3] = np.eye(3)
    np.testing.assert_array_equal(PolynomialColour(matrix=matrix).apply(every_level()), every_level())


def test_polynomial_terms_are_those_of_cheung():
    red, green, blue = 2.0, 3.0, 5.0
    terms = {count: polynomial_terms(np.array([red, green, blue]), count).tolist() for count in TERMS}
    second = [2, 3, 5, 6, 10, 15, 4, 9, 25]
    assert terms[3] == [2, 3, 5]
    assert terms[4] == [2, 3, 5, 1]
    assert terms[5] == [2, 3, 5, 30, 1]
    assert terms[7] == [2, 3, 5, 6, 10, 15, 1]
    assert terms[8] == [2, 3, 5, 6, 10, 15, 30, 1]
    assert terms[10] == [*second, 1]
    assert terms[11] == [*second, 30, 1]
    assert terms[14] == [*second, 30, 8, 27, 125, 1]
    assert terms[16] == [*second, 30, 12, 45, 50, 8, 27, 125]
    assert terms[17] == [*terms[16], 1]
    assert terms[19] == [*second, 30, 12, 45, 50, 20, 18, 75, 8, 27, 125]
    assert terms[20] == [*terms[19], 1]
    assert terms[22] == [*terms[19], 60, 90, 150]
    with pytest.raises(ValueError, match="terms, got 6"):
        PolynomialColour(matrix=np.zeros((3, 6)))


def test_a_constant_term_lifts_black_in_linear_light():
    matrix = np.zeros((3, 4))
    matrix[:, 3] = 0.5
    lifted = PolynomialColour(matrix=matrix).apply(np.zeros((2, 2, 3), np.uint8))
    assert (lifted == 188).all()


def test_affine_colours_are_clipped_and_rounded():
    image = every_level()
    same = AffineColour(matrix=np.eye(3), offset=np.zeros(3))
    np.testing.assert_array_equal(same.apply(image), image)
    brighter = AffineColour(matrix=np.eye(3) * 1.3, offset=np.array([0.0, 0.0, -0.2])).apply(image)
    np.testing.assert_allclose(brighter[0, :, 0], np.minimum(LEVELS * 1.3, 255), atol=0.51)
    assert brighter[..., 2].min() == 0
    turned = AffineColour(matrix=np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]) + 0.0, offset=np.zeros(3)).apply(image)
    np.testing.assert_array_equal(turned, image[..., [2, 0, 1]])


def test_a_grid_of_lines_becomes_straight():
    size_hw, matrix = (120, 160), np.array([[150.0, 0, 83.0], [0, 150.0, 57.0], [0, 0, 1]])
    coefficients = np.array([-0.35, 0.1, 0.002, -0.001])
    # Distorted picture of a ramp along x: each pixel shows the x of the straight picture that it comes from.
    down, across = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    rays = np.stack([across, down], axis=-1).reshape(-1, 1, 2)
    straight = cv2.undistortPoints(rays, matrix, coefficients, P=matrix)[:, 0, 0].reshape(size_hw)
    image = np.clip(np.round(straight), 0, 255).astype(np.uint8)
    result = Undistortion(intrinsics=matrix, coefficients=coefficients, size_hw=size_hw).apply(image)
    inside = (slice(10, -10), slice(10, -10))
    assert np.abs(result.astype(float) - across)[inside].max() < 1.1
    assert np.abs(image.astype(float) - across)[inside].max() > 3


def test_undistortion_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="coefficients, got 3"):
        Undistortion(intrinsics=np.eye(3), coefficients=np.zeros(3), size_hw=(4, 4))
    with pytest.raises(ValueError, match="expected a picture of"):
        Undistortion(intrinsics=np.eye(3), coefficients=np.zeros(4), size_hw=(4, 4)).apply(np.zeros((4, 5), np.uint8))
