"""RobustVideoMatting: a matte from a clip, by a network that remembers the frames before.

Source: Lin, Yang, Saleemi, Sengupta, "Robust High-Resolution Video Matting with Temporal Guidance" (2021). The network
is one of the authors' published files, which the user installs; only its interface is known here: the picture, four
states and a downsampling ratio go in, foreground, matte and the four states come out.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.errors import AssetError
from raytrack.observe.torchscript import load_torchscript
from raytrack.observe.weights import EXTERNAL_WEIGHTS, find_weights

INSIDE_SIZE_PX = 512
"""The network looks at pictures whose longer side is brought down to this, and refines at full size."""
WARM_UP_FRAMES = 64
"""The network's memory is long: after so many frames, in a clip with much motion, one pixel in 1500 still differs by
more than 3% of full opacity from what it would be with the whole past (one in 240 after half as many, one in 80 without
any)."""
_NUM_STATES = 4
_INPUTS = ("src", *(f"r{level}i" for level in range(1, _NUM_STATES + 1)), "downsample_ratio")
_OUTPUTS = ("pha", *(f"r{level}o" for level in range(1, _NUM_STATES + 1)))


class _Network(Protocol):
    """One file of weights, in whatever format."""

    def step(
        self, picture: Float[np.ndarray, "1 3 height width"], states: list[Any] | None, ratio: float
    ) -> tuple[Float[np.ndarray, "height width"], list[Any]]:
        """The matte of one picture and the states after it; no states at the start of a clip."""
        ...


class _OnnxNetwork:
    def __init__(self, path: Path, device: str):
        try:
            # Optional.
            import onnxruntime  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
            from onnxruntime.capi import (  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
                onnxruntime_pybind11_state as faults,
            )
        except ImportError as error:
            raise AssetError(f"{path}: loading it takes onnxruntime: pip install 'raytrack[rvm]'") from error
        options = onnxruntime.SessionOptions()
        # One thread, as every item of this work has one CPU; results then do not depend on the machine either.
        options.intra_op_num_threads = 1
        providers = [*(["CUDAExecutionProvider"] if device.startswith("cuda") else []), "CPUExecutionProvider"]
        unreadable = (faults.InvalidProtobuf, faults.InvalidGraph, faults.Fail, faults.InvalidArgument)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except unreadable as error:
            wanted = EXTERNAL_WEIGHTS["rvm"].wanted
            raise AssetError(f"{path}: not an ONNX file that onnxruntime can load. Get {wanted}") from error
        inputs = {item.name: item.type for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        if missing := [name for name in (*_INPUTS, *_OUTPUTS) if name not in inputs.keys() | outputs]:
            raise AssetError(
                f"{path}: not RobustVideoMatting, it has no {', '.join(missing)}. Get {EXTERNAL_WEIGHTS['rvm'].wanted}"
            )
        self._kind = np.float16 if inputs["src"] == "tensor(float16)" else np.float32

    def step(
        self, picture: Float[np.ndarray, "1 3 height width"], states: list[Any] | None, ratio: float
    ) -> tuple[Float[np.ndarray, "height width"], list[Any]]:
        states = states or [np.zeros((1, 1, 1, 1), self._kind)] * _NUM_STATES
        values = (picture.astype(self._kind), *states, np.array([ratio], np.float32))
        matte, *after = self._session.run(list(_OUTPUTS), dict(zip(_INPUTS, values, strict=True)))
        return np.asarray(matte)[0, 0].astype(np.float32), after


class _TorchNetwork:
    def __init__(self, path: Path, device: str):
        self._path, self._device = path, device
        self._module = load_torchscript(path, EXTERNAL_WEIGHTS["rvm"].wanted, device)
        # Half-precision files take half-precision pictures.
        self._kind = next((weights.dtype for weights in self._module.parameters()), torch.float32)

    @torch.no_grad()
    def step(
        self, picture: Float[np.ndarray, "1 3 height width"], states: list[Any] | None, ratio: float
    ) -> tuple[Float[np.ndarray, "height width"], list[Any]]:
        source = torch.from_numpy(picture).to(self._device, self._kind)
        outputs = self._module(source, *(states or [None] * _NUM_STATES), ratio)
        if not isinstance(outputs, (tuple, list)) or len(outputs) != 2 + _NUM_STATES:
            wanted = EXTERNAL_WEIGHTS["rvm"].wanted
            raise AssetError(f"{self._path}: not RobustVideoMatting, it does not give six results. Get {wanted}")
        _, matte, *after = outputs
        return matte[0, 0].float().cpu().numpy(), after


class RecurrentMatter:
    """RobustVideoMatting with weights that the user installed. Its memory begins and ends with each call.

    Args:
        weights: An ONNX or TorchScript file; by default the one in `$RAYTRACK_ASSETS/rvm`.
        device: Where the network runs, as torch names devices.

    Raises:
        AssetError: The file is missing, damaged, or of another network; or onnxruntime is.
    """

    name = "rvm"
    warm_up_frames = WARM_UP_FRAMES

    def __init__(self, weights: str = "", device: str = "cpu"):
        path = find_weights("rvm", weights)
        self._network: _Network = (_OnnxNetwork if path.suffix == ".onnx" else _TorchNetwork)(path, device)

    def alpha(
        self, image: UInt8[np.ndarray, "height width 3"], frame_id: str = ""
    ) -> UInt8[np.ndarray, "height width"]:
        """Matte of one RGB image on its own, as of the first frame of a clip."""
        return next(self.track([(frame_id, image)]))

    def track(
        self, frames: Iterable[tuple[str, UInt8[np.ndarray, "height width 3"]]]
    ) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """Mattes of consecutive frames of one camera."""
        states: list[Any] | None = None
        for _, image in frames:
            picture = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / 255.0
            ratio = min(1.0, INSIDE_SIZE_PX / max(image.shape[:2]))
            matte, states = self._network.step(picture, states, ratio)
            yield np.round(np.clip(matte, 0.0, 1.0) * 255.0).astype(np.uint8)
