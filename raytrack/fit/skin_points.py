"""Points spread over the skin, and how their colours in one picture depend on where they are.

The rows' solver (`raytrack.fit.row_terms`) takes other points in every frame, those under its pixels. These here are
the same in all frames, so that pictures can be compared with each other.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.fit.drawing import Drawing
from raytrack.fit.point_terms import bilinear
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

_REGION = "face"
"""Where the identity's basis knows what is possible: not hair, ears and neck."""
_GRID = 96
"""Points along a side of the texture."""
_MOST_APART_M = 0.004
"""In depth, between a point and what is drawn at its place, where it is seen."""
_LEAST_FACING = 0.3
"""Cosine between a point's normal and the direction to the camera below which it is seen too obliquely."""
_EDGE_PX = 5
_DARKEST = 0.02
_LEAST_KNOWN = 1e-3
_LEAST_SHADING, _MOST_SHADING = 0.1, 5.0


@dataclass(frozen=True, kw_only=True)
class SkinPoints:
    """Points that are fixed to the surface."""

    faces: Int[np.ndarray, " points"]
    corners: Int[np.ndarray, "points 3"]
    """Their faces' vertices."""
    barycentric: Float[np.ndarray, "points 3"]
    uv: Float[np.ndarray, "points 2"]
    texture_area: Float[np.ndarray, " points"]
    """Of their faces, in the texture."""

    @classmethod
    def create(cls, head: HeadModel, left_out: Bool[np.ndarray, " faces"]) -> "SkinPoints":
        """A grid of the texture's, where it shows the face.

        Args:
            head: On the CPU.
            left_out: Faces whose colours say nothing.
        """
        topology = head.topology()
        flat = Topology(
            faces=topology.uv_faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=len(topology.uv)
        )
        uv = torch.from_numpy(topology.uv).float()
        clip = torch.cat([2 * uv - 1, torch.zeros(len(uv), 1), torch.ones(len(uv), 1)], dim=1)[None]
        fragments = make_renderer("numba", flat, num_threads=1).rasterize(clip, (_GRID, _GRID), cull_backfaces=False)
        face = fragments.face_index[0].numpy().ravel()
        wanted = head.face_region(_REGION).numpy() & ~left_out
        place = np.flatnonzero((face >= 0) & wanted[np.maximum(face, 0)])
        two = fragments.barycentric[0].numpy().reshape(-1, 2)[place]
        first, second, third = (topology.uv[topology.uv_faces[face[place], corner]] for corner in range(3))
        across, along = second - first, third - first
        return cls(
            faces=face[place],
            corners=topology.faces[face[place]],
            barycentric=np.column_stack([two, 1 - two.sum(axis=1)]).astype(np.float32),
            uv=(np.column_stack([place % _GRID, place // _GRID]) + 0.5) / _GRID,
            texture_area=np.abs(across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]) / 2,
        )


@dataclass(frozen=True, kw_only=True)
class SeenPoints:
    """What one picture shows of the points: all in one channel, the mean of the three."""

    position_px: Float[np.ndarray, "points 2"]
    error: Float[np.ndarray, " points"]
    """Drawn less seen."""
    slope: Float[np.ndarray, "points 2"]
    """Of what is drawn, per pixel."""
    shading: Float[np.ndarray, " points"]
    """Drawn over albedo."""
    share: Float[np.ndarray, " points"]
    """Of the picture's covered area; 0 where a point is not seen, less where its pixels are distrusted. At most 1 in
    all."""


def seen_points(
    points: SkinPoints,
    drawing: Drawing,
    world: Float[Tensor, "vertices 3"],
    camera: Camera,
    texture: Float[np.ndarray, "size size 3"],
    trust: Float[np.ndarray, "height width"] | None,
    blur_px: float,
    detail_px: float,
) -> SeenPoints:
    """Look at the points in a picture.

    Args:
        points: Of the head.
        drawing: The head, drawn over the picture.
        world: Its vertices.
        camera: The picture's.
        texture: What it was drawn with.
        trust: In each pixel; None: the same everywhere.
        blur_px: Gaussian σ.
        detail_px: σ of the blurred picture that errors are taken relative to: the light on a face that turns changes in
            ways that nine harmonics cannot follow, but smoothly; what is out of place shows at edges and spots.
    """
    drawn, seen = drawing.image.mean(axis=2), drawing.target.mean(axis=2)
    if blur_px > 0:
        drawn, seen = cv2.GaussianBlur(drawn, (0, 0), blur_px), cv2.GaussianBlur(seen, (0, 0), blur_px)
    position = (camera.project(world).numpy()[points.corners] * points.barycentric[..., None]).sum(axis=1)
    place = position - 0.5
    share = _shares(points, drawing, world.numpy(), camera, place)
    known = drawing.fragments.coverage[0].numpy().astype(np.float32)
    if trust is not None:
        column, row = _nearest(place, drawn.shape)
        share, known = share * trust[row, column], known * trust
    down, across = np.gradient(drawn)
    error, across, down = (_detail(image, known, detail_px) for image in (drawn - seen, across, down))
    albedo = bilinear(texture.mean(axis=2), points.uv * len(texture) - 0.5)
    shading = (bilinear(drawn, place) + _DARKEST) / (albedo + _DARKEST)
    return SeenPoints(
        position_px=position,
        error=bilinear(error, place),
        slope=np.column_stack([bilinear(across, place), bilinear(down, place)]),
        shading=np.clip(shading, _LEAST_SHADING, _MOST_SHADING),
        share=share,
    )


def _detail(
    image: Float[np.ndarray, "height width"], known: Float[np.ndarray, "height width"], sigma_px: float
) -> Float[np.ndarray, "height width"]:
    """An image less its own surroundings, as far as they are known."""
    around = cv2.GaussianBlur(image * known, (0, 0), sigma_px)
    return image - around / np.maximum(cv2.GaussianBlur(known, (0, 0), sigma_px), _LEAST_KNOWN)


def _nearest(place: np.ndarray, size_hw: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels under some places."""
    pixel = np.round(place).astype(int)
    return np.clip(pixel[:, 0], 0, size_hw[1] - 1), np.clip(pixel[:, 1], 0, size_hw[0] - 1)


def _shares(
    points: SkinPoints, drawing: Drawing, world: np.ndarray, camera: Camera, place: np.ndarray
) -> Float[np.ndarray, " points"]:
    """How much of the covered picture each point stands for: 0 where it is hidden or seen obliquely."""
    face = drawing.fragments.face_index[0].numpy()
    inner = cv2.erode((face >= 0).astype(np.uint8), np.ones((_EDGE_PX, _EDGE_PX), np.uint8), borderValue=0) > 0
    column, row = _nearest(place, face.shape)
    there = np.maximum(face[row, column], 0)
    two = drawing.fragments.barycentric[0].numpy()[row, column]
    weights = np.column_stack([two, 1 - two.sum(axis=1)])
    faces = drawing.renderer.topology.faces
    depth = camera.cam_points(torch.from_numpy(world))[:, 2].numpy()
    apart = (depth[faces[there]] * weights).sum(axis=1) - (depth[points.corners] * points.barycentric).sum(axis=1)
    corners = world[points.corners]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    pose = camera.cam_from_world.numpy()
    centre = -pose[:, :3].T @ pose[:, 3]
    towards = centre - corners.mean(axis=1)
    distance = np.linalg.norm(towards, axis=1)
    facing = (normal * towards).sum(axis=1) / np.maximum(length * distance, 1e-12)
    visible = inner[row, column] & (np.abs(apart) < _MOST_APART_M) & (facing > _LEAST_FACING)
    area = length * facing / distance**2 / np.maximum(points.texture_area, 1e-12)
    share = np.where(visible, area, 0)
    return share / max(float(share.sum()), 1e-12)
