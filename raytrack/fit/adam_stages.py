"""Stages that fit by many small steps: what frames share, and the final texture."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from raytrack.fit.albedo import AlbedoBasis
from raytrack.fit.alignment import Alignment
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.eye_texture import EyeRings
from raytrack.fit.groups import FrameGroups
from raytrack.fit.head_renderer import fit_device, make_head_renderer
from raytrack.fit.landmark_sets import LandmarkSet
from raytrack.fit.picture_cache import PictureCache
from raytrack.fit.schedule import SharedStage, TextureStage
from raytrack.fit.shared import resampled_texture
from raytrack.fit.shared_problem import RegionPerturbation, SharedProblem
from raytrack.fit.shared_stage import LEARNING_RATES, SharedOptimiser
from raytrack.head.model import HeadModel

_TEXTURE_STEPS_PER_UNIT = 40
_LAST_ERRORS = 10
_LOOKS_FOR_TEXTURE = 400
"""Pictures among which the most square look at each face is searched for."""
_CPU = torch.device("cpu")


class AdamStages:
    """Carries them out, unit by unit, on the device of the configured renderer."""

    def __init__(
        self,
        pictures: PictureCache,
        head: HeadModel,
        config: TrackConfig,
        *,
        alignment: Alignment,
        landmarks: LandmarkSet,
        groups: FrameGroups,
        albedo_basis: AlbedoBasis | None,
    ) -> None:
        """Prepare a sequence.

        Args:
            pictures: Of the sequence.
            head: The head model.
            config: Sizes, weights, seed.
            alignment: What of the head is aligned to what.
            landmarks: Which points were detected.
            groups: Which light and focal length each frame has.
            albedo_basis: Where the texture has components.
        """
        self._pictures, self._head, self._config = pictures, head, config
        self._alignment, self._landmarks, self._groups = alignment, landmarks, groups
        self._albedo_basis = albedo_basis
        self._device = fit_device(config.renderer)
        self._best_cosine: tuple[int, torch.Tensor] | None = None

    def num_units(self, stage: SharedStage | TextureStage, state: FitState) -> int:
        """How many units a stage has: epochs, or a few dozen steps of the final texture each."""
        steps = self._num_steps(stage, state)
        if isinstance(stage, SharedStage):
            return -(-steps // -(-self._pictures.of(state).num_per_epoch // stage.batch_size))
        return -(-steps // _TEXTURE_STEPS_PER_UNIT)

    def run(self, stage: SharedStage | TextureStage, state: FitState, unit: int, index: int) -> FitState:
        """A unit of a stage.

        Args:
            stage: The stage under way.
            state: On the CPU, as what comes back.
            unit: Which of its units, from 0.
            index: Number of the stage; part of the seed.
        """
        state = state.to(self._device)
        if isinstance(stage, SharedStage):
            return self._shared(stage, state, unit, index).to(_CPU)
        return self._texture(stage, state, unit, index).to(_CPU)

    def _shared(self, stage: SharedStage, state: FitState, unit: int, index: int) -> FitState:
        generator, pictures = self._generator(index, unit), self._pictures.of(state, fine=stage.fine)
        rates = {**LEARNING_RATES, "texture": stage.texture_rate, "light": stage.light_rate}
        optimiser = self.optimiser(rates, state)
        configured = self._config.weights
        weights = replace(configured, offset_laplacian=stage.offset_laplacian * configured.offset_laplacian)
        batches = pictures.epoch(generator, stage.batch_size)
        left = self._num_steps(stage, state) - unit * len(batches)
        rows, shared, errors = state.rows, state.shared, []
        for batch in batches[:left]:
            rows, shared, error = optimiser.step(
                rows,
                shared,
                batch,
                stage.optimise,
                scale=stage.first_scale * stage.decay**unit,
                generator=generator,
                weights=weights,
                colours_only=stage.colours_only,
                round_eyes=True,
            )
            errors.append(error)
        mean = float(torch.stack(errors).mean())
        errors_so_far = (*state.unit_errors, mean)
        return replace(state, rows=rows, shared=shared, adam=optimiser.state(), unit_errors=errors_so_far)

    def _texture(self, stage: TextureStage, state: FitState, unit: int, index: int) -> FitState:
        generator, pictures = self._generator(index, unit), self._pictures.of(state)
        total = self._num_steps(stage, state)
        texture = resampled_texture(state.shared.texture, self._config.final_texture_size)
        shared = state.shared.with_values(texture=texture)
        configured = self._config.weights
        weights = replace(configured, texture_variation=stage.texture_variation * configured.texture_variation)
        rates = {**LEARNING_RATES, "texture": stage.texture_rate}
        if self._best_cosine is None or self._best_cosine[0] != index:
            # Neither rows nor identity move in this stage: all of its units would find the same.
            looks = pictures.evenly(_LOOKS_FOR_TEXTURE, stage.batch_size)
            self._best_cosine = index, self.optimiser(rates, state).best_cosines(state.rows, shared, looks)
        optimiser = SharedOptimiser(replace(self.problem, best_cosine=self._best_cosine[1]), rates)
        optimiser.restore(state.adam)
        errors: list[torch.Tensor] = []
        for step in range(unit * _TEXTURE_STEPS_PER_UNIT, min((unit + 1) * _TEXTURE_STEPS_PER_UNIT, total)):
            _, shared, error = optimiser.step(
                state.rows,
                shared,
                pictures.sample(generator, stage.batch_size, self._config.texture_image_size_px),
                ("texture", "light", "gains") if len(shared.gains) else ("texture", "light"),
                scale=1 - step / total + 0.03,
                generator=generator,
                weights=weights,
                colours_only=True,
            )
            errors.append(error)
        mean = float(torch.stack(errors[-_LAST_ERRORS:]).mean())
        return replace(state, shared=shared, adam=optimiser.state(), unit_errors=(*state.unit_errors, mean))

    def optimiser(self, rates: dict[str, float], state: FitState) -> SharedOptimiser:
        """As it was left in the state, on the fit's device."""
        optimiser = SharedOptimiser(self.problem, rates)
        optimiser.restore(state.adam)
        return optimiser

    @cached_property
    def problem(self) -> SharedProblem:
        """What stays fixed meanwhile, on the fit's device."""
        problem = SharedProblem(
            head=self._head,
            landmarks=self._landmarks,
            weights=self._config.weights,
            groups=self._groups,
            offsets=self._alignment.offsets,
            held_outline=self._alignment.held_outline,
            occluded=self._alignment.occluded,
            unaligned_faces=self._alignment.unaligned_faces,
            loose=self._alignment.loose,
            inside_mouth=self._alignment.inside_mouth,
            perturbation=RegionPerturbation.create(self._head) if self._config.perturbation else None,
            renderer=make_head_renderer(self._head, self._config.renderer, self._config.num_threads),
            albedo_basis=self._albedo_basis,
            eye_rings=EyeRings.create(self._head, self._config.texture_size),
        )
        return problem.to(self._device)

    def _num_steps(self, stage: SharedStage | TextureStage, state: FitState) -> int:
        return max(1, round(stage.num_epochs * self._pictures.of(state).num_per_epoch / stage.batch_size))

    def _generator(self, index: int, unit: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, index, unit])
