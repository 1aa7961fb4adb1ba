"""The objective of one stage of the `vhap` preset: which terms act, on what, with which weight."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.fit import vhap_terms as terms
from raytrack.fit.albedo import AlbedoBasis, albedo_map
from raytrack.fit.row_priors import smoothness_weights
from raytrack.fit.schedule import COMPONENTS
from raytrack.fit.shared import SharedParameters
from raytrack.fit.vhap_config import REFERENCE_TEXTURE_SIZE, VhapConfig, VhapWeights
from raytrack.fit.vhap_landmarks import ibug_points
from raytrack.fit.vhap_regions import Gates, VhapRegions
from raytrack.fit.vhap_schedule import VhapStage
from raytrack.fit.vhap_views import VhapView, groups_of_one_size, stacked
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.head.regions import PERTURBATION_REGIONS
from raytrack.render.perturbation import perturb_regions
from raytrack.render.protocol import Fragments, Renderer
from raytrack.render.shading import detach_vertices


@dataclass(frozen=True, kw_only=True)
class VhapProblem:
    """What stays fixed during the whole fit. Frames are numbered among those with a face in any view."""

    head: HeadModel
    landmark_head: HeadModel
    """The few vertices that landmarks lie on."""
    regions: VhapRegions
    views: tuple[VhapView, ...]
    base_texture: Float[Tensor, "size size 3"]
    """The head's own albedo."""
    renderer: Renderer
    config: VhapConfig
    albedo_basis: AlbedoBasis | None = None
    """Principal components of albedo, where the fit uses them."""

    @property
    def device(self) -> torch.device:
        """Where the fit runs."""
        return self.views[0].detected_ndc.device

    @cached_property
    def groups(self) -> tuple[tuple[VhapView, ...], ...]:
        """Views that are drawn together."""
        return groups_of_one_size(self.views)


class Loss(NamedTuple):
    """Value of the objective, and the mean colour error over covered pixels before perturbation (NaN: not rendered)."""

    total: Float[Tensor, ""]
    photo_error: Float[Tensor, ""]


class VhapObjective:
    """One stage's objective. A term that nothing optimised enters is left out, which changes no gradient."""

    def __init__(self, problem: VhapProblem, stage: VhapStage, gates: Gates) -> None:
        self.problem = problem
        self.stage = stage
        self.gates = gates
        self._smooth = smoothness_weights(problem.head.num_expressions, problem.config.weights).to(problem.device)

    def __call__(
        self,
        rows: Float[Tensor, "batch columns"],
        previous: Float[Tensor, "batch columns"],
        shared: SharedParameters,
        frames: Int[np.ndarray, " batch"],
        generator: torch.Generator,
    ) -> Loss:
        """Evaluate on a batch. Differentiable in `rows` and `shared`.

        Args:
            rows: Parameters of the frames.
            previous: Those of the frames before.
            shared: What all frames share.
            frames: Which frames.
            generator: Of the region perturbation.
        """
        problem, weights = self.problem, self.problem.config.weights
        parameters = FrameParameters.unpack(rows)
        focal_px = shared.log_focal[0].exp()
        if self.stage.photometric:
            vertices = problem.head.vertices(parameters, shared.shape, shared.offset)
            loss = self._photometric(vertices, focal_px, shared, frames, generator)
        else:
            vertices = problem.landmark_head.vertices(parameters, shared.shape)
            loss = Loss(rows.new_zeros(()), rows.new_full((), float("nan")))
        head = problem.head if self.stage.photometric else problem.landmark_head
        landmarks = self._landmarks(head, vertices, parameters, focal_px, frames)
        total = loss.total + weights.landmark * landmarks
        total = total + row_terms(parameters, weights)
        if self.stage.smooth:
            total = total + terms.smooth_term(rows, previous, self._smooth)
        if "shape" in self.stage.optimise:
            total = total + weights.shape * shared.shape.square().mean()
        if "offset" in self.stage.optimise:
            total = total + self._offset_terms(shared.offset)
        if "texture" in self.stage.optimise:
            total = total + self._texture_terms(shared)
        return Loss(total, loss.photo_error)

    def render(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        camera: Camera,
        shared: SharedParameters,
        target: Float[Tensor, "batch height width 3"],
    ) -> tuple[Float[Tensor, "batch height width 3"], Float[Tensor, "batch vertices 4"], Fragments]:
        """Shaded head over the target before antialiasing, behind the gate on textures; and its clip-space vertices."""
        renderer, clip = self.problem.renderer, camera.clip(vertices)
        normals = renderer.vertex_normals(vertices)
        untextured = self.gates.untextured_faces
        image, fragments = renderer.shade(
            clip, normals, self._albedo(shared), shared.light[:1], target, detach_uv_faces=untextured
        )
        return image, clip, fragments

    def antialias(
        self,
        image: Float[Tensor, "batch height width channels"],
        clip: Float[Tensor, "batch vertices 4"],
        fragments: Fragments,
    ) -> Float[Tensor, "batch height width channels"]:
        """Antialias behind the gate on silhouettes."""
        return self.problem.renderer.antialias(image, detach_vertices(clip, self.gates.held_vertices), fragments)

    def _landmarks(
        self, head: HeadModel, vertices: Tensor, parameters: FrameParameters, focal_px: Tensor, frames: np.ndarray
    ) -> Tensor:
        """Mean over the frames in all views."""
        index = torch.from_numpy(frames).to(self.problem.device)
        points = []
        for view in self.problem.views:
            camera = view.camera(focal_px)
            projected = camera.project(ibug_points(head, vertices, parameters, camera))
            points.append(terms.ndc_from_px(projected, camera.size_hw))
        detected = torch.cat([view.detected_ndc[index] for view in self.problem.views])
        confidence = torch.cat([view.confidence[index] for view in self.problem.views])
        return terms.landmark_term(torch.cat(points), detected, confidence, jawline=self.stage.jawline)

    def _photometric(
        self, vertices: Tensor, focal_px: Tensor, shared: SharedParameters, frames: np.ndarray,
        generator: torch.Generator,
    ) -> Loss:  # fmt: skip
        """Over all views; those of one size are drawn as one batch."""
        parts = [self._group(group, vertices, focal_px, shared, frames, generator) for group in self.problem.groups]
        if len(parts) == 1:
            return parts[0][0]
        covered = torch.stack([count for _, count in parts])
        share = covered / covered.sum().clamp_min(1)
        total, error = (torch.stack([loss[item] for loss, _ in parts]) for item in (0, 1))
        return Loss((total * share).sum(), (error * share).sum())

    def _group(
        self, group: tuple[VhapView, ...], vertices: Tensor, focal_px: Tensor, shared: SharedParameters,
        frames: np.ndarray, generator: torch.Generator,
    ) -> tuple[Loss, Tensor]:  # fmt: skip
        """Loss of views of one size, and the covered pixels it is a mean over."""
        problem, config = self.problem, self.problem.config
        target = torch.cat([view.images.batch(frames) for view in group])
        camera = stacked([view.camera(focal_px) for view in group], len(frames))
        seen = vertices if len(group) == 1 else vertices.repeat(len(group), 1, 1)
        image, clip, fragments = self.render(seen, camera, shared, target)
        perturbed = perturb_regions(
            image, fragments.face_index, problem.regions.region_of_face, len(PERTURBATION_REGIONS),
            foreground_probability=config.perturb_foreground, background_probability=config.perturb_background,
            generator=generator,
        )  # fmt: skip
        covered = fragments.coverage
        blended = self.antialias(torch.cat([perturbed, covered[..., None].to(image)], dim=-1), clip, fragments)
        total = config.weights.photo * terms.photo_term(blended[..., :3], target, blended[..., 3])
        if "light" in self.stage.optimise:
            with torch.no_grad():
                normals = problem.renderer.interpolate(problem.renderer.vertex_normals(seen), fragments)
            total = total + config.weights.diffuse * terms.diffuse_term(normals, covered, shared.light[0])
        # Over the background the image is the target.
        count = covered.sum()
        error = (image.detach() - target).abs().sum() / (3 * count.clamp_min(1))
        return Loss(total, error), count

    def _albedo(self, shared: SharedParameters) -> Float[Tensor, "size size 3"]:
        return albedo_map(shared.texture, shared.texture_coefficients, self.problem.albedo_basis)

    def _texture_terms(self, shared: SharedParameters) -> Float[Tensor, ""]:
        problem, weights = self.problem, self.problem.config.weights
        residual = terms.texture_residual_term(shared.texture, problem.base_texture, problem.regions.plain_texels)
        variation = terms.texture_variation_term(self._albedo(shared))
        # The sum of squared differences of a picture does not depend on its resolution; their mean does.
        scale = (problem.views[0].scale * len(shared.texture) / REFERENCE_TEXTURE_SIZE) ** 2
        total = weights.texture_variation * scale * variation + weights.texture_residual * residual
        if COMPONENTS in self.stage.optimise:
            total = total + weights.texture_pca * shared.texture_coefficients.square().mean()
        return total

    def _offset_terms(self, offset: Float[Tensor, "vertices 3"]) -> Float[Tensor, ""]:
        regions, weights = self.problem.regions, self.problem.config.weights
        curvature = terms.offset_laplacian_term(offset, regions.laplacian, regions.laplacian_weight)
        rigidity = terms.offset_rigidity_term(offset, regions.rigid)
        size = offset.abs().mean()
        return weights.offset_laplacian * curvature + weights.offset_size * size + weights.offset_rigidity * rigidity


def row_terms(parameters: FrameParameters, weights: VhapWeights) -> Float[Tensor, ""]:
    """Priors on joints and expression. Differentiable."""
    total = weights.neck * terms.rotation_term(parameters.neck_pose)
    total = total + weights.jaw * terms.jaw_term(parameters.jaw_pose)
    total = total + weights.eyes * terms.eyes_term(parameters.eyes_pose)
    return total + weights.expression * parameters.expression.square().mean()
