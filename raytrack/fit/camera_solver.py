"""The cameras of an uncalibrated rig by Gauss–Newton on colours, outline and landmarks, with identity and some rows.

The residuals are those of the rows: to a picture, a camera's motion is a rigid motion of what it sees. Cameras,
identity and rows are solved for together, the rows eliminated first (Schur complement), for each could make up for much
of the others' error: solved for in turn, they hold each other where they are. One camera keeps its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.block_system import BlockSystem
from raytrack.fit.camera_fit import FocalPrior
from raytrack.fit.camera_motion import NUM_CAMERA_PARAMETERS, moved_camera, without_place
from raytrack.fit.evidence import evidence
from raytrack.fit.identity_motion import identity_rates
from raytrack.fit.rig import packed, unpacked
from raytrack.fit.row_problem import Setting
from raytrack.fit.row_solver import DAMPING, RowSolver
from raytrack.fit.row_terms import ViewShares, ViewTerms
from raytrack.fit.shared import SharedParameters
from raytrack.fit.surface_jacobian import PosedSurface
from raytrack.geometry.camera import Camera, monocular_camera

_FOCAL_PRIOR = 0.15
"""Factor on the prior of the landmark fit, whose cost is so much larger."""
_HELD = 1e8
_LONGEST_SHAPE_STEP = 0.5


@dataclass(frozen=True, kw_only=True)
class CameraResult:
    """Where a call ended."""

    rows: Float[Tensor, "frames columns"]
    """Of every frame; only those that took part have moved."""
    shape: Float[Tensor, " shapes"]
    cameras: Float[Tensor, "cameras 3 7"]
    first_error: float
    """Mean colour error of the frames that took part, before and after."""
    last_error: float


class CameraSolver(RowSolver):
    """Solves rows, and cameras and identity with some of them."""

    def solve_cameras(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        numbers: Sequence[int],
        blur_schedule_px: Sequence[float],
        prior: FocalPrior,
        *,
        hold_shape: bool = False,
        round_index: int = 0,
    ) -> CameraResult:
        """Move the cameras, the identity and some frames' rows.

        All stays as it was where the colour error grew by more than half and by more than 0.02: the outline, landmarks
        and priors have their say, and a better place can cost colours something.

        Args:
            rows: Packed parameters of every frame.
            shared: Held fixed but for its cameras and shape.
            numbers: Frames that take part.
            blur_schedule_px: Gaussian σ of each iteration, in pixels of a reference face.
            prior: On the focal lengths of all cameras of the rig.
            hold_shape: Leave the identity as it is.
            round_index: Part of the seed of the pixel samples.
        """
        chosen = torch.tensor(list(numbers))
        current, shape, cameras = rows[chosen].clone(), shared.shape, shared.cameras.clone()
        before = self._error(current, shared, numbers)
        generators = [np.random.default_rng([self.problem.seed, 1, round_index, frame]) for frame in numbers]
        for blur_px in blur_schedule_px:
            setting = Setting.create(self.problem, shared.with_values(cameras=cameras, shape=shape))
            system, pivots = self._system(setting, current, numbers, blur_px, generators, prior)
            if hold_shape:
                system = system.holding(0, len(shape))
            step_rows, step_shared = system.solve(DAMPING)
            current = current + torch.minimum(torch.maximum(step_rows, -self._longest_step), self._longest_step)
            shape = shape + step_shared[: len(shape)].clamp(-_LONGEST_SHAPE_STEP, _LONGEST_SHAPE_STEP)
            motions = step_shared[len(shape) :].view(-1, NUM_CAMERA_PARAMETERS)
            motions = without_place(motions, self._held(cameras))
            for place, (motion, pivot) in enumerate(zip(motions, pivots, strict=True)):
                number = self.problem.views[place].frames.place
                cameras[number] = packed([moved_camera(unpacked(cameras[number], (1, 1)), motion, pivot)])[0]
        after = self._error(current, shared.with_values(cameras=cameras, shape=shape), numbers)
        if not after <= max(1.5 * before, before + 0.02):
            return CameraResult(
                rows=rows, shape=shared.shape, cameras=shared.cameras, first_error=before, last_error=before
            )
        moved = rows.clone()
        moved[chosen] = current
        return CameraResult(rows=moved, shape=shape, cameras=cameras, first_error=before, last_error=after)

    def _error(self, rows: Tensor, shared: SharedParameters, numbers: Sequence[int]) -> float:
        setting = Setting.create(self.problem, shared)

        def one(index: int) -> float:
            surface, frame = self._pose(setting, rows[index]), numbers[index]
            views = self._views_of(frame)
            return float(np.mean([self._draw(setting, surface, view, frame).mean_error for view in views]))

        return float(np.mean(list(self._pool.map(one, range(len(numbers))))))

    def _system(
        self,
        setting: Setting,
        rows: Float[Tensor, "chosen columns"],
        numbers: Sequence[int],
        blur_px: float,
        generators: list[np.random.Generator],
        prior: FocalPrior,
    ) -> tuple[BlockSystem, list[Tensor]]:
        """Normal equations of rows, identity and cameras, and the cameras' pivots."""
        problem, shape, cameras = self.problem, setting.shared.shape, setting.shared.cameras
        places, columns, held = len(problem.views), rows.shape[1], self._held(cameras)
        surfaces, chain = problem.surface.pose(rows, setting.neutral, setting.joints)
        world = torch.from_numpy(np.concatenate([surface.world.mean(axis=0, keepdims=True) for surface in surfaces]))
        pivots = [setting.camera(place, numbers[0]).cam_points(world).mean(dim=0) for place in range(places)]
        pivots[held] = torch.zeros(3)

        def one(index: int) -> tuple[Tensor, Tensor]:
            moved = problem.surface.shape_jacobian(chain, index)
            return self._frame(
                setting, surfaces[index], moved, numbers[index], blur_px, generators[index], pivots, columns
            )

        parts = list(self._pool.map(one, range(len(numbers))))
        matrices = torch.stack([matrix for matrix, _ in parts])
        gradients = torch.stack([gradient for _, gradient in parts])
        for index, row in enumerate(rows):
            curvature, slope = problem.prior_at(row, numbers[index])
            matrices[index, :columns, :columns] += curvature
            gradients[index, :columns] += slope
        block, right = matrices[:, columns:, columns:].sum(dim=0), gradients[:, columns:].sum(dim=0)
        stiffness = 2 * problem.weights.shape * len(rows) / max(1, len(shape))
        block[: len(shape), : len(shape)] += stiffness * torch.eye(len(shape))
        right[: len(shape)] += stiffness * shape
        _, curvature, slope = prior.quadratic([unpacked(camera, (1, 1)) for camera in cameras])
        ours = torch.tensor([view.frames.place for view in problem.views])
        focals = len(shape) + NUM_CAMERA_PARAMETERS * torch.arange(places) + NUM_CAMERA_PARAMETERS - 1
        block[focals[:, None], focals] += len(rows) * _FOCAL_PRIOR * curvature[ours[:, None], ours]
        right[focals] += len(rows) * _FOCAL_PRIOR * slope[ours]
        place = len(shape) + NUM_CAMERA_PARAMETERS * held + torch.arange(NUM_CAMERA_PARAMETERS - 1)
        block[place, place] += _HELD
        system = BlockSystem(
            blocks=matrices[:, :columns, :columns], coupling=matrices[:, :columns, columns:],
            gradients=gradients[:, :columns], shared_block=block, shared_gradient=right,
        )  # fmt: skip
        return system, pivots

    def _frame(
        self,
        setting: Setting,
        surface: PosedSurface,
        moved: Tensor,
        frame: int,
        blur_px: float,
        generator: np.random.Generator,
        pivots: list[Tensor],
        columns: int,
    ) -> tuple[Tensor, Tensor]:
        """A frame's normal equations in its row, the identity and all cameras."""
        problem, views = self.problem, self._views_of(frame)
        seeing = [view for view in views if problem.views[view].sees_landmarks(frame)]
        shares = ViewShares(
            colours=float(evidence(len(views))) / max(len(views), 1),
            landmarks=float(evidence(len(seeing))) / max(len(seeing), 1),
        )
        common = columns + moved.shape[-1]
        size = common + NUM_CAMERA_PARAMETERS * len(problem.views)
        matrix, gradient = torch.zeros(size, size), torch.zeros(size)
        for number in views:
            view, camera = problem.views[number], setting.camera(number, frame)

            def rates(corners: np.ndarray, weights: np.ndarray, camera: Camera = camera) -> np.ndarray:
                return identity_rates(camera, surface.world, moved, corners, weights).numpy()

            terms = ViewTerms(
                view=view, frame=frame, camera=camera, surface=surface, masks=self._masks,
                weights=problem.weights, shares=shares, pivot=pivots[number], more_rates=rates,
            )  # fmt: skip
            drawing = self._draw(setting, surface, number, frame)
            own = terms.normal_equations(drawing, view.unit_px * blur_px, problem.num_samples, generator)
            first = common + NUM_CAMERA_PARAMETERS * number
            where = torch.cat(
                [torch.arange(columns), first + torch.arange(NUM_CAMERA_PARAMETERS), torch.arange(columns, common)]
            )
            matrix[where[:, None], where] += own[0]
            gradient[where] += own[1]
        return matrix, gradient

    def _held(self, cameras: Tensor) -> int:
        """Which of the views that take part keeps its place: the one where a single camera would stand."""
        ours = [view.frames.place for view in self.problem.views]
        return next((place for place, number in enumerate(ours) if is_reference(unpacked(cameras[number], (1, 1)))), 0)


def is_reference(camera: Camera) -> bool:
    """Whether a camera stands where a single camera would."""
    own = monocular_camera(torch.tensor(1.0), (1, 1)).cam_from_world
    return bool(torch.equal(camera.cam_from_world, own))
