"""One pass over a finished track: pictures, preview and scores."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import Float, UInt8

from raytrack.errors import InputError
from raytrack.export.config import ExportConfig
from raytrack.export.files import replaced_folder
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.pictures import make_picture_folders, write_pictures
from raytrack.export.preview import PanelLayout, preview_picture
from raytrack.export.scores import (
    FramePhotometry,
    frame_photometry,
    ground_truth_scores,
    jitter_px,
    landmark_error_px,
    photometric_scores,
)
from raytrack.export.truth import GroundTruth
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter, Painted
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.media.encode import write_video
from raytrack.render.registry import RendererName

Scores = dict[str, float | int | None]
_MATTE_THRESHOLD = 127


@dataclass(frozen=True, kw_only=True)
class SequenceScores:
    """How good a track is."""

    scores: Scores
    """psnr_db, l1, worst_l1, landmark_error_px, jitter_px, coverage, frames; None where there is nothing to measure."""
    ground_truth: Scores | None
    """face_error_mm, landmark_error_px, psnr_db; None without truth."""


@dataclass(frozen=True, kw_only=True)
class DrawnFrame:
    """What the scores need of a drawn frame."""

    photometry: FramePhotometry | None
    landmarks_px: Float[np.ndarray, "points 2"]
    """Of the track; interpolated where the frame has no face."""
    vertices: Float[np.ndarray, "vertices 3"] | None
    """World vertices in metres; kept where there is truth to compare with."""


def draw_sequence(
    track: Track,
    head: HeadModel,
    observation: SequenceObservation,
    *,
    render_folder: Path,
    preview_path: Path,
    config: ExportConfig,
    renderer_name: RendererName = "auto",
    num_threads: int = 1,
    truth: GroundTruth | None = None,
) -> SequenceScores:
    """Draw every frame of a track: write the pictures and the preview video, and score the result.

    Args:
        track: As loaded from its file, so that a resumed run draws what an undisturbed one does.
        head: The head it was tracked with.
        observation: The input frames, mattes and detections.
        render_folder: `render/<sequence>`; what was there is replaced.
        preview_path: `preview/<sequence>.mp4`; its folder must exist.
        config: Compression and the preview's width.
        renderer_name: One of `raytrack.render.registry`'s back ends.
        num_threads: Frames drawn side by side; the result does not depend on it.
        truth: What the clip was made from, where that is known; of the track's frames.

    Raises:
        OutputError: Something cannot be written.
    """
    drawn: list[DrawnFrame] = []

    def pictures() -> Iterator[np.ndarray]:
        for picture, frame in drawer.frames(renderer_name, num_threads):
            drawn.append(frame)
            yield picture

    with replaced_folder(render_folder) as temporary:
        make_picture_folders(temporary)
        drawer = _Drawer(track, head, observation, temporary, config, keep_vertices=truth is not None)
        write_video(preview_path, pictures(), mean_frame_rate(observation.timestamps_s))
    return sequence_scores(track, head, observation, drawn, truth)


class _Drawer:
    """Draws the frames of one sequence on several threads and hands them on in order."""

    def __init__(
        self,
        track: Track,
        head: HeadModel,
        observation: SequenceObservation,
        folder: Path,
        config: ExportConfig,
        *,
        keep_vertices: bool,
    ) -> None:
        self._track, self._head, self._observation = track, head, observation
        self._folder, self._config, self._keep_vertices = folder, config, keep_vertices
        self._layout = PanelLayout.fit(track.size_hw, config.preview_width_px)
        self._neck_points = neck_line_points(head)

    def frames(self, renderer_name: RendererName, num_threads: int) -> Iterator[tuple[np.ndarray, DrawnFrame]]:
        """The preview's picture and the scores' share of every frame, in order; few are in memory at a time."""
        painters: SimpleQueue[FramePainter] = SimpleQueue()
        for _ in range(num_threads):
            painters.put(FramePainter(self._track, self._head, renderer_name, num_threads=1))

        def draw(index: int) -> tuple[np.ndarray, DrawnFrame]:
            painter = painters.get()
            try:
                return self._draw(index, painter)
            finally:
                painters.put(painter)

        waiting: deque[Future[tuple[np.ndarray, DrawnFrame]]] = deque()
        with ThreadPoolExecutor(num_threads) as pool:
            for index in range(self._track.num_frames):
                waiting.append(pool.submit(draw, index))
                if len(waiting) > 2 * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _draw(self, index: int, painter: FramePainter) -> tuple[UInt8[np.ndarray, "height width 3"], DrawnFrame]:
        observation, compression = self._observation, self._config.png_compression
        image = observation.load_image(index)
        painted = painter.paint(index, image) if bool(self._track.tracked[index]) else None
        write_pictures(self._folder, index, image, painted, compression=compression)
        detected_px = observation.landmarks_px[index] if observation.scores[index] > 0 else None
        picture = preview_picture(image, painted, detected_px, self._layout, self._track.timestep_ids[index])
        vertices = painted.vertices if painted is not None else painter.vertices(index).numpy()
        frame = DrawnFrame(
            photometry=None if painted is None else self._photometry(index, image, painted),
            landmarks_px=painted.landmarks_px if painted is not None else painter.landmarks_px(index),
            vertices=vertices if self._keep_vertices else None,
        )
        return picture, frame

    def _photometry(self, index: int, image: np.ndarray, painted: Painted) -> FramePhotometry | None:
        load_alpha, person = self._observation.load_alpha, None
        if load_alpha is not None:
            person = load_alpha(index) > _MATTE_THRESHOLD
            person &= projected_neck_line_mask(painted.vertices, self._neck_points, self._track.camera, fade=0) > 0
        return frame_photometry(image, painted.color, painted.mask, person)


def sequence_scores(
    track: Track,
    head: HeadModel,
    observation: SequenceObservation,
    drawn: Sequence[DrawnFrame],
    truth: GroundTruth | None,
) -> SequenceScores:
    """Scores of a sequence from what drawing its frames left, in order.

    Raises:
        InputError: The truth has another number of frames.
    """
    if truth is not None and truth.num_frames != track.num_frames:
        raise InputError(
            f"the ground truth has {truth.num_frames} frames, the track {track.num_frames}: of another clip"
        )
    photometric = photometric_scores([frame.photometry for frame in drawn])
    landmarks = np.stack([frame.landmarks_px for frame in drawn])
    tracked = track.tracked.numpy()
    scores: Scores = {
        "psnr_db": photometric["psnr_db"],
        "l1": photometric["l1"],
        "worst_l1": photometric["worst_l1"],
        "landmark_error_px": landmark_error_px(landmarks, observation.landmarks_px, tracked & observation.detected),
        "jitter_px": jitter_px(landmarks, tracked, None if truth is None else truth.landmarks_px),
        "coverage": photometric["coverage"],
        "frames": track.num_frames,
    }
    if truth is None:
        return SequenceScores(scores=scores, ground_truth=None)
    vertices = np.stack([frame.vertices for frame in drawn if frame.vertices is not None])
    against_truth = ground_truth_scores(truth, head, vertices=vertices, landmarks_px=landmarks, valid=tracked)
    return SequenceScores(scores=scores, ground_truth={**against_truth, "psnr_db": photometric["psnr_db"]})


def mean_frame_rate(timestamps_s: Float[np.ndarray, " frames"]) -> float:
    """Frames per second over a whole sequence; 25 where its times say nothing."""
    duration = float(timestamps_s[-1] - timestamps_s[0]) if len(timestamps_s) > 1 else 0.0
    return (len(timestamps_s) - 1) / duration if duration > 0 else 25.0
