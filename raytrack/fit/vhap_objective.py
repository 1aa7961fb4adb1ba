"""The objective of one stage of the `vhap` preset: which terms act, on what, with which weight."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.fit import vhap_terms as terms
from raytrack.fit.albedo import COMPONENTS, AlbedoBasis, albedo_map
from raytrack.fit.shared import SharedParameters
from raytrack.fit.vhap_config import REFERENCE_TEXTURE_SIZE, VhapConfig, VhapWeights
from raytrack.fit.vhap_images import TargetImages
from raytrack.fit.vhap_landmarks import ibug_points
from raytrack.fit.vhap_regions import Gates, VhapRegions
from raytrack.fit.vhap_schedule import VhapStage
from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE, FrameParameters, block_slices
from raytrack.head.regions import PERTURBATION_REGIONS
from raytrack.render.perturbation import perturb_regions
from raytrack.render.protocol import Fragments, Renderer
from raytrack.render.shading import detach_vertices


@dataclass(frozen=True, kw_only=True)
class VhapProblem:
    """What stays fixed during the whole fit. Frames are numbered among those with a face."""

    head: HeadModel
    landmark_head: HeadModel
    """The few vertices that landmarks lie on."""
    regions: VhapRegions
    images: TargetImages
    detected_ndc: Float[Tensor, "frames 68 2"]
    scale: float
    """Tracking pixels per input pixel."""
    base_texture: Float[Tensor, "size size 3"]
    """The head's own albedo."""
    renderer: Renderer
    config: VhapConfig
    albedo_basis: AlbedoBasis | None = None
    """Principal components of albedo, where the fit uses them."""

    @property
    def device(self) -> torch.device:
        """Where the fit runs."""
        return self.detected_ndc.device


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
        self._smooth = smooth_weights(problem.config.weights, problem.head.num_expressions).to(problem.device)

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
        camera = monocular_camera(shared.log_focal.exp() * problem.scale, problem.images.size_hw)
        if self.stage.photometric:
            vertices = problem.head.vertices(parameters, shared.shape, shared.offset)
            loss = self._photometric(vertices, camera, shared, frames, generator)
        else:
            vertices = problem.landmark_head.vertices(parameters, shared.shape)
            loss = Loss(rows.new_zeros(()), rows.new_full((), float("nan")))
        head = problem.head if self.stage.photometric else problem.landmark_head
        points = terms.ndc_from_px(camera.project(ibug_points(head, vertices, parameters)), camera.size_hw)
        detected = problem.detected_ndc[torch.from_numpy(frames).to(problem.device)]
        total = loss.total + weights.landmark * terms.landmark_term(points, detected)
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
            clip, normals, self._albedo(shared), shared.light[None], target, detach_uv_faces=untextured
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

    def _photometric(
        self, vertices: Tensor, camera: Camera, shared: SharedParameters, frames: np.ndarray, generator: torch.Generator
    ) -> Loss:
        problem, config = self.problem, self.problem.config
        target = problem.images.batch(frames)
        image, clip, fragments = self.render(vertices, camera, shared, target)
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
                normals = problem.renderer.interpolate(problem.renderer.vertex_normals(vertices), fragments)
            total = total + config.weights.diffuse * terms.diffuse_term(normals, covered, shared.light)
        # Over the background the image is the target.
        error = (image.detach() - target).abs().sum() / (3 * covered.sum().clamp_min(1))
        return Loss(total, error)

    def _albedo(self, shared: SharedParameters) -> Float[Tensor, "size size 3"]:
        return albedo_map(shared.texture, shared.texture_coefficients, self.problem.albedo_basis)

    def _texture_terms(self, shared: SharedParameters) -> Float[Tensor, ""]:
        problem, weights = self.problem, self.problem.config.weights
        residual = terms.texture_residual_term(shared.texture, problem.base_texture, problem.regions.plain_texels)
        variation = terms.texture_variation_term(self._albedo(shared))
        # The sum of squared differences of a picture does not depend on its resolution; their mean does.
        scale = (problem.scale * len(shared.texture) / REFERENCE_TEXTURE_SIZE) ** 2
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


def smooth_weights(weights: VhapWeights, num_expressions: int) -> Float[Tensor, " columns"]:
    """Weight of each column's squared difference: a block's weight over its width."""
    of_block = {
        "rotation": weights.smooth_rotation,
        "translation": weights.smooth_translation,
        "neck_pose": weights.smooth_neck,
        "jaw_pose": weights.smooth_jaw,
        "eyes_pose": weights.smooth_eyes,
        "expression": weights.smooth_expression,
    }
    columns = torch.zeros(NUM_POSE + num_expressions)
    for name, block in block_slices(num_expressions).items():
        columns[block] = of_block[name] / max(1, block.stop - block.start)
    return columns
