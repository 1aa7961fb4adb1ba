"""Real clips: scores that need no truth, and VHAP's published result on the same pixels where it is at hand."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy.observing import observe_video, read_video
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.scores import frame_photometry, jitter_px, landmark_error_px, photometric_scores, psnr_db
from raytrack.fit.config import TrackConfig
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter, Painted
from raytrack.fit.track import Track
from raytrack.fit.tracker import track_sequence
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel


@dataclass(frozen=True, kw_only=True)
class Published:
    """VHAP's own result on a clip."""

    pictures: list[np.ndarray]
    """Its render over the input frames, RGB."""
    masks: np.ndarray
    """(frames, height, width): the pixels that it covers."""

    @classmethod
    def beside(cls, clip: Path) -> "Published | None":
        """`<stem>_vhap.npz` (`size`, `mask_bits`) and `<stem>_vhap_render.mp4` beside a clip, where they are."""
        record, video = (clip.with_name(f"{clip.stem}_vhap{ending}") for ending in (".npz", "_render.mp4"))
        if not (record.is_file() and video.is_file()):
            return None
        with np.load(record, allow_pickle=False) as arrays:
            height, width = (int(side) for side in arrays["size"])
            bits = np.unpackbits(arrays["mask_bits"].reshape(len(arrays["mask_bits"]), -1), axis=1)
        masks = bits[:, : height * width].reshape(-1, height, width).astype(bool)
        return cls(pictures=read_video(video)[0], masks=masks)


def file_digest(clip: Path) -> str:
    """Of a clip and what lies beside it."""
    files = [clip, clip.with_name(f"{clip.stem}_vhap.npz"), clip.with_name(f"{clip.stem}_vhap_render.mp4")]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes() if path.is_file() else b"-")
    return digest.hexdigest()[:16]


def score_real(clip: Path, num_threads: int) -> dict[str, float | None]:
    """Track a clip and score it."""
    head, view = load_head("default"), observe_video(clip)
    track = track_sequence(view, head, TrackConfig(num_threads=num_threads))
    published = Published.beside(clip)
    painted = list(_painted(track, head, view))
    points = np.stack([frame.landmarks_px for frame in painted])
    return {
        **_photometry(track, head, view, painted),
        "landmark_px": landmark_error_px(points, view.landmarks_px, track.tracked.numpy() & view.detected),
        "jitter_px": jitter_px(points, track.tracked.numpy()),
        **({} if published is None else _beside_vhap(view, painted, published)),
    }


def _painted(track: Track, head: HeadModel, view: SequenceObservation) -> Iterator[Painted]:
    painter = FramePainter(track, head, num_threads=1)
    for frame in range(track.num_frames):
        yield painter.paint(frame, view.load_image(frame))


def _photometry(
    track: Track, head: HeadModel, view: SequenceObservation, painted: list[Painted]
) -> dict[str, float | None]:
    necks, load_alpha = neck_line_points(head), view.load_alpha
    frames = []
    for frame in np.flatnonzero(track.tracked.numpy()).tolist():
        drawn, person = painted[frame], None
        if load_alpha is not None:
            above = projected_neck_line_mask(drawn.vertices, necks, track.camera_at(frame, 0), fade=0) > 0
            person = (load_alpha(frame) > 127) & above
        frames.append(frame_photometry(view.load_image(frame), drawn.color, drawn.mask, person))
    scores = photometric_scores(frames)
    return {"psnr_db": scores["psnr_db"], "coverage": scores["coverage"]}


def _beside_vhap(view: SequenceObservation, painted: list[Painted], published: Published) -> dict[str, float | None]:
    """Both in the pixels that both cover, and how many of VHAP's those are; of the frames that both have."""
    theirs, ours, shares = [], [], []
    for frame, (drawn, picture, mask) in enumerate(zip(painted, published.pictures, published.masks, strict=False)):
        both = drawn.mask & mask
        if not both.any():
            continue
        image = view.load_image(frame)[both].astype(np.float64)
        theirs.append(np.square((image - picture[both]) / 255).mean())
        ours.append(np.square((image - drawn.color[both]) / 255).mean())
        shares.append(both.sum() / mask.sum())
    if not shares:
        return {}
    return {
        "vhap_psnr_db": psnr_db(float(np.mean(theirs))),
        "both_psnr_db": psnr_db(float(np.mean(ours))),
        "covers_vhap": float(np.mean(shares)),
    }
