"""The preview: input | render | error | normals | overlay, side by side, one picture per frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from raytrack.fit.painting import PAINTED_REGIONS, Painted

ERROR_FULL_SCALE = 0.25
"""Mean absolute colour error (0 … 1) at the hot end of the error panel."""
CAPTIONS = ("input", "render", "error", "normals", "overlay")
MODEL_COLOR, DETECTED_COLOR, OUTLINE_COLOR = (255, 176, 32), (64, 200, 255), (255, 255, 255)
DIM, PAPER = (150, 150, 150), (18, 18, 20)
GAP_PX = 4
_INK = (236, 236, 236)
_SUBPIXEL_BITS = 4
_LEGEND = (("model", MODEL_COLOR), ("detected", DETECTED_COLOR))

Notes = Sequence[tuple[str, tuple[int, int, int]]]


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
        panel_width = max(16, min(width, (max_width_px - GAP_PX * (len(CAPTIONS) - 1)) // len(CAPTIONS)))
        panel_height = max(16, round(height * panel_width / width))
        return cls(panel_hw=(panel_height, panel_width), caption_px=max(18, round(panel_width * 0.075)))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the whole picture, even."""
        height = self.panel_hw[0] + self.caption_px
        width = self.panel_hw[1] * len(CAPTIONS) + GAP_PX * (len(CAPTIONS) - 1)
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
    small = resized(image, layout.panel_hw)
    notes: dict[str, Notes] = {"input": [(label, DIM)]}
    if painted is None:
        panels = [small] * 2 + [dimmed(small)] * 3
        notes |= {caption: [("no face", DIM)] for caption in CAPTIONS[1:]}
    else:
        error, mean_error = _error_panel(image, small, painted, layout)
        render, normals = resized(painted.color, layout.panel_hw), _normals_panel(small, painted, layout)
        panels = [small, render, error, normals, overlay_panel(small, image.shape[:2], painted, detected_px)]
        notes |= {"error": [(f"L1 {mean_error:.3f}", DIM)], "overlay": _LEGEND}
    picture = np.full((*layout.size_hw, 3), PAPER, np.uint8)
    for index, (panel, caption) in enumerate(zip(panels, CAPTIONS, strict=True)):
        left = index * (layout.panel_hw[1] + GAP_PX)
        picture[layout.caption_px : layout.caption_px + layout.panel_hw[0], left : left + layout.panel_hw[1]] = panel
        strip = picture[: layout.caption_px, left : left + layout.panel_hw[1]]
        write_caption(strip, caption, notes.get(caption, ()))
    return picture


def resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A picture at a smaller size."""
    if image.shape[:2] == size_hw:
        return image
    return cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)


def dimmed(image: np.ndarray) -> np.ndarray:
    """A picture as something that is not there: grey and dark."""
    grey = cv2.convertScaleAbs(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), alpha=0.35, beta=12)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def _coverage(painted: Painted, size_hw: tuple[int, int]) -> np.ndarray:
    """Share of each small pixel that the head covers, (h, w, 1)."""
    return resized(painted.mask.astype(np.float32), size_hw)[..., None]


def _blend(over: np.ndarray, under: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (under + (over.astype(np.float32) - under) * weight + 0.5).astype(np.uint8)


def _error_panel(
    image: np.ndarray, small: np.ndarray, painted: Painted, layout: PanelLayout
) -> tuple[np.ndarray, float]:
    """Mean absolute error over channels on the head, as heat; and its mean over the covered pixels."""
    # A matrix product over the channels: numpy's own mean over a short last axis takes ten times as long.
    error = cv2.transform(cv2.absdiff(image, painted.color).astype(np.float32), np.full((1, 3), 1 / (3 * 255)))
    mean_error = float(error[painted.mask].mean()) if painted.mask.any() else 0.0
    level = np.clip(resized(error, layout.panel_hw) / ERROR_FULL_SCALE * 255, 0, 255).astype(np.uint8)
    heat = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return _blend(heat, dimmed(small), _coverage(painted, layout.panel_hw)), mean_error


def _normals_panel(small: np.ndarray, painted: Painted, layout: PanelLayout) -> np.ndarray:
    """Normals as colours: x red, y green, z (towards the camera) blue."""
    colors = resized(painted.normals * 127.5 + 127.5, layout.panel_hw)
    # Shrinking mixed the colour of "nothing", mid grey, into the outline: divide it out again.
    coverage = _coverage(painted, layout.panel_hw)
    clean = (colors - 127.5 * (1 - coverage)) / np.maximum(coverage, 1e-3)
    return _blend(np.clip(clean, 0, 255), dimmed(small), coverage)


def overlay_panel(
    small: np.ndarray, size_hw: tuple[int, int], painted: Painted, detected_px: np.ndarray | None
) -> np.ndarray:
    """Outlines of the head and its regions, model landmarks, and lines from these to where they were detected."""
    overlay = cv2.convertScaleAbs(small, alpha=0.72)
    scale = np.array([small.shape[1] / size_hw[1], small.shape[0] / size_hw[0]])
    for name in ("hair", "lips_tight", "sclerae", "irises"):
        _outline(overlay, painted.region_index == PAINTED_REGIONS.index(name), scale, DIM)
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


def write_caption(strip: UInt8[np.ndarray, "height width 3"], caption: str, notes: Notes) -> None:
    """Write a name at the left of a strip of a picture, notes (text and colour) right-aligned beside it."""
    height, width = strip.shape[:2]
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, height / 44
    baseline, margin = round(height * 0.7), round(height * 0.3)
    # OpenCV draws on memory of one piece.
    written = np.ascontiguousarray(strip)
    cv2.putText(written, caption, (margin, baseline), font, scale, _INK, 1, cv2.LINE_AA)
    right = width - margin
    for text, color in reversed(notes):
        right -= cv2.getTextSize(text, font, scale, 1)[0][0]
        cv2.putText(written, text, (right, baseline), font, scale, color, 1, cv2.LINE_AA)
        right -= margin
    strip[:] = written
