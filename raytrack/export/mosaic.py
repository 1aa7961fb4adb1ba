"""The preview of a rig: the most frontal camera's panels, and below them every camera with what was found in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.export.preview import (
    CAPTIONS,
    DIM,
    GAP_PX,
    PAPER,
    PanelLayout,
    dimmed,
    overlay_panel,
    preview_picture,
    resized,
    write_caption,
)
from raytrack.fit.painting import Painted
from raytrack.fit.track import Track
from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.model import HeadModel

_MAX_COLUMNS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnView:
    """One camera's frame, as the preview takes it."""

    image: UInt8[np.ndarray, "height width 3"]
    painted: Painted | None
    detected_px: Float[np.ndarray, "points 2"] | None
    caption: str


@dataclass(frozen=True, kw_only=True)
class MosaicLayout:
    """Sizes of a rig's preview in pixels; width and height are even, as video needs."""

    panels: PanelLayout
    """Of the most frontal camera."""
    tile_hw: tuple[int, int]
    """Of one camera's picture in the mosaic."""
    num_tiles: int
    columns: int

    @classmethod
    def fit(cls, sizes_hw: Sequence[tuple[int, int]], frontal: int, max_width_px: int) -> "MosaicLayout":
        """Panels as for one camera, and tiles no larger than these.

        Args:
            sizes_hw: Of the cameras' frames.
            frontal: The camera that has panels.
            max_width_px: Of the whole picture.
        """
        panels = PanelLayout.fit(sizes_hw[frontal], max_width_px)
        rows = -(-len(sizes_hw) // _MAX_COLUMNS)
        columns = max(-(-len(sizes_hw) // rows), len(CAPTIONS))
        tile_width = max(8, (panels.size_hw[1] - GAP_PX * (columns - 1)) // columns)
        tile_height = max(8, round(tile_width * max(height / width for height, width in sizes_hw)))
        return cls(panels=panels, tile_hw=(tile_height, tile_width), num_tiles=len(sizes_hw), columns=columns)

    @property
    def cell_hw(self) -> tuple[int, int]:
        """Of a tile with its caption and the gap after it."""
        return self.tile_hw[0] + self.caption_px + GAP_PX, self.tile_hw[1] + GAP_PX

    @property
    def caption_px(self) -> int:
        """Height of the strip above a tile."""
        return max(14, round(self.panels.caption_px * 0.8))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the whole picture, even."""
        height, width = self.panels.size_hw
        height += -(-self.num_tiles // self.columns) * self.cell_hw[0]
        return height + height % 2, width


def mosaic_picture(
    views: Sequence[DrawnView], frontal: int, layout: MosaicLayout, label: str
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """One picture of a rig's preview.

    Args:
        views: All cameras.
        frontal: The one that has panels.
        layout: From `MosaicLayout.fit`.
        label: What names the frame.
    """
    picture = np.full((*layout.size_hw, 3), PAPER, np.uint8)
    shown = views[frontal]
    panels = preview_picture(shown.image, shown.painted, shown.detected_px, layout.panels, label)
    picture[: len(panels)] = panels
    for index, view in enumerate(views):
        row, column = divmod(index, layout.columns)
        top, left = layout.panels.size_hw[0] + row * layout.cell_hw[0], column * layout.cell_hw[1]
        strip = picture[top : top + layout.caption_px, left : left + layout.tile_hw[1]]
        notes = [("panels above", DIM)] if index == frontal else []
        write_caption(strip, view.caption, notes if layout.tile_hw[1] > 150 else [])
        tile = _tile(view, layout.tile_hw)
        # A camera of another shape than the tallest leaves room below.
        picture[top + layout.caption_px : top + layout.caption_px + len(tile), left : left + tile.shape[1]] = tile
    return picture


def _tile(view: DrawnView, tile_hw: tuple[int, int]) -> np.ndarray:
    height, width = view.image.shape[:2]
    small = resized(view.image, (min(tile_hw[0], max(1, round(tile_hw[1] * height / width))), tile_hw[1]))
    if view.painted is None:
        return dimmed(small)
    return overlay_panel(small, (height, width), view.painted, view.detected_px)


def most_frontal(track: Track, head: HeadModel) -> int:
    """The camera that looks the head most straight in the face, on average over the tracked frames."""
    chosen = track.parameters.select(track.tracked if bool(track.tracked.any()) else slice(None))
    forward = (matrix_from_axis_angle(chosen.rotation) @ matrix_from_axis_angle(chosen.neck_pose))[..., 2].mean(dim=0)
    centre = head.joints_world(chosen, track.shape)[:, 1].mean(dim=0)
    cosines = []
    for view in track.cameras:
        rotation, translation = view.camera.cam_from_world.split((3, 1), dim=-1)
        towards = -(rotation.mT @ translation)[:, 0] - centre
        cosines.append(torch.dot(forward, towards / towards.norm()))
    return int(torch.stack(cosines).argmax())
