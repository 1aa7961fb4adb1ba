"""What a video file holds: size, orientation, and the true time of every frame."""

import logging
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float, Int

from raytrack.errors import InputError
from raytrack.media.container import decode, open_video, packets, video_stream
from raytrack.media.orientation import Orientation, orientation_of

logger = logging.getLogger(__name__)

# In these every packet shows as one frame, at the packet's own time; elsewhere all has to be decoded to know.
_PLAIN_CODECS = frozenset({"h264", "hevc", "av1", "libdav1d", "vp9", "mjpeg", "prores", "png", "ffv1", "qtrle"})
_PLAIN_CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm"})
NOMINAL_FPS = 25.0
"""Frames per second where nothing tells."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoInfo:
    """A video file that can be read."""

    path: Path
    size_hw: tuple[int, int]
    """As shown, that is after turning."""
    recorded_hw: tuple[int, int]
    orientation: Orientation
    codec: str
    pixel_format: str
    has_alpha: bool
    """Whether there is an alpha channel; `raytrack.media.source.probe` also looks whether it says anything."""
    pts: Int[np.ndarray, " frames"] = field(repr=False)
    """Time of each frame in units of `time_base`, increasing."""
    time_base: Fraction
    keyframe_pts: Int[np.ndarray, " keyframes"] = field(repr=False)
    """Times of frames from which decoding can start; empty where it must start at the beginning of the file."""

    @property
    def num_frames(self) -> int:
        """Number of frames that can be read."""
        return len(self.pts)

    @property
    def timestamps_s(self) -> Float[np.ndarray, " frames"]:
        """Time of each frame in seconds since the first."""
        return (self.pts - self.pts[0]) * float(self.time_base)

    @property
    def average_fps(self) -> float:
        """Frames per second over the whole clip; a nominal 25 for a single frame, which has no rate."""
        elapsed = float(self.timestamps_s[-1])
        return (self.num_frames - 1) / elapsed if elapsed > 0 else NOMINAL_FPS

    @property
    def duration_s(self) -> float:
        """From the first frame's start to the last one's end."""
        return float(self.timestamps_s[-1]) + 1.0 / self.average_fps

    @property
    def frame_ids(self) -> tuple[str, ...]:
        """Frames are called by their index, six digits."""
        return tuple(f"{index:06d}" for index in range(self.num_frames))


def probe_video(path: Path, *, threads: int = 1) -> VideoInfo:
    """Find out what a video holds. Common files are only read through; others are decoded once.

    A file whose end is cut off is used as far as it goes, with a warning.

    Args:
        path: A local video file.
        threads: Threads that the decoder may use.

    Raises:
        InputError: The file is missing, empty, not a video, or has no frame that can be read.
    """
    with open_video(path) as container:
        stream = video_stream(container, path, threads=threads)
        first = next(decode(stream, packets(container, stream)), None)
        if first is None:
            raise InputError(f"{path}: no frame of this video can be decoded; it is damaged: copy or record it again")
        codec, announced, time_base = stream.codec_context.name, stream.frames, stream.time_base
        _warn_of_pixel_shape(first, stream, path)
    if time_base is None:
        raise InputError(f"{path}: the video has no clock; convert it: ffmpeg -i INPUT OUTPUT.mp4")
    pts, keyframes = _times_from_packets(path)
    if keyframes.size == 0:
        pts = _times_from_frames(path, threads)
    if announced > len(pts):
        logger.warning("%s: only %d of %d frames can be read; the rest is missing", path, len(pts), announced)
    orientation = orientation_of(first)
    return VideoInfo(
        path=path,
        size_hw=orientation.size_hw((first.height, first.width)),
        recorded_hw=(first.height, first.width),
        orientation=orientation,
        codec=codec,
        pixel_format=first.format.name,
        # A decoded GIF always has an alpha channel: it says which pixels a frame leaves as they were.
        has_alpha=codec != "gif" and any(component.is_alpha for component in first.format.components),
        pts=pts,
        time_base=Fraction(time_base),
        keyframe_pts=keyframes,
    )


class _PacketFacts(NamedTuple):
    """What is kept of a packet."""

    pts: int | None
    is_keyframe: bool
    is_corrupt: bool


def _times_from_packets(path: Path) -> tuple[Int[np.ndarray, " frames"], Int[np.ndarray, " keyframes"]]:
    """Times of all frames and of those from which decoding can start, without decoding; empty where that is unsafe."""
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    with open_video(path) as container:
        stream = video_stream(container, path)
        if not _is_plain(container, stream):
            return nothing
        # Never the packets themselves: they would hold the whole file in memory.
        shown = [
            _PacketFacts(packet.pts, packet.is_keyframe, packet.is_corrupt)
            for packet in packets(container, stream)
            if packet.size and not packet.is_discard
        ]
    times = [facts.pts for facts in shown if facts.pts is not None]
    keyframes = [facts.pts for facts in shown if facts.pts is not None and facts.is_keyframe]
    if len(set(times)) < len(shown) or any(facts.is_corrupt for facts in shown):
        return nothing
    if not shown or not shown[0].is_keyframe or min(times) < times[0]:
        # The clip begins in the middle of a group of pictures: some of its first packets cannot be decoded.
        return nothing
    return np.array(sorted(times), np.int64), np.array(sorted(keyframes), np.int64)


def _is_plain(container: InputContainer, stream: VideoStream) -> bool:
    formats = set(container.format.name.split(","))
    return stream.codec_context.name in _PLAIN_CODECS and bool(formats & _PLAIN_CONTAINERS)


def _times_from_frames(path: Path, threads: int) -> Int[np.ndarray, " frames"]:
    """Times of all frames that can be decoded, by decoding them."""
    with open_video(path) as container:
        stream = video_stream(container, path, threads=threads)
        times = [
            frame.pts if frame.pts is not None else frame.dts for frame in decode(stream, packets(container, stream))
        ]
        rate, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
    if not times:
        raise InputError(f"{path}: no frame of this video can be decoded; it is damaged: copy or record it again")
    known = [time for time in times if time is not None]
    if len(known) == len(times) and np.all(np.diff(known) > 0):
        return np.array(known, np.int64)
    logger.warning("%s: frames have no times of their own; a constant rate is taken", path)
    step = 1 / (Fraction(rate or Fraction(NOMINAL_FPS)) * Fraction(time_base or 1))
    return np.array([round(index * step) for index in range(len(times))], np.int64)


def _warn_of_pixel_shape(frame: VideoFrame, stream: VideoStream, path: Path) -> None:
    ratio = stream.sample_aspect_ratio
    if ratio and abs(float(ratio) - 1.0) > 0.01:
        logger.warning(
            "%s: pixels are not square (%s); the %d×%d samples are taken as they are: convert the video if the head "
            "looks stretched",
            path,
            ratio,
            frame.width,
            frame.height,
        )
