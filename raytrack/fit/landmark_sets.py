"""What the tracker needs to know about the points of each landmark detector: which point is where."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from raytrack.errors import InputError


@dataclass(frozen=True, kw_only=True)
class EyePoints:
    """The points of one eye."""

    corners: tuple[int, int]
    lids: tuple[tuple[int, int], ...]
    """Pairs across the opening, upper point first."""
    iris: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LandmarkSet:
    """The points of one kind of detector."""

    name: str
    embedding: str
    """Name of the points on a head: a key of `HeadModel.landmarks`."""
    num_points: int
    chin: int
    upper: int
    """A point on the midline high up on the face; face heights are measured from it to the chin."""
    inner_lips: tuple[int, int]
    """Middle of the upper and of the lower inner lip."""
    gaps: Int[np.ndarray, "pairs 2"]
    """Pairs across the inner lips and across the eyelids, upper point first."""
    open_mouth: float
    """Distance of the inner lips, over the height of the landmarks' box, above which the mouth's inside may be seen."""
    eyes: tuple[EyePoints, ...] = ()
    """Of sets with points on the irises: the person's right eye and the left one."""
    outline: tuple[int, ...] = ()
    """Points that slide along the face's visible outline as the head turns, not fixed to its surface: the tracker
    leaves them to the matte."""

    @property
    def fixed(self) -> Bool[np.ndarray, " points"]:
        """Points that stay in one place of the surface."""
        mask = np.ones(self.num_points, bool)
        mask[list(self.outline)] = False
        return mask


_FACEMESH_GAPS = np.array(
    [
        (13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318),
        (159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373),
    ]
)  # fmt: skip
_FACEMESH_EYES = (
    EyePoints(corners=(33, 133), lids=((159, 145), (158, 153), (160, 144)), iris=tuple(range(468, 473))),
    EyePoints(corners=(263, 362), lids=((386, 374), (385, 380), (387, 373)), iris=tuple(range(473, 478))),
)
_IBUG_GAPS = np.array([(62, 66), (61, 67), (63, 65), (37, 41), (38, 40), (43, 47), (44, 46)])


def _ibug(name: str, outline: tuple[int, ...]) -> LandmarkSet:
    # From brows to chin a face is about three quarters as high as from forehead to chin.
    return LandmarkSet(
        name=name,
        embedding="ibug",
        num_points=68,
        chin=8,
        upper=27,
        inner_lips=(62, 66),
        gaps=_IBUG_GAPS,
        open_mouth=0.016,
        outline=outline,
    )


LANDMARK_SETS: Mapping[str, LandmarkSet] = {
    "facemesh": LandmarkSet(
        name="facemesh",
        embedding="facemesh",
        num_points=478,
        chin=152,
        upper=10,
        inner_lips=(13, 14),
        gaps=_FACEMESH_GAPS,
        open_mouth=0.012,
        eyes=_FACEMESH_EYES,
    ),
    "ibug": _ibug("ibug", outline=(*range(6), *range(11, 17))),
    "ibug-3d": _ibug("ibug-3d", outline=()),
}
"""By name: Face Mesh v2 (478 points); the 68 points of the iBUG 300-W annotations, whose jawline is the visible
outline; and the same with a jawline that stays on the jaw, hidden or not, as detectors trained on projected models give
it."""


def landmark_set(name: str) -> LandmarkSet:
    """The set of a name.

    Raises:
        InputError: The tracker does not know it.
    """
    if name not in LANDMARK_SETS:
        raise InputError(f"the tracker knows no landmark set {name!r}; it knows {', '.join(LANDMARK_SETS)}")
    return LANDMARK_SETS[name]
