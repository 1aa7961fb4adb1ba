"""The picture of the docs page: true frames of the suite, and what was tracked in them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.accuracy.observing import read_video
from benchmarks.accuracy.suite import Clip
from raytrack.fit.painting import FramePainter
from raytrack.fit.track import Track
from raytrack.head.library import load_head

_LARGEST_BYTES = 290_000
_SHOWN = (0.3, 0.62)
"""Which of a clip's frames are shown, as shares of its length."""


def write_sheet(clips: Sequence[Clip], tracks: Path, path: Path, columns: int = 2) -> None:
    """Write a JPEG: each clip twice, the frame beside the tracked head over it.

    Args:
        clips: Clips of one camera.
        tracks: Folder of their tracks; clips without one are left out.
        path: The JPEG, of at most 290 kB.
        columns: Clips beside each other.
    """
    shown = [clip for clip in clips if (tracks / f"{clip.name}.npz").is_file()]
    if not shown:
        return
    rows = [_clip_row(clip, Track.load(tracks / f"{clip.name}.npz")) for clip in shown]
    blank = np.full_like(rows[0], 255)
    rows += [blank] * (-len(rows) % columns)
    picture = np.vstack([np.hstack(rows[start : start + columns]) for start in range(0, len(rows), columns)])
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in (88, 80, 70, 60, 45):
        data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= _LARGEST_BYTES:
            path.write_bytes(data)
            return
    raise ValueError(f"{path}: the sheet of {len(shown)} clips does not fit into {_LARGEST_BYTES} bytes")


def _clip_row(clip: Clip, track: Track) -> np.ndarray:
    frames, _ = read_video(clip.videos[0])
    painter = FramePainter(track, load_head("default"), num_threads=1)
    panels = []
    for share in _SHOWN:
        frame = int(share * len(frames))
        painted = painter.paint(frame, frames[frame])
        lit = 0.55 + 0.45 * painted.normals @ np.array([0.25, 0.4, 0.88], np.float32)
        clay = (np.clip(lit, 0, 1)[..., None] * [222, 214, 205]).astype(np.uint8)
        overlay = np.where(painted.mask[..., None], (0.2 * frames[frame] + 0.8 * clay).astype(np.uint8), frames[frame])
        panels += [frames[frame], overlay]
    return np.hstack(panels)
