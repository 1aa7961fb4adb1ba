"""Head pose, identity, expression and focal length from landmarks, by Levenberg–Marquardt.

The cost is a robust sum of landmark distances (plain L2 norm per point, not squared: a saturating loss drifts), in
proportion to the size of the face in the image, plus priors. It is minimised by iteratively reweighted least
squares. What frames share (identity, and the focal length of an uncalibrated camera) and their own unknowns are solved
together; the blocks of the frames are eliminated first (Schur complement). A frame's distances are those of all views
that see the face.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.block_system import BlockSystem
from raytrack.fit.camera_motion import NUM_CAMERA_PARAMETERS, camera_rates
from raytrack.fit.evidence import evidence
from raytrack.fit.identity_motion import identity_rates
from raytrack.fit.kinematics import Chain
from raytrack.fit.landmark_targets import Focals, LandmarkTargets, RigTargets, select
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.surface import SurfaceModel
from raytrack.fit.surface_jacobian import PosedSurface, surface_jacobian
from raytrack.head.model import HeadModel

SHAPE_WEIGHT = 2e-3
"""Prior per squared identity coefficient, against landmark distances in percent of the face."""
FOCAL_PRIOR_WEIGHT = 0.02
"""Prior per squared log ratio to the first guess: weak, it only decides when the head never turns."""
SMALLEST_DISTANCE = 0.15
"""Percent of the face below which a landmark counts quadratically."""
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-5, 1e6


@dataclass(frozen=True, kw_only=True)
class LandmarkSolution:
    """Where a fit ended."""

    rows: Float[Tensor, "frames columns"]
    shape: Float[Tensor, " shapes"]
    focal_px: Float[np.ndarray, " groups"]
    """Of an uncalibrated camera, for each group of frames; for a rig what the fit was started with."""
    cost: float
    iterations: int
    converged: bool


@dataclass(frozen=True, kw_only=True)
class Posed:
    """Posed landmark vertices of some frames, and how far each view's projections are off."""

    surfaces: list[PosedSurface]
    chain: Chain
    residuals_px: list[Float[np.ndarray, "frames landmarks 2"]]


class LandmarkFitter:
    """Fits landmarks of many frames at once; holds the head's landmark vertices and nothing that changes."""

    def __init__(self, head: HeadModel, prior: RowPrior, embedding: str = "facemesh") -> None:
        """Prepare a head.

        Args:
            head: Carries the landmarks.
            prior: On the rows, in the units of `LandmarkFitter` (percent of the face).
            embedding: Which of the head's landmarks are fitted.
        """
        self.head = head.landmark_subset(embedding)
        self._embedding = embedding
        self.surface = SurfaceModel.create(self.head)
        self.prior = prior
        points = self.head.landmarks[embedding]
        self._corners = self.head.faces[points.faces].numpy()
        self._barycentric = points.barycentric.float().numpy()

    def fit_rows(
        self,
        views: RigTargets,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
        focal_px: Focals,
        *,
        max_iterations: int = 15,
        tolerance: float = 1e-3,
    ) -> Float[Tensor, "frames columns"]:
        """Fit each frame on its own to a known identity: own damping, own acceptance, own end.

        Args:
            views: Detections of the frames.
            rows: Starting rows.
            shape: Identity, held.
            focal_px: Focal length, held.
            max_iterations: Limit per frame.
            tolerance: Relative decrease of a frame's cost below which it has converged.
        """
        rows = rows.clone()
        damping = torch.full((len(rows),), _FIRST_DAMPING, dtype=torch.float64)
        costs = self._frame_costs(self._posed(rows, shape, focal_px, views), rows, views)
        left = np.arange(len(rows))
        for _ in range(max_iterations):
            if len(left) == 0:
                break
            index, part = torch.from_numpy(left), select(views, left)
            current = rows[index]
            posed = self._posed(current, shape, focal_px, part)
            system = self._system(posed, current, shape, focal_px, focal_px, part, shared=False)
            trial = current + system.solve(damping[index])[0]
            trial_costs = self._frame_costs(self._posed(trial, shape, focal_px, part), trial, part)
            better = trial_costs < costs[left]
            finished = better & (costs[left] - trial_costs < tolerance * costs[left])
            accepted = torch.from_numpy(better)
            rows[index] = torch.where(accepted[:, None], trial, current)
            costs[left] = np.where(better, trial_costs, costs[left])
            factor = torch.where(accepted, 0.25, 10.0)
            damping[index] = (damping[index] * factor).clamp_min(_LEAST_DAMPING)
            finished |= (damping[index] > _MOST_DAMPING).numpy()
            left = left[~finished]
        return rows

    def fit(
        self,
        views: RigTargets,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
        focal_px: Focals,
        *,
        max_iterations: int = 30,
        tolerance: float = 2e-4,
        hold_shape: bool = False,
        hold_focal: bool = False,
    ) -> LandmarkSolution:
        """Rows and identity together, and the focal length of an uncalibrated camera.

        Args:
            views: Detections of the frames.
            rows: Starting rows, for example `initial_rows`.
            shape: Starting identity.
            focal_px: Starting focal length, also the centre of its prior; of all groups or of each.
            max_iterations: Limit of accepted or rejected steps.
            tolerance: Relative decrease of the cost below which the fit has converged.
            hold_shape: Leave the identity as it is.
            hold_focal: Leave the focal length as it is.
        """
        damping, num_shapes = _FIRST_DAMPING, len(shape)
        focals = first_focals = np.broadcast_to(focal_px, (views[0].num_groups,)).astype(np.float64)
        posed = self._posed(rows, shape, focals, views)
        cost = self._cost(posed, rows, shape, focals, first_focals, views)
        converged = False
        system, iteration = None, 0
        while iteration < max_iterations and not converged:
            iteration += 1
            if system is None:
                system = self._system(posed, rows, shape, focals, first_focals, views, shared=True)
                num_shared = system.coupling.shape[-1]
                system = system.holding(0 if hold_shape else num_shapes, num_shared if hold_focal else num_shapes)
            step_rows, step_shared = system.solve(damping)
            new_rows = rows + step_rows
            new_shape = shape + step_shared[:num_shapes]
            new_focals = focals
            if len(step_shared) > num_shapes:
                new_focals = focals * np.exp(np.clip(step_shared[num_shapes:].double().numpy(), -0.3, 0.3))
            trial = self._posed(new_rows, new_shape, new_focals, views)
            new_cost = self._cost(trial, new_rows, new_shape, new_focals, first_focals, views)
            if not np.isfinite(new_cost) or new_cost >= cost:
                damping *= 10
                if damping > _MOST_DAMPING:
                    converged = True
                continue
            converged = bool(cost - new_cost < tolerance * cost)
            rows, shape, focals, cost, posed = new_rows, new_shape, new_focals, new_cost, trial
            damping, system = max(damping / 4, _LEAST_DAMPING), None
        return LandmarkSolution(
            rows=rows, shape=shape, focal_px=focals, cost=cost, iterations=iteration, converged=converged
        )

    def errors_percent(
        self,
        views: RigTargets,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
        focal_px: Focals,
    ) -> Float[np.ndarray, "views frames"]:
        """Each view's mean landmark distance in percent of the face; NaN where it sees none."""
        result = np.full((len(views), len(rows)), np.nan)
        posed = self._posed(rows, shape, focal_px, views)
        for number, (view, residual) in enumerate(zip(views, posed.residuals_px, strict=True)):
            percent = np.linalg.norm(residual, axis=-1) * (100 / view.face_size_px[:, None])
            total = np.maximum(view.weights.sum(axis=1), 1e-9)
            result[number] = np.where(view.seen, (percent * view.weights).sum(axis=1) / total, np.nan)
        return result

    def _posed(self, rows: Tensor, shape: Tensor, focal_px: Focals, views: RigTargets) -> Posed:
        neutral, joints = self.head.identity(shape)
        surfaces, chain = self.surface.pose(rows, neutral, joints)
        world = torch.from_numpy(np.stack([surface.world for surface in surfaces]))
        points = self.head.landmarks_world(world, self._embedding)
        residuals = [view.camera(focal_px).project(points).numpy() - view.positions_px for view in views]
        return Posed(surfaces=surfaces, chain=chain, residuals_px=residuals)

    def _cost(self, posed: Posed, rows: Tensor, shape: Tensor, focal_px: Focals, first_focal_px: Focals,
              views: RigTargets) -> float:  # fmt: skip
        per_frame = self._frame_costs(posed, rows, views)
        of_shape = len(rows) * SHAPE_WEIGHT * float(shape.square().sum())
        of_focal = (_focal_prior(views) * np.log(focal_px / first_focal_px) ** 2).sum()
        return float(per_frame.sum() + of_shape + of_focal)

    def _frame_costs(self, posed: Posed, rows: Tensor, views: RigTargets) -> Float[np.ndarray, " frames"]:
        data = np.zeros(len(rows), np.float32)
        for view, residual in zip(views, posed.residuals_px, strict=True):
            percent = np.linalg.norm(residual, axis=-1) * (100 / view.face_size_px[:, None])
            data += (_pseudo_norm(percent) * view.weights).sum(axis=1)
        return data / _total_weights(views) + self.prior.value(rows).numpy()

    def _system(
        self, posed: Posed, rows: Tensor, shape: Tensor, focal_px: Focals, first_focal_px: Focals,
        views: RigTargets, *, shared: bool, pivots: Sequence[Tensor] = (),
    ) -> BlockSystem:  # fmt: skip
        focal_prior, num_cameras = _focal_prior(views), NUM_CAMERA_PARAMETERS * len(pivots)
        num_shared = len(shape) + len(focal_prior) + num_cameras if shared else 0
        num_frames, num_columns = rows.shape
        blocks, gradients = torch.zeros(num_frames, num_columns, num_columns), torch.zeros(num_frames, num_columns)
        coupling = torch.zeros(num_frames, num_columns, num_shared)
        shared_block, shared_gradient = torch.zeros(num_shared, num_shared), torch.zeros(num_shared)
        totals = _total_weights(views)
        for frame, surface in enumerate(posed.surfaces):
            moved = self.surface.shape_jacobian(posed.chain, frame) if shared else None
            for number, (view, residual) in enumerate(zip(views, posed.residuals_px, strict=True)):
                if not view.seen[frame]:
                    continue
                own, common, right = self._rows_of_view(
                    surface, moved, view, frame, residual[frame], focal_px, float(totals[frame]), len(focal_prior),
                    number, pivots,
                )  # fmt: skip
                blocks[frame] += own.T @ own
                gradients[frame] += own.T @ right
                if common is not None:
                    coupling[frame] += own.T @ common
                    shared_block += common.T @ common
                    shared_gradient += common.T @ right
            curvature, slope = self.prior.quadratic(rows[frame])
            blocks[frame] += curvature
            gradients[frame] += slope
        if shared:
            diagonal = torch.full((num_shared,), 2 * SHAPE_WEIGHT * num_frames)
            diagonal[num_shared - num_cameras :] = 0
            value = shape
            if len(focal_prior):
                diagonal[len(shape) :] = 2 * torch.from_numpy(focal_prior)
                value = torch.cat([shape, torch.from_numpy(np.log(focal_px / first_focal_px)).float()])
            value = torch.cat([value, torch.zeros(num_cameras)])
            shared_block += torch.diag(diagonal)
            shared_gradient += diagonal * value
        return BlockSystem(
            blocks=blocks, coupling=coupling, gradients=gradients, shared_block=shared_block,
            shared_gradient=shared_gradient,
        )  # fmt: skip

    def _rows_of_view(
        self, surface: PosedSurface, moved: Tensor | None, view: LandmarkTargets, frame: int, residual_px: np.ndarray,
        focal_px: Focals, total_weight: float, num_focals: int, place: int, pivots: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor | None, Tensor]:  # fmt: skip
        """Weighted rows of a view's landmarks: derivatives by the frame's columns and by what is shared, residuals."""
        camera = view.frame_camera(focal_px, frame)
        focal_xy_px = (float(camera.intrinsics[0, 0]), float(camera.intrinsics[1, 1]))
        to_percent = 100 / view.face_size_px[frame]
        own = (
            surface_jacobian(surface, self._corners, self._barycentric, camera.cam_from_world.numpy(), focal_xy_px)
            * to_percent
        )
        error = residual_px * to_percent
        distance = np.linalg.norm(error, axis=-1)
        weight = view.weights[frame] / total_weight / np.maximum(distance, SMALLEST_DISTANCE)
        root = torch.from_numpy(np.sqrt(weight).astype(np.float32))[:, None, None]
        right = (torch.from_numpy(error.astype(np.float32)) * root[..., 0]).flatten()
        common = None
        if moved is not None:
            common = identity_rates(camera, surface.world, moved, self._corners, self._barycentric)
            if num_focals:
                centre = np.array([view.size_hw[1] / 2, view.size_hw[0] / 2], np.float32)
                rate = torch.from_numpy((residual_px + view.positions_px[frame] - centre).astype(np.float32))
                by_focal = torch.zeros(*rate.shape, num_focals)
                by_focal[..., 0 if view.group is None else int(view.group[frame])] = rate
                common = torch.cat([common, by_focal], dim=-1)
            if pivots:
                rates = torch.zeros(*common.shape[:2], len(pivots), NUM_CAMERA_PARAMETERS)
                rates[:, :, place] = camera_rates(camera, self._points(surface), pivots[place])
                common = torch.cat([common, rates.flatten(2)], dim=-1)
            common = (common * to_percent * root).flatten(0, 1)
        return (torch.from_numpy(own) * root).flatten(0, 1), common, right

    def _points(self, surface: PosedSurface) -> Float[Tensor, "points 3"]:
        """World positions of a posed head's landmarks."""
        corners = surface.world[self._corners]
        return torch.from_numpy((corners * self._barycentric[..., None]).sum(axis=1))


def _focal_prior(views: RigTargets) -> Float[np.ndarray, " groups"]:
    """Weight of the prior on each focal length to be found: as often as it has frames; none of a calibrated rig."""
    (first, *_) = views
    if first.calibrated is not None:
        return np.zeros(0)
    groups = np.zeros(len(first.positions_px), np.int64) if first.group is None else first.group
    return FOCAL_PRIOR_WEIGHT * np.bincount(groups, minlength=first.num_groups)


def _total_weights(views: RigTargets) -> Float[np.ndarray, " frames"]:
    """What a frame's weights are divided by: their sum, less what more than one view is worth."""
    total = np.sum([view.weights.sum(axis=1) for view in views], axis=0)
    seeing = np.sum([view.seen for view in views], axis=0)
    return (np.maximum(total, 1e-9) / evidence(np.maximum(seeing, 1))).astype(np.float32)


def _pseudo_norm(distance: np.ndarray) -> np.ndarray:
    """Distance, quadratic below `SMALLEST_DISTANCE`: the cost whose reweighting is 1 / max(distance, smallest)."""
    quadratic = 0.5 * (distance**2 / SMALLEST_DISTANCE + SMALLEST_DISTANCE)
    return np.where(distance < SMALLEST_DISTANCE, quadratic, distance)
