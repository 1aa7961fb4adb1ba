"""Identity and focal length by Gauss–Newton on colours and landmarks, together with some rows.

How long a lens is shows in how a face changes when it turns: with a wrong focal length every frame's distance is wrong,
and identity and rotations make up for most of that. All of them are therefore solved for at once, in the few steps that
second-order methods take through such a valley. Outlines take no part, nor do offsets: these would make up for the
rest, and are fitted when focal length and identity are known.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.focal import FaceCentre
from raytrack.fit.joint_system import FrameEquations, JointSystem
from raytrack.fit.row_problem import RowProblem, Setting
from raytrack.fit.row_solver import RowSolver
from raytrack.fit.row_terms import ViewShares, ViewTerms
from raytrack.fit.shared import SharedParameters
from raytrack.fit.shared_rates import SharedRates
from raytrack.fit.skin_points import SkinPoints, seen_points
from raytrack.fit.surface_jacobian import surface_jacobian

_ROW_DAMPING, _SHARED_DAMPING = 1e-3, 1e-4
_LONGEST_LOG_FOCAL = 0.3
_LANDMARKS = 0.5
"""Factor on the weight of landmarks: they are off by more than colours are, and by what depends on the head's turn."""
_DETAIL_PX = 5.0
"""σ of what errors are taken relative to, in pixels of a reference face."""


@dataclass(frozen=True, kw_only=True)
class JointResult:
    """Where a call ended."""

    rows: Float[Tensor, "frames columns"]
    """Of every frame; those that took no part have moved away with the focal length alone."""
    shared: SharedParameters
    """With new `shape` and `log_focal`."""
    colour_errors: tuple[float, ...]
    """Before each iteration: mean error that is left when every point has the colour that suits all frames best."""


class JointSolver(RowSolver):
    """Solves identity, focal lengths and some rows of a single camera's frames."""

    def __init__(self, problem: RowProblem) -> None:
        super().__init__(problem)
        head = problem.head
        hidden = problem.ignored_faces | head.face_region("eyeballs").numpy()
        self._points = SkinPoints.create(head, hidden)
        self._face = FaceCentre.of(head, problem.landmarks.embedding)

    def solve_jointly(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        numbers: Sequence[int],
        blur_schedule_px: Sequence[float],
        *,
        held_focals: Collection[int] = (),
    ) -> JointResult:
        """Move identity, focal lengths and some frames' rows.

        Args:
            rows: Packed parameters of every frame.
            shared: Where to start; all but shape and focal lengths is held.
            numbers: Frames that take part, two or more.
            blur_schedule_px: Gaussian σ of each iteration, in pixels of a reference face.
            held_focals: Groups of frames whose focal lengths are left as they are.
        """
        chosen, errors = torch.tensor(list(numbers)), []
        count, groups = len(shared.shape), torch.from_numpy(self.problem.groups.focal)
        for blur_px in blur_schedule_px:
            system = self._system(rows, shared, numbers, blur_px, held_focals=held_focals)
            errors.append(system.colour_error)
            step_rows, step_shared = system.solve(_ROW_DAMPING, _SHARED_DAMPING)
            longest = float(step_shared[count:].abs().max())
            part = min(1.0, _LONGEST_LOG_FOCAL / max(longest, 1e-12))
            log_ratio = part * step_shared[count:]
            rows = self._face.moved(rows, log_ratio[groups])
            limit = self._longest_step
            rows[chosen] += torch.minimum(torch.maximum(part * step_rows, -limit), limit)
            shared = shared.with_values(
                shape=shared.shape + part * step_shared[:count], log_focal=shared.log_focal + log_ratio
            )
        return JointResult(rows=rows, shared=shared, colour_errors=tuple(errors))

    def _system(
        self,
        rows: Tensor,
        shared: SharedParameters,
        numbers: Sequence[int],
        blur_px: float,
        *,
        held_focals: Collection[int],
    ) -> JointSystem:
        setting, texture = Setting.create(self.problem, shared), shared.texture.numpy()

        def one(frame: int) -> FrameEquations:
            return self._frame(setting, rows[frame], frame, blur_px, texture, held_focals=held_focals)

        weights, count = self.problem.weights, len(shared.shape)
        system = JointSystem(list(self._pool.map(one, numbers)), rows.shape[1], weights.photo)
        prior = 2 * weights.shape / count * len(numbers)
        curvature = torch.cat([torch.full((count,), prior), torch.zeros(len(shared.log_focal))])
        system.add_shared(curvature, curvature * torch.cat([shared.shape, torch.zeros(len(shared.log_focal))]))
        return system

    def _frame(
        self,
        setting: Setting,
        row: Tensor,
        frame: int,
        blur_px: float,
        texture: np.ndarray,
        *,
        held_focals: Collection[int],
    ) -> FrameEquations:
        problem, (view,) = self.problem, self.problem.views
        (surface,), chain = problem.surface.pose(row[None], setting.neutral, setting.joints)
        camera = setting.camera(0, frame)
        drawing = self._draw(setting, surface, 0, frame)
        world, trust = torch.from_numpy(surface.world), view.frames.pixel_weights(frame)
        unit_px = view.unit_px
        seen = seen_points(
            self._points, drawing, world, camera, texture, trust, unit_px * blur_px, unit_px * _DETAIL_PX
        )
        rates = SharedRates(
            world=world,
            moved=problem.surface.shape_jacobian(chain, 0),
            camera=camera,
            face_depth_m=float(self._face.depth_m(row[None])),
            focal=None if (group := int(problem.groups.focal[frame])) in held_focals else group,
            num_focals=len(setting.shared.log_focal),
        )
        terms = ViewTerms(
            view=view, frame=frame, camera=camera, surface=surface, masks=self._masks, weights=problem.weights,
            shares=ViewShares(landmarks=_LANDMARKS), more_rates=rates,
        )  # fmt: skip
        matrix, gradient = terms.normal_equations(None, 0.0, 0, np.random.default_rng(0))
        curvature, slope = problem.prior_at(row, frame)
        columns = len(row)
        matrix[:columns, :columns] += curvature
        gradient[:columns] += slope
        corners, weights, focal = self._points.corners, self._points.barycentric, camera.intrinsics
        own = surface_jacobian(
            surface, corners, weights, camera.cam_from_world.numpy(), (float(focal[0, 0]), float(focal[1, 1]))
        )
        jacobian = np.concatenate([own, rates(corners, weights)], axis=2)
        return FrameEquations(seen=seen, jacobian=jacobian, matrix=matrix, gradient=gradient)
