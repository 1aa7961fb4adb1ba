"""The pictures that the stages of one fit work on, read on first use and kept."""

import numpy as np
from jaxtyping import Bool, Float

from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.frame_choice import Segment
from raytrack.fit.occlusion import HiddenSpots
from raytrack.fit.pictures import Pictures
from raytrack.fit.schedule import FrameChoice
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

PictureSet = tuple[bool, bool]
"""Whether pictures are of the shared frames only, and whether they are fine."""


class PictureCache:
    """Pictures of the frames that a stage takes, in its size, with or without what stands before the head in them."""

    def __init__(
        self,
        views: SequenceViews,
        head: HeadModel,
        config: TrackConfig,
        landmark_weights: Float[np.ndarray, "views frames landmarks"],
        shared_frames: Bool[np.ndarray, " frames"],
        segment: Segment | None = None,
        *,
        mattes_decided: bool = False,
    ) -> None:
        """Prepare a sequence; nothing is read yet.

        Args:
            views: The whole sequence.
            head: The head model.
            config: Sizes.
            landmark_weights: Trust in each view's points (`raytrack.fit.alignment.landmark_trust`).
            shared_frames: Those that what frames share is fitted to.
            segment: See `raytrack.fit.stage_runner.StageRunner`.
            mattes_decided: Likewise.
        """
        self._views, self._head, self._config = views, head, config
        self._landmark_weights, self._segment, self._mattes_decided = landmark_weights, segment, mattes_decided
        self.shared_frames = shared_frames
        self.is_long = int(shared_frames.sum()) < int(views.detected.sum())
        """Whether there are frames that what is shared is not fitted to."""
        self._plain: dict[PictureSet, Pictures] = {}
        self._unhidden: dict[PictureSet, tuple[HiddenSpots, Pictures]] = {}

    def of(self, state: FitState, frames: FrameChoice = "shared", *, fine: bool = False) -> Pictures:
        """The pictures at tracking size, with what is known to stand before the head in them.

        Args:
            state: Where the fit stands.
            frames: Which frames they are of; those for `others` are those for `all`.
            fine: In the size of the last rounds.
        """
        key = self.key(frames, fine)
        known = self._unhidden.get(key)
        if known is None or known[0] is not state.hidden:
            known = state.hidden, self.plain(state, frames, fine=fine).with_hidden(state.hidden)
            self._unhidden[key] = known
        return known[1]

    def plain(self, state: FitState, frames: FrameChoice = "shared", *, fine: bool = False) -> Pictures:
        """The pictures as if nothing stood before the head; those of a rig depend on how the fit began."""
        (only_shared, fine), factor = self.key(frames, fine), self._config.last_rounds_scale if fine else 1.0
        if (only_shared, fine) not in self._plain:
            size = round(factor * self._config.tracking_size_px)
            if self._views.is_rig:
                start = state.first_rows, state.first_shape
                found = Pictures.of_rig(self._views, self._landmark_weights, size, self._head, *start)
            else:
                chosen = self.shared_frames if only_shared else self._in_segment()
                undecided = only_shared and not fine and not self._mattes_decided
                use_mattes = None if undecided else not state.mattes_refused
                found = Pictures.of_detections(self._views, self._landmark_weights, size, chosen, use_mattes)
            self._plain[only_shared, fine] = found
        return self._plain[only_shared, fine]

    def key(self, frames: FrameChoice, fine: bool) -> PictureSet:
        """Which pictures a stage needs; stages of different frames can need the same."""
        return frames == "shared" or (self._segment is None and not self.is_long), fine

    def _in_segment(self) -> Bool[np.ndarray, " frames"]:
        active = self._views.detected
        return active if self._segment is None else active & self._segment.mask(len(active))

    def solved(self, state: FitState, frames: FrameChoice, fine: bool) -> Bool[np.ndarray, " frames"]:
        """Frames whose rows colours can move; one whose head no view shows keeps the row that its landmarks gave."""
        return self._views.detected & self.of(state, frames, fine=fine).shown

    def mattes_refused(self, state: FitState) -> bool:
        """Whether mattes are not believed, as the pictures of the shared frames say once they were read."""
        known = self._plain.get((True, False))
        return state.mattes_refused if known is None else not known.has_mattes
