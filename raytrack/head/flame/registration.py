"""Lay one head's skin over another's, so that every point of either has its counterpart.

A non-rigid iterated closest point (Amberg et al., "Optimal Step Nonrigid ICP Algorithms for Surface Registration",
2007) with a Laplacian on the displacement for stiffness: the skin is drawn to the nearest points of the other surface
that face the same way, and to known counterparts, while it grows softer step by step.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
import torch
from jaxtyping import Float, Int

from raytrack.geometry.closest import SurfacePoints, nearest_on_mesh
from raytrack.geometry.mesh import uniform_laplacian, vertex_normals

STIFFNESS = (100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.5)
"""Weight of the squared Laplacian of the displacement against one vertex's squared distance, step by step."""
_PAIR_WEIGHT = 4.0
"""Of known counterparts, against a vertex's nearest point."""
_MIN_COSINE = 0.5
"""Nearest points whose surface faces further away than this are not followed."""
_MAX_DISTANCE_M = 0.03


@dataclass(frozen=True, kw_only=True)
class Skin:
    """A surface to be registered, metres."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    """Some of the mesh's faces: those that have a counterpart. Other vertices stay out of it."""

    def normals(self) -> Float[np.ndarray, "vertices 3"]:
        """Unit normals."""
        return vertex_normals(torch.from_numpy(self.vertices), torch.from_numpy(self.faces)).numpy()


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Known counterparts."""

    source: SurfacePoints
    """Face numbers count the faces of the source skin."""
    target: Float[np.ndarray, "pairs 3"]


def register(source: Skin, target: Skin, pairs: Pairs) -> Float[np.ndarray, "vertices 3"]:
    """The source's vertices laid over the target; vertices outside its faces keep their place.

    Args:
        source: Already aligned as a whole.
        target: Where to.
        pairs: Counterparts that are known.
    """
    count = len(source.vertices)
    laplacian = uniform_laplacian(source.faces, count).astype(np.float64)
    stiffness = laplacian.T @ laplacian + 1e-6 * sp.identity(count)
    rows = np.repeat(np.arange(len(pairs.target)), 3)
    columns = source.faces[pairs.source.faces].ravel()
    picks = sp.csr_matrix((pairs.source.barycentric.ravel(), (rows, columns)), shape=(len(pairs.target), count))
    target_normals = target.normals()
    vertices = source.vertices.astype(np.float64)
    used = np.unique(source.faces)
    for weight in STIFFNESS:
        nearest = nearest_on_mesh(vertices[used], target.vertices, target.faces)
        goal = nearest.on(target.vertices, target.faces)
        own = Skin(vertices=vertices, faces=source.faces).normals()[used]
        cosine = (nearest.on(target_normals, target.faces) * own).sum(axis=1)
        follows = (cosine > _MIN_COSINE) & (np.linalg.norm(goal - vertices[used], axis=1) < _MAX_DISTANCE_M)
        share, offset = np.zeros(count), np.zeros((count, 3))
        share[used], offset[used] = follows, np.where(follows[:, None], goal - vertices[used], 0)
        # Displacements are measured from the start, so that stiffness means the same at every step.
        moved = vertices - source.vertices
        left = weight * stiffness + sp.diags(share) + _PAIR_WEIGHT * picks.T @ picks
        missing = pairs.target - picks @ source.vertices
        right = share[:, None] * (moved + offset) + _PAIR_WEIGHT * picks.T @ missing
        vertices = source.vertices + sla.splu(left.tocsc()).solve(right)
    return vertices
