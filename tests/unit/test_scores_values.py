import math

import numpy as np
import pytest

from raytrack.export.scores import (
    PERFECT_PSNR_DB,
    face_error_mm,
    frame_photometry,
    jitter_px,
    landmark_error_px,
    photometric_scores,
    psnr_db,
)
from raytrack.geometry.closest import closest_on_triangles, distance_to_surface
from raytrack.geometry.similarity import best_similarity

RANDOM = np.random.default_rng(0)


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def test_photometry_counts_covered_pixels_only():
    frame, render = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 200, np.uint8)
    render[0, 0], render[0, 1] = (51, 0, 0), (0, 102, 0)
    covered = np.array([[True, True], [False, False]])
    person = np.array([[True, False], [True, False]])
    result = frame_photometry(frame, render, covered, person)
    assert result is not None
    assert result.l1 == pytest.approx((0.2 + 0.4) / 6)
    assert result.mse == pytest.approx((0.04 + 0.16) / 6)
    assert result.covered_share == 0.5


def test_photometric_scores_are_means_over_frames():
    black = np.zeros((4, 4, 3), np.uint8)
    all_pixels, one_pixel = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    one_pixel[1, 2] = True
    frames = [
        frame_photometry(black, np.full_like(black, 51), all_pixels, all_pixels),
        frame_photometry(black, np.full_like(black, 102), one_pixel, all_pixels),
        frame_photometry(black, black, np.zeros((4, 4), bool), all_pixels),
    ]
    scores = photometric_scores(frames)
    assert scores["l1"] == pytest.approx(0.3)
    assert scores["worst_l1"] == pytest.approx(0.4)
    assert scores["psnr_db"] == pytest.approx(-10 * math.log10((0.04 + 0.16) / 2))
    assert scores["coverage"] == pytest.approx((1 + 1 / 16) / 2)


def test_scores_without_any_drawn_frame_or_matte():
    black = np.zeros((4, 4, 3), np.uint8)
    assert set(photometric_scores([None]).values()) == {None}
    assert photometric_scores([frame_photometry(black, black, np.ones((4, 4), bool))])["coverage"] is None


def test_a_perfect_render_has_a_finite_psnr():
    assert psnr_db(0.0) == PERFECT_PSNR_DB
    assert psnr_db(0.01) == pytest.approx(20.0)


def test_the_l1_and_psnr_are_those_of_the_side_by_side_comparison():
    frames = RANDOM.integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    renders = RANDOM.integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    masks = RANDOM.random((3, 8, 9)) > 0.4
    rows = []
    for frame, render, mask in zip(frames, renders, masks, strict=True):
        error = (frame.astype(float) - render)[mask] / 255
        rows.append([np.abs(error).mean(), (error**2).mean()])
    l1, mse = np.mean(rows, axis=0)
    scores = photometric_scores([frame_photometry(*item) for item in zip(frames, renders, masks, strict=True)])
    assert scores["l1"] == pytest.approx(l1)
    assert scores["psnr_db"] == pytest.approx(-10 * np.log10(mse))


def test_landmark_error_leaves_out_frames_without_a_face():
    detected = np.zeros((3, 4, 2), np.float32)
    model = detected.copy()
    model[0] += (3, 4)
    model[1] += 1000
    assert landmark_error_px(model, detected, np.array([True, False, True])) == pytest.approx(2.5)
    detected[2, 1] = np.nan
    assert landmark_error_px(model, detected, np.array([True, False, True])) == pytest.approx(20 / 7)
    assert landmark_error_px(model, detected, np.zeros(3, bool)) is None


def test_jitter_is_the_second_difference():
    time = np.arange(6.0)
    steady = np.stack([3 * time, -2 * time + 7], axis=-1)[:, None]
    assert jitter_px(steady, np.ones(6, bool)) == pytest.approx(0, abs=1e-9)
    shaking = steady.copy()
    shaking[:, :, 0] += np.array([0.5, -0.5] * 3)[:, None]
    assert jitter_px(shaking, np.ones(6, bool)) == pytest.approx(2.0)
    assert jitter_px(shaking, np.ones(6, bool), truth_px=shaking * 0.5) == pytest.approx(1.0)
    accelerating = np.stack([2 * time**2, 0 * time], axis=-1)[:, None]
    assert jitter_px(accelerating, np.ones(6, bool)) == pytest.approx(4.0)


def test_jitter_skips_gaps():
    points = np.zeros((7, 2, 2))
    points[3] = 1000
    valid = np.array([True, True, True, False, True, True, True])
    assert jitter_px(points, valid) == 0
    assert jitter_px(points, np.array([True, True, False, False, True, True, False])) is None


def test_closest_point_on_a_triangle():
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points = np.array([[0.2, 0.2, 5], [-1, -1, 0], [0.5, -2, 1], [1, 1, 0], [3, 0, 0]], float)
    expected = np.array([[0.2, 0.2, 0], [0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [1, 0, 0]])
    np.testing.assert_allclose(closest_on_triangles(points, np.repeat(triangle[None], 5, axis=0)), expected, atol=1e-12)


def test_a_degenerate_triangle_is_its_longest_edge():
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    np.testing.assert_allclose(closest_on_triangles(np.array([[1.5, 1.0, 0]]), triangle), [[1.5, 0, 0]])


def grid(size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.meshgrid(np.linspace(0, 0.1, size), np.linspace(0, 0.1, size))
    vertices = np.stack([columns.ravel(), rows.ravel(), 0.3 * columns.ravel() * rows.ravel()], axis=-1)
    corners = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).ravel()
    first = np.stack([corners, corners + 1, corners + size], axis=-1)
    second = np.stack([corners + 1, corners + size + 1, corners + size], axis=-1)
    return vertices, np.concatenate([first, second])


def test_distance_to_surface_agrees_with_all_pairs():
    vertices, faces = grid()
    points = RANDOM.uniform(-0.02, 0.12, (40, 3)) * (1, 1, 0.3)
    every = closest_on_triangles(np.repeat(points, len(faces), axis=0), np.tile(vertices[faces], (40, 1, 1)))
    expected = np.linalg.norm(every.reshape(40, -1, 3) - points[:, None], axis=-1).min(axis=1)
    np.testing.assert_allclose(distance_to_surface(points, vertices, faces), expected, atol=1e-9)


def test_similarity_is_recovered():
    source = RANDOM.normal(size=(20, 3))
    turn, shift = rotation(np.array([1.0, 2, 3]), 0.8), np.array([0.3, -1, 2])
    target = 1.7 * source @ turn.T + shift
    found = best_similarity(source, target)
    assert found.scale == pytest.approx(1.7)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-9)
    np.testing.assert_allclose(found(source), target, atol=1e-9)


def test_similarity_never_mirrors():
    source = RANDOM.normal(size=(20, 3))
    found = best_similarity(source, source * (1, 1, -1))
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_face_error_ignores_pose_and_size_and_sliding_but_not_shape():
    vertices, faces = grid(30)
    ids = np.flatnonzero((vertices[:, 0] > 0.02) & (vertices[:, 0] < 0.08))
    tracked = 1.3 * vertices @ rotation(np.array([0.0, 1, 1]), 0.5).T + (1, 2, 3)
    valid = np.array([True])
    assert face_error_mm(tracked[None], faces, vertices[None, ids], ids, valid) == pytest.approx(0, abs=1e-6)
    bumped = vertices.copy()
    bumped[:, 2] += np.where(vertices[:, 1] > 0.05, 0.004, 0)
    error = face_error_mm(bumped[None], faces, vertices[None, ids], ids, valid)
    assert error is not None
    assert 0.3 < error < 2
    assert face_error_mm(bumped[None], faces, vertices[None, ids], ids, ~valid) is None


def test_face_error_forgives_sliding_along_the_surface():
    size = 20
    columns, rows = np.meshgrid(np.linspace(0, 0.1, size), np.linspace(0, 0.1, size))
    flat = np.stack([columns.ravel(), rows.ravel(), 0 * rows.ravel()], axis=-1)
    _, faces = grid(size)
    ids = np.flatnonzero((np.abs(flat[:, :2] - 0.05) < 0.02).all(axis=1))
    slid = flat + RANDOM.normal(scale=5e-4, size=flat.shape) * (1, 1, 0)
    assert np.linalg.norm(slid[ids] - flat[ids], axis=1).mean() > 4e-4
    assert face_error_mm(slid[None], faces, flat[None, ids], ids, np.array([True])) == pytest.approx(0, abs=1e-6)
