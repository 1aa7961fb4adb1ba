"""Pose, joints and expression of each frame by Gauss–Newton on colours, outline and landmarks.

Every frame is its own small least-squares problem (iteratively reweighted for L1 costs) while the shared parameters
stand still. A pixel's colour changes as −(image gradient) · (motion of the surface point under it); the outline as
the signed distance of silhouette points to the edge of the matte. A blur schedule, coarse to fine, widens the
basin.

Frames are solved in two passes, even ones first, so that each pass only reads neighbours that nobody writes: the
result does not depend on how many threads work.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.fit.config import Weights
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.shared import SharedParameters
from raytrack.fit.surface import SurfaceModel
from raytrack.fit.surface_jacobian import PosedSurface, surface_jacobian
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE, block_slices
from raytrack.render.protocol import Fragments, Renderer

SMALLEST_RESIDUAL = 0.03
"""Colour error (0 to 1) below which a pixel counts quadratically."""
REFERENCE_FACE_PX = 100.0
"""Face size that lengths in pixels here are written for; they grow with the face."""
SMALLEST_LANDMARK_PX = 0.5
SMALLEST_GAP_PX = 0.25
GAPS = np.array(
    [
        (13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318),
        (159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373),
    ]
)  # fmt: skip
"""Face Mesh pairs across the inner lips and across the eyelids."""
OUTLINE_REACH_PX = 4.0
"""Silhouette points further from the matte's edge than this are not the same outline."""
DAMPING = 1e-2


@dataclass(frozen=True, kw_only=True)
class RowProblem:
    """Everything that stays fixed while rows are solved."""

    head: HeadModel
    surface: SurfaceModel
    frames: TrackingFrames
    weights: Weights
    prior: RowPrior
    landmark_weights: Float[np.ndarray, "frames landmarks"]
    """Trust per point, 0 to 1; 0 for all points of a frame without a face."""
    link_weights: Float[np.ndarray, " links"]
    """How strongly frame k and k + 1 are alike, 0 to 1: less the further apart in time, 0 next to a missing face."""
    ignored_faces: Bool[np.ndarray, " faces"]
    """Faces that colours are not aligned to."""
    ignored_outline: Bool[np.ndarray, " vertices"]
    """Vertices whose silhouettes are not aligned to the matte: the open edge of the bust, occluded regions."""
    make_renderer: Callable[[], Renderer]
    num_threads: int
    num_samples: int = 2500
    """Pixels per frame and iteration."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """Rows after a call, and each solved frame's mean colour error before its first and its last iteration."""

    rows: Float[Tensor, "frames columns"]
    first_error: Float[np.ndarray, " solved"]
    last_error: Float[np.ndarray, " solved"]


def solving_order(active: Bool[np.ndarray, " frames"], block_size: int) -> list[list[int]]:
    """Blocks of frames to solve one after the other: even frames first, then odd ones."""
    numbers = np.flatnonzero(active)
    blocks = []
    for parity in (0, 1):
        chosen = numbers[numbers % 2 == parity].tolist()
        blocks.extend(chosen[start : start + block_size] for start in range(0, len(chosen), block_size))
    return blocks


class RowSolver:
    """Solves rows on a thread pool, one renderer per thread."""

    def __init__(self, problem: RowProblem) -> None:
        self.problem = problem
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(problem.num_threads, initializer=_single_thread)
        head = problem.head
        embedding = head.landmarks["facemesh"]
        self._landmark_corners = head.faces[embedding.faces].numpy()
        self._landmark_weights = embedding.barycentric.float().numpy()
        self._faces = head.faces.numpy()
        self._smooth = smoothness_weights(head.num_expressions, problem.weights)
        self._longest_step = longest_step(head.num_expressions)
        self._unit_px = problem.frames.face_size_px / REFERENCE_FACE_PX

    def solve(
        self,
        rows: Float[Tensor, "frames columns"],
        shared: SharedParameters,
        numbers: Sequence[int],
        blur_schedule_px: Sequence[float],
        *,
        smooth: bool = True,
        round_index: int = 0,
    ) -> RowResult:
        """Solve some frames, none next to another.

        A frame that comes out worse than it went in keeps its row.

        Args:
            rows: Packed parameters of every frame; those of the other frames come back unchanged.
            shared: Held fixed.
            numbers: Frames to solve: a stretch of `solving_order`.
            blur_schedule_px: Gaussian σ of each iteration, in tracking pixels.
            smooth: Pull towards the neighbouring frames.
            round_index: Part of the seed of the pixel samples.

        Raises:
            ValueError: Two of the frames are neighbours, so the result would depend on which is solved first.
        """
        if any(number + 1 in set(numbers) for number in numbers):
            raise ValueError("frames solved together must not be neighbours")
        setting = _Setting.create(self.problem, shared)
        result = rows.clone()
        first, last = np.zeros(len(numbers)), np.zeros(len(numbers))

        def one(frame: int) -> tuple[Tensor, list[float]]:
            links = self._links(frame, len(rows)) if smooth else []
            return self._solve_frame(setting, rows, frame, links, blur_schedule_px, round_index)

        for index, (row, errors) in enumerate(self._pool.map(one, numbers)):
            result[numbers[index]], first[index], last[index] = row, errors[0], errors[-1]
        return RowResult(rows=result, first_error=first, last_error=last)

    def _links(self, frame: int, num_frames: int) -> list[tuple[int, float]]:
        """Neighbouring frames and how strongly they pull."""
        around = [(k, self.problem.link_weights[min(k, frame)]) for k in (frame - 1, frame + 1) if 0 <= k < num_frames]
        return [(k, float(weight)) for k, weight in around if weight > 0]

    def _renderer(self) -> Renderer:
        if not hasattr(self._local, "renderer"):
            self._local.renderer = self.problem.make_renderer()
        return self._local.renderer

    def _solve_frame(
        self,
        setting: "_Setting",
        before: Float[Tensor, "frames columns"],
        frame: int,
        links: list[tuple[int, float]],
        blur_schedule_px: Sequence[float],
        round_index: int,
    ) -> tuple[Float[Tensor, " columns"], list[float]]:
        """A frame's new row, and its colour error before each iteration and at the end."""
        row, errors = before[frame].clone(), []
        generator = np.random.default_rng([self.problem.seed, round_index, frame])
        target = self.problem.frames.targets([frame])
        for blur_px in blur_schedule_px:
            (surface,), _ = self.problem.surface.pose(row[None], setting.neutral, setting.joints)
            matrix, gradient, error = self._normal_equations(setting, surface, frame, target, blur_px, generator)
            curvature, slope = self.problem.prior.quadratic(row)
            for neighbour, weight in links:
                curvature = curvature + torch.diag(weight * self._smooth)
                slope = slope + weight * self._smooth * (row - before[neighbour])
            matrix = matrix.double() + curvature.double()
            damped = matrix + torch.diag(DAMPING * matrix.diagonal() + 1e-6)
            step = torch.linalg.solve(damped, (gradient + slope).double()).float()
            row = row - torch.minimum(torch.maximum(step, -self._longest_step), self._longest_step)
            errors.append(error)
        (surface,), _ = self.problem.surface.pose(row[None], setting.neutral, setting.joints)
        errors.append(self._draw(setting, surface, target).mean_error)
        if not errors[-1] <= max(1.5 * errors[0], errors[0] + 0.02):
            return before[frame].clone(), [errors[0], errors[0]]
        return row, errors

    def _normal_equations(self, setting, surface, frame, target, blur_px, generator) -> tuple[Tensor, Tensor, float]:
        drawing = self._draw(setting, surface, target)
        residual, gradient = _image_gradients(drawing.image, target[0].numpy(), blur_px)
        pixels = self._sample(drawing.fragments, generator)
        groups = [
            self._photometric(drawing, frame, pixels, residual, gradient),
            self._landmarks(frame, surface, setting),
        ]
        distance = self.problem.frames.signed_distance(frame)
        if distance is not None and self.problem.weights.matte > 0:
            groups.append(self._outline(drawing, frame, distance))
        corners, weights, metrics, pulls = (np.concatenate(part) for part in zip(*groups, strict=True))
        jacobian = surface_jacobian(surface, corners, weights, setting.cam_from_world, setting.focal_xy_px)
        first = len(pixels)
        landmarks = jacobian[first : first + len(self._landmark_corners)]
        gaps, gap_metrics, gap_pulls = self._gaps(frame, surface, setting, landmarks)
        jacobian = np.concatenate([jacobian, gaps])
        metrics, pulls = np.concatenate([metrics, gap_metrics]), np.concatenate([pulls, gap_pulls])
        return *_assemble(jacobian, metrics, pulls), drawing.mean_error

    def _draw(self, setting: "_Setting", surface: PosedSurface, target: Tensor) -> "_Drawing":
        renderer = self._renderer()
        with torch.no_grad():
            world = torch.from_numpy(surface.world)[None]
            clip = setting.camera.clip(world)
            image, fragments = renderer.shade(
                clip, renderer.vertex_normals(world), setting.shared.texture, setting.shared.light[None], target
            )
            image = renderer.antialias(image, clip, fragments)
            covered = fragments.coverage
            num_covered = int(covered.sum())
            error = float((image - target).abs().sum()) / (3 * num_covered) if num_covered else float("inf")
        return _Drawing(image=image[0].numpy(), clip=clip, fragments=fragments, renderer=renderer,
                        num_covered=max(num_covered, 1), mean_error=error)  # fmt: skip

    def _sample(self, fragments: Fragments, generator: np.random.Generator) -> np.ndarray:
        """Flat indices of covered pixels whose four neighbours are covered too."""
        face = fragments.face_index[0].numpy()
        covered = (face >= 0).astype(np.uint8)
        inner = cv2.erode(covered, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), borderValue=0) > 0
        inner &= ~self.problem.ignored_faces[np.maximum(face, 0)]
        candidates = np.flatnonzero(inner)
        if len(candidates) > self.problem.num_samples:
            candidates = np.sort(generator.choice(candidates, self.problem.num_samples, replace=False))
        return candidates

    def _photometric(self, drawing, frame, pixels, residual, gradient) -> tuple[np.ndarray, ...]:
        face = drawing.fragments.face_index[0].numpy().ravel()[pixels]
        two = drawing.fragments.barycentric[0].numpy().reshape(-1, 2)[pixels]
        barycentric = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)
        error = residual.reshape(-1, 3)[pixels]
        slope = gradient.reshape(-1, 3, 2)[pixels]
        weight = self.problem.weights.photo / (3 * max(len(pixels), 1)) / np.maximum(np.abs(error), SMALLEST_RESIDUAL)
        trust = self.problem.frames.pixel_weights(frame)
        if trust is not None:
            weight = weight * trust.ravel()[pixels, None]
        # A colour moves by −slope · (point's motion): metric Σ w s sᵀ, pull −Σ w r s.
        metric = np.einsum("nc,nca,ncb->nab", weight, slope, slope)
        pull = -np.einsum("nc,nca->na", weight * error, slope)
        return self._faces[face], barycentric, metric, pull

    def _landmarks(self, frame: int, surface: PosedSurface, setting: "_Setting") -> tuple[np.ndarray, ...]:
        world = (surface.world[self._landmark_corners] * self._landmark_weights[..., None]).sum(axis=1)
        error = setting.project(world) - self.problem.frames.landmarks_px[frame]
        trust = self.problem.landmark_weights[frame]
        weight = self.problem.weights.landmark / self.problem.frames.face_size_px * trust / len(trust)
        weight = weight[:, None] / np.maximum(np.abs(error), SMALLEST_LANDMARK_PX * self._unit_px)
        metric = np.zeros((len(error), 2, 2))
        metric[:, 0, 0], metric[:, 1, 1] = weight[:, 0], weight[:, 1]
        return self._landmark_corners, self._landmark_weights, metric, weight * error

    def _gaps(
        self, frame: int, surface: PosedSurface, setting: "_Setting", jacobian: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Openings of mouth and eyes: differences of landmarks are known far better than landmarks."""
        upper, lower = GAPS.T
        world = (surface.world[self._landmark_corners] * self._landmark_weights[..., None]).sum(axis=1)
        projected, detected = setting.project(world), self.problem.frames.landmarks_px[frame]
        error = (projected[upper] - projected[lower]) - (detected[upper] - detected[lower])
        trust = np.minimum(self.problem.landmark_weights[frame][upper], self.problem.landmark_weights[frame][lower])
        weight = self.problem.weights.gap / self.problem.frames.face_size_px * trust / len(GAPS)
        weight = weight[:, None] / np.maximum(np.abs(error), SMALLEST_GAP_PX * self._unit_px)
        metric = np.zeros((len(error), 2, 2))
        metric[:, 0, 0], metric[:, 1, 1] = weight[:, 0], weight[:, 1]
        return jacobian[upper] - jacobian[lower], metric, weight * error

    def _outline(self, drawing: "_Drawing", frame: int, field: np.ndarray) -> tuple[np.ndarray, ...]:
        """Silhouette points against background, pulled along the matte's distance field."""
        edges = drawing.renderer.silhouette_edges(drawing.clip, drawing.fragments)
        face = drawing.fragments.face_index[0].numpy()
        owner, other = edges.owner_px.numpy(), edges.other_px.numpy()
        vertices, share = edges.vertices.numpy(), edges.edge_weight.numpy()
        outer = face[other[:, 1], other[:, 0]] < 0
        outer &= self.problem.frames.above_chin(frame)[owner[:, 1], 0]
        outer &= ~self.problem.ignored_outline[vertices].any(axis=1)
        owner, other, vertices, share = owner[outer], other[outer], vertices[outer], share[outer]
        crossing = edges.crossing.numpy()[outer, None]
        point = owner * (1 - crossing) + other * crossing
        distance = _bilinear(field, point)
        slope = (
            np.stack([_bilinear(field, point + step) - _bilinear(field, point - step) for step in np.eye(2)], -1) / 2
        )
        near = np.abs(distance) < OUTLINE_REACH_PX * self._unit_px
        weight = self.problem.weights.matte / drawing.num_covered / np.maximum(np.abs(distance), 1) * near
        metric = weight[:, None, None] * slope[:, :, None] * slope[:, None, :]
        pull = (weight * distance)[:, None] * slope
        weights = np.stack([1 - share, share, np.zeros_like(share)], axis=1)
        return np.concatenate([vertices, vertices[:, :1]], axis=1), weights, metric, pull


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """Shared parameters, unpacked once per pass."""

    shared: SharedParameters
    neutral: Tensor
    joints: Tensor
    camera: Camera
    cam_from_world: np.ndarray
    focal_xy_px: tuple[float, float]

    @classmethod
    def create(cls, problem: RowProblem, shared: SharedParameters) -> "_Setting":
        neutral, joints = problem.head.identity(shared.shape)
        camera = problem.frames.camera(shared.log_focal.exp())
        return cls(
            shared=shared,
            neutral=neutral + shared.offset,
            joints=joints,
            camera=camera,
            cam_from_world=camera.cam_from_world.numpy(),
            focal_xy_px=(float(camera.intrinsics[0, 0]), float(camera.intrinsics[1, 1])),
        )

    def project(self, world: np.ndarray) -> np.ndarray:
        return self.camera.project(torch.from_numpy(world.astype(np.float32))).numpy()


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """One render of one frame."""

    image: np.ndarray
    clip: Tensor
    fragments: Fragments
    renderer: Renderer
    num_covered: int
    mean_error: float


def smoothness_weights(num_expressions: int, weights: Weights) -> Float[Tensor, " columns"]:
    """Curvature per column of the pull towards a neighbouring frame: half the weighted mean square to each."""
    result = torch.zeros(NUM_POSE + num_expressions)
    per_block = {
        "rotation": weights.smooth_rotation,
        "translation": weights.smooth_translation,
        "neck_pose": weights.smooth_neck,
        "jaw_pose": weights.smooth_jaw,
        "expression": weights.smooth_expression,
    }
    for name, columns in block_slices(num_expressions).items():
        if name in per_block:
            result[columns] = per_block[name] / (columns.stop - columns.start)
    return result


def _image_gradients(image: np.ndarray, target: np.ndarray, blur_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Residual (h, w, 3) and central-difference slope (h, w, 3, 2) of the render, both blurred."""
    if blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur_px)
        target = cv2.GaussianBlur(target, (0, 0), blur_px)
    slope = np.zeros((*image.shape, 2), np.float32)
    slope[:, 1:-1, :, 0] = (image[:, 2:] - image[:, :-2]) / 2
    slope[1:-1, :, :, 1] = (image[2:] - image[:-2]) / 2
    return image - target, slope


def longest_step(num_expressions: int) -> Float[Tensor, " columns"]:
    """Largest change of each parameter in one iteration."""
    limit = torch.full((NUM_POSE + num_expressions,), 1.0)
    limit[:NUM_POSE] = 0.3
    limit[block_slices(num_expressions)["translation"]] = 0.05
    return limit


def _bilinear(field: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Values of a field at (column, row) positions counted in pixel centres; the border goes on outside."""
    height, width = field.shape
    x, y = np.clip(point[:, 0], 0, width - 1), np.clip(point[:, 1], 0, height - 1)
    column, row = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, below = np.minimum(column + 1, width - 1), np.minimum(row + 1, height - 1)
    across, down = x - column, y - row
    upper = field[row, column] * (1 - across) + field[row, right] * across
    lower = field[below, column] * (1 - across) + field[below, right] * across
    return upper * (1 - down) + lower * down


def _assemble(jacobian: np.ndarray, metrics: np.ndarray, pulls: np.ndarray) -> tuple[Tensor, Tensor]:
    """Normal equations Σ Jᵀ M J and Σ Jᵀ p over points with 2 × 2 metrics M and pulls p."""
    # A 2 × 2 Cholesky factor per point, in closed form; rows of L ᵀ J then make one tall matrix.
    first = np.sqrt(np.maximum(metrics[:, 0, 0], 0))
    cross = metrics[:, 0, 1] / np.maximum(first, 1e-12)
    second = np.sqrt(np.maximum(metrics[:, 1, 1] - cross**2, 0))
    points = torch.from_numpy(jacobian)
    factor = torch.from_numpy(np.stack([first, cross, second], axis=1).astype(np.float32))
    top = factor[:, 0:1] * points[:, 0] + factor[:, 1:2] * points[:, 1]
    bottom = factor[:, 2:3] * points[:, 1]
    tall = torch.cat([top, bottom])
    pull = torch.from_numpy(pulls.astype(np.float32)).flatten()
    return tall.T @ tall, points.flatten(0, 1).T @ pull


def _single_thread() -> None:
    """Keep torch from starting threads of its own inside a worker thread."""
    torch.set_num_threads(1)
