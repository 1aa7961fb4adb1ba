"""Cameras, identity and rows together from landmarks, by Levenberg–Marquardt: bundle adjustment with a head.

One camera keeps its place, and so fixes the world. Nothing is known of the focal lengths but that cameras of one rig
are usually alike, and that none is very long or very short.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.block_system import BlockSystem
from raytrack.fit.camera_motion import NUM_CAMERA_PARAMETERS, moved_camera, without_place
from raytrack.fit.landmark_fit import FOCAL_PRIOR_WEIGHT, LandmarkFitter, LandmarkSolution, Posed
from raytrack.fit.landmark_targets import LandmarkTargets, RigTargets
from raytrack.geometry.camera import Camera

FOCAL_SPREAD_WEIGHT = 20.0
"""Prior per mean squared log ratio of the cameras' focal lengths to their mean."""
_HELD = 1e8
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-6, 1e6


@dataclass(frozen=True, kw_only=True)
class CameraSolution:
    """Where a fit ended."""

    views: RigTargets
    """With the cameras that were found."""
    solution: LandmarkSolution
    """Its focal length says nothing."""

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """One per view."""
        return tuple(_camera(view) for view in self.views)


@dataclass(frozen=True, kw_only=True)
class FocalPrior:
    """What is expected of the cameras' focal lengths."""

    first_px: tuple[float, ...]
    """First guess of each camera's."""
    weight: float = FOCAL_PRIOR_WEIGHT
    """Per squared mean log ratio to the first guess."""

    def quadratic(
        self, cameras: Sequence[Camera]
    ) -> tuple[float, Float[Tensor, "views views"], Float[Tensor, " views"]]:
        """Value, curvature and slope in the cameras' log focal lengths."""
        logs = torch.tensor([focal_px_of(camera) for camera in cameras]).log() - torch.tensor(self.first_px).log()
        count = len(logs)
        same = torch.full((count, count), 1 / count)
        matrix = self.weight / count * same + FOCAL_SPREAD_WEIGHT / count * (torch.eye(count) - same)
        return float(logs @ matrix @ logs), 2 * matrix, 2 * matrix @ logs


def focal_px_of(camera: Camera) -> float:
    """Geometric mean of both axes."""
    return float(camera.intrinsics[0, 0] * camera.intrinsics[1, 1]) ** 0.5


class CameraFitter(LandmarkFitter):
    """Fits the cameras of a rig as well."""

    def fit_cameras(
        self,
        views: RigTargets,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
        prior: FocalPrior,
        *,
        held: int,
        max_iterations: int = 60,
        tolerance: float = 1e-4,
    ) -> CameraSolution:
        """All unknowns together.

        Args:
            views: Detections of some frames; each with the camera to start from.
            rows: Starting rows.
            shape: Starting identity.
            prior: On the focal lengths.
            held: The view whose camera keeps its place.
            max_iterations: Limit of accepted or rejected steps.
            tolerance: Relative decrease of the cost below which the fit has converged.
        """
        damping, count = _FIRST_DAMPING, len(shape)
        posed = self._posed(rows, shape, 1.0, views)
        cost = self._rig_cost(posed, rows, shape, views, prior)
        converged, system, pivots, iteration = False, None, (), 0
        while iteration < max_iterations and not converged:
            iteration += 1
            if system is None:
                pivots = tuple(self._pivot(posed, view) for view in views)
                # The held camera stays where it is: its head recedes, not itself.
                pivots = (*pivots[:held], torch.zeros(3), *pivots[held + 1 :])
                system = self._rig_system(posed, rows, shape, views, pivots, prior, held)
            step_rows, step_shared = system.solve(damping)
            motions = without_place(step_shared[count:].view(len(views), NUM_CAMERA_PARAMETERS), held)
            moved = tuple(
                replace(view, calibrated=moved_camera(_camera(view), motion, pivot))
                for view, motion, pivot in zip(views, motions, pivots, strict=True)
            )
            new_rows, new_shape = rows + step_rows, shape + step_shared[:count]
            trial = self._posed(new_rows, new_shape, 1.0, moved)
            new_cost = self._rig_cost(trial, new_rows, new_shape, moved, prior)
            if not np.isfinite(new_cost) or new_cost >= cost:
                damping *= 10
                converged = damping > _MOST_DAMPING
                continue
            converged = bool(cost - new_cost < tolerance * cost)
            rows, shape, views, cost, posed = new_rows, new_shape, moved, new_cost, trial
            damping, system = max(damping / 4, _LEAST_DAMPING), None
        solution = LandmarkSolution(
            rows=rows, shape=shape, focal_px=np.ones(1), cost=cost, iterations=iteration, converged=converged
        )
        return CameraSolution(views=views, solution=solution)

    def _rig_cost(self, posed: Posed, rows: Tensor, shape: Tensor, views: RigTargets, prior: FocalPrior) -> float:
        focal = prior.quadratic([_camera(view) for view in views])[0]
        return self._cost(posed, rows, shape, 1.0, 1.0, views) + len(rows) * focal

    def _rig_system(
        self, posed: Posed, rows: Tensor, shape: Tensor, views: RigTargets, pivots: Sequence[Tensor], prior: FocalPrior,
        held: int,
    ) -> BlockSystem:  # fmt: skip
        system = self._system(posed, rows, shape, 1.0, 1.0, views, shared=True, pivots=pivots)
        _, curvature, slope = prior.quadratic([_camera(view) for view in views])
        first = len(shape)
        focals = first + NUM_CAMERA_PARAMETERS * torch.arange(len(views)) + NUM_CAMERA_PARAMETERS - 1
        system.shared_block[focals[:, None], focals] += len(rows) * curvature
        system.shared_gradient[focals] += len(rows) * slope
        place = first + NUM_CAMERA_PARAMETERS * held + torch.arange(NUM_CAMERA_PARAMETERS - 1)
        system.shared_block[place, place] += _HELD
        return system

    def _pivot(self, posed: Posed, view: LandmarkTargets) -> Float[Tensor, "3"]:
        """The middle of the head over all frames in a view's camera axes."""
        points = torch.cat([self._points(surface) for surface in posed.surfaces])
        return _camera(view).cam_points(points).mean(dim=0)


def _camera(view: LandmarkTargets) -> Camera:
    if view.calibrated is None:
        raise ValueError("a view needs a camera to start from")
    return view.calibrated
