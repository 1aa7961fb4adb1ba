"""Texture coordinates and a base albedo for FLAME: taken over from the shipped head, chart by chart."""

import numpy as np
import scipy.ndimage
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from raytrack.geometry.closest import nearest_on_mesh
from raytrack.head.flame.counterpart import Counterpart, skin_faces
from raytrack.head.model import HeadModel

_MAX_STRETCH = 4.0
"""A face whose texture is stretched more than this, against the median, straddles a seam."""


def counterpart_uv(counterpart: Counterpart) -> Float[np.ndarray, "faces 3 2"]:
    """For each corner of the head's faces the place in the shipped head's atlas; v grows with the rows.

    Faces that straddle a seam of the atlas are drawn whole into the chart, and the half of the head, where their centre
    lies; the corners beyond lie on its edge.
    """
    head, shipped = counterpart.head, counterpart.shipped
    faces = head.faces.numpy()
    result = np.zeros((len(faces), 3, 2))
    for name in ("left_eyeball", "right_eyeball", "teeth_upper", "teeth_lower"):
        chosen = head.face_region(name).numpy()
        if chosen.any():
            own = np.flatnonzero(shipped.face_region(name).numpy())
            result[chosen] = _uv_on(counterpart, own, faces[chosen])
    joined = head.face_region("teeth").numpy() & ~_any_region(head, ("teeth_upper", "teeth_lower"))
    skin = ~joined & ~_any_region(head, ("eyeballs", "teeth"))
    result[skin] = _skin_uv(counterpart, faces[skin])
    return result


def _any_region(head: HeadModel, names: tuple[str, ...]) -> Bool[np.ndarray, " faces"]:
    return np.any([head.face_region(name).numpy() for name in names], axis=0)


def _uv_on(
    counterpart: Counterpart, allowed: Int[np.ndarray, " allowed"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "faces 3 2"]:
    """Texture coordinates of corners at their nearest points on some faces of the shipped head."""
    shipped = counterpart.shipped
    used, corners = np.unique(faces, return_inverse=True)
    mesh = shipped.faces.numpy()[allowed]
    nearest = nearest_on_mesh(counterpart.vertices[used], shipped.template.double().numpy(), mesh)
    uv = nearest.on(shipped.uv.double().numpy(), shipped.uv_faces.numpy()[allowed])
    return uv[corners.reshape(faces.shape)]


def _skin_uv(counterpart: Counterpart, faces: Int[np.ndarray, "faces 3"]) -> Float[np.ndarray, "faces 3 2"]:
    """The outside: each face in the chart of its centre."""
    shipped = counterpart.shipped
    template, mesh = shipped.template.double().numpy(), shipped.faces.numpy()
    own = np.flatnonzero(skin_faces(shipped))
    chart = charts(shipped.uv_faces.numpy(), len(shipped.uv))[own]
    side = template[mesh[own]].mean(axis=1)[:, 0] >= 0
    corners = counterpart.vertices[faces]
    centre = nearest_on_mesh(corners.mean(axis=1), template, mesh[own]).faces
    uv = np.zeros((len(faces), 3, 2))
    for number in np.unique(chart[centre]):
        chosen = chart[centre] == number
        uv[chosen] = _uv_on(counterpart, own[chart == number], faces[chosen])
        torn = np.flatnonzero(chosen)[_torn(uv[chosen], corners[chosen])]
        for half in (False, True):
            inside = torn[side[centre[torn]] == half]
            if len(inside):
                uv[inside] = _uv_on(counterpart, own[(chart == number) & (side == half)], faces[inside])
    return uv


def _torn(uv: Float[np.ndarray, "faces 3 2"], corners: Float[np.ndarray, "faces 3 3"]) -> Bool[np.ndarray, " faces"]:
    """Faces whose longest edge is far longer in the texture than it should be."""
    length_uv, length = (
        np.linalg.norm(points - np.roll(points, 1, axis=1), axis=2).max(axis=1) for points in (uv, corners)
    )
    stretch = length_uv / np.maximum(length, 1e-9)
    return stretch > _MAX_STRETCH * np.median(stretch)


def charts(uv_faces: Int[np.ndarray, "faces 3"], num_corners: int) -> Int[np.ndarray, " faces"]:
    """Number of the connected piece of the atlas in which each face lies."""
    rows, columns = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]]).T
    graph = sp.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(num_corners, num_corners))
    return sp.csgraph.connected_components(graph, directed=False)[1][uv_faces[:, 0]]


def shared_corners(
    faces: Int[np.ndarray, "faces 3"], corner_uv: Float[np.ndarray, "faces 3 2"]
) -> tuple[Float[np.ndarray, "corners 2"], Int[np.ndarray, "faces 3"]]:
    """One list of texture coordinates: corners at the same vertex and place are one."""
    keys = np.concatenate([faces.reshape(-1, 1), np.round(corner_uv.reshape(-1, 2) * 2**20).astype(np.int64)], axis=1)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corner_uv.reshape(-1, 2)[first], index.reshape(-1, 3)


def texel_faces(
    uv: Float[np.ndarray, "faces 3 2"], size: int
) -> tuple[Int[np.ndarray, "size size"], Float[np.ndarray, "size size 3"]]:
    """Face (−1: none) and barycentrics of each texel's centre."""
    index, weights = np.full((size, size), -1, np.int64), np.zeros((size, size, 3))
    for face, corners in enumerate(uv * size - 0.5):
        low = np.maximum(np.ceil(corners.min(axis=0)), 0).astype(int)
        high = np.minimum(np.floor(corners.max(axis=0)), size - 1).astype(int)
        if (high < low).any():
            continue
        columns, rows = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        first, second = corners[1] - corners[0], corners[2] - corners[0]
        area = first[0] * second[1] - first[1] * second[0]
        if abs(area) < 1e-12:
            continue
        x, y = columns - corners[0, 0], rows - corners[0, 1]
        v, w = (x * second[1] - y * second[0]) / area, (first[0] * y - first[1] * x) / area
        inside = (v >= -1e-9) & (w >= -1e-9) & (v + w <= 1 + 1e-9)
        at = rows[inside], columns[inside]
        index[at] = face
        weights[at] = np.stack([1 - v - w, v, w], axis=-1)[inside]
    return index, weights


def baked_albedo(
    own_uv: Float[np.ndarray, "faces 3 2"],
    source_uv: Float[np.ndarray, "faces 3 2"],
    source: Float[np.ndarray, "rows columns 3"],
    size: int,
) -> tuple[Float[np.ndarray, "size size 3"], Int[np.ndarray, "size size"]]:
    """An albedo drawn anew in another layout.

    Args:
        own_uv: Corners of every face in the new layout.
        source_uv: The same corners in the layout of `source`.
        source: Albedo to take from.
        size: Side of the new albedo.

    Returns:
        The albedo, filled beyond the charts with the nearest colour, and the face of each texel (−1: none).
    """
    index, weights = texel_faces(own_uv, size)
    covered = index >= 0
    place = (source_uv[index[covered]] * weights[covered][..., None]).sum(axis=1) * source.shape[0] - 0.5
    result = np.zeros((size, size, 3))
    for channel in range(3):
        result[covered, channel] = scipy.ndimage.map_coordinates(
            source[..., channel], place[:, ::-1].T, order=1, mode="nearest"
        )
    nearest = np.asarray(scipy.ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return result[nearest[0], nearest[1]], index
