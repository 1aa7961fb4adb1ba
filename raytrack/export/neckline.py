"""The neck line: below it a head model knows nothing of the person, so pictures fade to the background there."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel

_DEGENERATE = 1e-3
"""Neck sides nearer to each other than this share of the width, as in a full profile, give no direction."""


def neck_line_mask(
    bust_px: Float[np.ndarray, "2"],
    neck_sides_px: Float[np.ndarray, "2 2"],
    size_hw: tuple[int, int],
    *,
    fade: float,
) -> Float[np.ndarray, "height width"]:
    """1 on the head's side of the neck line, 0 beyond it, a linear ramp centred on the line.

    The line runs through the lowest front point of the bust, parallel to the two side points of the neck; the head's
    side is the one on which those lie, whatever the head's roll. In a full profile, where the side points coincide,
    the line is level.

    Args:
        bust_px: The projected lowest front point of the bust.
        neck_sides_px: The two projected side points of the neck.
        size_hw: Height and width of the mask in pixels.
        fade: Full width of the ramp, in image widths.
    """
    height, width = size_hw
    along = neck_sides_px[1] - neck_sides_px[0]
    length = float(np.linalg.norm(along))
    direction = along / length if length > _DEGENERATE * width else np.array([1.0, 0.0])
    towards_head = np.array([direction[1], -direction[0]])
    if towards_head @ (neck_sides_px.mean(axis=0) - bust_px) < 0:
        towards_head = -towards_head
    columns, rows = np.arange(width) + 0.5 - bust_px[0], np.arange(height) + 0.5 - bust_px[1]
    distance_px = columns[None, :] * towards_head[0] + rows[:, None] * towards_head[1]
    ramp_px = fade * width
    if ramp_px < 1e-6:
        return (distance_px >= 0).astype(np.float32)
    return np.clip(0.5 + distance_px / ramp_px, 0, 1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class NeckLinePoints:
    """Vertices that carry the neck line."""

    bust: int
    """The lowest front point of the bust."""
    sides: tuple[int, int]
    """The side points of the neck."""


def neck_line_points(head: HeadModel) -> NeckLinePoints:
    """The neck line's vertices: those the head names, else found on it at rest (facing +z, y up) from its regions.

    Raises:
        ValueError: The head names no such vertices, and has no `bottomline` or no `neck_upper` region.
    """
    points = head.points
    if {"bust_front_lowest", "neck_left", "neck_right"} <= points.keys():
        return NeckLinePoints(bust=points["bust_front_lowest"], sides=(points["neck_left"], points["neck_right"]))
    template = head.template.numpy()
    rim, neck = (np.flatnonzero(head.region(name).numpy()) for name in ("bottomline", "neck_upper"))
    front = rim[template[rim, 2] > template[rim, 2].mean()]
    # The rim is level in front, so its lowest point is told from the others by the midline.
    bust = front[np.lexsort((np.abs(template[front, 0]), np.round(template[front, 1], 4)))[0]]
    sides = int(neck[template[neck, 0].argmax()]), int(neck[template[neck, 0].argmin()])
    return NeckLinePoints(bust=int(bust), sides=sides)


def projected_neck_line_mask(
    vertices_world: Float[np.ndarray, "vertices 3"], points: NeckLinePoints, camera: Camera, *, fade: float
) -> Float[np.ndarray, "height width"]:
    """`neck_line_mask` of posed vertices (metres) in a camera."""
    chosen = torch.from_numpy(vertices_world[[points.bust, *points.sides]])
    projected = camera.project(chosen).numpy().astype(np.float64)
    return neck_line_mask(projected[0], projected[1:], camera.size_hw, fade=fade)
