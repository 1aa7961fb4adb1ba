"""Scores of parts of the head apart: colours by region of the surface, and how far static offsets reach.

A whole head's PSNR is mostly that of its largest part; an offset of centimetres says that the surface was bent to fit
one picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from raytrack.head.model import HeadModel

_INSIDE_FACE = ("eyeballs", "lips", "mouth_interior", "teeth", "tongue")
SCORED_REGIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "face": (("face", *_INSIDE_FACE), ()),
    "eyes": (("eye_region", "eyeballs"), ()),
    "mouth": (("lips", "mouth_interior", "teeth", "tongue"), ()),
    "hair": (("hair",), ()),
    "ears": (("ears",), ()),
    "neck": (("neck",), ("bust",)),
    "bust": (("bust",), ()),
}
"""Regions of the head that are together, less those that are not counted; eyes and mouth are parts of the face."""
OFFSET_REGIONS = ("face", "hair", "ears", "neck", "bust")
_WITHOUT_OFFSETS = ("eyeballs", "mouth_interior", "teeth", "tongue")
"""Parts that the tracker lets no offset move."""
OFFSET_MEASURES = ("mean", "p95", "max")


def region_vertices(head: HeadModel, name: str) -> Bool[np.ndarray, " vertices"]:
    """The vertices of one of `SCORED_REGIONS`; none where the head has no such region."""
    included, removed = SCORED_REGIONS[name]
    return _any_of(head, included) & ~_any_of(head, removed)


def _any_of(head: HeadModel, names: Sequence[str]) -> Bool[np.ndarray, " vertices"]:
    mask = np.zeros(head.num_vertices, bool)
    for name in names:
        if name in head.regions:
            mask |= head.region(name).numpy()
    return mask


def region_faces(head: HeadModel) -> Bool[np.ndarray, "regions faces"]:
    """Which faces belong to each of `SCORED_REGIONS`: those all of whose vertices do."""
    faces = head.faces.numpy()
    return np.stack([region_vertices(head, name)[faces].all(axis=1) for name in SCORED_REGIONS])


def region_errors(
    frame: UInt8[np.ndarray, "height width 3"],
    render: UInt8[np.ndarray, "height width 3"],
    face_index: Int[np.ndarray, "height width"],
    members: Bool[np.ndarray, "regions faces"],
) -> Float[np.ndarray, "regions 2"]:
    """Sum over pixels of the mean squared colour error (0 … 1), and number of pixels, of each region.

    Args:
        frame: The input frame.
        render: The render over the input frame.
        face_index: The face that each pixel shows, −1 for none.
        members: `region_faces`.
    """
    covered = face_index >= 0
    error = ((frame[covered].astype(np.float64) - render[covered]) / 255) ** 2
    shown, num_faces = face_index[covered].astype(np.int64), members.shape[1]
    by_face = [np.bincount(shown, weights=weight, minlength=num_faces) for weight in (error.mean(axis=1), None)]
    # Not a matrix product: how that adds up depends on the number of threads, and a resumed run gives the same bytes.
    return np.stack([np.where(members, values, 0.0).sum(axis=1) for values in by_face], axis=1)


def region_mse(errors: Sequence[Float[np.ndarray, "regions 2"]]) -> dict[str, float | None]:
    """Mean squared error of each of `SCORED_REGIONS` over all pixels of some pictures; None where none shows it."""
    total = np.sum(errors, axis=0) if len(errors) else np.zeros((len(SCORED_REGIONS), 2))
    return {
        name: float(squared / count) if count else None
        for name, (squared, count) in zip(SCORED_REGIONS, total, strict=True)
    }


def offset_scores(
    head: HeadModel, static_offset: Float[torch.Tensor, "1 vertices 3"] | None
) -> dict[str, float | None]:
    """Length of the static offsets of each region in millimetres: mean, 95th percentile and largest.

    Args:
        head: Carries the regions.
        static_offset: Metres; None counts as zero everywhere.
    """
    lengths = np.zeros(head.num_vertices) if static_offset is None else static_offset[0].norm(dim=-1).double().numpy()
    fixed = _any_of(head, _WITHOUT_OFFSETS)
    scores: dict[str, float | None] = {}
    for name in OFFSET_REGIONS:
        own = 1000 * lengths[region_vertices(head, name) & ~fixed]
        values = (own.mean(), np.percentile(own, 95), own.max()) if len(own) else (None, None, None)
        for measure, value in zip(OFFSET_MEASURES, values, strict=True):
            scores[f"offset_{name}_{measure}_mm"] = None if value is None else float(value)
    return scores
