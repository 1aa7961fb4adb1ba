"""A FLAME head laid over the shipped head: what the one has at a point, the other has at its counterpart."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from raytrack.geometry.closest import SurfacePoints, nearest_on_mesh
from raytrack.geometry.similarity import best_similarity
from raytrack.head.flame.registration import Pairs, Skin, register
from raytrack.head.landmarks import ContourEmbedding, LandmarkEmbedding, SeenLandmarks, embedded_points
from raytrack.head.model import HeadModel

_LOGGER = logging.getLogger(__name__)
LandmarkFinder = Callable[[HeadModel, bool], SeenLandmarks | None]
"""Finds Face Mesh landmarks on a picture of a head; True: draw it in plain grey."""
_INSIDE = ("eyeballs", "sockets", "teeth", "tongue", "mouth_interior")
_ANCHORS = ("left_ear", "right_ear", "nose", "lips", "left_eyeball", "right_eyeball")
"""Regions whose centres align heads whose landmarks were not found."""
_NUM_ON_SKIN = 468
"""Face Mesh landmarks before the irises."""


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """The head's vertices where they lie on the shipped head."""

    head: HeadModel
    shipped: HeadModel
    vertices: Float[np.ndarray, "vertices 3"]
    """Of `head`, in the space of `shipped`, metres. Teeth fill the box of the shipped head's teeth."""

    def landmarks(self, embedding: LandmarkEmbedding) -> LandmarkEmbedding:
        """Landmarks of the shipped head on the head: those on its eyeballs on the eyeballs, all others on the skin."""
        points = embedded_points(self.shipped.template.double(), self.shipped.faces, _double(embedding)).numpy()
        on_eye = self.shipped.face_region("eyeballs")[embedding.faces].numpy()
        faces, weights = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
        parts = (on_eye, self.head.face_region("eyeballs").numpy()), (~on_eye, skin_faces(self.head))
        for chosen, mesh in parts:
            if chosen.any():
                found = self._nearest(points[chosen], mesh)
                faces[chosen], weights[chosen] = found.faces, found.barycentric
        return LandmarkEmbedding(
            faces=torch.from_numpy(faces), barycentric=torch.from_numpy(weights.astype(np.float32))
        )

    def contour(self, contour: ContourEmbedding) -> ContourEmbedding:
        """The shipped head's jawlines on the head."""
        flat = LandmarkEmbedding(faces=contour.faces.flatten(), barycentric=contour.barycentric.flatten(0, 1))
        found = self.landmarks(flat)
        shape = contour.faces.shape
        return ContourEmbedding(
            yaw_deg=contour.yaw_deg,
            faces=found.faces.reshape(shape),
            barycentric=found.barycentric.reshape(*shape, 3),
        )

    def _nearest(self, points: np.ndarray, mask: Bool[np.ndarray, " faces"]) -> SurfacePoints:
        """Nearest points on some of the head's faces, with the head's own face numbers."""
        chosen = np.flatnonzero(mask)
        found = nearest_on_mesh(points, self.vertices, self.head.faces.numpy()[chosen])
        return SurfacePoints(faces=chosen[found.faces], barycentric=found.barycentric)


def _double(embedding: LandmarkEmbedding) -> LandmarkEmbedding:
    return LandmarkEmbedding(faces=embedding.faces, barycentric=embedding.barycentric.double())


def skin_faces(head: HeadModel) -> Bool[np.ndarray, " faces"]:
    """Faces of the outside, which two heads have in common."""
    inside = torch.stack([head.region(name) for name in _INSIDE]).any(dim=0)
    return (~inside[head.faces].any(dim=1)).numpy()


def find_counterpart(head: HeadModel, shipped: HeadModel, find: LandmarkFinder | None, *, plain: bool) -> Counterpart:
    """Lay a head over the shipped one.

    Args:
        head: With the regions of METHOD's list; its landmarks are not used.
        shipped: The head that has everything.
        find: Looks for landmarks on pictures of both; None, or no face found: only the shapes count.
        plain: Whether to look at grey pictures, for a head without a texture.
    """
    vertices = head.template.double().numpy()
    template = shipped.template.double().numpy()
    own_mask, other_mask = skin_faces(head), skin_faces(shipped)
    target = Skin(vertices=template, faces=shipped.faces.numpy()[other_mask])
    pairs = _seen_pairs(head, shipped, own_mask, other_mask, find, plain=plain)
    if pairs is None:
        _LOGGER.warning(
            "no face was found on a picture of %s: it is laid over %s by shape alone", head.name, shipped.name
        )
        own, other = (_anchors(model) for model in (head, shipped))
        nowhere = SurfacePoints(faces=np.zeros(0, np.int64), barycentric=np.zeros((0, 3)))
        pairs = Pairs(source=nowhere, target=np.zeros((0, 3)))
    else:
        own = pairs.source.on(vertices, head.faces.numpy()[own_mask])
        other = pairs.target
    moved = best_similarity(own, other)(vertices)
    moved = register(Skin(vertices=moved, faces=head.faces.numpy()[own_mask]), target, pairs)
    for name in ("left_eyeball", "right_eyeball"):
        chosen = head.region(name).numpy()
        moved[chosen] = _as_sphere(vertices[chosen], template[shipped.region(name).numpy()])
    for name in ("teeth_upper", "teeth_lower"):
        chosen = head.region(name).numpy()
        moved[chosen] = _in_box(vertices[chosen], template[shipped.region(name).numpy()])
    return Counterpart(head=head, shipped=shipped, vertices=moved)


def _seen_pairs(
    head: HeadModel,
    shipped: HeadModel,
    own_mask: Bool[np.ndarray, " faces"],
    other_mask: Bool[np.ndarray, " shipped_faces"],
    find: LandmarkFinder | None,
    *,
    plain: bool,
) -> Pairs | None:
    """Landmarks that are seen on both skins, found in the same way on both so that what is off is off on both."""
    own, other = (None, None) if find is None else (find(head, plain), find(shipped, plain))
    if own is None or other is None:
        return None
    both = own.found & other.found & own_mask[own.points.faces] & other_mask[other.points.faces]
    both[_NUM_ON_SKIN:] = False
    if both.sum() < 3:
        return None
    renumbered: Int[np.ndarray, " faces"] = np.cumsum(own_mask) - 1
    source = SurfacePoints(
        faces=renumbered[own.points.faces[both]], barycentric=own.points.barycentric[both].astype(np.float64)
    )
    return Pairs(source=source, target=other.points.on(shipped.template.double().numpy(), shipped.faces.numpy())[both])


def _anchors(head: HeadModel) -> Float[np.ndarray, "regions 3"]:
    """Centres of the boxes of regions."""
    boxes = [head.template[head.region(name)] for name in _ANCHORS]
    return torch.stack([(box.min(dim=0).values + box.max(dim=0).values) / 2 for box in boxes]).double().numpy()


def _as_sphere(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points of an eyeball on another eyeball: the same directions from the centre."""
    centre, other = ((part.min(axis=0) + part.max(axis=0)) / 2 for part in (points, target))
    radius, wanted = np.ptp(points, axis=0).mean(), np.ptp(target, axis=0).mean()
    return other + (points - centre) * (wanted / radius)


def _in_box(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points stretched to fill the box of others."""
    low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    return target.min(axis=0) + (points - low) / size * np.ptp(target, axis=0)
