"""All views of one sequence: a single camera with unknown focal length, or the cameras of a rig, calibrated or not."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from raytrack.fit.groups import joined_to_seen, numbered
from raytrack.fit.observation import ImageLoader, SequenceObservation
from raytrack.fit.rig import RigCamera
from raytrack.geometry.camera import Camera


@dataclass(frozen=True, kw_only=True)
class SequenceViews:
    """Views of the same timesteps. Frames are numbered as timesteps; views as given."""

    observations: tuple[SequenceObservation, ...]
    solved: bool = False
    """Whether the cameras were found from what they see."""

    @classmethod
    def of(cls, given: SequenceObservation | Sequence[SequenceObservation]) -> "SequenceViews":
        """One view, or several.

        Raises:
            ValueError: There is none; some of them are calibrated and others not; they differ in their frames or
                landmark sets; two have the same name or the same place in the rig; a calibration is of another size
                than the view's pictures.
        """
        views: tuple[SequenceObservation, ...] = (given,) if isinstance(given, SequenceObservation) else tuple(given)
        if not views:
            raise ValueError("a sequence needs at least one view")
        if len({view.calibrated is None for view in views}) > 1:
            raise ValueError(f"{len(views)} views: either all of them need a calibrated camera, or none")
        first = next(iter(views))
        for number, view in enumerate(views):
            if view.timestep_ids != first.timestep_ids or not np.array_equal(view.timestamps_s, first.timestamps_s):
                raise ValueError(f"view {number} has other frames than view 0: {view.num_frames}, {first.num_frames}")
            if view.landmark_set != first.landmark_set:
                raise ValueError(f"view {number} has landmarks {view.landmark_set!r}, view 0 {first.landmark_set!r}")
            if view.calibrated is not None and view.calibrated.camera.size_hw != view.size_hw:
                sizes = f"{view.calibrated.camera.size_hw}, but its pictures are {view.size_hw}"
                raise ValueError(f"view {number}: the calibration is of pictures of {sizes} (h, w)")
        places = [view.calibrated.index for view in views if view.calibrated is not None]
        names = [view.calibrated.id for view in views if view.calibrated is not None]
        if len(set(names)) < len(names):
            raise ValueError(f"cameras need distinct names, got {', '.join(names)}")
        if len(set(places)) < len(places):
            raise ValueError(f"cameras need distinct places in the rig, got {', '.join(map(str, places))}")
        return cls(observations=views)

    @property
    def first(self) -> SequenceObservation:
        """The first view."""
        return self.observations[0]

    @property
    def num_views(self) -> int:
        """Number of cameras."""
        return len(self.observations)

    @property
    def num_frames(self) -> int:
        """Number of timesteps, tracked or not."""
        return self.first.num_frames

    @property
    def is_rig(self) -> bool:
        """Whether the cameras are known: calibrated, or found."""
        return self.first.calibrated is not None

    @property
    def is_unsolved(self) -> bool:
        """Whether there are several cameras whose places are not known."""
        return self.num_views > 1 and not self.is_rig

    def with_cameras(self, cameras: Sequence[Camera]) -> "SequenceViews":
        """The views of an uncalibrated rig with cameras that were found, one for each."""
        found = tuple(
            replace(view, calibrated=RigCamera(index=number, id=view.camera_id or str(number), camera=camera))
            for number, (view, camera) in enumerate(zip(self.observations, cameras, strict=True))
        )
        return replace(self, observations=found, solved=True)

    @property
    def rig(self) -> tuple[RigCamera, ...]:
        """The calibrated cameras, in order; empty for a single view of unknown focal length."""
        return tuple(view.calibrated for view in self.observations if view.calibrated is not None)

    @cached_property
    def group(self) -> Int[np.ndarray, " frames"]:
        """The stretch of the recording that each frame belongs to, counted from 0; the first view knows.

        A stretch in which no view found the face belongs to its neighbours.
        """
        given = self.first.group
        return np.zeros(self.num_frames, np.int64) if given is None else joined_to_seen(numbered(given), self.detected)

    @cached_property
    def detected_by_view(self) -> Bool[np.ndarray, "views frames"]:
        """Where a view found the face."""
        return np.stack([view.detected for view in self.observations])

    @cached_property
    def detected(self) -> Bool[np.ndarray, " frames"]:
        """Timesteps at which at least one view found the face."""
        return np.any(self.detected_by_view, axis=0)

    @cached_property
    def scores(self) -> Float[np.ndarray, " frames"]:
        """The best view's confidence at each timestep; 0 where none found the face."""
        scores = np.stack([view.scores for view in self.observations])
        return np.where(self.detected_by_view, scores, 0).max(axis=0)

    def landmarks_px(self, view: int) -> Float[np.ndarray, "frames landmarks 2"]:
        """A view's detections, 0 where it found no face."""
        observation = self.observations[view]
        return np.where(observation.detected[:, None, None], observation.landmarks_px, 0).astype(np.float32)

    def name(self, view: int) -> str:
        """What to call a view in messages."""
        observation = self.observations[view]
        if observation.calibrated is None and self.num_views == 1:
            return "the camera"
        given = observation.camera_id or str(view)
        return f"camera {observation.calibrated.id if observation.calibrated is not None else given}"


def frames_of(views: SequenceViews, numbers: Int[np.ndarray, " chosen"]) -> SequenceViews:
    """The same views of some frames, as if there had never been others."""
    chosen = SequenceViews.of(tuple(_frames_of_view(view, numbers) for view in views.observations))
    return replace(chosen, solved=views.solved)


def _frames_of_view(view: SequenceObservation, numbers: np.ndarray) -> SequenceObservation:
    # Every array of an observation goes by frame.
    arrays = {
        item.name: getattr(view, item.name)[numbers]
        for item in fields(view)
        if isinstance(getattr(view, item.name), np.ndarray)
    }
    if view.source_index is None:
        arrays["source_index"] = numbers
    return replace(
        view,
        timestep_ids=tuple(view.timestep_ids[number] for number in numbers),
        load_image=_renumbered(view.load_image, numbers),
        load_alpha=None if view.load_alpha is None else _renumbered(view.load_alpha, numbers),
        **arrays,
    )


def _renumbered(load: ImageLoader, numbers: np.ndarray) -> ImageLoader:
    return lambda frame: load(int(numbers[frame]))
