"""Silhouette edges between neighbouring pixels, and blending across them, in plain torch.

An edge is a silhouette edge where a drawn face has no neighbour of the same orientation. Between two pixel centres it
is found by walking from the nearer pixel's face, through the edges that the line between the centres crosses, towards
the other pixel: on a dense mesh the silhouette is often several faces away from both.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.render.coverage import screen_positions
from raytrack.render.protocol import SilhouetteEdges

MAX_FACES = 8
"""Faces to walk through before giving up."""
MARGIN_PX = 1 / 16
"""How far beyond the two pixel centres a crossing still counts."""


class EdgePlace(NamedTuple):
    """Which edge lies between which pixels: the discrete part of `SilhouetteEdges`."""

    frame: Int[Tensor, " items"]
    owner_px: Int[Tensor, "items 2"]
    other_px: Int[Tensor, "items 2"]
    vertices: Int[Tensor, "items 2"]


def pixel_pairs(
    face_index: Int[Tensor, "frames height width"], depth: Float[Tensor, "frames height width"]
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, "pairs 2"], Int[Tensor, "pairs 2"]]:
    """Horizontal and vertical neighbours that show different faces: frame, nearer pixel, farther pixel (column, row).

    Ordered by frame, row, column of the left or upper pixel, horizontal before vertical.
    """
    differs = torch.zeros(*face_index.shape, 2, dtype=torch.bool, device=face_index.device)
    differs[:, :, :-1, 0] = face_index[:, :, :-1] != face_index[:, :, 1:]
    differs[:, :-1, :, 1] = face_index[:, :-1] != face_index[:, 1:]
    frame, row, column, vertical = differs.nonzero(as_tuple=True)
    first = torch.stack([column, row], dim=-1)
    second = first + torch.stack([1 - vertical, vertical], dim=-1)
    swapped = (depth[frame, second[:, 1], second[:, 0]] < depth[frame, row, column])[:, None]
    return frame, torch.where(swapped, second, first), torch.where(swapped, first, second)


def edge_crossings(
    first: Float[Tensor, "*edges 2"], second: Float[Tensor, "*edges 2"], step: Float[Tensor, "*#edges 2"]
) -> tuple[Bool[Tensor, "*edges"], Float[Tensor, "*edges"], Float[Tensor, "*edges"]]:
    """Where edges cross the line from the origin along `step`, a unit vector of an image axis. Differentiable.

    Returns whether they do, where between their two vertices, and the coordinate along `step`.
    """
    axis = step.abs()
    along = torch.stack([(first * step).sum(-1), (second * step).sum(-1)])
    across = torch.stack([(first * axis.flip(-1)).sum(-1), (second * axis.flip(-1)).sum(-1)])
    crosses = (across[0] >= 0) != (across[1] >= 0)
    rise = torch.where(crosses, across[0] - across[1], 1)
    weight = across[0] / rise
    return crosses, weight, along[0] + weight * (along[1] - along[0])


def find_silhouette_edges(
    drawn_clip: Float[Tensor, "frames vertices 4"],
    clip: Float[Tensor, "frames vertices 4"],
    *,
    faces: Int[Tensor, "faces 3"],
    neighbours: Int[Tensor, "faces 3"],
    orientation: Int[Tensor, "frames faces"],
    face_index: Int[Tensor, "frames height width"],
    depth: Float[Tensor, "frames height width"],
) -> SilhouetteEdges:
    """Walk from the nearer to the farther pixel of every pair until an edge bounds the surface.

    An edge nearer to vertical counts between horizontal neighbours only, and the other way round: otherwise every
    displacement would count twice.

    Args:
        drawn_clip: What was rasterized, to walk on.
        clip: What positions along the edges are computed from.
        faces: Corners.
        neighbours: Face across the edge opposite each corner; −1: none.
        orientation: See `raytrack.render.coverage.face_orientation`.
        face_index: Nearest face at each pixel.
        depth: Its depth; infinite where there is none.
    """
    height, width = face_index.shape[1:]
    with torch.no_grad():
        screen = screen_positions(drawn_clip, (height, width))[..., :2]
        frame, owner, other = pixel_pairs(face_index, depth)
        face = face_index[frame, owner[:, 1], owner[:, 0]].long()
        target = face_index[frame, other[:, 1], other[:, 0]].long()
        step = (other - owner).to(screen)
        came_from = torch.full_like(face, -2)
        found = torch.zeros_like(face, dtype=torch.bool)
        walking = torch.ones_like(found)
        vertices = torch.zeros(len(face), 2, dtype=torch.long, device=face.device)
        rows = torch.arange(len(face), device=face.device)
        for _ in range(MAX_FACES):
            ends = faces[face][:, [[1, 2], [2, 0], [0, 1]]]
            relative = screen[frame[:, None, None], ends] - (owner[:, None, None] + 0.5).to(screen)
            crosses, _, reach = edge_crossings(relative[:, :, 0], relative[:, :, 1], step[:, None])
            beyond = neighbours[face]
            leaves = crosses & (beyond != came_from[:, None])
            reach, edge = torch.where(leaves, reach, -torch.inf).max(dim=1)
            walking = walking & leaves.any(dim=1) & (reach <= 1 + MARGIN_PX)
            beyond = beyond[rows, edge]
            turned = orientation[frame, beyond.clamp_min(0)] != orientation[frame, face]
            bounds = walking & ((beyond < 0) | turned)
            run = (relative[rows, edge, 1] - relative[rows, edge, 0]).abs()
            is_steep = run[:, 1] >= run[:, 0]
            counts = bounds & (is_steep == (step[:, 1] == 0)) & (reach > -MARGIN_PX)
            vertices = torch.where(counts[:, None], ends[rows, edge], vertices)
            found = found | counts
            walking = walking & ~bounds & (beyond != target)
            came_from = torch.where(walking, face, came_from)
            face = torch.where(walking, beyond, face)
        place = EdgePlace(frame[found], owner[found], other[found], vertices[found])
        weight, reach = edge_reach(clip, place, (height, width))
    return SilhouetteEdges(
        frame=place.frame,
        owner_px=place.owner_px,
        other_px=place.other_px,
        vertices=place.vertices,
        edge_weight=weight,
        crossing=reach,
    )


def edge_reach(
    clip: Float[Tensor, "frames vertices 4"], place: "EdgePlace | SilhouetteEdges", size_hw: tuple[int, int]
) -> tuple[Float[Tensor, " items"], Float[Tensor, " items"]]:
    """Where edges cross the pixel-centre lines: between their vertices, and from owner (0) to other (1).

    Differentiable in `clip`.
    """
    ends = screen_positions(clip[place.frame[:, None], place.vertices], size_hw)[..., :2]
    ends = ends - (place.owner_px[:, None] + 0.5).to(clip)
    step = (place.other_px - place.owner_px).to(clip)
    _, weight, reach = edge_crossings(ends[:, 0], ends[:, 1], step)
    return weight, reach.clamp(0, 1)


def blend(
    image: Float[Tensor, "frames height width channels"],
    clip: Float[Tensor, "frames vertices 4"],
    edges: SilhouetteEdges,
) -> Float[Tensor, "frames height width channels"]:
    """Blend the two pixels of each item: the owner's colour covers the way to the crossing. Differentiable in both."""
    height, width, channels = image.shape[1:]
    _, reach = edge_reach(clip, edges, (height, width))
    flat = image.reshape(-1, channels)
    owner = (edges.frame * height + edges.owner_px[:, 1]) * width + edges.owner_px[:, 0]
    other = (edges.frame * height + edges.other_px[:, 1]) * width + edges.other_px[:, 0]
    difference = flat[owner] - flat[other]
    past_middle = (reach - 0.5)[:, None]
    result = flat.index_add(0, other, past_middle.clamp_min(0) * difference)
    result = result.index_add(0, owner, past_middle.clamp_max(0) * difference)
    return result.reshape(image.shape)
