"""The atlas relaxation of the head's builder, on a small patch."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module", autouse=True)
def _builder(repository: Path) -> Iterator[None]:
    sys.path.insert(0, str(repository / "assets/head"))
    yield
    sys.path.remove(str(repository / "assets/head"))


def patch(hole: bool) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """A flat 13 × 13 grid over [−1, 1]², with or without its middle cells; points, faces, directed loops, mirror."""
    from build_head.regions import boundary_loops, open_edge

    axis = np.linspace(-1, 1, 13)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    cells = [(r, c) for r in range(12) for c in range(12) if not (hole and r == 6 and 4 <= c < 8)]
    faces = []
    for r, c in cells:
        a, b, d, e = r * 13 + c, r * 13 + c + 1, (r + 1) * 13 + c, (r + 1) * 13 + c + 1
        faces += [(a, b, e), (a, e, d)] if c < 6 else [(a, b, d), (b, e, d)]
    faces = np.array(faces)
    loops = sorted(boundary_loops(open_edge(faces)), key=lambda loop: -np.ptp(points[loop], axis=0).prod())
    mirror = np.array([r * 13 + 12 - c for r in range(13) for c in range(13)])
    return points, faces, loops, mirror


def relaxed(density_of_middle: float, *, hole: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from build_head.relax import relax

    points, faces, loops, mirror = patch(hole)
    surface = np.column_stack([points, np.zeros(len(points))])
    middle = np.linalg.norm(points[faces].mean(axis=1), axis=1) < 0.4
    density = np.where(middle, density_of_middle, 1.0)
    return points, faces, relax(points, faces, surface, density, loops=loops, mirror=mirror), middle


@pytest.mark.parametrize("hole", [False, True])
def test_the_middle_grows_and_nothing_flips(hole):
    from build_head.relax import signed_areas

    points, faces, moved, middle = relaxed(8.0, hole=hole)
    before, after = signed_areas(points, faces), signed_areas(moved, faces)
    assert after.min() > 0
    assert after[middle].sum() > 2.5 * before[middle].sum()
    assert after.sum() <= before.sum() * (1 + 1e-9) or hole


def test_the_outline_stays_and_the_sides_mirror_each_other():
    points, _, moved, _ = relaxed(8.0)
    outline = np.abs(points).max(axis=1) > 1 - 1e-9
    np.testing.assert_allclose(moved[outline], points[outline], atol=1e-12)
    mirror = np.array([r * 13 + 12 - c for r in range(13) for c in range(13)])
    np.testing.assert_allclose(moved[mirror] * [-1, 1], moved, atol=1e-12)


def test_a_slit_keeps_its_sides_apart():
    _, _, moved, _ = relaxed(20.0, hole=True)
    below, above = moved[6 * 13 + 5 : 6 * 13 + 8, 1], moved[7 * 13 + 5 : 7 * 13 + 8, 1]
    assert (above > below).all()


def test_uniform_density_leaves_a_uniform_grid_alone():
    points, _, moved, _ = relaxed(1.0)
    np.testing.assert_allclose(moved, points, atol=1e-6)
