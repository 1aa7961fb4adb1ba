"""The preview: input | render | error | normals | overlay, side by side, one picture per frame."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from raytrack.fit.painting import PAINTED_REGIONS, Painted

ERROR_FULL_SCALE = 0.25
"""Mean absolute colour error (0 … 1) at the hot end of the error panel."""
CAPTIONS = ("input", "render", "error", "normals", "overlay")
MODEL_COLOR, DETECTED_COLOR, OUTLINE_COLOR = (255, 176, 32), (64, 200, 255), (255, 255, 255)
_INK, _DIM, _PAPER = (236, 236, 236), (150, 150, 150), (18, 18, 20)
_GAP_PX, _SUBPIXEL_BITS = 4, 4


@dataclass(frozen=True, kw_only=True)
class PanelLayout:
    """Sizes of a preview picture in pixels; width and height are even, as video needs."""

    panel_hw: tuple[int, int]
    caption_px: int
    """Height of the strip above the panels."""

    @classmethod
    def fit(cls, size_hw: tuple[int, int], max_width_px: int) -> "PanelLayout":
        """The largest panels for frames of a size: not wider than the frames, all five within the greatest width."""
        height, width = size_hw
        panel_width = max(16, min(width, (max_width_px - _GAP_PX * (len(CAPTIONS) - 1)) // len(CAPTIONS)))
        panel_height = max(16, round(height * panel_width / width))
        return cls(panel_hw=(panel_height, panel_width), caption_px=max(18, round(panel_width * 0.075)))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the whole picture, even."""
        height = self.panel_hw[0] + self.caption_px
        width = self.panel_hw[1] * len(CAPTIONS) + _GAP_PX * (len(CAPTIONS) - 1)
        return height + height % 2, width + width % 2


def preview_picture(
    image: UInt8[np.ndarray, "height width 3"],
    painted: Painted | None,
    detected_px: Float[np.ndarray, "points 2"] | None,
    layout: PanelLayout,
    label: str,
) -> UInt8[np.ndarray, "picture_height picture_width 3"]:
    """One picture of the preview.

    Args:
        image: The input frame, RGB.
        painted: The frame as drawn by the track; None where the face was not found.
        detected_px: Detected landmarks in the frame's pixels.
        layout: Sizes, from `PanelLayout.fit`.
        label: What names the frame, at the right of the captions.
    """
    small = _resized(image, layout.panel_hw)
    if painted is None:
        panels, notes = [small] * 2 + [_dimmed(small)] * 3, ["", "", "no face", "", ""]
    else:
        render = _resized(painted.color, layout.panel_hw)
        error, mean_error = _error_panel(image, painted, layout)
        normals = _normals_panel(small, painted, layout)
        overlay = _overlay_panel(small, image.shape[:2], painted, detected_px)
        panels, notes = [small, render, error, normals, overlay], ["", "", f"L1 {mean_error:.3f}", "", ""]
    notes[0] = label
    picture = np.full((*layout.size_hw, 3), _PAPER, np.uint8)
    for index, (panel, caption, note) in enumerate(zip(panels, CAPTIONS, notes, strict=True)):
        left = index * (layout.panel_hw[1] + _GAP_PX)
        picture[layout.caption_px : layout.caption_px + layout.panel_hw[0], left : left + layout.panel_hw[1]] = panel
        _write_caption(picture, left, caption, note, layout)
    return picture


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size_hw:
        return image
    return cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)


def _dimmed(image: np.ndarray) -> np.ndarray:
    grey = image.mean(axis=-1, keepdims=True) * 0.35 + 12
    return np.repeat(grey, 3, axis=-1).astype(np.uint8)


def _coverage(painted: Painted, size_hw: tuple[int, int]) -> np.ndarray:
    """Share of each small pixel that the head covers, (h, w, 1)."""
    return _resized(painted.mask.astype(np.float32), size_hw)[..., None]


def _blend(over: np.ndarray, under: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    return np.round(over * weight + under * (1 - weight)).astype(np.uint8)


def _error_panel(image: np.ndarray, painted: Painted, layout: PanelLayout) -> tuple[np.ndarray, float]:
    """Mean absolute error over channels on the head, as heat; and its mean over the covered pixels."""
    error = cv2.absdiff(image, painted.color).mean(axis=-1).astype(np.float32) / 255
    mean_error = float(error[painted.mask].mean()) if painted.mask.any() else 0.0
    level = np.clip(_resized(error, layout.panel_hw) / ERROR_FULL_SCALE * 255, 0, 255).astype(np.uint8)
    heat = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    under = _dimmed(_resized(image, layout.panel_hw))
    return _blend(heat, under, _coverage(painted, layout.panel_hw)), mean_error


def _normals_panel(small: np.ndarray, painted: Painted, layout: PanelLayout) -> np.ndarray:
    """Normals as colours: x red, y green, z (towards the camera) blue."""
    colors = _resized(painted.normals * 127.5 + 127.5, layout.panel_hw)
    # Shrinking mixed the colour of "nothing", mid grey, into the outline: divide it out again.
    coverage = _coverage(painted, layout.panel_hw)
    clean = (colors - 127.5 * (1 - coverage)) / np.maximum(coverage, 1e-3)
    return _blend(np.clip(clean, 0, 255), _dimmed(small), coverage)


def _overlay_panel(
    small: np.ndarray, size_hw: tuple[int, int], painted: Painted, detected_px: np.ndarray | None
) -> np.ndarray:
    """Outlines of the head and its regions, model landmarks, and lines from these to where they were detected."""
    overlay = _blend(small, np.zeros_like(small), 0.72)
    scale = np.array([small.shape[1] / size_hw[1], small.shape[0] / size_hw[0]])
    for name in ("hair", "lips_tight", "sclerae", "irises"):
        _outline(overlay, painted.region_index == PAINTED_REGIONS.index(name), scale, _DIM)
    _outline(overlay, painted.mask, scale, OUTLINE_COLOR)
    model = painted.landmarks_px * scale
    if detected_px is not None and detected_px.shape == model.shape:
        for start, end in zip(_fixed_point(model), _fixed_point(detected_px * scale), strict=True):
            cv2.line(overlay, tuple(start), tuple(end), (255, 64, 64), 1, cv2.LINE_AA, _SUBPIXEL_BITS)
        _dots(overlay, detected_px * scale, DETECTED_COLOR)
    _dots(overlay, model, MODEL_COLOR)
    return overlay


def _outline(picture: np.ndarray, mask: np.ndarray, scale: np.ndarray, color: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    lines = [_fixed_point((contour.astype(np.float64) + 0.5) * scale) for contour in contours if len(contour) > 8]
    cv2.polylines(picture, lines, True, color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _dots(picture: np.ndarray, points_px: np.ndarray, color: tuple[int, int, int]) -> None:
    radius = round(max(0.6, picture.shape[1] / 520) * 2**_SUBPIXEL_BITS)
    for point in _fixed_point(points_px):
        cv2.circle(picture, tuple(point), radius, color, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed_point(points_px: np.ndarray) -> np.ndarray:
    """Pixels with centres at half-integers as the fixed-point integers of OpenCV, whose centres are at integers."""
    bounded = np.clip(np.nan_to_num(points_px), -4096, 16384)
    return np.round((bounded - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)


def _write_caption(picture: np.ndarray, left: int, caption: str, note: str, layout: PanelLayout) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, layout.caption_px / 44
    baseline, margin = round(layout.caption_px * 0.7), round(layout.caption_px * 0.3)
    cv2.putText(picture, caption, (left + margin, baseline), font, scale, _INK, 1, cv2.LINE_AA)
    if note:
        width = cv2.getTextSize(note, font, scale, 1)[0][0]
        right = left + layout.panel_hw[1] - margin - width
        cv2.putText(picture, note, (right, baseline), font, scale, _DIM, 1, cv2.LINE_AA)
