"""Where the eyeballs are behind their lids: people look straight ahead of their heads on average.

Pictures show irises. Half a millimetre that an eyeball lies too high in the head looks the same as a gaze that is two
degrees too low, in every frame of a sequence. How far eyeballs are from where the head's basis has them, and how far
the usual gaze is from straight ahead, are about as uncertain as each other: each takes half.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.head.model import HeadModel

_SHARE = 0.5
_LIMIT_RAD = 0.08
"""Farthest way of an eyeball, over its radius: 1.2 mm."""
_EYES = (("left_eyeball", 3, 12), ("right_eyeball", 4, 15))
"""Region, joint, first column of a row."""


def centred_eyes(
    head: HeadModel,
    rows: Float[Tensor, "frames columns"],
    offset: Float[Tensor, "vertices 3"],
    seen: Bool[np.ndarray, " frames"],
) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, "vertices 3"]]:
    """Rows and static offset with eyeballs moved so that the usual gaze is nearer to straight ahead, irises in place.

    A second call with the same gaze moves nothing.

    Args:
        head: On the CPU.
        rows: Packed parameters.
        offset: Metres.
        seen: Frames in which irises are seen.
    """
    chosen = torch.from_numpy(seen)
    if not bool(chosen.any()):
        return rows, offset
    rows, offset = rows.clone(), offset.clone()
    usual_rad = torch.stack([rows[chosen, first : first + 2].median(dim=0).values for _, _, first in _EYES]).mean(dim=0)
    for region, joint, first in _EYES:
        mask = head.region(region)
        if not bool(mask.any()):
            continue
        radius_m = (head.template[mask] - head.joints[joint]).norm(dim=1).median()
        moved = offset[mask].mean(dim=0) / radius_m
        # Gaze about x goes down, about y to the subject's left.
        already_rad = torch.stack([-moved[1], moved[0]])
        wanted_rad = (_SHARE * (usual_rad + already_rad)).clamp(-_LIMIT_RAD, _LIMIT_RAD)
        offset[mask] += torch.stack([wanted_rad[1], -wanted_rad[0], torch.zeros(())]) * radius_m - moved * radius_m
        rows[:, first : first + 2] -= wanted_rad - already_rad
    return rows, offset
