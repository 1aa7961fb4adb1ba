"""Which frames the identity and the focal length start from."""

import numpy as np
from jaxtyping import Float, Int

_GOOD_SHARE = 0.6
"""Frames that score at least this share of the best one are candidates."""
_FEWEST_OF_GROUP = 4


def choose_key_frames(
    scores: Float[np.ndarray, " frames"], poses: Float[np.ndarray, "frames features"], count: int
) -> Int[np.ndarray, " chosen"]:
    """Well-detected frames that differ most from each other.

    Starts with the frame nearest the median pose among the good ones, then takes, one after the other, the good frame
    farthest from all taken so far. Deterministic; never a frame without a face.

    Args:
        scores: Detection confidence; 0 where there is no face.
        poses: What should vary, in comparable units: yaw, pitch, mouth opening.
        count: How many frames are wanted; fewer come back when there are fewer.

    Returns:
        Frame numbers, ascending.

    Raises:
        ValueError: No frame has a face.
    """
    if not (scores > 0).any():
        raise ValueError("no frame has a face")
    good = np.flatnonzero((scores > 0) & (scores >= _GOOD_SHARE * scores.max()))
    features = poses[good].astype(np.float64)
    middle = np.median(features, axis=0)
    taken = [int(np.linalg.norm(features - middle, axis=1).argmin())]
    distance = np.linalg.norm(features - features[taken[0]], axis=1)
    while len(taken) < min(count, len(good)):
        farthest = int(distance.argmax())
        if distance[farthest] <= 0:
            break
        taken.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(features - features[farthest], axis=1))
    return np.sort(good[taken])


def key_frames_of_groups(
    scores: Float[np.ndarray, " frames"],
    poses: Float[np.ndarray, "frames features"],
    group: Int[np.ndarray, " frames"],
    count: int,
) -> Int[np.ndarray, " chosen"]:
    """Key frames of every group of frames: in proportion to its length, but some of each.

    Args:
        scores: See `choose_key_frames`.
        poses: Likewise.
        group: Which group each frame belongs to.
        count: How many frames are wanted; more come back where there are many groups.

    Raises:
        ValueError: No frame has a face.
    """
    groups = [np.flatnonzero(group == one) for one in np.unique(group)]
    if len(groups) == 1:
        return choose_key_frames(scores, poses, count)
    fewest = min(count, _FEWEST_OF_GROUP)
    shares = [max(fewest, round(count * len(numbers) / len(group))) for numbers in groups]
    chosen = [
        numbers[choose_key_frames(scores[numbers], poses[numbers], share)]
        for numbers, share in zip(groups, shares, strict=True)
        if (scores[numbers] > 0).any()
    ]
    if not chosen:
        raise ValueError("no frame has a face")
    return np.sort(np.concatenate(chosen))
