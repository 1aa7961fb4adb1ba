"""Small footage files with known content, made on the spot."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from raytrack.media.source import Source, read_pictures


def read_frames(source: Source, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Frames as RGB, whatever alpha they have."""
    return (picture.rgb for picture in read_pictures(source, start, stop))


def numbered_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Smooth pictures that differ from each other: a grey ramp, its brightness telling the index."""
    ramp = np.linspace(0, 60, width)[None, :] + np.linspace(0, 40, height)[:, None]
    return [np.repeat((ramp + 150 * index / max(count, 2)).astype(np.uint8)[..., None], 3, 2) for index in range(count)]


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    """Red top left, blue top right, green bottom left, black bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[height // 2 :, : width // 2] = (0, 255, 0)
    image[: height // 2, width // 2 :] = (0, 0, 255)
    return image


def encode(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    source_format: str = "rgb24",
    audio_first: bool = False,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video; frame i is shown at `times_ms[i]`, by default every 40 ms."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options=container_options or {}) as container:
        audio = container.add_stream("aac", rate=44100) if audio_first else None
        video = container.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = width, height, pixel_format
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.thread_count = 1
        video.options = options or {}
        if audio is not None:
            _encode_silence(container, audio)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=source_format)
            frame.pts = 40 * index if times_ms is None else times_ms[index]
            frame.time_base = Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into the track header of an MP4: a point (p, q) is shown at (a p + c q, b p + d q)."""
    data = bytearray(path.read_bytes())
    matrix = [a * 65536, b * 65536, 0, c * 65536, d * 65536, 0, 0, 0, 1 << 30]
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def _encode_silence(container, stream) -> None:
    for index in range(20):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        frame.pts = 1024 * index
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def audio_only(path: Path) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        _encode_silence(container, container.add_stream("aac", rate=44100))
    return path
