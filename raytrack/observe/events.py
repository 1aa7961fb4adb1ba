"""What a person should know about a clip: its cuts, frames without a face, other people, in words."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int


@dataclass(frozen=True, kw_only=True)
class ClipEvent:
    """Something that happens in some frames; they count from 0."""

    kind: str
    """`cut`, `no_face`, `several_faces` or `other_person`."""
    first_frame: int
    last_frame: int
    text: str


def clip_events(
    num_faces: Int[np.ndarray, " frames"],
    seen: Bool[np.ndarray, " frames"],
    shot: Int[np.ndarray, " frames"],
    cuts: Int[np.ndarray, " cuts"],
) -> tuple[ClipEvent, ...]:
    """The events of a clip, in order of their frames.

    Args:
        num_faces: Faces found in each frame.
        seen: Whether the person who is tracked is among them.
        shot: Which shot each frame belongs to.
        cuts: First frames of shots.
    """
    events = [_event("cut", frame, frame, f"cut at frame {frame}") for frame in cuts.tolist()]
    for first, last in _runs(num_faces == 0, shot):
        events.append(_event("no_face", first, last, f"no face in {_frames(first, last)}: {_fate(first, seen, shot)}"))
    for first, last in _runs((num_faces > 0) & ~seen, shot):
        text = f"somebody else in {_frames(first, last)}: {_fate(first, seen, shot)}"
        events.append(_event("other_person", first, last, text))
    for first, last in _runs((num_faces > 1) & seen, np.zeros_like(shot)):
        most = int(num_faces[first : last + 1].max())
        text = f"{most} faces in {_frames(first, last)}: kept the one seen largest and longest in the clip"
        events.append(_event("several_faces", first, last, text))
    return tuple(sorted(events, key=lambda event: (event.first_frame, event.kind)))


def _event(kind: str, first: int, last: int, text: str) -> ClipEvent:
    return ClipEvent(kind=kind, first_frame=first, last_frame=last, text=text)


def _frames(first: int, last: int) -> str:
    return f"frame {first}" if first == last else f"frames {first}–{last}"


def _fate(frame: int, seen: Bool[np.ndarray, " frames"], shot: Int[np.ndarray, " frames"]) -> str:
    """What becomes of the poses of a run of frames in which the person is not seen."""
    before, after = np.flatnonzero(seen[:frame]), frame + np.flatnonzero(seen[frame:])
    shot_before = int(shot[before[-1]]) if len(before) else -1
    shot_after = int(shot[after[0]]) if len(after) else -1
    if shot_before >= 0 and shot_before == shot_after:
        return "interpolated"
    if shot_before == shot[frame]:
        return "not tracked, the last pose before them is kept"
    if shot_after == shot[frame]:
        return "not tracked, the first pose after them is kept"
    return "not tracked"


def _runs(where: Bool[np.ndarray, " frames"], shot: Int[np.ndarray, " frames"]) -> list[tuple[int, int]]:
    """First and last frame of every run within a shot."""
    numbers = np.flatnonzero(where)
    if len(numbers) == 0:
        return []
    breaks = np.flatnonzero((np.diff(numbers) > 1) | (np.diff(shot[numbers]) != 0)) + 1
    return [(int(run[0]), int(run[-1])) for run in np.split(numbers, breaks)]
