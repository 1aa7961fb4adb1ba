"""A matte without any network: what differs from a picture of the empty scene.

The camera's exposure may drift between plate and frame: most background pixels agree on one gain a channel, which is
found first. A uniform change of brightness, as of a shadow, counts less than a change of colour.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from raytrack.errors import AssetError, InputError
from raytrack.media.images import read_image
from raytrack.observe.config import PlateRefinement
from raytrack.observe.guided_filter import guided_filter
from raytrack.observe.matting import FrameMatter

_COARSE_SIZE_PX = 384
"""Longer side at which the difference is taken: averaging removes noise and small misalignments."""
_RADIUS = 3
"""Half width, at that size, of the windows in which edges are followed."""
_BLACK, _WHITE = 0.15, 0.85
"""Levels taken as 0 and 1 after following edges."""
_MOST_LOG_GAIN = 0.5
_GAIN_BINS = 51
_GAIN_WIDTH = 0.06
"""Logarithms of gains this close to the commonest belong to the background."""
_OFFSET = 0.03
"""Added to both pictures so that ratios of dark pixels are not all noise."""
_SHADE = 0.1
"""Relative change of brightness that may be a shadow or a reflection."""
_NOISE_FACTOR, _LEAST_DIFFERENCE = 4.0, 0.04
"""Differences below so many standard deviations of noise, and below so much at any rate, are background."""
_SOFTNESS = 0.06
"""Differences so much larger are surely foreground."""
_SOLID = 0.2
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_SMALL_PART = 0.1
"""Foreground of less than this share of its largest part's area is no person."""
_SMALL_HOLE = 0.01
"""Holes of less than this share of the picture lie in the person's clothes, not between arm and body."""
_UNSURE_PX = 4
"""Half width of the band around the outline that closed-form matting decides, in pixels of the coarse matte."""


class CleanPlate:
    """A picture of the scene without the person, from the same camera.

    Args:
        plate: The picture or its file; of another size than the frames it is scaled, of another shape it is refused.

    Raises:
        InputError: It cannot be read.
    """

    def __init__(self, plate: Path | UInt8[np.ndarray, "height width 3"]):
        self._name = str(plate) if isinstance(plate, Path) else "BACKGROUND"
        self._pixels = read_image(plate).rgb if isinstance(plate, Path) else plate

    def matched(self, image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
        """The plate in [0, 1] as the frame's exposure would show it, at the frame's size.

        Raises:
            InputError: The plate has another shape than the image.
        """
        (height, width), (rows, columns) = image.shape[:2], self._pixels.shape[:2]
        if abs(rows * width - columns * height) > max(rows, columns, height, width):
            raise InputError(
                f"{self._name}: the clean plate is {columns}×{rows}, its frames {width}×{height} (width × height): "
                "it must come from the same camera"
            )
        plate = self._pixels
        if plate.shape != image.shape:
            interpolation = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
            plate = cv2.resize(plate, (width, height), interpolation=interpolation)
        plate = plate.astype(np.float32) / 255.0
        return np.clip(plate * exposure_gain(image.astype(np.float32) / 255.0, plate), 0.0, 1.0)


def exposure_gain(
    image: Float[np.ndarray, "height width 3"], plate: Float[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "3"]:
    """Factor on each channel of the plate that makes most of it the picture's background.

    Args:
        image: In [0, 1]; the person may cover most of it, as long as no other ratio to the plate is commoner.
        plate: In [0, 1].
    """
    gains = np.ones(3, np.float32)
    for channel in range(3):
        ours, theirs = image[..., channel].ravel(), plate[..., channel].ravel()
        valid = (ours < 0.98) & (theirs < 0.98)
        ratio = np.log((ours[valid] + _OFFSET) / (theirs[valid] + _OFFSET))
        counts, edges = np.histogram(ratio, _GAIN_BINS, (-_MOST_LOG_GAIN, _MOST_LOG_GAIN))
        if counts.max() == 0:
            continue
        best = int(np.convolve(counts, (1, 2, 1), mode="same").argmax())
        near = np.abs(ratio - (edges[best] + edges[best + 1]) / 2) < _GAIN_WIDTH
        background, clean = ours[valid][near], theirs[valid][near]
        gains[channel] = (background * clean).sum() / np.maximum((clean * clean).sum(), 1e-6)
    return gains


def difference(
    image: Float[np.ndarray, "height width 3"], plate: Float[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "height width"]:
    """How far the picture's colours are from the plate's, changes of brightness up to `_SHADE` left out."""
    squared = (plate**2).sum(axis=-1)
    brightness = (image * plate).sum(axis=-1) / np.maximum(squared, 1e-4)
    colour = image - brightness[..., None] * plate
    shade = np.maximum(np.abs(brightness - 1.0) - _SHADE, 0.0) * np.sqrt(squared)
    return np.sqrt((colour**2).sum(axis=-1) + shade**2).astype(np.float32)


def _noise(values: Float[np.ndarray, "height width"]) -> float:
    """Standard deviation of the difference where there is only background: the lower half of the values says."""
    return float(np.quantile(values, 0.25)) / 0.6


def _solidified(matte: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Keep the large parts of the foreground, close their small holes, and make their insides opaque."""
    closed = cv2.morphologyEx((matte > _SOLID).astype(np.uint8), cv2.MORPH_CLOSE, _DISC)
    kept = _parts_above(closed, _SMALL_PART, of_largest=True)
    filled = (~_parts_above(1 - kept.astype(np.uint8), _SMALL_HOLE, of_largest=False)).astype(np.uint8)
    inside = cv2.erode(filled, _DISC) > 0
    return np.where(inside, np.float32(1.0), matte) * (cv2.dilate(filled, _DISC) > 0)


def _parts_above(mask: UInt8[np.ndarray, "height width"], share: float, *, of_largest: bool) -> Bool[np.ndarray, "..."]:
    """Connected parts of a mask above a share of its largest part's area, or of the whole picture's."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    areas = statistics[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0.0
    whole = areas.max() if of_largest else mask.size
    large = (areas > 0) & (areas >= share * whole)
    return large[labels.astype(np.intp)] if count > 1 else np.zeros(mask.shape, bool)


class PlateMatter(FrameMatter):
    """Mattes from a clean plate.

    Args:
        plate: The picture of the empty scene.
        refinement: How the outline is brought to the picture's edges.

    Raises:
        AssetError: pymatting is not installed, but asked for.
        InputError: The plate cannot be read.
    """

    name = "plate"

    def __init__(self, plate: Path | UInt8[np.ndarray, "height width 3"], refinement: PlateRefinement = "guided"):
        self._plate = CleanPlate(plate)
        self._closed_form = _closed_form_matting() if refinement == "pymatting" else None

    def alpha(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        frame_id: str = "",  # noqa: ARG002 (the protocol's)
    ) -> UInt8[np.ndarray, "height width"]:
        """Matte of one RGB image.

        Raises:
            InputError: The plate has another shape than the image.
        """
        coarse = self.coarse_matte(image)
        if self._closed_form is None:
            matte = guided_filter(image, coarse, radius=_RADIUS)
            matte = np.clip((matte - _BLACK) / (_WHITE - _BLACK), 0.0, 1.0)
        else:
            matte = self._closed_form(image / 255.0, _trimap(coarse, image.shape[:2]))
        return np.round(np.clip(matte, 0.0, 1.0) * 255.0).astype(np.uint8)

    def coarse_matte(self, image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "rows columns"]:
        """Matte at reduced size, before its outline is refined."""
        scale = min(1.0, _COARSE_SIZE_PX / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        smooth = cv2.GaussianBlur(small.astype(np.float32) / 255.0, (0, 0), 0.7)
        plate = cv2.GaussianBlur(self._plate.matched(small), (0, 0), 0.7)
        values = difference(smooth, plate)
        least = max(_NOISE_FACTOR * _noise(values), _LEAST_DIFFERENCE)
        # A person who fills the picture would raise the noise: it is bounded by what cameras do.
        least = min(least, 2 * _LEAST_DIFFERENCE)
        return _solidified(np.clip((values - least) / _SOFTNESS, 0.0, 1.0).astype(np.float32))


def _trimap(coarse: Float[np.ndarray, "rows columns"], size_hw: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """0 and 1 where the matte is sure, 0.5 around its outline."""
    window = np.ones((2 * _UNSURE_PX + 1, 2 * _UNSURE_PX + 1), np.uint8)
    solid = (coarse > 0.5).astype(np.uint8)
    trimap = (cv2.erode(solid, window) + cv2.dilate(solid, window)).astype(np.float64) / 2
    return cv2.resize(trimap, size_hw[::-1], interpolation=cv2.INTER_NEAREST)


def _closed_form_matting() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Levin, Lischinski, Weiss, "A Closed-Form Solution to Natural Image Matting" (2008), from pymatting."""
    try:
        # Optional.
        from pymatting import estimate_alpha_cf  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AssetError(
            "plate_refinement: pymatting is not installed: pip install 'raytrack[pymatting]', or use 'guided'"
        ) from error
    return estimate_alpha_cf
