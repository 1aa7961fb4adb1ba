"""Where the terms of the `vhap` preset act on a head: regions by name, never by vertex number."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.errors import AssetError
from raytrack.fit.alignment import occluded_vertices
from raytrack.fit.config import TrackConfig
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.vhap_config import VhapWeights
from raytrack.fit.vhap_schedule import VhapStage
from raytrack.fit.vhap_terms import NUM_IBUG
from raytrack.geometry.mesh import uniform_laplacian
from raytrack.head.landmarks import LandmarkEmbedding
from raytrack.head.model import HeadModel
from raytrack.head.regions import PERTURBATION_REGIONS, face_region_index

_LOOSE = ("hair", "ears")
_RIGID = ("left_ear", "right_ear", "neck", "left_eye", "right_eye", "lips_tight")
_PLAIN_TEXTURE = ("sclerae", "teeth")


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What a stage aligns to nothing."""

    untextured_faces: Bool[Tensor, " faces"]
    """Faces whose texture coordinates carry no gradient."""
    held_vertices: Bool[Tensor, " vertices"]
    """Vertices whose silhouettes carry no gradient."""

    @classmethod
    def of_stage(cls, stage: VhapStage, head: HeadModel, config: TrackConfig) -> "Gates":
        """The stage's own exceptions, and what is occluded: the configured regions, and hair without static offsets.

        Args:
            stage: For its exceptions.
            head: On the CPU.
            config: For what is occluded.

        Raises:
            ConfigError: `occluded` names a region that the head does not have.
        """
        held = occluded_vertices(head, config)
        for name in stage.boundary_except:
            held = held | head.region(name)
        occluded = (*config.occluded, *(() if config.static_offset else ("hair",)))
        untextured = torch.zeros(len(head.faces), dtype=torch.bool)
        for name in (*stage.texture_except, *occluded):
            untextured |= head.face_region(name)
        return cls(untextured_faces=untextured, held_vertices=held)

    def to(self, device: torch.device) -> "Gates":
        """The same on another device."""
        return Gates(untextured_faces=self.untextured_faces.to(device), held_vertices=self.held_vertices.to(device))


@dataclass(frozen=True, kw_only=True)
class VhapRegions:
    """Constant masks and matrices of one head."""

    region_of_face: Int[Tensor, " faces"]
    """Index into `PERTURBATION_REGIONS`, −1 for none."""
    laplacian: Tensor
    """Sparse (vertices, vertices); the teeth's faces are left out, so that a tooth's row is its own offset."""
    laplacian_weight: Float[Tensor, " vertices"]
    rigid: tuple[Tensor, ...]
    """Vertex indices of the parts that offsets move as a whole."""
    plain_texels: Bool[Tensor, "size size"]
    """Sclerae and teeth, whose colour stays near the head's own."""

    @classmethod
    def create(cls, head: HeadModel, weights: VhapWeights, texture_size: int) -> "VhapRegions":
        """Prepare a head (on the CPU).

        Args:
            head: Any head.
            weights: For the factor on loose regions.
            texture_size: Texels along a side.
        """
        masks = {name: mask.numpy() for name, mask in head.regions.items()}
        factor = torch.ones(head.num_vertices)
        for name in _LOOSE:
            factor[head.region(name)] = weights.offset_laplacian_loose
        rigid = (torch.nonzero(head.region(name)).flatten() for name in _RIGID)
        teeth = head.face_region("teeth").numpy()
        laplacian = uniform_laplacian(head.faces.numpy()[~teeth], head.num_vertices).tocoo()
        plain = np.any([head.face_region(name).numpy() for name in _PLAIN_TEXTURE], axis=0)
        return cls(
            region_of_face=torch.from_numpy(face_region_index(head.faces.numpy(), masks, PERTURBATION_REGIONS)).long(),
            laplacian=torch.sparse_coo_tensor(
                torch.from_numpy(np.stack([laplacian.row, laplacian.col]).astype(np.int64)),
                torch.from_numpy(laplacian.data), laplacian.shape, is_coalesced=True, check_invariants=False,
            ).coalesce(),
            laplacian_weight=factor,
            rigid=tuple(vertices for vertices in rigid if len(vertices) > 1),
            plain_texels=torch.from_numpy(texels_of_faces(head, plain, texture_size)),
        )  # fmt: skip

    def to(self, device: torch.device) -> "VhapRegions":
        """The same on another device."""
        return VhapRegions(
            region_of_face=self.region_of_face.to(device),
            laplacian=self.laplacian.to(device),
            laplacian_weight=self.laplacian_weight.to(device),
            rigid=tuple(vertices.to(device) for vertices in self.rigid),
            plain_texels=self.plain_texels.to(device),
        )


def texels_of_faces(head: HeadModel, faces: Bool[np.ndarray, " faces"], size: int) -> Bool[np.ndarray, "size size"]:
    """Texels that some faces touch."""
    corners = head.uv.numpy()[head.uv_faces.numpy()[faces]] * size - 0.5
    mask = np.zeros((size, size), np.uint8)
    for triangle in np.round(corners).astype(np.int32):
        cv2.fillConvexPoly(mask, triangle, 1)
    return mask.astype(bool)


def with_ibug_points(head: HeadModel, detected: str = "facemesh") -> tuple[HeadModel, Int[np.ndarray, " points"]]:
    """The head with the 68 iBUG points as they were detected, and which of the detected points they are.

    The head's own `ibug` jawline is spaced evenly along the jaw, and moves along it as the head turns. That is what
    detectors of the 68 points see, but not where Face Mesh puts its points, which stay in one place.

    Args:
        head: On the CPU.
        detected: The landmark set of the detections.

    Raises:
        InputError: There is no such landmark set.
        AssetError: The head lacks the points, or does not say which Face Mesh points stand for the iBUG ones.
    """
    landmarks = landmark_set(detected)
    if landmarks.embedding == "ibug":
        if "ibug" not in head.landmarks:
            raise AssetError(f"{head.name}: it has no iBUG landmarks")
        contour = head.contour if landmarks.outline else None
        return replace(head, landmarks={"ibug": head.landmarks["ibug"]}, contour=contour), np.arange(NUM_IBUG)
    if head.ibug_of_facemesh is None or "facemesh" not in head.landmarks:
        raise AssetError(f"{head.name}: the vhap preset needs Face Mesh points that stand for the 68 iBUG points")
    embedding, picks = head.landmarks["facemesh"], head.ibug_of_facemesh
    points = LandmarkEmbedding(faces=embedding.faces[picks], barycentric=embedding.barycentric[picks])
    return replace(head, landmarks={"ibug": points}, contour=None), picks.numpy()
