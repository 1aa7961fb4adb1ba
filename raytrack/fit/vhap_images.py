"""Pictures of a sequence, decoded when they are first needed and kept as long as there is room."""

from collections import OrderedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.fit.frames import resized
from raytrack.fit.observation import ImageLoader


class TargetImages:
    """Frames at tracking size, uint8 on the device of the fit; the least recently used make room."""

    def __init__(
        self,
        load_image: ImageLoader,
        frame_numbers: Int[np.ndarray, " tracked"],
        size_hw: tuple[int, int],
        *,
        memory_bytes: float,
        device: torch.device,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            load_image: Frame number to picture.
            frame_numbers: The tracked frames, which are what `batch` counts.
            size_hw: Tracking size.
            memory_bytes: Room for decoded pictures; those of the current batch are kept in any case.
            device: Where batches go.
        """
        self.size_hw = size_hw
        self._load_image = load_image
        self._frame_numbers = frame_numbers
        self._capacity = int(memory_bytes // (3 * size_hw[0] * size_hw[1]))
        self._device = device
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def batch(self, frames: Int[np.ndarray, " batch"]) -> Float[Tensor, "batch height width 3"]:
        """Colours in [0, 1] of some tracked frames."""
        pictures = torch.stack([self._picture(int(frame)) for frame in frames])
        while len(self._kept) > max(self._capacity, len(frames)):
            self._kept.popitem(last=False)
        return pictures.float().div_(255)

    def _picture(self, frame: int) -> Tensor:
        if frame not in self._kept:
            picture = resized(self._load_image(int(self._frame_numbers[frame])), self.size_hw)
            self._kept[frame] = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device)
        self._kept.move_to_end(frame)
        return self._kept[frame]
