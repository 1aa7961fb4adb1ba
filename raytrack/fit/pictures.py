"""The pictures that a fit works on: which view shows the head when, and how they are put into batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.errors import InputError
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.framing import Framing, framing_of_detections, framings_of_head
from raytrack.fit.landmark_stage import trust_in_views
from raytrack.fit.occlusion import HiddenSpots, landmarks_shown
from raytrack.fit.row_terms import RowView
from raytrack.fit.shared_problem import PictureBatch
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

_FEWEST_PICTURES = 256
"""An epoch over a rig's pictures takes so many of them, or two of each timestep where that is more: a timestep's views
say much the same about what all of them share."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The views of a sequence that take part in the fit."""

    views: SequenceViews
    numbers: tuple[int, ...]
    """Which views."""
    framings: tuple[Framing, ...]
    """Where the head is in each of those."""
    row_views: tuple[RowView, ...]
    """The same views at tracking size."""

    @classmethod
    def of_detections(
        cls,
        views: SequenceViews,
        trust: Float[np.ndarray, "1 frames landmarks"],
        longer_side_px: int,
        chosen: Bool[np.ndarray, " frames"] | None = None,
        use_mattes: bool | None = None,
    ) -> "Pictures":
        """Of a single uncalibrated camera.

        Args:
            views: One view.
            trust: In each landmark.
            longer_side_px: Tracking size.
            chosen: Frames that take part, all by default; how pictures are cropped does not depend on it.
            use_mattes: Whether mattes can be believed; None: decided by the frames that take part.
        """
        framing = framing_of_detections(views.first)
        taken = framing if chosen is None else replace(framing, present=framing.present & chosen)
        frames = TrackingFrames.load(views.first, longer_side_px, framing=taken, use_mattes=use_mattes)
        view = RowView(frames=frames, landmark_weights=trust[0])
        return cls(views=views, numbers=(0,), framings=(framing,), row_views=(view,))

    @classmethod
    def of_rig(
        cls,
        views: SequenceViews,
        trust: Float[np.ndarray, "views frames landmarks"],
        longer_side_px: int,
        head: HeadModel,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
    ) -> "Pictures":
        """Of a rig whose landmarks have been fitted.

        Args:
            views: The rig.
            trust: In each landmark, before it is known which are seen.
            longer_side_px: Tracking size of every view.
            head: The head model.
            rows: As the landmark stage left them; the pictures depend on them, so a resumed fit needs the same ones.
            shape: Likewise.

        Raises:
            InputError: No camera ever shows the head.
        """
        framings = framings_of_head(views, head, rows, shape)
        weights = trust_in_views(views, head, trust, rows, shape)
        numbers = tuple(number for number, framing in enumerate(framings) if framing is not None)
        if not numbers:
            raise InputError("no camera of the rig shows the head that its landmarks give: check the calibration")
        row_views = tuple(
            RowView(
                frames=TrackingFrames.load(
                    views.observations[number], longer_side_px, framing=framings[number], num_views=len(numbers)
                ),
                landmark_weights=weights[number],
            )
            for number in numbers
        )
        return cls(
            views=views,
            numbers=numbers,
            framings=tuple(framing for framing in framings if framing is not None),
            row_views=row_views,
        )

    def with_hidden(self, hidden: HiddenSpots) -> "Pictures":
        """The same pictures; what stands before the head in them counts nothing, landmarks under it little."""
        views = []
        for place, view in enumerate(self.row_views):
            frames = replace(view.frames, hidden=hidden.of_view(place))
            weights = view.landmark_weights.copy()
            for timestep, spots in frames.hidden.items():
                weights[timestep] *= landmarks_shown(spots, frames.landmarks_px[timestep], frames.size_hw)
            views.append(replace(view, frames=frames, landmark_weights=weights))
        return replace(self, row_views=tuple(views))

    @property
    def has_mattes(self) -> bool:
        """Whether any view's mattes are used."""
        return any(view.frames.has_matte for view in self.row_views)

    @cached_property
    def pairs(self) -> Int[np.ndarray, "pictures 2"]:
        """(place of the view among those that take part, timestep) of every picture that shows the head."""
        return _pairs([view.frames.present for view in self.row_views])

    @cached_property
    def all_pairs(self) -> Int[np.ndarray, "pictures 2"]:
        """The same with the pictures of frames that take no part at tracking size."""
        return _pairs([framing.present for framing in self.framings])

    @property
    def shown(self) -> Bool[np.ndarray, " frames"]:
        """Timesteps at which a view shows the head: a detection may lie on the picture's edge, the head beyond it."""
        return np.any([view.frames.present for view in self.row_views], axis=0)

    @property
    def num_per_epoch(self) -> int:
        """Pictures that an epoch takes: all of a single camera's, some of a rig's."""
        if not self.views.is_rig:
            return len(self.pairs)
        return min(len(self.pairs), max(2 * int(self.views.detected.sum()), _FEWEST_PICTURES))

    def epoch(self, generator: np.random.Generator, batch_size: int) -> list[list[PictureBatch]]:
        """Batches of an epoch in random order.

        Args:
            generator: Decides the order.
            batch_size: Pictures per batch.
        """
        order = generator.permutation(np.arange(len(self.pairs)))[: self.num_per_epoch]
        return [
            self._batch(self.pairs[order[start : start + batch_size]]) for start in range(0, len(order), batch_size)
        ]

    def sample(self, generator: np.random.Generator, batch_size: int, longer_side_px: int) -> list[PictureBatch]:
        """A random batch of all pictures, read anew at another size: such pictures may not all fit into memory."""
        every = self.all_pairs
        chosen = every[generator.choice(np.arange(len(every)), min(batch_size, len(every)), replace=False)]
        return [
            PictureBatch(
                frames=self._read(place, timesteps, longer_side_px),
                numbers=np.arange(len(timesteps)),
                rows=timesteps,
                landmark_weights=self.row_views[place].landmark_weights[timesteps],
            )
            for place, timesteps in self._by_view(chosen)
        ]

    def _read(self, place: int, timesteps: Int[np.ndarray, " timesteps"], longer_side_px: int) -> TrackingFrames:
        known = self.row_views[place].frames
        frames = TrackingFrames.load(
            self.views.observations[self.numbers[place]],
            longer_side_px,
            timesteps,
            self.framings[place],
            use_mattes=known.has_matte,
        )
        hidden = {index: known.hidden[step] for index, step in enumerate(timesteps.tolist()) if step in known.hidden}
        return replace(frames, hidden=hidden)

    def evenly(self, num_pictures: int, batch_size: int) -> list[PictureBatch]:
        """Batches of at most so many pictures, evenly spaced over those at tracking size."""
        chosen = np.unique(np.linspace(0, len(self.pairs) - 1, min(num_pictures, len(self.pairs))).round().astype(int))
        starts = range(0, len(chosen), batch_size)
        return [batch for start in starts for batch in self._batch(self.pairs[chosen[start : start + batch_size]])]

    def _batch(self, chosen: Int[np.ndarray, "batch 2"]) -> list[PictureBatch]:
        return [
            PictureBatch(
                frames=self.row_views[place].frames,
                numbers=timesteps,
                rows=timesteps,
                landmark_weights=self.row_views[place].landmark_weights[timesteps],
            )
            for place, timesteps in self._by_view(chosen)
        ]

    def _by_view(self, pairs: Int[np.ndarray, "batch 2"]) -> Sequence[tuple[int, Int[np.ndarray, " timesteps"]]]:
        """Places of views, each with its timesteps in order."""
        return [(int(place), np.sort(pairs[pairs[:, 0] == place, 1])) for place in np.unique(pairs[:, 0])]


def _pairs(present: Sequence[Bool[np.ndarray, " frames"]]) -> Int[np.ndarray, "pictures 2"]:
    """(place, timestep) wherever one of several is present."""
    pairs = [
        np.column_stack([np.full(int(own.sum()), place), np.flatnonzero(own)]) for place, own in enumerate(present)
    ]
    return np.concatenate(pairs)
