"""Writing H.264 video that any browser plays."""

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import UInt8

from raytrack.media.files import replaced_file

_QUALITY = "18"
"""x264's constant rate factor: visually near lossless."""


def _even(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "even_height even_width 3"]:
    """Repeat the last row or column of a picture of odd size, which 4:2:0 video cannot hold."""
    rows, columns = image.shape[0] % 2, image.shape[1] % 2
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge") if rows or columns else image


def _add_stream(container: OutputContainer, rate: Fraction, height: int, width: int) -> VideoStream:
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    # One thread: the bytes do not depend on how many cores there are.
    stream.codec_context.thread_count = 1
    stream.options = {"crf": _QUALITY, "preset": "veryfast"}
    return stream


def _encode(container: OutputContainer, frames: Iterable[np.ndarray], rate: Fraction) -> None:
    stream, shape = None, None
    for index, image in enumerate(frames):
        if stream is None:
            even, shape = _even(image), image.shape
            stream = _add_stream(container, rate, even.shape[0], even.shape[1])
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"frame {index}: expected uint8 {shape} as in frame 0, got {image.dtype} {image.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_even(image)), format="rgb24")
        frame.pts = index
        frame.time_base = 1 / rate
        container.mux(stream.encode(frame))
    if stream is None:
        raise ValueError("a video needs at least one frame")
    container.mux(stream.encode())


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: float | Fraction) -> None:
    """Write frames as H.264 (yuv420p) in an MP4 file, in one step: the file is whole or not there.

    Equal frames give equal bytes. A picture of odd size is padded by one row or column.

    Args:
        path: Where; its folder is made.
        frames: RGB pictures of one size; they are taken one by one.
        fps: Frames per second; below a thousandth, a thousandth is taken.

    Raises:
        ValueError: There is no frame, the frames differ in size, or the rate is not positive and finite.
        OutputError: The file cannot be written.
    """
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive and finite, got {fps}")
    rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with replaced_file(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options=options) as container:
                _encode(container, frames, rate)
        except FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error
