"""Principal components of a head's albedo, kept as 8-bit steps and read only when they are used.

`albedo = HeadModel.albedo + Σ coefficient · direction`, as in FLAME's texture spaces, where coefficients are about
N(0, 1) over people. A direction's steps are 1/127 of its largest value: rounding stays below a quarter of an 8-bit
level for a direction that changes no texel by more than 60 levels.
"""

import zipfile
import zlib
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from raytrack.errors import AssetError

STEPS_KEY, SCALE_KEY = "texture_basis_int8", "texture_basis_scale"
"""Of a head file: (components, size, size, 3), and what a step of each component is worth."""
MAX_COMPONENTS = 100
MAX_SIZE = 512
_LEVELS = 127


class TextureBasis:
    """Directions of albedo, sRGB per unit coefficient, row 0 at the top. Made by `compact` or `in_file`."""

    def __init__(
        self,
        scale: Float[np.ndarray, " components"],
        *,
        steps: Int8[np.ndarray, "components size size 3"] | None = None,
        path: Path | None = None,
    ) -> None:
        """Keep the steps, or the head file that holds them."""
        self.scale = scale
        self._given = steps
        self._path = path

    @classmethod
    def compact(cls, directions: Float[np.ndarray, "components size size 3"]) -> "TextureBasis":
        """Round directions to 8-bit steps of their own scale."""
        largest = np.abs(directions).max(axis=(1, 2, 3)).astype(np.float32)
        scale = np.where(largest > 0, largest, 1) / np.float32(_LEVELS)
        steps = np.empty(directions.shape, np.int8)
        for index, direction in enumerate(directions):
            steps[index] = np.round(direction / scale[index])
        return cls(scale.astype(np.float32), steps=steps)

    @classmethod
    def in_file(cls, path: Path, scale: Float[np.ndarray, " components"]) -> "TextureBasis":
        """The basis of a head file, which is read when first asked for."""
        return cls(np.asarray(scale, np.float32), path=path)

    @property
    def num_components(self) -> int:
        """Coefficients."""
        return len(self.scale)

    @cached_property
    def steps(self) -> Int8[np.ndarray, "components size size 3"]:
        """The directions in 8-bit steps.

        Raises:
            AssetError: The head file is gone, damaged, or its basis does not fit.
        """
        if self._given is not None:
            return self._given
        try:
            with np.load(self._path, allow_pickle=False) as archive:  # pyright: ignore[reportArgumentType]
                steps = archive[STEPS_KEY]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise AssetError(
                f"{self._path}: its texture basis cannot be read ({error}); import the head again"
            ) from error
        shape = (self.num_components, steps.shape[1], steps.shape[1], 3) if steps.ndim == 4 else ()
        if steps.shape != shape or steps.dtype != np.int8:
            raise AssetError(f"{self._path}: its texture basis is {steps.dtype} {steps.shape}; import the head again")
        return steps

    @property
    def size(self) -> int:
        """Texels along a side."""
        return self.steps.shape[1]

    def directions(self, size: int) -> Float[Tensor, "components side side 3"]:
        """The directions at a size, averaged down, or at their own where that is smaller."""
        side = min(size, self.size)
        result = np.empty((self.num_components, side, side, 3), np.float32)
        for index, (steps, scale) in enumerate(zip(self.steps, self.scale, strict=True)):
            direction = steps.astype(np.float32)
            if side != self.size:
                direction = cv2.resize(direction, (side, side), interpolation=cv2.INTER_AREA)
            result[index] = direction * scale
        return torch.from_numpy(result)

    def combined(self, coefficients: Float[Tensor, " coefficients"]) -> Float[Tensor, "size size 3"]:
        """What coefficients add to the albedo, at the basis' own size. Not differentiable.

        Raises:
            ValueError: There are more coefficients than components.
        """
        count = len(coefficients)
        if count > self.num_components:
            raise ValueError(f"the head's texture has {self.num_components} components, got {count} coefficients")
        weights = coefficients.detach().cpu().numpy().astype(np.float32) * self.scale[:count]
        result = np.zeros(self.steps.shape[1:], np.float32)
        for weight, steps in zip(weights, self.steps, strict=False):
            result += weight * steps
        return torch.from_numpy(result)
