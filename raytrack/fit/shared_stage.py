"""Adam on what frames share (identity, offsets, texture, light, focal length), a batch of frames at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.fit.albedo import COMPONENTS, AlbedoBasis, albedo_map
from raytrack.fit.config import Weights
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.shared import Adam, SharedParameters
from raytrack.geometry.mesh import uniform_laplacian
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.head.regions import PERTURBATION_REGIONS
from raytrack.render.perturbation import face_regions, perturb_regions
from raytrack.render.protocol import Fragments, Renderer

COMMON_SCALES = {"offset": 1.0}
"""Offsets move where pictures ask for it, not by the learning rate everywhere."""
LEARNING_RATES = {
    "shape": 5e-3,
    "log_focal": 5e-3,
    "offset": 5e-4,
    "texture": 1e-2,
    "texture_coefficients": 0.1,
    "light": 5e-3,
}


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
            generator=torch.Generator().manual_seed(int(generator.integers(2**31))),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SharedProblem:
    """Everything that stays fixed during Adam stages."""

    head: HeadModel
    frames: TrackingFrames
    weights: Weights
    landmark_weights: Float[np.ndarray, "frames landmarks"]
    offsets: OffsetRegions
    held_outline: Bool[Tensor, " vertices"]
    """Vertices whose silhouettes colours do not move."""
    occluded: Bool[Tensor, " vertices"]
    """Vertices whose silhouettes nothing moves."""
    unaligned_faces: Bool[Tensor, " faces"]
    """Faces whose colours move no geometry; their texture is fitted all the same."""
    inside_mouth: Bool[Tensor, " faces"]
    """Faces that only show when the mouth is open."""
    perturbation: RegionPerturbation | None
    """Aligns outlines where there is no matte; the two together hurt each other."""
    renderer: Renderer
    albedo_basis: AlbedoBasis | None = None
    """Principal components of albedo, where the fit uses them."""

    @cached_property
    def has_unaligned_faces(self) -> bool:
        """Whether there are any."""
        return bool(self.unaligned_faces.any())


class SharedOptimiser:
    """Runs batches; owns the Adam state, nothing else that changes."""

    def __init__(self, problem: SharedProblem, learning_rates: dict[str, float] | None = None) -> None:
        """Start without Adam state.

        Args:
            problem: What stays fixed.
            learning_rates: Per field of `SharedParameters`; `LEARNING_RATES` by default.
        """
        self.problem = problem
        self._rates = LEARNING_RATES if learning_rates is None else learning_rates
        self._adams: dict[str, Adam] = {}
        self._laplacian = _SparseProduct(uniform_laplacian(problem.head.faces.numpy(), problem.head.num_vertices))
        embedding = problem.head.landmarks[problem.frames.landmarks.embedding]
        self._corners = problem.head.faces[embedding.faces]
        self._barycentric = embedding.barycentric[..., None]

    def step(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        batch: np.ndarray,
        optimise: Sequence[str],
        *,
        scale: float,
        generator: np.random.Generator,
        weights: Weights | None = None,
        colours_only: bool = False,
    ) -> tuple[SharedParameters, Tensor]:
        """One Adam step on a batch of frames, rows held.

        Args:
            rows: Packed parameters of every frame of the problem.
            shared: Values before the step.
            batch: Frame numbers.
            optimise: Names of the fields of `SharedParameters` that move.
            scale: Factor on the learning rates.
            generator: Of the region perturbation.
            weights: In place of the problem's.
            colours_only: Leave landmarks, matte and antialiasing out: for textures.

        Returns:
            Values after the step, and the photometric error before it.
        """
        weights = weights or self.problem.weights
        values = {item.name: getattr(shared, item.name) for item in fields(shared)}
        leaves = {name: values[name].detach().clone().requires_grad_(True) for name in optimise}
        values.update(leaves)
        loss, photo = self._loss(
            rows[torch.from_numpy(batch)], values, batch, optimise, weights, colours_only, generator
        )
        loss.backward()
        moved = {}
        for name in optimise:
            adam = self._adams.setdefault(name, self._new_adam(name))
            gradient = leaves[name].grad
            if gradient is None:
                continue
            moved[name] = adam.step(getattr(shared, name), gradient, scale)
        if "offset" in moved:
            limit = self.problem.offsets.limit_m
            moved["offset"] = torch.minimum(
                torch.maximum(moved["offset"] * self.problem.offsets.allowed, -limit), limit
            )
        return shared.with_values(**moved), photo.detach()

    def _new_adam(self, name: str) -> Adam:
        return Adam(self._rates[name], common_scale=COMMON_SCALES.get(name, 0.0))

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Adam's state per parameter, to continue exactly."""
        return {name: adam.state() for name, adam in self._adams.items()}

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Continue where another optimiser of the same settings was."""
        for name, values in state.items():
            self._adams[name] = self._new_adam(name)
            self._adams[name].restore(values)

    def _loss(self, rows, values, batch, optimise, weights, colours_only, generator) -> tuple[Tensor, Tensor]:
        problem = self.problem
        head, frames = problem.head, problem.frames
        vertices = head.vertices(FrameParameters.unpack(rows), values["shape"], values["offset"])
        camera = frames.camera(values["log_focal"].exp())
        clip = camera.clip(vertices)
        target = frames.targets(batch)
        renderer = problem.renderer
        normals = renderer.vertex_normals(vertices)
        albedo = albedo_map(values["texture"], values[COMPONENTS], problem.albedo_basis)
        image, fragments = renderer.shade(clip, normals, albedo, values["light"][None], target)
        if problem.has_unaligned_faces:
            # The same colours, with a gradient to texture and light only.
            still, _ = renderer.shade(clip.detach(), normals.detach(), albedo, values["light"][None], target)
            unaligned = problem.unaligned_faces[fragments.face_index.clamp_min(0).long()] & fragments.coverage
            image = torch.where(unaligned[..., None], still, image)  # fmt: skip
        trust = self._trust(batch, fragments)
        if colours_only:
            covered = fragments.coverage.sum().clamp_min(1)
            photo = ((image - target).abs() * trust[..., None]).sum() / (3 * covered)
            return weights.photo * photo + self._appearance_terms(albedo, values, weights, optimise), photo
        photo, matte = self._image_terms(image, clip, fragments, target, batch, trust, generator)
        loss = weights.photo * photo + weights.matte * matte
        loss = loss + self._landmark_term(camera, vertices, batch, weights.landmark)
        loss = loss + self._appearance_terms(albedo, values, weights, optimise)
        if "shape" in optimise:
            loss = loss + weights.shape * values["shape"].square().mean()
        if "offset" in optimise:
            loss = loss + self._offset_terms(values["offset"], weights)
        return loss, photo

    def _trust(self, batch: np.ndarray, fragments: Fragments) -> Float[Tensor, "batch height width"]:
        """Weight of each pixel's colour."""
        per_frame = [self.problem.frames.pixel_weights(int(frame)) for frame in batch]
        known = [weights for weights in per_frame if weights is not None]
        trust = torch.from_numpy(np.stack(known)) if known else torch.ones(fragments.face_index.shape)
        face = fragments.face_index.clamp_min(0).long()
        closed = torch.from_numpy(~self.problem.frames.mouth_open[batch])[:, None, None]
        hidden = closed & self.problem.inside_mouth[face]
        return trust * ~hidden

    def _image_terms(self, image, clip, fragments, target, batch, trust, generator) -> tuple[Tensor, Tensor]:
        problem = self.problem
        if problem.perturbation is not None:
            image = problem.perturbation.apply(image, fragments, generator)
        # Where an outline is held, colours must not move it: over its own target a smaller mesh is always a better one.
        held = torch.where(problem.held_outline[None, :, None], clip.detach(), clip)
        blended = problem.renderer.antialias(image, held, fragments)
        covered = fragments.coverage.sum().clamp_min(1)
        photo = ((blended - target).abs() * trust[..., None]).sum() / (3 * covered)
        if not problem.frames.has_matte:
            return photo, torch.zeros(())
        free = torch.where(problem.occluded[None, :, None], clip.detach(), clip)
        coverage = problem.renderer.antialias(fragments.coverage.float()[..., None], free, fragments)[..., 0]
        alpha = torch.from_numpy(problem.frames.matte(batch))
        above = torch.from_numpy(np.stack([problem.frames.above_chin(int(frame)) for frame in batch]))
        valid = torch.from_numpy(problem.frames.matte_valid[batch])[:, None, None]
        excess = coverage - alpha
        # Below the chin clothes and shoulders reach beyond the mesh, but nowhere may the mesh reach into background.
        return photo, (torch.where(above, excess.abs(), excess.clamp_min(0)) * valid).sum() / covered

    def _landmark_term(self, camera, vertices: Tensor, batch: np.ndarray, weight: float) -> Tensor:
        points = (vertices[:, self._corners] * self._barycentric).sum(dim=2)
        trust = torch.from_numpy(self.problem.landmark_weights[batch].astype(np.float32))
        error = (camera.project(points) - torch.from_numpy(self.problem.frames.landmarks_px[batch])).abs().sum(dim=-1)
        return weight * (error * trust).mean() / self.problem.frames.face_size_px

    def _appearance_terms(
        self, albedo: Tensor, values: dict[str, Tensor], weights: Weights, optimise: Sequence[str]
    ) -> Tensor:
        total = torch.zeros(())
        if "texture" in optimise:
            across = (albedo[:, 1:] - albedo[:, :-1]).square().mean()
            down = (albedo[1:] - albedo[:-1]).square().mean()
            total = total + weights.texture_variation * (across + down)
        if COMPONENTS in optimise:
            total = total + weights.texture_pca * values[COMPONENTS].square().mean()
        return total

    def _offset_terms(self, offset: Float[Tensor, "vertices 3"], weights: Weights) -> Tensor:
        curvature = _SparseApply.apply(offset, self._laplacian) * self.problem.offsets.laplacian_weight
        return weights.offset_laplacian * curvature.square().mean() + weights.offset_size * offset.abs().mean()


class _SparseProduct:
    """A constant sparse matrix and its transpose."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        self.matrix = matrix
        self.transpose = matrix.T.tocsr()


class _SparseApply(torch.autograd.Function):
    """Constant sparse matrix times dense columns; scipy's product is many times faster than torch's on a CPU."""

    @staticmethod
    def forward(ctx, columns: Tensor, product: _SparseProduct) -> Tensor:
        ctx.product = product
        return torch.from_numpy(product.matrix @ columns.detach().numpy())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.product.transpose @ gradient.contiguous().numpy()), None
