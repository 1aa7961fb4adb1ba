"""What stands before the head in a picture: hands, microphones, locks of hair; found where the colours disagree.

A pixel of the head whose colour is far from the fitted head's says one of three things: the head is not yet where it
should be, its look changes there (lips that part, lids that close, a highlight), or something else is seen. The last
one is told from the others by what it looks like: it is large and in one piece, it reaches beyond the parts of the head
that change, and the same spot of the head agrees with its texture in the clip's other pictures. What disagrees by as
much in every picture is judged by its own level, never hidden.

A picture whose head is not in place disagrees everywhere; its threshold grows with its own median error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from raytrack.head.model import HeadModel

GRID = 96
"""Hidden spots are kept on a grid of so many cells along either side of a view's crop."""
NOISE_FLOOR = 0.016
"""Colour error (0 to 1, mean of the channels) that any part of a head may have."""
SEED_RATIO = 3.0
"""A hidden spot has errors of so many times the level of their place on the head"""
SEED_SHARE = 0.2
"""on at least this share of it,"""
EDGE_RATIO = 1.8
"""and reaches as far as errors are above so many times that level."""
SLACK = 0.02
"""Colours are looked for so far around their place, in faces: an edge that is a little off hides nothing."""
SMOOTHING = 0.02
"""σ over which errors are averaged, in faces."""
SMALLEST_AREA = 0.018
"""Spots smaller than this are highlights, noise or misplaced edges; in squared faces."""
SMALLEST_WIDTH = 0.06
"""So are spots thinner than this, in faces."""
MOBILE_SHARE = 0.75
"""Spots with more than this share on places whose look changes hide nothing; neither do those that reach too little
beyond."""
OUT_OF_PLACE = 2.0
"""Pictures whose median error is more than so many times the usual one are of heads that are not in place."""
MARGIN = 0.03
"""Around a spot, so much is hidden too, in faces."""
GUESSED_LANDMARK = 0.3
"""Weight of a hidden landmark."""
MOBILE_REGIONS = (
    "lips", "mouth_interior", "teeth", "tongue", "eyeballs", "sockets", "eyelids", "neck", "bust", "boundary",
)  # fmt: skip
"""Places whose look changes though nothing stands before them: expressions, and clothes in which the neck turns."""
_MOBILE_RINGS = 3
_FEWEST_PICTURES = 3
"""Places that fewer pictures show are judged by the level of the whole head."""


@dataclass(frozen=True, kw_only=True)
class PictureErrors:
    """Where one picture's colours disagree with the head's."""

    error: Float[np.ndarray, "height width"]
    """Mean absolute difference of the channels, averaged over a neighbourhood on the head; 0 beside the head."""
    face: Int[np.ndarray, "height width"]
    """Face of the mesh at each pixel, −1 beside the head."""

    @classmethod
    def create(
        cls,
        image: Float[np.ndarray, "height width 3"],
        target: Float[np.ndarray, "height width 3"],
        face: Int[np.ndarray, "height width"],
        face_size_px: float,
    ) -> "PictureErrors":
        """Of a head that is drawn over its target.

        Args:
            image: The drawn head.
            target: The picture.
            face: Face at each pixel, −1 beside the head.
            face_size_px: Larger side of the face.
        """
        covered = (face >= 0).astype(np.float32)
        sigma = max(SMOOTHING * face_size_px, 0.5)
        window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(2 * SLACK * face_size_px),) * 2)
        unlike = np.maximum(_beyond(target, image, window), _beyond(image, target, window))
        error = cv2.GaussianBlur(unlike * covered, (0, 0), sigma)
        weight = cv2.GaussianBlur(covered, (0, 0), sigma)
        return cls(error=np.where(face >= 0, error / np.maximum(weight, 1e-3), 0), face=face)

    @cached_property
    def covered(self) -> Bool[np.ndarray, "height width"]:
        """Pixels of the head."""
        return self.face >= 0

    def by_face(self, num_faces: int) -> Float[np.ndarray, " faces"]:
        """Mean error of every face of the mesh; NaN where the picture does not show it."""
        face, error = self.face[self.covered], self.error[self.covered]
        count = np.bincount(face, minlength=num_faces)
        total = np.bincount(face, weights=error, minlength=num_faces)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ErrorLevels:
    """How large errors usually are on each place of the head."""

    levels: Float[np.ndarray, " faces"]
    """At least `NOISE_FLOOR`."""
    whole: float
    """Median over all pictures and the places that each shows of a place's mean error."""
    mobile: Bool[np.ndarray, " faces"]
    """Places whose look changes with the expression."""

    @classmethod
    def create(cls, pictures: Sequence[PictureErrors], head: HeadModel) -> "ErrorLevels":
        """From pictures of the clip: the median of each face's errors, and of its neighbours' medians."""
        faces = head.faces.numpy()
        by_face = np.stack([picture.by_face(len(faces)) for picture in pictures])
        seen = np.isfinite(by_face).sum(axis=0)
        whole = float(np.nanmedian(by_face)) if seen.any() else 0.0
        filled = np.where(seen > 0, by_face, 0.0)
        median = np.where(seen >= _FEWEST_PICTURES, np.nanmedian(filled, axis=0), whole)
        return cls(
            levels=np.maximum(_over_neighbours(median, faces, head.num_vertices), NOISE_FLOOR).astype(np.float32),
            whole=max(whole, 1e-6),
            mobile=_mobile_faces(head),
        )

    def hidden(self, picture: PictureErrors, face_size_px: float) -> Bool[np.ndarray, "height width"]:
        """Pixels that show something before the head, with a margin.

        Args:
            picture: Its errors.
            face_size_px: Larger side of the face.
        """
        nothing = np.zeros(picture.face.shape, bool)
        if not picture.covered.any():
            return nothing
        place = np.maximum(picture.face, 0)
        median = float(np.median(picture.error[picture.covered]))
        out_of_place = max(1.0, median / (OUT_OF_PLACE * self.whole))
        ratio = picture.error / (self.levels[place] * out_of_place)
        reach = ((ratio > EDGE_RATIO) & picture.covered).astype(np.uint8)
        width = _odd(SMALLEST_WIDTH * face_size_px)
        reach = cv2.morphologyEx(reach, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
        count, labels = cv2.connectedComponents(reach, connectivity=4)
        labels = labels.astype(np.int64)
        area = np.bincount(labels.ravel(), minlength=count)
        seeds = np.bincount(labels[ratio > SEED_RATIO], minlength=count)
        mobile = np.bincount(labels[self.mobile[place]], minlength=count) / np.maximum(area, 1)
        smallest = SMALLEST_AREA * face_size_px**2
        kept = (area * (1 - mobile) >= smallest) & (seeds >= SEED_SHARE * area) & (mobile <= MOBILE_SHARE)
        kept[0] = False
        if not kept.any():
            return nothing
        margin = _odd(2 * MARGIN * face_size_px)
        spots = kept[labels].astype(np.uint8)
        return cv2.dilate(spots, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin))) > 0


@dataclass(frozen=True, kw_only=True)
class HiddenSpots:
    """What is hidden in which pictures of a fit, on a grid over each view's crop."""

    pictures: Int[np.ndarray, "hidden 2"]
    """(place of the view, timestep) of pictures in which anything is hidden."""
    spots: UInt8[np.ndarray, "hidden grid grid"]
    """255 where something stands before the head."""

    @classmethod
    def none(cls) -> "HiddenSpots":
        """Nothing is hidden."""
        return cls(pictures=np.zeros((0, 2), np.int64), spots=np.zeros((0, GRID, GRID), np.uint8))

    @classmethod
    def of_bytes(cls, first: int, spots: Sequence[bytes | None]) -> "HiddenSpots":
        """Of a single camera's timesteps from the first one on; None where nothing is hidden."""
        pictures = [(0, first + number) for number, own in enumerate(spots) if own is not None]
        values = b"".join(own for own in spots if own is not None)
        return cls(
            pictures=np.array(pictures, np.int64).reshape(-1, 2),
            spots=np.frombuffer(values, np.uint8).reshape(-1, GRID, GRID),
        )

    def with_picture(self, place: int, timestep: int, hidden: Bool[np.ndarray, "height width"]) -> "HiddenSpots":
        """With one more picture; the same if nothing is hidden in it."""
        if not hidden.any():
            return self
        grid = cv2.resize(hidden.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        return HiddenSpots(
            pictures=np.concatenate([self.pictures, [[place, timestep]]]),
            spots=np.concatenate([self.spots, np.round(255 * grid).astype(np.uint8)[None]]),
        )

    @classmethod
    def joined(cls, parts: Sequence["HiddenSpots"]) -> "HiddenSpots":
        """What is hidden in the pictures of several parts of a fit, no two of which have a picture in common."""
        return cls(
            pictures=np.concatenate([part.pictures for part in parts]),
            spots=np.concatenate([part.spots for part in parts]),
        )

    def within(self, frames: Bool[np.ndarray, " frames"]) -> "HiddenSpots":
        """What is hidden in the pictures of some timesteps."""
        chosen = frames[self.pictures[:, 1]]
        return HiddenSpots(pictures=self.pictures[chosen], spots=self.spots[chosen])

    def of_view(self, place: int) -> dict[int, UInt8[np.ndarray, "grid grid"]]:
        """Spots of a view's timesteps, where there are any."""
        chosen = np.flatnonzero(self.pictures[:, 0] == place)
        return {int(self.pictures[number, 1]): self.spots[number] for number in chosen}


def shown(spots: UInt8[np.ndarray, "grid grid"], size_hw: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Trust in each pixel of a picture: 0 where something stands before the head, 1 elsewhere."""
    grid = cv2.resize(spots, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return 1 - grid.astype(np.float32) / 255


def landmarks_shown(
    spots: UInt8[np.ndarray, "grid grid"], landmarks_px: Float[np.ndarray, "landmarks 2"], size_hw: tuple[int, int]
) -> Float[np.ndarray, " landmarks"]:
    """Factors on the trust in landmarks: what a detector says of hidden ones, it guesses from the others."""
    trust = shown(spots, size_hw)
    column, row = (np.clip(landmarks_px[:, axis].astype(int), 0, size_hw[1 - axis] - 1) for axis in (0, 1))
    return GUESSED_LANDMARK + (1 - GUESSED_LANDMARK) * trust[row, column]


def _over_neighbours(values: np.ndarray, faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Means over faces that share a vertex, by way of the vertices."""
    count = np.bincount(faces.ravel(), minlength=num_vertices)
    total = np.bincount(faces.ravel(), weights=np.repeat(values, 3), minlength=num_vertices)
    return (total / np.maximum(count, 1))[faces].mean(axis=1)


def _mobile_faces(head: HeadModel) -> Bool[np.ndarray, " faces"]:
    mask = np.zeros(head.num_vertices, bool)
    faces = head.faces.numpy()
    for name in MOBILE_REGIONS:
        mask |= head.region(name).numpy()
    for _ in range(_MOBILE_RINGS):
        touched = mask[faces].any(axis=1)
        mask[faces[touched]] = True
    return np.asarray(mask[faces].all(axis=1))


def _beyond(values: np.ndarray, others: np.ndarray, window: np.ndarray) -> Float[np.ndarray, "height width"]:
    """How far colours (h, w, 3) leave the range of other colours nearby, mean of the channels."""
    low, high = cv2.erode(others, window), cv2.dilate(others, window)
    return np.maximum(np.maximum(values - high, low - values), 0).mean(axis=2)


def _odd(length: float) -> int:
    return 2 * max(1, round(length / 2)) + 1
