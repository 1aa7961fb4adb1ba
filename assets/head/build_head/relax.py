"""Give chosen parts of an atlas island more room without folding it.

Minimises the symmetric Dirichlet energy (Smith and Schaefer, 2015) of the map from each surface triangle, scaled to its
wanted number of texels, to the atlas. The island's rim stays where it is, so an island without flipped triangles stays
free of overlaps. Each step solves a reweighted Laplacian (Rabinovich et al., 2017), shortened so that nothing flips.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

MAX_STEPS = 200
RELATIVE_GAIN = 1e-5
"""Stop when a step lowers the energy by less than this share."""
FLIP_MARGIN = 0.8
"""Share of the way to the first flip that a step may go."""
MAX_BACKTRACKS = 30
HOLE_STIFFNESS = 0.05
"""Of the triangles that keep holes from closing, relative to the surface's own."""


@dataclass(frozen=True, kw_only=True)
class TargetTriangles:
    """Triangles (F) as they would like to lie in the atlas."""

    faces: np.ndarray
    gradients: np.ndarray  # (F, 3, 2) gradient of each corner's hat function
    areas: np.ndarray  # (F,)

    @classmethod
    def from_surface(
        cls, points: np.ndarray, faces: np.ndarray, density: np.ndarray, *, area: float = 1.0
    ) -> "TargetTriangles":
        """Flatten 3-D triangles, each scaled by the root of its density (F,), to a given total area."""
        corner = points[faces]
        edge_1, edge_2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        length = np.linalg.norm(edge_1, axis=1)
        along = (edge_1 * edge_2).sum(axis=1) / length
        height = np.linalg.norm(np.cross(edge_1, edge_2), axis=1) / length
        total = (0.5 * length * height * density).sum()
        scale = np.sqrt(density * area / total)
        length, along, height = length * scale, along * scale, np.maximum(height * scale, 1e-3 * length * scale)
        zero = np.zeros_like(length)
        second = np.stack([1 / length, -along / (length * height)], axis=1)
        third = np.stack([zero, 1 / height], axis=1)
        return cls(
            faces=faces,
            gradients=np.stack([-second - third, second, third], axis=1),
            areas=0.5 * length * height,
        )

    def joined(self, other: "TargetTriangles", stiffness: float) -> "TargetTriangles":
        """These triangles and some softer ones."""
        return TargetTriangles(
            faces=np.vstack([self.faces, other.faces]),
            gradients=np.vstack([self.gradients, other.gradients]),
            areas=np.concatenate([self.areas, stiffness * other.areas]),
        )

    def jacobians(self, uv: np.ndarray) -> np.ndarray:
        """(F, 2, 2) of the piecewise linear map to `uv`."""
        return np.einsum("fki,fkj->fij", uv[self.faces], self.gradients)

    def energy(self, uv: np.ndarray) -> float:
        """Symmetric Dirichlet energy; 4 for an isometry, infinite with a flipped triangle."""
        jacobian = self.jacobians(uv)
        determinant = np.linalg.det(jacobian)
        if determinant.min() <= 0:
            return float("inf")
        return float((self.areas * (jacobian**2).sum(axis=(1, 2)) * (1 + determinant**-2)).sum())

    def gradient_and_weights(self, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energy gradient (n, 2), and a stiffness per triangle for the step's Laplacian."""
        jacobian = self.jacobians(uv)
        determinant = np.linalg.det(jacobian)[:, None, None]
        norm = (jacobian**2).sum(axis=(1, 2), keepdims=True)
        cofactor = np.stack(
            [
                np.stack([jacobian[:, 1, 1], -jacobian[:, 1, 0]], axis=1),
                np.stack([-jacobian[:, 0, 1], jacobian[:, 0, 0]], axis=1),
            ],
            axis=1,
        )
        slope = 2 * jacobian * (1 + determinant**-2) - 2 * norm * cofactor * determinant**-3
        per_corner = np.einsum("f,fij,fkj->fki", self.areas, slope, self.gradients)
        gradient = np.zeros_like(uv)
        for corner in range(3):
            np.add.at(gradient, self.faces[:, corner], per_corner[:, corner])
        smallest = np.linalg.svd(jacobian, compute_uv=False)[:, 1]
        return gradient, self.areas * (1 + smallest**-4)

    def laplacian(self, stiffness: np.ndarray, num_points: int) -> sp.csc_matrix:
        """Weighted Dirichlet Hessian (n, n), times 2."""
        local = 2 * stiffness[:, None, None] * np.einsum("fki,fli->fkl", self.gradients, self.gradients)
        rows = np.repeat(self.faces, 3, axis=1).ravel()
        columns = np.tile(self.faces, (1, 3)).ravel()
        return sp.csc_matrix((local.ravel(), (rows, columns)), shape=(num_points, num_points))


def first_flip(uv: np.ndarray, step: np.ndarray, faces: np.ndarray) -> float:
    """Smallest positive share of `step` at which some triangle's area vanishes (infinite if none does)."""

    def cross(a, b):
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    start, move = uv[faces], step[faces]
    edges, moves = start[:, 1:] - start[:, :1], move[:, 1:] - move[:, :1]
    constant = cross(edges[:, 0], edges[:, 1])
    linear = cross(edges[:, 0], moves[:, 1]) + cross(moves[:, 0], edges[:, 1])
    quadratic = cross(moves[:, 0], moves[:, 1])
    root = np.sqrt(np.maximum(linear**2 - 4 * quadratic * constant, 0))
    is_real = linear**2 - 4 * quadratic * constant >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        # The stable pair of solutions: one by the usual formula, the other from the product of the roots.
        half = -0.5 * (linear + np.where(linear >= 0, 1, -1) * root)
        candidates = np.stack([half / quadratic, constant / half])
    candidates = np.where(is_real & np.isfinite(candidates) & (candidates > 0), candidates, np.inf)
    return float(candidates.min())


def fill_hole(uv: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Triangles over one hole by ear clipping, fattest ear first.

    Args:
        uv: Atlas positions (n, 2).
        loop: The hole's directed edge as the island's faces see it (clockwise about the hole).

    Raises:
        ValueError: The loop crosses itself.
    """
    polygon, faces = loop[::-1].tolist(), []
    while len(polygon) > 3:
        ears = np.stack([np.roll(polygon, 1), polygon, np.roll(polygon, -1)], axis=1)
        fatness = [ear_fatness(uv, ear, polygon) for ear in ears]
        best = int(np.argmax(fatness))
        if fatness[best] <= 0:
            raise ValueError("the rim of a hole crosses itself")
        faces.append(ears[best])
        del polygon[best]
    return np.array([*faces, polygon])


def ear_fatness(uv: np.ndarray, ear: np.ndarray, polygon: list[int]) -> float:
    """Area over squared longest side of an ear; 0 or less if it folds over or holds another point of the polygon."""
    corner = uv[ear]
    sides = np.roll(corner, -1, axis=0) - corner
    others = uv[[p for p in polygon if p not in ear]]
    offset = others[:, None] - corner[None]
    inside = (sides[None, :, 0] * offset[..., 1] - sides[None, :, 1] * offset[..., 0] > 0).all(axis=1).any()
    area = signed_areas(uv, ear[None])[0]
    return float(-1.0 if inside else area / (sides**2).sum(axis=1).max())


def signed_areas(uv: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Of triangles in the plane, positive when counter-clockwise."""
    corner = uv[faces]
    edge_1, edge_2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    return 0.5 * (edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0])


def relax(
    uv: np.ndarray, faces: np.ndarray, points: np.ndarray, density: np.ndarray, *, loops: list[np.ndarray], mirror
) -> np.ndarray:
    """Move the points inside one island's outline until texels are spread as wanted.

    Args:
        uv: Atlas positions (n, 2), all triangles counter-clockwise.
        faces: Triangles (F, 3) of these points.
        points: Surface positions (n, 3) of the same points.
        density: Wanted texels per unit of surface (F,), up to a common factor.
        loops: Directed boundary loops: first the outline, which stays, then holes, which must not close.
        mirror: Index (n,) of each point's mirror image about u = 0; the result is exactly symmetric.

    Raises:
        ValueError: The rim of a hole crosses itself.
    """
    scale = np.sqrt(signed_areas(uv, faces).sum())
    target = TargetTriangles.from_surface(points, faces, density)
    uv = uv / scale
    if len(loops) > 1:
        covers = np.concatenate([fill_hole(uv, loop) for loop in loops[1:]])
        flat = np.concatenate([uv, np.zeros((len(uv), 1))], axis=1)
        total = signed_areas(uv, covers).sum()
        hole = TargetTriangles.from_surface(flat, covers, np.ones(len(covers)), area=total)
        target = target.joined(hole, HOLE_STIFFNESS)
    free = np.setdiff1d(np.arange(len(uv)), loops[0])
    energy = target.energy(uv)
    for _ in range(MAX_STEPS):
        step = descent_step(target, uv, free)
        step = (step + step[mirror] * np.array([-1.0, 1.0])) / 2
        share = min(1.0, FLIP_MARGIN * first_flip(uv, step, target.faces))
        for _ in range(MAX_BACKTRACKS):
            if target.energy(uv + share * step) < energy:
                break
            share /= 2
        else:
            break
        uv = uv + share * step
        previous, energy = energy, target.energy(uv)
        if previous - energy < RELATIVE_GAIN * previous:
            break
    return uv * scale


def descent_step(target: TargetTriangles, uv: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Newton-like step (n, 2) of the free points, by the reweighted Laplacian."""
    gradient, stiffness = target.gradient_and_weights(uv)
    laplacian = target.laplacian(stiffness, len(uv))
    step = np.zeros_like(uv)
    step[free] = -splu(laplacian[free][:, free].tocsc()).solve(gradient[free])
    return step
