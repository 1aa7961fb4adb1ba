"""What stays fixed while Adam moves what frames share, and the pictures of one step."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.fit.albedo import AlbedoBasis
from raytrack.fit.config import Weights
from raytrack.fit.eye_texture import EyeRings
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.groups import FrameGroups
from raytrack.fit.landmark_sets import LandmarkSet
from raytrack.head.model import HeadModel
from raytrack.head.regions import PERTURBATION_REGIONS
from raytrack.render.perturbation import face_regions, perturb_regions
from raytrack.render.protocol import Fragments, Renderer


@dataclass(frozen=True, kw_only=True)
class OffsetRegions:
    """How static offsets are regularised, per vertex."""

    laplacian_weight: Float[Tensor, "vertices 1"]
    """Square root of the factor on the Laplacian term: small where the head's basis knows little (hair, ears, bust)."""
    allowed: Float[Tensor, "vertices 1"]
    """0 where offsets stay zero (eyes, teeth, mouth), else 1."""
    limit_m: Float[Tensor, "vertices 1"]
    """Largest offset per coordinate."""


@dataclass(frozen=True, kw_only=True)
class RegionPerturbation:
    """Across an antialiased edge, compare how two regions look as a whole (`raytrack.render.perturbation`)."""

    region_of_face: Int[Tensor, " faces"]
    num_regions: int
    foreground_probability: float = 0.5
    background_probability: float = 0.3

    @classmethod
    def create(cls, head: HeadModel) -> "RegionPerturbation":
        """With the regions that the method names, those of them that the head has."""
        regions = [head.face_region(name).numpy() for name in PERTURBATION_REGIONS]
        return cls(region_of_face=face_regions(regions), num_regions=len(regions))

    def apply(self, image: Tensor, fragments: Fragments, generator: np.random.Generator) -> Tensor:
        """Perturbed copy of an image that is shaded over its target and not yet antialiased."""
        return perturb_regions(
            image, fragments.face_index, self.region_of_face, self.num_regions,
            foreground_probability=self.foreground_probability, background_probability=self.background_probability,
            generator=torch.Generator(image.device).manual_seed(int(generator.integers(2**31))),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SharedProblem:
    """Everything that stays fixed during Adam stages."""

    head: HeadModel
    landmarks: LandmarkSet
    weights: Weights
    groups: FrameGroups
    offsets: OffsetRegions
    held_outline: Bool[Tensor, " vertices"]
    """Vertices whose silhouettes colours do not move."""
    occluded: Bool[Tensor, " vertices"]
    """Vertices whose silhouettes nothing moves."""
    unaligned_faces: Bool[Tensor, " faces"]
    """Faces whose colours move no geometry; their texture is fitted all the same."""
    loose: Bool[Tensor, " vertices"]
    """Vertices whose colours move nothing that frames share: eyeballs, which turn, and the mouth's inside."""
    inside_mouth: Bool[Tensor, " faces"]
    """Faces that only show when the mouth is open."""
    perturbation: RegionPerturbation | None
    """Aligns outlines where there is no matte; the two together hurt each other. None: nothing does."""
    renderer: Renderer
    albedo_basis: AlbedoBasis | None = None
    """Principal components of albedo, where the fit uses them."""
    best_cosine: Float[Tensor, " faces"] | None = None
    """For the final texture: how squarely each face is seen at best. None: all pictures are trusted alike."""
    eye_rings: EyeRings | None = None
    """Where given, eyeballs keep to one colour around their axis in textures of that size."""

    def to(self, device: torch.device) -> "SharedProblem":
        """The same on another device; the renderer stays where it is."""
        offsets = {item.name: getattr(self.offsets, item.name).to(device) for item in fields(self.offsets)}
        perturbation = self.perturbation
        if perturbation is not None:
            perturbation = replace(perturbation, region_of_face=perturbation.region_of_face.to(device))
        return replace(
            self,
            head=self.head.to(device),
            offsets=OffsetRegions(**offsets),
            held_outline=self.held_outline.to(device),
            occluded=self.occluded.to(device),
            unaligned_faces=self.unaligned_faces.to(device),
            loose=self.loose.to(device),
            inside_mouth=self.inside_mouth.to(device),
            perturbation=perturbation,
            albedo_basis=self.albedo_basis and self.albedo_basis.to(device),
            best_cosine=None if self.best_cosine is None else self.best_cosine.to(device),
            eye_rings=self.eye_rings and self.eye_rings.to(device),
        )

    @cached_property
    def has_unaligned_faces(self) -> bool:
        """Whether there are any."""
        return bool(self.unaligned_faces.any())


@dataclass(frozen=True, kw_only=True)
class PictureBatch:
    """Some pictures of one view: they have one size and one camera."""

    frames: TrackingFrames
    numbers: Int[np.ndarray, " batch"]
    """Which of `frames`."""
    rows: Int[np.ndarray, " batch"]
    """The timesteps they show."""
    landmark_weights: Float[np.ndarray, "batch landmarks"]
    """Trust per point, 0 to 1."""

    def trust(
        self, coverage: Bool[Tensor, "batch height width"], inside_mouth: Bool[Tensor, "batch height width"]
    ) -> Float[Tensor, "batch height width"]:
        """Weight of each pixel's colour: 0 where background shines through, or where a closed mouth is drawn open."""
        trust = self._stacked([self.frames.pixel_weights(int(number)) for number in self.numbers])
        closed = torch.from_numpy(~self.frames.mouth_open[self.numbers])[:, None, None].to(coverage.device)
        return trust.to(coverage.device) * ~(closed & inside_mouth)

    def reachable(self) -> Float[Tensor, "batch height width"]:
        """0 where the matte reaches far beyond."""
        return torch.from_numpy(np.stack([self.frames.reachable(int(number)) for number in self.numbers]))

    def inner(self) -> Float[Tensor, "batch height width"]:
        """0 next to the matte's outline."""
        return torch.from_numpy(np.stack([self.frames.inner(int(number)) for number in self.numbers]))

    def unhidden(self) -> Float[Tensor, "batch height width"]:
        """0 where something stands before the head."""
        return self._stacked([self.frames.unhidden(int(number)) for number in self.numbers])

    def _stacked(self, per_frame: list[np.ndarray | None]) -> Tensor:
        """Weights of all frames; 1 where there is none."""
        ones = np.ones(self.frames.size_hw, np.float32)
        return torch.from_numpy(np.stack([ones if weights is None else weights for weights in per_frame]))

    def above_chin(self) -> Bool[Tensor, "batch height width"]:
        """Where the matte's outline is the head's own."""
        return torch.from_numpy(np.stack([self.frames.above_chin(int(number)) for number in self.numbers]))
