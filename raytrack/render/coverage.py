"""Which face is nearest at each pixel, and with which weights, in plain torch."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MIN_DEPTH = 1e-6
"""A face with a corner nearer to the camera plane than this is not drawn."""


def screen_positions(
    clip: Float[Tensor, "frames vertices 4"], size_hw: tuple[int, int]
) -> Float[Tensor, "frames vertices 3"]:
    """Column and row in pixels (centres at half-integers), and depth from −1 (near) to 1 (far). Differentiable."""
    height, width = size_hw
    projected = clip[..., :3] / clip[..., 3:]
    scale = projected.new_tensor([width / 2, height / 2, 1])
    return projected * scale + projected.new_tensor([width / 2, height / 2, 0])


def face_orientation(
    clip: Float[Tensor, "frames vertices 4"],
    screen: Float[Tensor, "frames vertices 3"],
    faces: Int[Tensor, "faces 3"],
) -> Int[Tensor, "frames faces"]:
    """−1 where a face looks towards the camera, 1 where away from it, 0 where it cannot be drawn.

    The sign is that of its area in image coordinates (rows downwards).
    """
    corner_a, corner_b, corner_c = screen[:, faces, :2].unbind(dim=2)
    area = _cross(corner_b - corner_a, corner_c - corner_a)
    in_front = (clip[:, faces, 3] > MIN_DEPTH).all(dim=-1)
    return torch.where(in_front, area.sign(), 0).to(torch.int8)


def nearest_faces(
    screen: Float[Tensor, "frames vertices 3"],
    faces: Int[Tensor, "faces 3"],
    drawn: Bool[Tensor, "frames faces"],
    size_hw: tuple[int, int],
) -> tuple[Int[Tensor, "frames height width"], Float[Tensor, "frames height width"]]:
    """Face index (−1: none) and depth (inf: none) at each pixel centre.

    Tests each face against every pixel of its bounding box; of faces at the same depth the first one wins.
    """
    height, width = size_hw
    frame, face = drawn.nonzero(as_tuple=True)
    corners = screen[frame[:, None], faces[face]]
    low = (corners[..., :2].amin(dim=1) - 0.5).ceil().clamp_min(0)
    limit = low.new_tensor([width - 1, height - 1])
    high = torch.minimum((corners[..., :2].amax(dim=1) - 0.5).floor().clamp_min(-1), limit)
    low, extent = low.long(), (high - low + 1).clamp_min(0).long()
    count = extent.prod(dim=1)
    candidate = torch.repeat_interleave(torch.arange(len(face), device=faces.device), count)
    within = torch.arange(len(candidate), device=faces.device) - (count.cumsum(0) - count)[candidate]
    x = low[candidate, 0] + within % extent[candidate, 0]
    y = low[candidate, 1] + within // extent[candidate, 0]

    # An edge's two faces subtract the same products, one way round and the other, so that no gap opens between them.
    relative = corners[candidate, :, :2] - torch.stack([x, y], dim=-1)[:, None].to(corners) - 0.5
    areas = _cross(relative[:, [1, 2, 0]], relative[:, [2, 0, 1]])
    inside = (areas >= 0).all(dim=1) | (areas <= 0).all(dim=1)
    weights = areas / areas.sum(dim=1, keepdim=True)
    depth_here = (weights * corners[candidate, :, 2]).sum(dim=1)
    pixel = ((frame[candidate] * height + y) * width + x)[inside]
    depth_here, face_here = depth_here[inside], face[candidate][inside]

    num_pixels = len(screen) * height * width
    depth = torch.full((num_pixels,), torch.inf, dtype=screen.dtype, device=screen.device)
    depth.scatter_reduce_(0, pixel, depth_here, "amin")
    nearest = depth_here == depth[pixel]
    face_index = torch.full((num_pixels,), len(faces), device=screen.device)
    face_index.scatter_reduce_(0, pixel[nearest], face_here[nearest], "amin")
    face_index = torch.where(face_index == len(faces), -1, face_index)
    return face_index.view(-1, height, width), depth.view(-1, height, width)


def pixel_centres(size_hw: tuple[int, int], like: Tensor) -> Float[Tensor, "height width 2"]:
    """Pixel centres in clip space (after division by w)."""
    height, width = size_hw
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2 / height) - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def corners_at_pixels(
    values: Float[Tensor, "frames vertices channels"],
    corners: Int[Tensor, "faces 3"],
    face_index: Int[Tensor, "frames height width"],
) -> Float[Tensor, "frames height width 3 channels"]:
    """Values at the three corners of each pixel's face; of face 0 where there is none. Differentiable."""
    frame = torch.arange(len(face_index), device=face_index.device)[:, None, None, None]
    return values[frame, corners[face_index.clamp_min(0).long()]]


def perspective_weights(
    corners: Float[Tensor, "*pixels 3 4"], centres: Float[Tensor, "*#pixels 2"]
) -> Float[Tensor, "*pixels 2"]:
    """Perspective-correct barycentric weights of the first two corners at points in clip space. Differentiable in both.

    In homogeneous coordinates relative to the point, they are to each other as the areas of the three triangles that
    the point makes with the sides (Olano and Greer, 1997).
    """
    relative = corners[..., :2] - centres[..., None, :] * corners[..., 3:]
    areas = _cross(relative[..., [1, 2, 0], :], relative[..., [2, 0, 1], :])
    return areas[..., :2] / _nonzero(areas.sum(dim=-1, keepdim=True))


def weight_slopes(
    corners: Float[Tensor, "*pixels 3 4"], centres: Float[Tensor, "*pixels 2"], size_hw: tuple[int, int]
) -> Float[Tensor, "*pixels 2 2"]:
    """Change of the two weights (last axis) for one pixel to the right and one down (the axis before it)."""
    height, width = size_hw
    relative = corners[..., :2] - centres[..., None, :] * corners[..., 3:]
    following, last = relative[..., [1, 2, 0], :], relative[..., [2, 0, 1], :]
    total = _nonzero(_cross(following, last).sum(dim=-1, keepdim=True))
    weights = perspective_weights(corners, centres)
    slopes = []
    for step in ([2 / width, 0], [0, 2 / height]):
        moved = -corners[..., 3:] * centres.new_tensor(step)
        areas = _cross(moved[..., [1, 2, 0], :], last) + _cross(following, moved[..., [2, 0, 1], :])
        slopes.append((areas[..., :2] - weights * areas.sum(dim=-1, keepdim=True)) / total)
    return torch.stack(slopes, dim=-2)


def _nonzero(total: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Areas to divide by: 1 in place of 0, which a face seen edge-on has."""
    return torch.where(total == 0, 1, total)


def _cross(first: Float[Tensor, "*batch 2"], second: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
