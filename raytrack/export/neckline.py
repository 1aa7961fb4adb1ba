"""The neck line: below it a head model knows nothing of the person, so pictures fade to the background there.

The line runs through the lowest front point of the bust, parallel to the two side points of the neck. From the side,
where these points lie one behind the other and say nothing, it is at right angles to the direction from the bust to the
head.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel

_FULL_SHARE, _NO_SHARE = 0.6, 0.3
"""The side points decide the line's direction where they appear at least so far apart, as a share of their distance
seen from the front; from there down to the other share less and less, below it not at all."""
_STEP_M = 0.01


@dataclass(frozen=True, kw_only=True)
class NeckLine:
    """A neck line in a picture."""

    through_px: Float[np.ndarray, "2"]
    towards_head: Float[np.ndarray, "2"]
    """Unit vector at right angles to the line."""


def neck_line(
    bust_px: Float[np.ndarray, "2"],
    neck_sides_px: Float[np.ndarray, "2 2"],
    up_px: Float[np.ndarray, "2"],
    full_length_px: float,
) -> NeckLine:
    """The neck line of projected points.

    Args:
        bust_px: The lowest front point of the bust.
        neck_sides_px: The two side points of the neck, in either order.
        up_px: Direction from the bust to the head, of any length; where it has none, up in the picture.
        full_length_px: Distance of the side points as it would be seen from the front.
    """
    length = float(np.linalg.norm(up_px))
    up = up_px / length if length > 1e-9 else np.array([0.0, -1.0])
    level = np.array([-up[1], up[0]])
    side = neck_sides_px[1] - neck_sides_px[0]
    share = float(side @ level) / full_length_px
    weight = min(max((abs(share) - _NO_SHARE) / (_FULL_SHARE - _NO_SHARE), 0.0), 1.0)
    along = level
    if weight > 0:
        along = weight * np.sign(share) * side / np.linalg.norm(side) + (1 - weight) * level
        along = along / np.linalg.norm(along)
    return NeckLine(through_px=bust_px, towards_head=np.array([along[1], -along[0]]))


def neck_line_mask(line: NeckLine, size_hw: tuple[int, int], *, fade: float) -> Float[np.ndarray, "height width"]:
    """1 on the head's side of the neck line, 0 beyond it, a linear ramp centred on the line.

    Args:
        line: In the mask's pixels.
        size_hw: Height and width of the mask in pixels.
        fade: Full width of the ramp, in image widths.
    """
    height, width = size_hw
    columns, rows = np.arange(width) + 0.5 - line.through_px[0], np.arange(height) + 0.5 - line.through_px[1]
    distance_px = columns[None, :] * line.towards_head[0] + rows[:, None] * line.towards_head[1]
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
    up: tuple[float, float]
    """What is up at rest, by the unit vectors from the bust point to the middle of the side points, and at right angles
    to it and to the line between these."""

    def up_direction(self, vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "3"]:
        """What is up for the neck of posed vertices, a unit vector or nearly."""
        first, second = _axes(vertices, self.bust, self.sides)
        return self.up[0] * first + self.up[1] * second


def neck_line_points(head: HeadModel) -> NeckLinePoints:
    """The neck line's vertices: those the head names, else found on it at rest (facing +z, y up) from its regions.

    Raises:
        ValueError: The head names no such vertices, and has no `bottomline` or no `neck_upper` region.
    """
    template = head.template.numpy()
    bust, sides = _chosen_vertices(head, template)
    first, second = _axes(template, bust, sides)
    return NeckLinePoints(bust=bust, sides=sides, up=(float(first[1]), float(second[1])))


def _chosen_vertices(head: HeadModel, template: Float[np.ndarray, "vertices 3"]) -> tuple[int, tuple[int, int]]:
    points = head.points
    if {"bust_front_lowest", "neck_left", "neck_right"} <= points.keys():
        return points["bust_front_lowest"], (points["neck_left"], points["neck_right"])
    rim, neck = (np.flatnonzero(head.region(name).numpy()) for name in ("bottomline", "neck_upper"))
    front = rim[template[rim, 2] > template[rim, 2].mean()]
    # The rim is level in front, so its lowest point is told from the others by the midline.
    bust = front[np.lexsort((np.abs(template[front, 0]), np.round(template[front, 1], 4)))[0]]
    return int(bust), (int(neck[template[neck, 0].argmax()]), int(neck[template[neck, 0].argmin()]))


def _axes(vertices: np.ndarray, bust: int, sides: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors from the bust to the middle of the sides, and at right angles to it and to the sides' line."""
    chosen = vertices[[bust, *sides]].astype(np.float64)
    rise = chosen[1:].mean(axis=0) - chosen[0]
    across = np.cross(chosen[1] - chosen[2], rise)
    return rise / max(np.linalg.norm(rise), 1e-9), across / max(np.linalg.norm(across), 1e-9)


def projected_neck_line_mask(
    vertices_world: Float[np.ndarray, "vertices 3"], points: NeckLinePoints, camera: Camera, *, fade: float
) -> Float[np.ndarray, "height width"]:
    """`neck_line_mask` of posed vertices (metres) in a camera."""
    bust, *sides = vertices_world[[points.bust, *points.sides]].astype(np.float64)
    above = bust + _STEP_M * points.up_direction(vertices_world)
    world = torch.from_numpy(np.stack([bust, *sides, above])).to(camera.intrinsics)
    projected = camera.project(world).numpy().astype(np.float64)
    px_per_m = float(camera.intrinsics.diagonal()[:2].mean() / camera.cam_points(world)[0, 2])
    line = neck_line(
        projected[0],
        projected[1:3],
        projected[3] - projected[0],
        float(np.linalg.norm(sides[1] - sides[0])) * abs(px_per_m),
    )
    return neck_line_mask(line, camera.size_hw, fade=fade)
