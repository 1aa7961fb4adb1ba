"""Adam on what frames share (identity, offsets, texture, light, focal length), a batch of pictures at a time.

Tensors stay on the device of the shared parameters; pictures are brought there.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit import shared_terms as terms
from raytrack.fit.albedo import albedo_map
from raytrack.fit.config import Weights
from raytrack.fit.facing import facing_cosines, texel_trust
from raytrack.fit.focal import FaceCentre
from raytrack.fit.schedule import COMPONENTS
from raytrack.fit.shared import Adam, GroupAdam, SharedParameters
from raytrack.fit.shared_problem import PictureBatch, SharedProblem
from raytrack.geometry.camera import Camera
from raytrack.geometry.mesh import uniform_laplacian
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Fragments

COMMON_SCALES = {"offset": 1.0}
"""Offsets move where pictures ask for it, not by the learning rate everywhere."""
LEARNING_RATES = {
    "shape": 5e-3,
    "log_focal": 5e-3,
    "offset": 5e-4,
    "texture": 1e-2,
    "texture_coefficients": 0.1,
    "light": 5e-3,
    "gains": 5e-3,
}
PER_LIGHT, PER_FOCAL = "light", "log_focal"
"""Fields with an entry for each group of frames."""
_FIELDS = ("shape", "offset", "texture", "texture_coefficients", "light", "log_focal", "cameras", "gains")


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
        self._adams: dict[str, Adam | GroupAdam] = {}
        self._laplacian = terms.SparseProduct(
            uniform_laplacian(problem.head.faces.cpu().numpy(), problem.head.num_vertices)
        )
        self._face = FaceCentre.of(problem.head, problem.landmarks.embedding)
        embedding = problem.head.landmarks[problem.landmarks.embedding]
        self._corners = problem.head.faces[embedding.faces]
        self._barycentric = embedding.barycentric[..., None]

    def step(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        batch: Sequence[PictureBatch],
        optimise: Sequence[str],
        *,
        scale: float,
        generator: np.random.Generator,
        weights: Weights | None = None,
        colours_only: bool = False,
    ) -> tuple[Float[Tensor, "frames columns"], SharedParameters, Tensor]:
        """One Adam step on a batch of pictures, rows held, but that heads move away as the focal length grows.

        Args:
            rows: Packed parameters of every frame.
            shared: Values before the step.
            batch: Pictures by view; each counts the same.
            optimise: Names of the fields of `SharedParameters` that move.
            scale: Factor on the learning rates.
            generator: Of the region perturbation.
            weights: In place of the problem's.
            colours_only: Leave landmarks, matte and antialiasing out: for textures.

        Returns:
            Rows and values after the step, and the photometric error before it.
        """
        weights = weights or self.problem.weights
        values = {name: getattr(shared, name) for name in _FIELDS}
        leaves = {name: values[name].detach().clone().requires_grad_(True) for name in optimise}
        values.update(leaves)
        values["log_ratio"] = values[PER_FOCAL] - shared.log_focal
        values["albedo"] = albedo_map(values["texture"], values[COMPONENTS], self.problem.albedo_basis)
        loss = photo = shared.texture.new_zeros(())
        total = sum(len(pictures.numbers) for pictures in batch)
        for pictures in batch:
            share = len(pictures.numbers) / total
            own, error = self._picture_loss(rows, values, pictures, weights, colours_only, generator)
            loss, photo = loss + share * own, photo + share * error.detach()
        loss = loss + self._regularisers(values, optimise, weights, colours_only)
        loss.backward()
        moved = {}
        for name in optimise:
            adam = self._adams.setdefault(name, self._new_adam(name))
            gradient = leaves[name].grad
            if gradient is None:
                continue
            if isinstance(adam, GroupAdam):
                groups = self._groups_of(name, batch).to(gradient.device)
                moved[name] = adam.step(getattr(shared, name), groups, gradient, scale)
            else:
                moved[name] = adam.step(getattr(shared, name), gradient, scale)
        if "offset" in moved:
            limit = self.problem.offsets.limit_m
            kept = torch.where(self.problem.offsets.allowed > 0, moved["offset"], shared.offset)
            moved["offset"] = torch.minimum(torch.maximum(kept, -limit), limit)
        rings = self.problem.eye_rings
        if rings and "texture" in moved and len(moved["texture"]) == rings.size:
            moved["texture"] = rings.symmetric(moved["texture"])
        if PER_FOCAL in moved:
            ratio = (moved[PER_FOCAL] - shared.log_focal)[torch.from_numpy(self.problem.groups.focal).to(rows.device)]
            rows = self._face.moved(rows, ratio)
        return rows, shared.with_values(**moved), photo

    def _groups_of(self, name: str, batch: Sequence[PictureBatch]) -> Tensor:
        """Which entries of a field the batch's frames have."""
        groups = self.problem.groups.light if name == PER_LIGHT else self.problem.groups.focal
        return torch.from_numpy(np.unique(np.concatenate([groups[pictures.rows] for pictures in batch])))

    def _new_adam(self, name: str) -> Adam | GroupAdam:
        if name in (PER_LIGHT, PER_FOCAL):
            return GroupAdam(self._rates[name])
        return Adam(self._rates[name], common_scale=COMMON_SCALES.get(name, 0.0))

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Adam's state per parameter, to continue exactly."""
        return {name: adam.state() for name, adam in self._adams.items()}

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Continue where another optimiser of the same settings was."""
        for name, values in state.items():
            adam = self._new_adam(name)
            adam.restore(values)
            self._adams[name] = adam

    def _posed(self, rows: Tensor, values: dict[str, Tensor], pictures: PictureBatch) -> tuple[Tensor, Camera]:
        """Vertices of a batch, and the cameras that see them."""
        device = values["texture"].device
        groups = torch.from_numpy(self.problem.groups.focal[pictures.rows]).to(device)
        own = rows[torch.from_numpy(pictures.rows)].to(device)
        parameters = FrameParameters.unpack(self._face.moved(own, values["log_ratio"][groups]))
        vertices = self.problem.head.vertices(parameters, values["shape"], values["offset"])
        return vertices, pictures.frames.camera(values["log_focal"][groups].exp(), values["cameras"])

    @torch.no_grad()
    def best_cosines(
        self, rows: Float[Tensor, "frames columns"], shared: SharedParameters, pictures: Sequence[PictureBatch]
    ) -> Float[Tensor, " faces"]:
        """For each face that of the picture that sees it most squarely (`raytrack.fit.facing`); hidden or not."""
        values = {name: getattr(shared, name) for name in _FIELDS}
        values["log_ratio"] = torch.zeros_like(shared.log_focal)
        best = shared.texture.new_zeros(len(self.problem.head.faces))
        for batch in pictures:
            vertices, camera = self._posed(rows, values, batch)
            best = torch.maximum(best, facing_cosines(vertices, self.problem.head.faces, camera).amax(dim=0))
        return best

    def _picture_loss(
        self, rows: Tensor, values: dict[str, Tensor], pictures: PictureBatch, weights: Weights, colours_only: bool,
        generator: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Weighted terms of one view's pictures, and their colour error."""
        problem, renderer, device = self.problem, self.problem.renderer, values["texture"].device
        vertices, camera = self._posed(rows, values, pictures)
        lights = values["light"][torch.from_numpy(problem.groups.light[pictures.rows]).to(device)]
        if len(values["gains"]):
            lights = lights * values["gains"][pictures.frames.place]
        clip, target = camera.clip(vertices), pictures.frames.targets(pictures.numbers).to(device)
        normals = renderer.vertex_normals(vertices)
        # What turns or hides inside the head would drag the skin around it along.
        loose = problem.loose[None, :, None]
        aligned, aligned_normals = (
            torch.where(loose, clip.detach(), clip),
            torch.where(loose, normals.detach(), normals),
        )
        image, fragments = renderer.shade(aligned, aligned_normals, values["albedo"], lights, target)
        covered, face = fragments.coverage, fragments.face_index.clamp_min(0).long()
        if problem.has_unaligned_faces:
            # The same colours, with a gradient to texture and light only.
            still, _ = renderer.shade(clip.detach(), normals.detach(), values["albedo"], lights, target)
            image = torch.where((problem.unaligned_faces[face] & covered)[..., None], still, image)
        trust = pictures.trust(covered, problem.inside_mouth[face])
        if problem.best_cosine is not None:
            cosine = facing_cosines(vertices, problem.head.faces, camera)
            inner = pictures.inner().to(device)
            squarely = trust * (inner + (1 - inner) * texel_trust(cosine, problem.best_cosine, fragments.face_index))
            loss = terms.texture_colour_term(image, target, squarely, covered)
            return weights.photo * loss, terms.colour_term(image.detach(), target, trust, covered)
        if colours_only:
            photo = terms.colour_term(image, target, trust, covered)
            return weights.photo * photo, photo
        if problem.perturbation is not None and not pictures.frames.has_matte:
            image = problem.perturbation.apply(image, fragments, generator)
        # Where an outline is held, colours must not move it: over its own target a smaller mesh is always a better one.
        held = torch.where(problem.held_outline[None, :, None], clip.detach(), aligned)
        photo = terms.colour_term(renderer.antialias(image, held, fragments), target, trust, covered)
        loss = weights.photo * photo
        if pictures.frames.has_matte:
            loss = loss + weights.matte * self._matte_term(clip, fragments, pictures)
        return loss + weights.landmark * self._landmark_term(camera, vertices, pictures), photo

    def _matte_term(self, clip: Tensor, fragments: Fragments, pictures: PictureBatch) -> Tensor:
        problem, frames, device = self.problem, pictures.frames, clip.device
        free = torch.where(problem.occluded[None, :, None], clip.detach(), clip)
        rendered = problem.renderer.antialias(fragments.coverage.float()[..., None], free, fragments)[..., 0]
        return terms.matte_term(
            rendered,
            torch.from_numpy(frames.matte(pictures.numbers)).to(device),
            pictures.above_chin().to(device),
            torch.from_numpy(frames.matte_valid[pictures.numbers]).to(device),
            fragments.coverage,
            pictures.unhidden().to(device),
            pictures.reachable().to(device),
        )

    def _landmark_term(self, camera: Camera, vertices: Tensor, pictures: PictureBatch) -> Tensor:
        points = (vertices[:, self._corners] * self._barycentric).sum(dim=2)
        detected = torch.from_numpy(pictures.frames.landmarks_px[pictures.numbers]).to(vertices)
        trust = torch.from_numpy(pictures.landmark_weights.astype(np.float32)).to(vertices)
        return terms.landmark_term(camera.project(points), detected, trust, pictures.frames.face_size_px)

    def _regularisers(
        self, values: dict[str, Tensor], optimise: Sequence[str], weights: Weights, colours_only: bool
    ) -> Tensor:
        """Terms that no picture enters."""
        total = values["texture"].new_zeros(())
        if "texture" in optimise:
            # Not of the components' share: it is known where nothing was seen, and a residual must not smooth it away.
            total = total + weights.texture_variation * terms.texture_variation_term(values["texture"])
        if COMPONENTS in optimise:
            total = total + weights.texture_pca * values[COMPONENTS].square().mean()
        if colours_only:
            return total
        if "shape" in optimise:
            total = total + weights.shape * values["shape"].square().mean()
        if "offset" in optimise:
            offset, factor = values["offset"], self.problem.offsets.laplacian_weight
            curvature = terms.offset_curvature_term(offset, self._laplacian, factor)
            total = total + weights.offset_laplacian * curvature + weights.offset_size * offset.abs().mean()
        return total
