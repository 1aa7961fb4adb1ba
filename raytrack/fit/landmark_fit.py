"""Head pose, identity, expression and focal length from landmarks, by Levenberg–Marquardt.

The cost is a robust sum of landmark distances (plain L2 norm per point, not squared: a saturating loss drifts), in
proportion to the size of the face in the image, plus priors. It is minimised by iteratively reweighted least
squares. What frames share (identity, focal length) and their own unknowns are solved together; the blocks of the
frames are eliminated first (Schur complement).
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.fit.row_priors import RowPrior
from raytrack.fit.surface import SurfaceModel
from raytrack.fit.surface_jacobian import surface_jacobian
from raytrack.geometry.camera import monocular_camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE

SHAPE_WEIGHT = 2e-3
"""Prior per squared identity coefficient, against landmark distances in percent of the face."""
FOCAL_PRIOR_WEIGHT = 2.0
"""Prior per squared log ratio to the first guess: weak, it only decides when the head never turns."""
SMALLEST_DISTANCE = 0.15
"""Percent of the face below which a landmark counts quadratically."""
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-5, 1e6


@dataclass(frozen=True, kw_only=True)
class LandmarkTargets:
    """Detections to fit, for some frames."""

    positions_px: Float[np.ndarray, "frames landmarks 2"]
    weights: Float[np.ndarray, "frames landmarks"]
    """Relative trust per point; a frame's weights need not sum to one."""
    size_hw: tuple[int, int]

    @cached_property
    def face_size_px(self) -> Float[np.ndarray, " frames"]:
        """Larger side of each frame's landmark box."""
        extent = self.positions_px.max(axis=1) - self.positions_px.min(axis=1)
        return np.maximum(extent.max(axis=1), 1.0)

    def select(self, frames: Int[np.ndarray, " chosen"]) -> "LandmarkTargets":
        """Some of the frames."""
        return LandmarkTargets(
            positions_px=self.positions_px[frames], weights=self.weights[frames], size_hw=self.size_hw
        )


@dataclass(frozen=True, kw_only=True)
class LandmarkSolution:
    """Where a fit ended."""

    rows: Float[Tensor, "frames columns"]
    shape: Float[Tensor, " shapes"]
    focal_px: float
    cost: float
    iterations: int
    converged: bool


def initial_rows(
    head: HeadModel, shape: Float[Tensor, " shapes"], targets: LandmarkTargets, focal_px: float
) -> Float[Tensor, "frames columns"]:
    """Rigid pose of every frame by perspective-n-point on the resting head, the rest at zero.

    Args:
        head: Carries the `facemesh` landmarks.
        shape: Identity whose resting landmarks are matched.
        targets: Detections.
        focal_px: Focal length in pixels.
    """
    neutral, joints = head.identity(shape)
    points = head.landmarks_world(neutral).double().numpy()
    height, width = targets.size_hw
    intrinsics = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    flip = np.diag([1.0, -1.0, -1.0])
    camera_position = np.array([0.0, 0.0, 1.0])
    root = joints[0].double().numpy()
    rows = torch.zeros(len(targets.positions_px), NUM_POSE + head.num_expressions)
    for frame, positions in enumerate(targets.positions_px.astype(np.float64)):
        trusted = targets.weights[frame] > 0
        pose = _perspective_pose(points[trusted], positions[trusted], intrinsics)
        if pose is None:
            pose = _frontal_pose(points[trusted], positions[trusted], intrinsics)
        cam_from_head, shift = pose
        # OpenCV: cam = R x + t. World: flip @ (x_world − camera). x_world = rotation (x − root) + root + translation.
        rotation = flip @ cam_from_head
        world_shift = flip @ shift + camera_position
        rows[frame, 0:3] = torch.from_numpy(cv2.Rodrigues(rotation)[0][:, 0])
        rows[frame, 3:6] = torch.from_numpy(world_shift + rotation @ root - root)
    return rows


def _perspective_pose(points: np.ndarray, positions: np.ndarray, intrinsics: np.ndarray) -> tuple | None:
    """Rotation (3, 3) and translation (3,) of the camera from the head; None where OpenCV finds none."""
    try:
        found, vector, shift = cv2.solvePnP(points, positions, intrinsics, None, flags=cv2.SOLVEPNP_SQPNP)
        if not found:
            return None
        vector, shift = cv2.solvePnPRefineLM(points, positions, intrinsics, None, vector, shift)
    except cv2.error:  # a face of few pixels
        return None
    rotation = cv2.Rodrigues(vector)[0]
    in_front = bool((points @ rotation[2] + shift[2, 0] > 0).all())
    return (rotation, shift[:, 0]) if in_front and np.isfinite(rotation).all() else None


def _frontal_pose(points: np.ndarray, positions: np.ndarray, intrinsics: np.ndarray) -> tuple:
    """A head that faces the camera, as far away as its size in the picture says."""
    size = max(float(np.ptp(positions, axis=0).max()), 1e-3)
    depth = intrinsics[0, 0] * float(np.ptp(points[:, :2], axis=0).max()) / size
    centre = (positions.mean(axis=0) - intrinsics[:2, 2]) / intrinsics[0, 0] * depth
    rotation = np.diag([1.0, -1.0, -1.0])
    return rotation, np.array([*centre, depth]) - rotation @ points.mean(axis=0)


class LandmarkFitter:
    """Fits landmarks of many frames at once; holds the head's landmark vertices and nothing that changes."""

    def __init__(self, head: HeadModel, prior: RowPrior) -> None:
        """Prepare a head.

        Args:
            head: Carries the `facemesh` landmarks.
            prior: On the rows, in the units of `LandmarkFitter` (percent of the face).
        """
        self.head = head.landmark_subset("facemesh")
        self.surface = SurfaceModel.create(self.head)
        self.prior = prior
        embedding = self.head.landmarks["facemesh"]
        self._corners = self.head.faces[embedding.faces].numpy()
        self._barycentric = embedding.barycentric.float().numpy()

    def _residuals(
        self, rows: Tensor, shape: Tensor, focal_px: float, targets: LandmarkTargets
    ) -> tuple[list, object, Float[np.ndarray, "frames landmarks 2"]]:
        neutral, joints = self.head.identity(shape)
        surfaces, chain = self.surface.pose(rows, neutral, joints)
        camera = monocular_camera(torch.tensor(focal_px), targets.size_hw)
        world = torch.from_numpy(np.stack([surface.world for surface in surfaces]))
        points = self.head.landmarks_world(world)
        return surfaces, chain, camera.project(points).numpy() - targets.positions_px

    def _cost(self, residual_px: np.ndarray, rows: Tensor, shape: Tensor, focal_px: float, first_focal_px: float,
              targets: LandmarkTargets) -> float:  # fmt: skip
        per_frame = self._frame_costs(residual_px, rows, targets)
        shared = (
            SHAPE_WEIGHT * float(shape.square().sum()) + FOCAL_PRIOR_WEIGHT * np.log(focal_px / first_focal_px) ** 2
        )
        return float(per_frame.sum() + len(rows) * shared)

    def _frame_costs(
        self, residual_px: np.ndarray, rows: Tensor, targets: LandmarkTargets
    ) -> Float[np.ndarray, " frames"]:
        percent = np.linalg.norm(residual_px, axis=-1) * (100 / targets.face_size_px[:, None])
        data = (_pseudo_norm(percent) * targets.weights).sum(axis=1) / targets.weights.sum(axis=1)
        return data + self.prior.value(rows).numpy()

    def fit_rows(
        self,
        targets: LandmarkTargets,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
        focal_px: float,
        *,
        max_iterations: int = 15,
        tolerance: float = 1e-3,
    ) -> Float[Tensor, "frames columns"]:
        """Fit each frame on its own to a known identity: own damping, own acceptance, own end.

        Args:
            targets: Detections of the frames.
            rows: Starting rows.
            shape: Identity, held.
            focal_px: Focal length, held.
            max_iterations: Limit per frame.
            tolerance: Relative decrease of a frame's cost below which it has converged.
        """
        rows = rows.clone()
        damping = torch.full((len(rows),), _FIRST_DAMPING, dtype=torch.float64)
        costs = self._frame_costs(self._residuals(rows, shape, focal_px, targets)[2], rows, targets)
        left = np.arange(len(rows))
        for _ in range(max_iterations):
            if len(left) == 0:
                break
            index, part = torch.from_numpy(left), targets.select(left)
            current = rows[index]
            surfaces, chain, residual = self._residuals(current, shape, focal_px, part)
            system = self._system(surfaces, chain, residual, current, shape, focal_px, focal_px, part, shared=False)
            trial = current + system.solve(damping[index])[0]
            trial_costs = self._frame_costs(self._residuals(trial, shape, focal_px, part)[2], trial, part)
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
        targets: LandmarkTargets,
        rows: Float[Tensor, "frames columns"],
        shape: Float[Tensor, " shapes"],
        focal_px: float,
        *,
        max_iterations: int = 30,
        tolerance: float = 2e-4,
    ) -> LandmarkSolution:
        """Rows, identity and focal length together.

        Args:
            targets: Detections of the frames.
            rows: Starting rows, for example `initial_rows`.
            shape: Starting identity.
            focal_px: Starting focal length, also the centre of its prior.
            max_iterations: Limit of accepted or rejected steps.
            tolerance: Relative decrease of the cost below which the fit has converged.
        """
        first_focal_px, damping = focal_px, _FIRST_DAMPING
        surfaces, chain, residual = self._residuals(rows, shape, focal_px, targets)
        cost = self._cost(residual, rows, shape, focal_px, first_focal_px, targets)
        converged = False
        system, iteration = None, 0
        while iteration < max_iterations and not converged:
            iteration += 1
            if system is None:
                system = self._system(
                    surfaces, chain, residual, rows, shape, focal_px, first_focal_px, targets, shared=True
                )
            step_rows, step_shared = system.solve(damping)
            new_rows = rows + step_rows
            new_shape = shape + step_shared[:-1]
            new_focal = focal_px * float(np.exp(np.clip(float(step_shared[-1]), -0.3, 0.3)))
            trial = self._residuals(new_rows, new_shape, new_focal, targets)
            new_cost = self._cost(trial[2], new_rows, new_shape, new_focal, first_focal_px, targets)
            if not np.isfinite(new_cost) or new_cost >= cost:
                damping *= 10
                if damping > _MOST_DAMPING:
                    converged = True
                continue
            converged = bool(cost - new_cost < tolerance * cost)
            rows, shape, focal_px, cost = new_rows, new_shape, new_focal, new_cost
            surfaces, chain, residual = trial
            damping, system = max(damping / 4, _LEAST_DAMPING), None
        return LandmarkSolution(
            rows=rows, shape=shape, focal_px=focal_px, cost=cost, iterations=iteration, converged=converged
        )

    def _system(
        self, surfaces, chain, residual, rows, shape, focal_px, first_focal_px, targets, shared
    ) -> "BlockSystem":
        camera = monocular_camera(torch.tensor(focal_px), targets.size_hw)
        cam_from_world = camera.cam_from_world.numpy()
        num_shared = len(shape) + 1 if shared else 0
        blocks, couplings, gradients = [], [], []
        shared_block = torch.zeros(num_shared, num_shared)
        shared_gradient = torch.zeros(num_shared)
        centre = np.array([targets.size_hw[1] / 2, targets.size_hw[0] / 2], np.float32)
        for frame, surface in enumerate(surfaces):
            to_percent = 100 / targets.face_size_px[frame]
            own = (
                surface_jacobian(surface, self._corners, self._barycentric, cam_from_world, (focal_px, focal_px))
                * to_percent
            )
            error = residual[frame] * to_percent
            distance = np.linalg.norm(error, axis=-1)
            weight = targets.weights[frame] / targets.weights[frame].sum() / np.maximum(distance, SMALLEST_DISTANCE)
            root = torch.from_numpy(np.sqrt(weight).astype(np.float32))[:, None, None]
            jacobian = (torch.from_numpy(own) * root).flatten(0, 1)
            right = (torch.from_numpy(error.astype(np.float32)) * root[..., 0]).flatten()
            curvature, slope = self.prior.quadratic(rows[frame])
            blocks.append(jacobian.T @ jacobian + curvature)
            gradients.append(jacobian.T @ right + slope)
            if shared:
                common = self._shared_jacobian(surface, chain, frame, cam_from_world, focal_px, centre, residual[frame]
                                               + targets.positions_px[frame]) * to_percent  # fmt: skip
                common = (common * root).flatten(0, 1)
                couplings.append(jacobian.T @ common)
                shared_block += common.T @ common
                shared_gradient += common.T @ right
        if shared:
            count = len(surfaces)
            diagonal = torch.full((num_shared,), 2 * SHAPE_WEIGHT * count)
            diagonal[-1] = 2 * FOCAL_PRIOR_WEIGHT * count
            value = torch.cat([shape, torch.tensor([float(np.log(focal_px / first_focal_px))])])
            shared_block += torch.diag(diagonal)
            shared_gradient += diagonal * value
        coupling = torch.stack(couplings) if shared else torch.zeros(len(blocks), len(blocks[0]), 0)
        return BlockSystem(
            blocks=torch.stack(blocks), coupling=coupling, gradients=torch.stack(gradients),
            shared_block=shared_block, shared_gradient=shared_gradient,
        )  # fmt: skip

    def _shared_jacobian(
        self, surface, chain, frame, cam_from_world, focal_px, centre, projected
    ) -> Float[Tensor, "points 2 columns"]:
        """Columns of the identity and of log focal length."""
        world = torch.from_numpy(surface.world)
        moved = self.surface.shape_jacobian(chain, frame)
        camera = torch.from_numpy(cam_from_world)
        cam = world @ camera[:, :3].T + camera[:, 3]
        rate = camera[None, :2, :3] - (cam[:, :2] / cam[:, 2:])[..., None] * camera[None, 2:, :3]
        vertex = (rate * (focal_px / cam[:, 2, None, None])) @ moved
        corners = torch.from_numpy(self._corners)
        weights = torch.from_numpy(self._barycentric)
        points = (vertex[corners] * weights[..., None, None]).sum(dim=1)
        focal = torch.from_numpy((projected - centre).astype(np.float32))[..., None]
        return torch.cat([points, focal], dim=-1)


@dataclass(frozen=True, kw_only=True)
class BlockSystem:
    """Normal equations of many frames' rows and what they share."""

    blocks: Float[Tensor, "frames columns columns"]
    coupling: Float[Tensor, "frames columns shared"]
    gradients: Float[Tensor, "frames columns"]
    shared_block: Float[Tensor, "shared shared"]
    shared_gradient: Float[Tensor, " shared"]

    def solve(
        self, damping: float | Float[Tensor, " frames"]
    ) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, " shared"]]:
        """The damped step: each diagonal entry grows by the factor 1 + damping (Marquardt), per frame if wanted."""
        own = self.blocks.double()
        per_frame = damping[:, None] if isinstance(damping, Tensor) else damping
        own = own + torch.diag_embed(per_frame * own.diagonal(dim1=1, dim2=2) + 1e-9)
        factor = torch.linalg.cholesky(own)
        gradients = self.gradients.double()[..., None]
        if self.coupling.shape[-1] == 0:
            return -torch.cholesky_solve(gradients, factor)[..., 0].float(), torch.zeros(0)
        coupling = self.coupling.double()
        reduced = torch.cholesky_solve(coupling, factor)
        shared = self.shared_block.double()
        shared = shared + torch.diag(damping * shared.diagonal() + 1e-9)
        schur = shared - torch.einsum("fcs,fct->st", coupling, reduced)
        right = self.shared_gradient.double() - torch.einsum("fcs,fco->s", reduced, gradients)
        step_shared = -torch.linalg.solve(schur, right)
        step_rows = -torch.cholesky_solve(gradients + (coupling @ step_shared)[..., None], factor)[..., 0]
        return step_rows.float(), step_shared.float()


def _pseudo_norm(distance: np.ndarray) -> np.ndarray:
    """Distance, quadratic below `SMALLEST_DISTANCE`: the cost whose reweighting is 1 / max(distance, smallest)."""
    quadratic = 0.5 * (distance**2 / SMALLEST_DISTANCE + SMALLEST_DISTANCE)
    return np.where(distance < SMALLEST_DISTANCE, quadratic, distance)
