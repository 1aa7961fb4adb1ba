"""Where one shot ends and another begins, from small copies of the frames and from where the face is in them.

Pictures before and after a cut are as different as pictures can be, and stay so. The difference of two pictures is that
of their small copies, without the mean colour, over their contrast: 0 for the same picture, √2 for unrelated ones. Over
the clips that the method was developed on it is 0.12 at most from one frame to the next; a cut to the same room with
the camera moved closer by a tenth gives 0.37, a cut to elsewhere 0.5 to 1.5.

A flash is no cut: the picture comes back. Neither is fast motion or a low frame rate: then all neighbours differ. Cuts
in quick succession, down to shots of four frames, are told from it by the still pictures between them.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

SURE_DIFFERENCE = 0.5
"""From here on pictures alone decide."""
LEAST_DIFFERENCE = 0.3
"""From here on they do together with the face, which must have jumped, come, or gone."""
SAME_VIEW = 0.25
"""Up to here a later shot shows what an earlier one did: the camera has come back."""
SAME_ROOM, MOST_COLOUR_CHANGE = 0.6, 6.0
"""While the camera was away the head moved on, so up to here too, if the background (most of the picture) has its
colours still, within so many of 255, and the face its size. Measured over 20 to 40 frames of a steady camera: pictures
0.3 to 0.55, colours 1 to 9; of a camera moved closer by a tenth, 0.37 and 12."""
MOST_GROWTH = 1.1
LEAST_RATIO = 3.0
"""A cut is so much more than most differences around it."""
LEAST_JUMP = 0.15
"""Mean motion of the landmarks, in faces, that is a jump."""
_FLASH = 3
"""A picture that comes back within so many frames was never cut away."""
_AROUND, _MOST = 12, 0.9
_SHORTEST = 4
"""Frames of the shortest shots."""


def find_cuts(
    thumbnails: UInt8[np.ndarray, "frames height width 3"],
    landmarks: Float[np.ndarray, "frames points 2"] | None = None,
) -> Int[np.ndarray, " cuts"]:
    """The first frame of every shot but the first.

    Args:
        thumbnails: Of every frame (`raytrack.media.resize.thumbnail`), in time order.
        landmarks: Of one face, not a number where it is not seen; None: pictures alone decide.
    """
    if len(thumbnails) < 2:
        return np.zeros(0, np.int64)
    pictures = _normalised(thumbnails)
    lasting = _lasting_difference(pictures)
    usual = _usual(lasting)
    jumped = np.ones(len(lasting), bool) if landmarks is None else ~(_motion(landmarks) < LEAST_JUMP)
    enough = (lasting > SURE_DIFFERENCE) | ((lasting > LEAST_DIFFERENCE) & jumped)
    candidates = np.flatnonzero(enough & (lasting > LEAST_RATIO * usual))
    return candidates.astype(np.int64) + 1


def shots(
    thumbnails: UInt8[np.ndarray, "frames height width 3"],
    cuts: Int[np.ndarray, " cuts"],
    landmarks: Float[np.ndarray, "frames points 2"] | None = None,
) -> Int[np.ndarray, " frames"]:
    """The number of the shot that each frame belongs to; a shot that goes on where an earlier one ended has its number.

    Args:
        thumbnails: Of every frame, in time order.
        cuts: The first frame of every shot but the first.
        landmarks: Of one face, not a number where it is not seen; None: pictures alone decide.
    """
    numbers = np.zeros(len(thumbnails), np.int64)
    ends: list[int] = []
    for first, stop in pairwise([0, *cuts.tolist(), len(thumbnails)]):
        back = np.array([_goes_on(thumbnails, landmarks, end, first) for end in ends], bool)
        numbers[first:stop] = numbers[ends[int(np.flatnonzero(back)[-1])]] if back.any() else numbers.max() + bool(ends)
        ends.append(stop - 1)
    return numbers


def _goes_on(thumbnails: np.ndarray, landmarks: np.ndarray | None, end: int, first: int) -> bool:
    """Whether the frame `first` shows what the frame `end` showed."""
    pictures = _normalised(thumbnails[[end, first]])
    difference = float(_difference(pictures[:1], pictures[1:])[0])
    if difference < SAME_VIEW:
        return True
    if landmarks is None or difference > SAME_ROOM:
        return False
    before, after = np.ptp(landmarks[[end, first]], axis=1).max(axis=1)
    change = np.abs(thumbnails[end].astype(np.int16) - thumbnails[first]).max(axis=-1)
    # Comparisons with what is not a number are false.
    return bool(np.median(change) < MOST_COLOUR_CHANGE and abs(np.log(after / before)) < np.log(MOST_GROWTH))


def _normalised(thumbnails: np.ndarray) -> Float[np.ndarray, "frames values"]:
    """Without the mean colour."""
    values = thumbnails.astype(np.float32)
    return (values - values.mean(axis=(1, 2), keepdims=True)).reshape(len(values), -1)


def _difference(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " pairs"]:
    contrast = 0.5 * ((first**2).sum(axis=1) + (second**2).sum(axis=1))
    # Less than one step of a colour is noise, also where a picture has no contrast.
    return np.sqrt(((first - second) ** 2).sum(axis=1) / np.maximum(contrast, first.shape[1]))


def _lasting_difference(pictures: np.ndarray) -> Float[np.ndarray, " steps"]:
    """The least difference of a picture shortly before each step and one shortly after it."""
    num_frames = len(pictures)
    steps = np.arange(num_frames - 1)
    result = np.full(num_frames - 1, np.inf)
    for before in range(_FLASH):
        for after in range(1, _FLASH + 1):
            first, second = np.maximum(steps - before, 0), np.minimum(steps + after, num_frames - 1)
            result = np.minimum(result, _difference(pictures[first], pictures[second]))
    return result


def _usual(lasting: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """What most of the differences around each stay below: itself left out, and others that look like cuts."""
    result, alone = np.zeros(len(lasting)), _stand_alone(lasting)
    for step in range(len(lasting)):
        near = np.r_[max(step - _AROUND, 0) : step, step + 1 : min(step + 1 + _AROUND, len(lasting))]
        if alone[near].sum() <= len(near) / _SHORTEST:  # More are of a low frame rate, with pictures twice.
            near = near[~alone[near]]
        result[step] = np.quantile(lasting[near], _MOST) if len(near) else 0.0
    return result


def _stand_alone(lasting: Float[np.ndarray, " steps"]) -> Bool[np.ndarray, " steps"]:
    """Great differences between steps of small ones."""
    padded = np.pad(lasting, 1)
    beside = np.maximum(padded[:-2], padded[2:])
    return (lasting > SURE_DIFFERENCE) & (lasting > LEAST_RATIO * beside)


def _motion(landmarks: Float[np.ndarray, "frames points 2"]) -> Float[np.ndarray, " steps"]:
    """Mean motion of the landmarks at each step over the face's size; not a number where a face is missing."""
    size = np.ptp(landmarks, axis=1).max(axis=1)
    moved = np.linalg.norm(np.diff(landmarks, axis=0), axis=-1).mean(axis=1)
    return moved / np.maximum(np.minimum(size[1:], size[:-1]), 1e-6)
