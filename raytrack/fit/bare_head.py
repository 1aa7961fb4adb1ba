"""The head without hair and clothes: the skull and the neck as far as skin tells of them.

Static offsets follow what is seen, so over the skull they are the hair and around the neck the collar. What lies below
is not seen; but heads are alike, so the skin that is seen says where it probably is. The identity that is most probable
given the skin alone (a linear least-squares problem, for the basis has coefficients of unit variance) is the bare head;
what it leaves of the skin's own shape goes on smoothly under hair and clothes.

What is skin is decided by colour: hair and clothes are the parts of scalp, neck and bust that do not look like the
face.
"""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float
from scipy.sparse.linalg import spsolve
from torch import Tensor

from raytrack.fit.track import Track
from raytrack.geometry.mesh import uniform_laplacian, vertex_adjacency, vertex_normals
from raytrack.head.model import HeadModel

SKIN_M = 0.7e-3
"""σ of the tracked skin along its normal,"""
LOOSE_SKIN_M = 1e-3
"""of ears and neck, which have no landmarks,"""
SLIDING_M = 6e-3
"""and of everything along the surface."""
VERTICES_PER_MEASUREMENT = 5.0
"""Neighbours are wrong together: so many vertices say no more than one."""
COVERABLE = {"hair": 2.0, "neck": 3.0, "bust": 2.0}
"""Parts on which hair or clothes may lie, and how many deviations from the face's colour are not skin; later win."""
_INNER = ("mouth_interior", "teeth", "tongue", "eyeballs", "sockets")
_NOT_SKIN = ("lips", "eye_region", "eyelids", *_INNER)
_LEAST_CHROMA_DEVIATION = 0.06
_LEAST_LIGHT_DEVIATION = 0.3
"""Natural logarithms: shadow under the chin is skin as well."""
_SMOOTH_COLOURS, _SMOOTH_COVER = 2, 3
_DARKEST = 0.01
_HOLD = 1e-2
"""How strongly offsets under cover go to zero, against their smoothness."""


@torch.no_grad()
def bare_offset(track: Track, head: HeadModel) -> Float[Tensor, "vertices 3"]:
    """Offsets that, in place of a track's own, give its bare head: `head.vertices(parameters, shape, bare_offset)`.

    Args:
        track: A track without static offsets has been told nothing of hair and clothes: it is bare as it is.
        head: The head that it was made with.
    """
    neutral, _ = head.identity(track.shape)
    if track.static_offset is None:
        return torch.zeros_like(neutral)
    surface = neutral + track.static_offset[0]
    covered = covered_vertices(head, track.texture)
    skin = ~covered & ~_union(head, _INNER)
    bare, _ = head.identity(skin_identity(head, surface, skin))
    left = torch.where(skin[:, None], surface - bare, 0.0).numpy()
    continuation = torch.from_numpy(continued(left, covered.numpy(), head.faces.numpy()))
    # Skin, eyes and mouth stay where they were tracked.
    return torch.where(covered[:, None], bare + continuation - neutral, track.static_offset[0])


def skin_identity(
    head: HeadModel,
    surface: Float[Tensor, "vertices 3"],
    skin: Bool[Tensor, " vertices"],
) -> Float[Tensor, " shapes"]:
    """The most probable identity of a head of which only the skin is known.

    Args:
        head: Its shape basis has coefficients of unit variance.
        surface: Resting head, metres.
        skin: Vertices that count.
    """
    normals = vertex_normals(surface, head.faces).double()
    deviation = torch.full((head.num_vertices,), SKIN_M, dtype=torch.float64)
    deviation[head.region("ears") | head.region("neck") | head.region("bust")] = LOOSE_SKIN_M
    across = skin / deviation**2 / VERTICES_PER_MEASUREMENT
    along = skin.double() / SLIDING_M**2 / VERTICES_PER_MEASUREMENT
    basis, difference = head.shape_basis.double(), (surface - head.template).double()
    basis_out, out = (basis * normals).sum(dim=-1), (difference * normals).sum(dim=-1)
    every = basis.flatten(1)
    matrix = (basis_out * across) @ basis_out.T + (basis * along[:, None]).flatten(1) @ every.T
    pull = (basis_out * across) @ out + every @ (difference * along[:, None]).flatten()
    return torch.linalg.solve(matrix + torch.eye(len(basis), dtype=torch.float64), pull).to(surface)


def covered_vertices(head: HeadModel, texture: Float[Tensor, "size size 3"]) -> Bool[Tensor, " vertices"]:
    """Vertices over which hair or clothes lie: of scalp, neck and bust those that do not look like the face's skin.

    Args:
        head: The head model.
        texture: Albedo in [0, 1].
    """
    average = _averaging(head)
    colours = vertex_colours(head, texture)
    for _ in range(_SMOOTH_COLOURS):
        colours = average @ colours
    logs = np.log(np.maximum(colours, _DARKEST))
    light = logs.mean(axis=1)
    features = np.column_stack([logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1], light])
    face = (head.region("face") & ~_union(head, _NOT_SKIN)).numpy()
    middle = np.median(features[face], axis=0)
    spread = 1.4826 * np.median(np.abs(features[face] - middle), axis=0)
    least = [_LEAST_CHROMA_DEVIATION, _LEAST_CHROMA_DEVIATION, _LEAST_LIGHT_DEVIATION]
    distance = np.sqrt((((features - middle) / np.maximum(spread, least)) ** 2).sum(axis=1))
    covered = np.zeros(head.num_vertices)
    coverable = np.zeros(head.num_vertices, bool)
    for name, limit in COVERABLE.items():
        region = head.region(name).numpy()
        coverable |= region
        covered[region] = distance[region] > limit
    for _ in range(_SMOOTH_COVER):
        covered = average @ covered
    covered = covered > 0.5
    for name in ("hair", "neck_lower", "bust"):
        region = head.region(name).numpy()
        if covered[region].mean() > 0.5:
            # Where hair or clothes were never seen, or look like skin, they are all the same.
            covered |= region
    return torch.from_numpy(covered & coverable)


def vertex_colours(head: HeadModel, texture: Float[Tensor, "size size 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Colours of the texture at each vertex."""
    where = np.zeros(head.num_vertices, np.int64)
    where[head.faces.numpy().ravel()] = head.uv_faces.numpy().ravel()
    size = len(texture)
    column, row = np.clip((head.uv.numpy()[where] * size).astype(int), 0, size - 1).T
    return texture.numpy()[row, column].astype(np.float64)


def continued(
    values: Float[np.ndarray, "vertices 3"], unknown: Bool[np.ndarray, " vertices"], faces: np.ndarray
) -> Float[np.ndarray, "vertices 3"]:
    """The values with unknown ones as the smoothest continuation of the known ones, which fades to zero further in."""
    if not unknown.any():
        return values
    laplacian = uniform_laplacian(faces, len(values)).astype(np.float64)
    bending = (laplacian.T @ laplacian).tocsr()
    inner, outer = np.flatnonzero(unknown), np.flatnonzero(~unknown)
    matrix = bending[inner][:, inner] + _HOLD * sp.eye(len(inner))
    result = values.astype(np.float64).copy()
    result[inner] = spsolve(matrix.tocsc(), -(bending[inner][:, outer] @ result[outer])).reshape(-1, 3)
    return result.astype(values.dtype)


def _averaging(head: HeadModel) -> sp.csr_matrix:
    """Means over each vertex and its neighbours."""
    around = vertex_adjacency(head.faces.numpy(), head.num_vertices).astype(np.float64) + sp.eye(head.num_vertices)
    return sp.csr_matrix(sp.diags(1 / np.asarray(around.sum(axis=1)).ravel()) @ around)


def _union(head: HeadModel, names: tuple[str, ...]) -> Bool[Tensor, " vertices"]:
    mask = torch.zeros(head.num_vertices, dtype=torch.bool)
    for name in names:
        mask |= head.region(name)
    return mask
