"""From linear light to the clip: tone curve, sensor noise, H.264."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

EXPOSURE = 1.65
CONTRAST = 0.035
SHOT_NOISE, READ_NOISE = 0.0085, 0.0035
"""Standard deviations in linear light: per square root of the signal, and constant."""


def develop(linear: npt.NDArray[np.float32], noise_seed: int | None = None) -> npt.NDArray[np.uint8]:
    """SRGB picture (H, W, 3) of linear light: sensor noise, a filmic shoulder and a little contrast."""
    light = np.maximum(linear * EXPOSURE, 0)
    if noise_seed is not None:
        grain = np.random.default_rng(noise_seed).normal(0, 1, light.shape).astype(np.float32)
        grain = 0.75 * grain + 0.9 * cv2.GaussianBlur(grain, (0, 0), 0.8)  # demosaicking ties neighbours together
        light = np.maximum(light + grain * (SHOT_NOISE * np.sqrt(light) + READ_NOISE), 0)
    toned = light * (1 + light * light / 9.0) / (1 + light * 0.72)
    encoded = np.where(toned <= 0.0031308, 12.92 * toned, 1.055 * np.maximum(toned, 1e-9) ** (1 / 2.4) - 0.055)
    encoded = np.clip(encoded, 0, 1)
    encoded = encoded - CONTRAST * np.sin(2 * np.pi * encoded)
    return (np.clip(encoded, 0, 1) * 255).round().astype(np.uint8)


def write_clip(path: Path, pictures: list[npt.NDArray[np.uint8]], frames_per_second: int, quality: int) -> None:
    """H.264 (yuv420p, BT.601 as is usual at this size, limited range) on one thread: repeatable bytes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": str(quality), "preset": "slow", "tune": "grain"}
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
