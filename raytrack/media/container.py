"""Opening local video files safely and decoding them from a given point on, whatever is broken in them."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.error import EOFError as EndOfStreamError
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raytrack.errors import InputError

# Only local files, and only containers that hold footage themselves: playlists could name files elsewhere.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,gif,apng,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,mxf,nut",
}


def open_video(path: Path) -> InputContainer:
    """Open a local video file for reading; it is a context manager.

    Raises:
        InputError: The file is missing, empty, or not a video.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not path.is_file():
        raise InputError(f"{path}: not a file; give a video file or a folder of images")
    if size == 0:
        raise InputError(f"{path}: the file is empty (zero bytes); copy or record it again")
    try:
        return av.open(str(path.resolve()), container_options=_OPTIONS)
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a video, or its header is cut off or damaged ({error}); copy it again, "
            "or if it plays elsewhere convert it: ffmpeg -i INPUT -c:v libx264 -crf 12 OUTPUT.mp4"
        ) from error


def video_stream(container: InputContainer, path: Path, *, threads: int = 1) -> VideoStream:
    """The first video stream of a file, cover pictures aside, whatever comes before it.

    Args:
        container: The open file.
        path: For the message.
        threads: Threads that the decoder may use; they do not change what it gives.

    Raises:
        InputError: The file has none.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.codec_context.thread_count = threads
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise InputError(f"{path}: no video in this file (it has: {kinds}); give the file that has the pictures")


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The packets of a stream up to the end of the file or to where it cannot be read further.

    The last one is empty, which makes a decoder give what it has held back.
    """
    try:
        yield from container.demux(stream)
    except (FFmpegError, OSError):
        yield Packet()


def decode(stream: VideoStream, source: Iterator[Packet]) -> Iterator[VideoFrame]:
    """Decode packets; damaged packets and frames are left out."""
    for packet in source:
        if packet.is_corrupt:
            continue
        try:
            decoded = stream.codec_context.decode(packet if packet.size else None)
        except InvalidDataError:
            continue
        except EndOfStreamError:
            return
        for frame in decoded:
            if not frame.is_corrupt:
                yield frame
