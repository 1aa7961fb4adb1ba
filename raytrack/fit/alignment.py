"""Which parts of the head are aligned to what: offsets, outlines, colours. Regions by name, never by vertex number."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.errors import AssetError, ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.fit.gaze import iris_trust
from raytrack.fit.landmark_sets import LANDMARK_SETS, LandmarkSet, landmark_set
from raytrack.fit.shared_problem import OffsetRegions
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel

_RIGID_REGIONS = ("mouth_interior", "teeth", "tongue", "eyeballs", "sockets", "eyelids")
"""Parts that keep the basis's shape."""
_INSIDE_MOUTH = ("mouth_interior", "teeth", "tongue")
_LOOSE_REGIONS = {"hair": 0.1, "ears": 0.1, "neck": 0.1, "bust": 0.04}
"""Factors on the Laplacian term where the identity basis knows little; later entries win."""
_OFFSET_LIMIT_M = 0.02
_OFFSET_LIMITS_M = {"hair": 0.06, "bust": 0.04}
_FEWEST_LANDMARKS = 20


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Masks that the stages share."""

    offsets: OffsetRegions
    held_outline: Bool[Tensor, " vertices"]
    """Outlines that the matte says nothing about: the bust's cut edge and its surroundings, occluded regions."""
    occluded: Bool[Tensor, " vertices"]
    unaligned_faces: Bool[Tensor, " faces"]
    loose: Bool[Tensor, " vertices"]
    """Eyeballs and the inside of the mouth: their colours say nothing about what frames share."""
    inside_mouth: Bool[Tensor, " faces"]

    @classmethod
    def create(cls, head: HeadModel, config: TrackConfig) -> "Alignment":
        """Masks of a head.

        Raises:
            ConfigError: `occluded` names a region that the head does not have.
        """
        occluded = occluded_vertices(head, config)
        factor = torch.ones(head.num_vertices, 1)
        limit = torch.full((head.num_vertices, 1), _OFFSET_LIMIT_M)
        for name, value in _LOOSE_REGIONS.items():
            factor[head.region(name)] = value**0.5
        for name, value in _OFFSET_LIMITS_M.items():
            limit[head.region(name)] = value
        allowed = torch.ones(head.num_vertices, 1)
        for name in _RIGID_REGIONS:
            allowed[head.region(name)] = 0
        inside = torch.zeros(head.num_vertices, dtype=torch.bool)
        for name in _INSIDE_MOUTH:
            inside |= head.region(name)
        return cls(
            offsets=OffsetRegions(laplacian_weight=factor, allowed=allowed, limit_m=limit),
            held_outline=head.region("bottomline") | head.region("boundary") | occluded,
            occluded=occluded,
            unaligned_faces=occluded[head.faces].all(dim=1),
            loose=inside | head.region("eyeballs"),
            inside_mouth=inside[head.faces].all(dim=1),
        )


def occluded_vertices(head: HeadModel, config: TrackConfig) -> Bool[Tensor, " vertices"]:
    """Vertices that nothing may be aligned to: the named regions, and hair when there are no static offsets."""
    names = set(config.occluded)
    if unknown := names - head.regions.keys():
        known = ", ".join(sorted(head.regions))
        raise ConfigError(f"occluded: {head.name} has no region {', '.join(sorted(unknown))}; it has {known}")
    if not config.static_offset:
        names.add("hair")
    mask = torch.zeros(head.num_vertices, dtype=torch.bool)
    for name in sorted(names):
        mask |= head.region(name)
    return mask


def trusted_landmarks(
    head: HeadModel,
    detected: Bool[np.ndarray, " frames"],
    occluded: Bool[Tensor, " vertices"],
    landmarks: LandmarkSet = LANDMARK_SETS["facemesh"],
) -> Float[np.ndarray, "frames landmarks"]:
    """Trust in each landmark.

    It is 1, or 0 without a face in the frame, on occluded parts of the head, and for points that are not fixed to the
    surface.

    Raises:
        AssetError: The head lacks these landmarks.
    """
    if landmarks.embedding not in head.landmarks:
        known = ", ".join(sorted(head.landmarks))
        raise AssetError(f"the head {head.name} has no {landmarks.embedding!r} landmarks, only {known}")
    corners = head.faces[head.landmarks[landmarks.embedding].faces]
    visible = ((~occluded[corners].all(dim=1)).numpy() & landmarks.fixed).astype(np.float32)
    return detected[:, None].astype(np.float32) * visible[None]


def landmark_trust(
    views: SequenceViews, head: HeadModel, config: TrackConfig
) -> Float[np.ndarray, "views frames landmarks"]:
    """Trust in each view's points, before it is known which of them a rig's cameras see.

    Raises:
        AssetError: The head lacks these landmarks.
        ConfigError: Too few of them are left where parts are occluded.
    """
    landmarks, occluded = landmark_set(views.first.landmark_set), occluded_vertices(head, config)
    trust = np.stack(
        [
            trusted_landmarks(head, seen, occluded, landmarks) * iris_trust(views.landmarks_px(view), landmarks)
            for view, seen in enumerate(views.detected_by_view)
        ]
    )
    if (trust.max(axis=0)[views.detected] > 0).sum(axis=1).min() < _FEWEST_LANDMARKS:
        raise ConfigError(f"occluded: {', '.join(config.occluded)} leave too few landmarks to track anything")
    return trust
