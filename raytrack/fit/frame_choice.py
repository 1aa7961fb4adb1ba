"""Which frames of a sequence take part in what.

What all frames share needs no more than some hundred pictures, however long a sequence is; each frame's own row needs
that frame. Rows only look at their neighbours, so that a segment of a long sequence, with a few frames of the segments
beside it, gives its frames the very rows that the whole would give them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from raytrack.fit.groups import FrameGroups
from raytrack.fit.key_frames import choose_key_frames
from raytrack.fit.views import SequenceViews

FRAMES_PER_PASS = 2
"""How far a row stage looks: an odd frame reads even neighbours, which have just read odd ones."""
STEADY_WINDOW, STEADY_MARGIN = 16, 8
"""Frames whose rows are steadied together, and those on either side that they are steadied with: an acceleration hardly
matters to frames further away."""
_BY_POSE = 0.25
"""Share of the chosen frames that are chosen for their poses, the others for their times."""
_MOST_POINTS = 60
_LEAST_OF_GROUP = 8
"""Frames of every group that has a light or a focal length of its own."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames `start` to `stop` (exclusive) of a sequence, worked on by themselves."""

    start: int
    stop: int

    def widened(self, num_stages: int, num_frames: int) -> "Segment":
        """The segment and what its rows depend on: its neighbourhood, so many row stages ago."""
        reach = FRAMES_PER_PASS * num_stages
        return Segment(start=max(0, self.start - reach), stop=min(num_frames, self.stop + reach))

    def widened_to_windows(self, num_frames: int) -> "Segment":
        """The segment and what its rows depend on where they are steadied: its windows with their margins."""
        first = self.start // STEADY_WINDOW * STEADY_WINDOW - STEADY_MARGIN
        last = -(-self.stop // STEADY_WINDOW) * STEADY_WINDOW + STEADY_MARGIN
        return Segment(start=max(0, first), stop=min(num_frames, last))

    def mask(self, num_frames: int) -> Bool[np.ndarray, " frames"]:
        """Which frames of the sequence are in it."""
        numbers = np.arange(num_frames)
        return (numbers >= self.start) & (numbers < self.stop)


def choose_shared_frames(views: SequenceViews, count: int, groups: FrameGroups) -> Bool[np.ndarray, " frames"]:
    """Frames with a face from which what all frames share is fitted: all of them, or `count` of a longer sequence.

    Most are spread evenly over time; the others are those well-detected frames whose landmarks differ most from each
    other, so that a turn or a wide-open mouth that is soon over is among them. Of every group there are some, so that
    its light and its focal length can be found. A rig's frames all take part.

    Args:
        views: The sequence.
        count: Frames of a single camera; a few more where it takes them to have some of every group.
        groups: Which frames have a light or a focal length of their own.
    """
    active = views.detected
    numbers = np.flatnonzero(active)
    if views.is_rig or len(numbers) <= count:
        return active
    by_pose = max(1, round(_BY_POSE * count))
    chosen = np.zeros(len(active), bool)
    chosen[numbers[choose_key_frames(views.scores[numbers], _face_layouts(views, numbers), by_pose)]] = True
    left = np.flatnonzero(active & ~chosen)
    places = np.linspace(0, len(left) - 1, count - int(chosen.sum())).round().astype(int)
    chosen[left[places]] = True
    for group in (groups.light, groups.focal):
        if not group.any():
            continue
        short = np.bincount(group[chosen], minlength=int(group.max()) + 1) < _LEAST_OF_GROUP
        for index in np.flatnonzero(short):
            own = np.flatnonzero(active & (group == index))
            chosen[own[np.linspace(0, len(own) - 1, min(_LEAST_OF_GROUP, len(own))).round().astype(int)]] = True
    return chosen


def _face_layouts(views: SequenceViews, numbers: np.ndarray) -> Float[np.ndarray, "chosen features"]:
    """Where landmarks lie in the box of all of them: it changes with the head's turns and with the expression."""
    points = views.landmarks_px(0)[numbers]
    points = points[:, :: -(-points.shape[1] // _MOST_POINTS)]
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    return ((points - low) / np.maximum(high - low, 1e-6).max(axis=2, keepdims=True)).reshape(len(points), -1)
