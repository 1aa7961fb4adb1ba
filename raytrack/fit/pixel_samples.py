"""Which pixels speak for a picture: few for skin, which has many, and of eyes and lips, which have few, all.

But for close faces, where eyes and lips have more than `_MOST_FINE` of the samples: then as many of them as that.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

_MOST_FINE = 0.4
"""Fine pixels take no more than this share of the samples."""


def sample_pixels(
    candidates: Bool[np.ndarray, "height width"],
    fine: Bool[np.ndarray, "height width"],
    num_samples: int,
    generator: np.random.Generator,
) -> tuple[Int[np.ndarray, " samples"], Float[np.ndarray, " samples"]]:
    """Flat indices in ascending order, and how much of all candidates each sample stands for.

    The shares sum to one, and the expectation of a weighted sum is the mean over all candidates.

    Args:
        candidates: Pixels that may be taken.
        fine: Those that are small parts of the picture.
        num_samples: Most pixels; all candidates if there are no more.
        generator: Chooses them.
    """
    every = np.flatnonzero(candidates)
    if len(every) <= num_samples:
        return every, np.full(len(every), 1 / max(len(every), 1))
    is_fine = fine.ravel()[every]
    strata = every[is_fine], every[~is_fine]
    num_fine = min(len(strata[0]), int(_MOST_FINE * num_samples))
    num_coarse = min(num_samples - num_fine, len(strata[1]))
    pixels, shares = [], []
    for members, count in zip(strata, (num_samples - num_coarse, num_coarse), strict=True):
        if count:
            pixels.append(generator.choice(members, count, replace=False))
            shares.append(np.full(count, len(members) / (count * len(every))))
    chosen, share = np.concatenate(pixels), np.concatenate(shares)
    order = np.argsort(chosen)
    return chosen[order], share[order]
