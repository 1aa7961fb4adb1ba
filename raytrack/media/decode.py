"""Reading any stretch of a video's frames, the same whatever stretch is asked for."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raytrack.errors import InputError
from raytrack.media.container import decode, open_video, packets, video_stream
from raytrack.media.images import Picture
from raytrack.media.probe import VideoInfo

logger = logging.getLogger(__name__)

_MATRICES = frozenset({1, 4, 5, 6, 7, 9, 10})
"""FFmpeg's numbers of the kinds of luma and chroma that it can undo: BT.709, FCC, BT.601 (two), 240M, BT.2020."""


def decode_pictures(info: VideoInfo, start: int, stop: int, *, threads: int = 1) -> Iterator[Picture]:
    """Decode frames `start` to `stop` (not included) in order, each with its alpha where the video has one.

    A frame that cannot be decoded is replaced by the one before it, with a warning.

    Args:
        info: What `probe_video` said of the file.
        start: Index of the first frame.
        stop: Index after the last.
        threads: Threads that the decoder may use.

    Raises:
        ValueError: The range is not within the clip.
        InputError: The file cannot be read any more.
    """
    if not 0 <= start <= stop <= info.num_frames:
        raise ValueError(f"frames {start} to {stop} are not within the {info.num_frames} of {info.path}")
    if start == stop:
        return
    with ExitStack() as stack:
        choose = _frames_by_time if info.keyframe_pts.size else _frames_by_order
        for frame in choose(info, start, stop, threads, stack):
            yield _to_picture(frame, info)


def _to_picture(frame: VideoFrame, info: VideoInfo) -> Picture:
    height, width = info.recorded_hw
    # RGB has no matrix to convert to, but some versions of PyAV take that of the file into account only if told one.
    matrices: dict[str, Any] = (
        {"src_colorspace": frame.colorspace, "dst_colorspace": 5} if frame.colorspace in _MATRICES else {}
    )
    samples = frame.to_ndarray(format="rgba" if info.has_alpha else "rgb24", width=width, height=height, **matrices)
    shown = info.orientation.apply(samples)
    if not info.has_alpha:
        return Picture(rgb=shown, alpha=None)
    return Picture(rgb=np.ascontiguousarray(shown[..., :3]), alpha=np.ascontiguousarray(shown[..., 3]))


def _frames_by_order(info: VideoInfo, start: int, stop: int, threads: int, stack: ExitStack) -> Iterator[VideoFrame]:
    """Decode from the beginning and count."""
    container = stack.enter_context(open_video(info.path))
    stream = video_stream(container, info.path, threads=threads)
    read = 0
    for frame in islice(decode(stream, packets(container, stream)), start, stop):
        read += 1
        yield frame
    if read < stop - start:
        raise InputError(f"{info.path}: the file has fewer frames than it had when it was probed; run again")


def _frames_by_time(info: VideoInfo, start: int, stop: int, threads: int, stack: ExitStack) -> Iterator[VideoFrame]:
    """Decode from the last keyframe before the first frame asked for, and pick frames by their times."""
    stream, source = _seek(info, int(info.pts[start]), threads, stack)
    frames = decode(stream, source)
    latest, ahead = None, next(frames, None)
    for index in range(start, stop):
        wanted = int(info.pts[index])
        while ahead is not None and ahead.pts is not None and ahead.pts <= wanted:
            latest, ahead = ahead, next(frames, None)
        shown = latest or ahead
        if shown is None:
            raise InputError(f"{info.path}: frame {index} cannot be decoded; the file is damaged: copy it again")
        if shown.pts != wanted:
            logger.warning("%s: frame %d cannot be decoded; another stands in for it", info.path, index)
        yield shown


def _seek(info: VideoInfo, wanted: int, threads: int, stack: ExitStack) -> tuple[VideoStream, Iterator[Packet]]:
    """A stream, and its packets from a keyframe on that is no later than the wanted time."""
    candidates = info.keyframe_pts[info.keyframe_pts <= wanted]
    for keyframe in candidates[:0:-1]:
        container = stack.enter_context(open_video(info.path))
        stream = video_stream(container, info.path, threads=threads)
        container.seek(int(keyframe), stream=stream)
        source = packets(container, stream)
        first = next(source, None)
        # Indices can be off: what counts is where reading really goes on.
        if first is not None and first.is_keyframe and first.pts is not None and first.pts <= wanted:
            return stream, chain([first], source)
    container = stack.enter_context(open_video(info.path))
    stream = video_stream(container, info.path, threads=threads)
    return stream, packets(container, stream)
