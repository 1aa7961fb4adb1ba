"""BackgroundMattingV2: a matte from a frame and a picture of the empty scene.

Source: Lin, Ryabtsev, Sengupta, Curless, Seitz, Kemelmacher-Shlizerman, "Real-Time High-Resolution Background Matting"
(2021). The network is one of the authors' published TorchScript files, which the user installs.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from raytrack.errors import AssetError
from raytrack.observe.matting import FrameMatter
from raytrack.observe.plate import CleanPlate
from raytrack.observe.torchscript import load_torchscript
from raytrack.observe.weights import EXTERNAL_WEIGHTS, find_weights

_SIZE_STEP = 4
"""Sides of the network's pictures are multiples of this."""
_COARSE_SIZE_PX = 320
"""The first network looks at pictures of about this size."""
_COARSE_SCALES = (0.5, 0.25, 0.125)
_SETTINGS = {"refine_mode": "sampling", "refine_sample_pixels": 80_000}
"""The published files' own settings, fixed so that no file's defaults decide."""


class BackgroundMatter(FrameMatter):
    """BackgroundMattingV2 with weights that the user installed.

    Args:
        plate: Picture of the scene without the person, from the same camera, or its file.
        weights: A TorchScript file; by default the one in `$RAYTRACK_ASSETS/bgmv2`.
        device: Where the network runs, as torch names devices.

    Raises:
        AssetError: The file is missing, damaged, or of another network.
        InputError: The plate cannot be read.
    """

    name = "bgmv2"

    def __init__(self, plate: Path | UInt8[np.ndarray, "height width 3"], weights: str = "", device: str = "cpu"):
        self._path, self._device = find_weights("bgmv2", weights), device
        self._plate = CleanPlate(plate)
        self._module = load_torchscript(self._path, EXTERNAL_WEIGHTS["bgmv2"].wanted, device)
        self._kind = next((weights.dtype for weights in self._module.parameters()), torch.float32)
        for name, value in _SETTINGS.items():
            if hasattr(self._module, name):
                setattr(self._module, name, value)

    @torch.no_grad()
    def alpha(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        frame_id: str = "",  # noqa: ARG002 (the protocol's)
    ) -> UInt8[np.ndarray, "height width"]:
        """Matte of one RGB image.

        Raises:
            AssetError: The file is of another network.
            InputError: The plate has another shape than the image.
        """
        height, width = image.shape[:2]
        if hasattr(self._module, "backbone_scale"):
            self._module.backbone_scale = min(
                _COARSE_SCALES, key=lambda scale: abs(np.log(scale * max(height, width) / _COARSE_SIZE_PX))
            )
        plate = self._plate.matched(image)
        outputs = self._module(self._tensor(image / np.float32(255.0)), self._tensor(plate))
        if not isinstance(outputs, (tuple, list)) or not isinstance(outputs[0], Tensor) or outputs[0].shape[1] != 1:
            wanted = EXTERNAL_WEIGHTS["bgmv2"].wanted
            raise AssetError(f"{self._path}: not BackgroundMattingV2, its first result is no matte. Get {wanted}")
        matte = outputs[0][0, 0, :height, :width].float().cpu().numpy()
        return np.round(np.clip(matte, 0.0, 1.0) * 255.0).astype(np.uint8)

    def _tensor(self, image: Float[np.ndarray, "height width 3"]) -> Float[Tensor, "1 3 rows columns"]:
        """A picture as the network takes it, its right and lower border repeated up to the next allowed size."""
        missing = [(-side) % _SIZE_STEP for side in image.shape[:2]]
        padded = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).to(self._device, self._kind)
