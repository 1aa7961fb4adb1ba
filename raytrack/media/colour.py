"""sRGB's transfer curve, and colour corrections that bring several cameras to one look.

Colours are float32 in [0, 1] here; corrections take and give 8-bit pictures and round once, at their end.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8

_LINEAR_END, _SLOPE, _OFFSET, _GAMMA = 0.0031308, 12.92, 0.055, 2.4


def linear_from_srgb(encoded: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Undo sRGB's transfer curve (IEC 61966-2-1)."""
    curve = ((np.maximum(encoded, 0.0) + _OFFSET) / (1 + _OFFSET)) ** _GAMMA
    return np.where(encoded <= _LINEAR_END * _SLOPE, encoded / _SLOPE, curve).astype(encoded.dtype)


def srgb_from_linear(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Apply sRGB's transfer curve (IEC 61966-2-1)."""
    curve = (1 + _OFFSET) * np.maximum(linear, 0.0) ** (1 / _GAMMA) - _OFFSET
    return np.where(linear <= _LINEAR_END, linear * _SLOPE, curve).astype(linear.dtype)


_LINEAR_LEVELS = linear_from_srgb(np.arange(256, dtype=np.float32) / 255)


@dataclass(frozen=True, kw_only=True, eq=False)
class AffineColour:
    """Mixes the channels of encoded colours: `rgb @ matrix + offset` (NeRSemble v1)."""

    matrix: Float[np.ndarray, "3 3"]
    """Multiplied from the right."""
    offset: Float[np.ndarray, "3"]
    """For colours in [0, 1]."""

    def apply(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """The corrected picture."""
        colours = image.astype(np.float32) / 255
        return _quantized(colours @ self.matrix.astype(np.float32) + self.offset.astype(np.float32))


@dataclass(frozen=True, kw_only=True, eq=False)
class PolynomialColour:
    """Mixes polynomial terms of linear light (NeRSemble v2).

    Source: Cheung, Westland, Connah, Ripamonti, "A comparative study of the characterisation of colour cameras by
    means of neural networks and polynomial transforms", Coloration Technology 120 (2004), with the sets of terms that
    the package colour-science names by their number.
    """

    matrix: Float[np.ndarray, "3 terms"]
    """Multiplied from the left by the column of terms."""

    def __post_init__(self) -> None:
        """Check the number of terms.

        Raises:
            ValueError: There is no set of so many terms.
        """
        if self.matrix.shape[1] not in TERMS:
            known = ", ".join(map(str, TERMS))
            raise ValueError(f"a colour polynomial has {known} terms, got {self.matrix.shape[1]}")

    def apply(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """The corrected picture: decoded to linear light, corrected there, and encoded again."""
        linear = _LINEAR_LEVELS[image]
        corrected = polynomial_terms(linear, self.matrix.shape[1]) @ self.matrix.astype(np.float32).T
        return _quantized(srgb_from_linear(np.clip(corrected, 0.0, 1.0)))


ColourCorrection: TypeAlias = AffineColour | PolynomialColour


_FIRST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_MIXED = ((1, 1, 0), (1, 0, 1), (0, 1, 1))
_SQUARES = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
_CUBES = ((3, 0, 0), (0, 3, 0), (0, 0, 3))
_ALL, _ONE = ((1, 1, 1),), ((0, 0, 0),)
_TURNED = ((2, 1, 0), (0, 2, 1), (1, 0, 2))
"""R²G, G²B, B²R."""
_TURNED_BACK = ((2, 0, 1), (1, 2, 0), (0, 1, 2))
"""R²B, G²R, B²G."""
_FOURTH = ((2, 1, 1), (1, 2, 1), (1, 1, 2))
_SECOND = _FIRST + _MIXED + _SQUARES

TERMS: dict[int, tuple[tuple[int, int, int], ...]] = {
    len(powers): powers
    for powers in (
        _FIRST,
        _FIRST + _ONE,
        _FIRST + _ALL + _ONE,
        _FIRST + _MIXED + _ONE,
        _FIRST + _MIXED + _ALL + _ONE,
        _SECOND + _ONE,
        _SECOND + _ALL + _ONE,
        _SECOND + _ALL + _CUBES + _ONE,
        _SECOND + _ALL + _TURNED + _CUBES,
        _SECOND + _ALL + _TURNED + _CUBES + _ONE,
        _SECOND + _ALL + _TURNED + _TURNED_BACK + _CUBES,
        _SECOND + _ALL + _TURNED + _TURNED_BACK + _CUBES + _ONE,
        _SECOND + _ALL + _TURNED + _TURNED_BACK + _CUBES + _FOURTH,
    )
}
"""Sets of terms by their number: exponents of R, G, B in each."""


def polynomial_terms(linear: Float[np.ndarray, "*shape 3"], num_terms: int) -> Float[np.ndarray, "*shape terms"]:
    """The terms of a colour polynomial, such as R, G, B, RGB, 1 for five of them.

    Args:
        linear: Colours in linear light.
        num_terms: A key of `TERMS`.
    """
    red, green, blue = (linear[..., channel] for channel in range(3))
    return np.stack([red**r * green**g * blue**b for r, g, b in TERMS[num_terms]], axis=-1)


def _quantized(colours: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return np.round(np.clip(colours, 0.0, 1.0) * 255).astype(np.uint8)
