"""In which segments a long sequence is tracked. Torch-free, for whoever plans the work."""

import itertools

from raytrack.fit.config import TrackConfig


def segment_bounds(num_frames: int, config: TrackConfig) -> list[tuple[int, int]]:
    """First frames of the segments and those after their last, about equally many in each.

    Args:
        num_frames: Of the sequence of one camera.
        config: How many frames a segment may have.

    Returns:
        Nothing if the sequence is tracked in one piece.
    """
    if config.preset == "vhap" or config.landmarks_only or config.held_out_every or not config.segment_frames:
        return []
    count = -(-num_frames // config.segment_frames)
    if count < 2:
        return []
    bounds = [num_frames * place // count for place in range(count + 1)]
    return list(itertools.pairwise(bounds))
