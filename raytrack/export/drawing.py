"""One pass over a finished track: pictures, preview and scores."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import Float, UInt8

from raytrack.export.config import ExportConfig
from raytrack.export.files import replaced_folder
from raytrack.export.mosaic import DrawnView, MosaicLayout, mosaic_picture, most_frontal
from raytrack.export.picture_scores import PictureScorer, ScoredPicture
from raytrack.export.pictures import picture_folders, write_pictures
from raytrack.export.preview import PanelLayout, preview_picture
from raytrack.export.sequence_scores import DrawnFrame, SequenceScores, sequence_scores
from raytrack.export.truth import GroundTruth
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import FramePainter
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.media.encode import write_video
from raytrack.render.registry import RendererName

Painters = Sequence[FramePainter]
"""One for each view."""


def draw_sequence(
    track: Track,
    head: HeadModel,
    views: Sequence[SequenceObservation],
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
        views: Input frames, mattes and detections as each of the track's cameras saw them, in the track's order.
        render_folder: `render/<sequence>`; what was there is replaced.
        preview_path: `preview/<sequence>.mp4`; its folder must exist.
        config: Compression and the preview's width.
        renderer_name: One of `raytrack.render.registry`'s back ends.
        num_threads: Frames drawn side by side; the result does not depend on it.
        truth: What the footage was made from, where that is known; of the track's frames.

    Raises:
        InputError: The truth has another number of frames.
        OutputError: Something cannot be written.
        ValueError: There is not one view for every camera.
    """
    if len(views) != len(track.cameras):
        raise ValueError(f"the track has {len(track.cameras)} cameras, but {len(views)} views were given")
    drawn: list[DrawnFrame] = []

    def pictures() -> Iterator[np.ndarray]:
        for picture, frame in drawer.frames(renderer_name, num_threads):
            drawn.append(frame)
            yield picture

    with replaced_folder(render_folder) as temporary:
        drawer = _Drawer(track, head, views, temporary, config, keep_vertices=truth is not None)
        write_video(preview_path, pictures(), mean_frame_rate(views[0].timestamps_s))
    return sequence_scores(track, head, views, drawn, truth)


class _Drawer:
    """Draws the frames of one sequence on several threads and hands them on in order."""

    def __init__(
        self,
        track: Track,
        head: HeadModel,
        views: Sequence[SequenceObservation],
        folder: Path,
        config: ExportConfig,
        *,
        keep_vertices: bool,
    ) -> None:
        self._track, self._head, self._views = track, head, views
        self._folders = picture_folders(folder, track.rig)
        self._compression, self._keep_vertices = config.png_compression, keep_vertices
        sizes_hw = [view.camera.size_hw for view in track.cameras]
        self._frontal = most_frontal(track, head) if track.rig else 0
        self._panels = PanelLayout.fit(sizes_hw[0], config.preview_width_px)
        self._mosaic = MosaicLayout.fit(sizes_hw, self._frontal, config.preview_width_px)
        self._scorers = [PictureScorer(track, head, views[view], view) for view in range(len(views))]

    def frames(self, renderer_name: RendererName, num_threads: int) -> Iterator[tuple[np.ndarray, DrawnFrame]]:
        """The preview's picture and the scores' share of every frame, in order; few are in memory at a time."""
        free: SimpleQueue[Painters] = SimpleQueue()
        for _ in range(num_threads):
            free.put([self._painter(view, renderer_name) for view in range(len(self._views))])

        def draw(index: int) -> tuple[np.ndarray, DrawnFrame]:
            painters = free.get()
            try:
                return self._draw(index, painters)
            finally:
                free.put(painters)

        waiting: deque[Future[tuple[np.ndarray, DrawnFrame]]] = deque()
        with ThreadPoolExecutor(num_threads) as pool:
            for index in range(self._track.num_frames):
                waiting.append(pool.submit(draw, index))
                if len(waiting) > 2 * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _painter(self, view: int, renderer_name: RendererName) -> FramePainter:
        embedding = landmark_set(self._views[view].landmark_set).embedding
        return FramePainter(self._track, self._head, renderer_name, num_threads=1, landmarks=embedding, view=view)

    def _draw(
        self, index: int, painters: Painters
    ) -> tuple[UInt8[np.ndarray, "picture_height picture_width 3"], DrawnFrame]:
        shown, landmarks = [], []
        pictures: list[ScoredPicture | None] = []
        for view, (observation, painter) in enumerate(zip(self._views, painters, strict=True)):
            image = observation.load_image(index)
            painted = painter.paint(index, image) if bool(self._track.tracked[index]) else None
            write_pictures(self._folders[view], index, image, painted, compression=self._compression)
            pictures.append(None if painted is None else self._scorers[view].score(index, image, painted))
            landmarks.append(painter.landmarks_px(index) if painted is None else painted.landmarks_px)
            detected_px = observation.landmarks_px[index] if observation.scores[index] > 0 else None
            caption = self._track.cameras[view].id
            shown.append(DrawnView(image=image, painted=painted, detected_px=detected_px, caption=caption))
        vertices = painters[0].vertices(index).numpy() if self._keep_vertices else None
        frame = DrawnFrame(pictures=tuple(pictures), landmarks_px=tuple(landmarks), vertices=vertices)
        return self._preview(shown, self._track.timestep_ids[index]), frame

    def _preview(self, shown: Sequence[DrawnView], label: str) -> np.ndarray:
        if self._track.rig:
            return mosaic_picture(shown, self._frontal, self._mosaic, label)
        (only,) = shown
        return preview_picture(only.image, only.painted, only.detected_px, self._panels, label)


def mean_frame_rate(timestamps_s: Float[np.ndarray, " frames"]) -> float:
    """Frames per second over a whole sequence; 25 where its times say nothing."""
    duration = float(timestamps_s[-1] - timestamps_s[0]) if len(timestamps_s) > 1 else 0.0
    return (len(timestamps_s) - 1) / duration if duration > 0 else 25.0
