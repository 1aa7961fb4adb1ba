"""The residuals of one view of one frame, as points that move in its picture: colours, outline, landmarks, openings.

Every group of points comes as 2 × 2 metrics M and pulls p per point, so that J the points' Jacobian gives the normal
equations Σ Jᵀ M J and Σ Jᵀ p. A pixel's colour changes as −(image gradient) · (motion of the surface point under it);
the outline as the signed distance of silhouette points to the edge of the matte.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.camera_motion import camera_rates
from raytrack.fit.config import Weights
from raytrack.fit.drawing import Drawing, SurfaceMasks
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.gaze import height_trust
from raytrack.fit.pixel_samples import sample_pixels
from raytrack.fit.point_terms import absolute, assemble, bilinear, glint_trust, image_gradients
from raytrack.fit.surface_jacobian import PosedSurface, surface_jacobian
from raytrack.geometry.camera import Camera
from raytrack.render.protocol import Fragments

SMALLEST_RESIDUAL = 0.03
"""Colour error (0 to 1) below which a pixel counts quadratically."""
REFERENCE_FACE_PX = 100.0
"""Face size that lengths in pixels here are written for; they grow with the face."""
SMALLEST_LANDMARK_PX = 0.5
SMALLEST_GAP_PX = 0.25
_EYE_BLUR_PX = 1.0
"""Eyes are blurred no further: the landmarks of the irises are nearer than that, and a wide blur mixes lids in."""
OUTLINE_REACH_PX = 4.0
"""Silhouette points further from the matte's edge than this are not the same outline."""


@dataclass(frozen=True, kw_only=True)
class RowView:
    """One camera's pictures, and how far its landmarks are trusted."""

    frames: TrackingFrames
    landmark_weights: Float[np.ndarray, "frames landmarks"]
    """0 to 1; 0 for all points of a frame without a face."""

    @property
    def unit_px(self) -> float:
        """What a pixel of the reference face is in these pictures."""
        return self.frames.face_size_px / REFERENCE_FACE_PX

    def sees_landmarks(self, frame: int) -> bool:
        """Whether any landmark of the frame counts."""
        return bool((self.landmark_weights[frame] > 0).any())


@dataclass(frozen=True, kw_only=True)
class ViewShares:
    """Factors on one view's terms: what several views are worth together, over their number."""

    colours: float = 1.0
    landmarks: float = 1.0


Points = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Corners (points, 3), their weights (points, 3), metrics (points, 2, 2), pulls (points, 2)."""


@dataclass(frozen=True, kw_only=True)
class ViewTerms:
    """The terms of one view of one frame at one pose."""

    view: RowView
    frame: int
    camera: Camera
    surface: PosedSurface
    masks: SurfaceMasks
    weights: Weights
    shares: ViewShares
    pivot: Float[Tensor, "3"] | None = None
    """With it, the camera's seven parameters (`raytrack.fit.camera_motion`) come after the row's columns."""
    more_rates: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """With it, more columns come last: from corners and weights of points to pixels per unit, (points, 2, more)."""

    def normal_equations(
        self, drawing: Drawing | None, blur_px: float, num_samples: int, generator: np.random.Generator
    ) -> tuple[Float[Tensor, "columns columns"], Float[Tensor, " columns"]]:
        """Σ Jᵀ M J and Σ Jᵀ p.

        Args:
            drawing: For colours and outline; without it landmarks alone.
            blur_px: Gaussian σ.
            num_samples: Most pixels whose colours count.
            generator: Chooses them.
        """
        groups, first = [], 0
        if drawing is not None:
            pixels, shares = self._sample(drawing.fragments, num_samples, generator)
            groups.append(self._photometric(drawing, pixels, shares, blur_px))
            first = len(pixels)
        with_landmarks = self.view.sees_landmarks(self.frame)
        if with_landmarks:
            groups.append(self._landmarks())
        distance = self.view.frames.signed_distance(self.frame) if drawing is not None else None
        if drawing is not None and distance is not None and self.weights.matte > 0:
            groups.append(self._outline(drawing, distance))
        corners, weights, metrics, pulls = (np.concatenate(part) for part in zip(*groups, strict=True))
        focal = self.camera.intrinsics
        jacobian = surface_jacobian(
            self.surface, corners, weights, self.camera.cam_from_world.numpy(), (float(focal[0, 0]), float(focal[1, 1]))
        )
        if self.pivot is not None:
            jacobian = np.concatenate([jacobian, self._camera_jacobian(corners, weights, self.pivot)], axis=2)
        if self.more_rates is not None:
            jacobian = np.concatenate([jacobian, self.more_rates(corners, weights)], axis=2)
        if with_landmarks:
            landmarks = jacobian[first : first + len(self.masks.landmark_corners)]
            gaps, gap_metrics, gap_pulls = self._gaps(landmarks)
            jacobian = np.concatenate([jacobian, gaps])
            metrics, pulls = np.concatenate([metrics, gap_metrics]), np.concatenate([pulls, gap_pulls])
        return assemble(jacobian, metrics, pulls)

    def _camera_jacobian(self, corners: np.ndarray, weights: np.ndarray, pivot: Tensor) -> np.ndarray:
        points = (self.surface.world[corners] * weights[..., None]).sum(axis=1).astype(np.float32)
        return camera_rates(self.camera, torch.from_numpy(points), pivot).numpy()

    def _sample(
        self, fragments: Fragments, num_samples: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of covered pixels whose four neighbours are covered too, and what share each stands for."""
        face = fragments.face_index[0].numpy()
        covered = (face >= 0).astype(np.uint8)
        inner = cv2.erode(covered, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), borderValue=0) > 0
        inner &= ~self.masks.ignored_faces[np.maximum(face, 0)]
        return sample_pixels(inner, self.masks.fine_faces[np.maximum(face, 0)], num_samples, generator)

    def _photometric(self, drawing: Drawing, pixels: np.ndarray, shares: np.ndarray, blur_px: float) -> Points:
        face = drawing.fragments.face_index[0].numpy().ravel()[pixels]
        two = drawing.fragments.barycentric[0].numpy().reshape(-1, 2)[pixels]
        barycentric = np.concatenate([two, 1 - two.sum(axis=1, keepdims=True)], axis=1)
        error, slope = image_gradients(drawing.image, drawing.target, blur_px, pixels)
        in_eye = self.masks.eyeball_faces[face]
        eye_blur_px = min(blur_px, _EYE_BLUR_PX * self.view.unit_px)
        if eye_blur_px < blur_px and in_eye.any():
            error[in_eye], slope[in_eye] = image_gradients(drawing.image, drawing.target, eye_blur_px, pixels[in_eye])
        photo = self.shares.colours * self.weights.photo
        weight = photo / 3 * shares[:, None] / np.maximum(np.abs(error), SMALLEST_RESIDUAL)
        trust = self.view.frames.pixel_weights(self.frame)
        if trust is not None:
            weight = weight * trust.ravel()[pixels, None]
        weight[in_eye] *= glint_trust(error[in_eye])[:, None]
        # A colour moves by −slope · (point's motion): metric Σ w s sᵀ, pull −Σ w r s.
        metric = np.einsum("nc,nca,ncb->nab", weight, slope, slope)
        pull = -np.einsum("nc,nca->na", weight * error, slope)
        return self.masks.faces[face], barycentric, metric, pull

    def _landmark_positions(self) -> np.ndarray:
        corners = self.surface.world[self.masks.landmark_corners]
        world = (corners * self.masks.landmark_barycentric[..., None]).sum(axis=1)
        return self.camera.project(torch.from_numpy(world.astype(np.float32))).numpy()

    def _landmarks(self) -> Points:
        error = self._landmark_positions() - self.view.frames.landmarks_px[self.frame]
        trust = self.view.landmark_weights[self.frame]
        scale = self.shares.landmarks * self.weights.landmark / self.view.frames.face_size_px
        metric, pull = absolute(error, scale * trust / len(trust), SMALLEST_LANDMARK_PX * self.view.unit_px)
        along = height_trust(self.view.frames.landmarks)
        metric[:, 1, 1], pull[:, 1] = metric[:, 1, 1] * along, pull[:, 1] * along
        return self.masks.landmark_corners, self.masks.landmark_barycentric, metric, pull

    def _gaps(self, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Openings of mouth and eyes: differences of landmarks are known far better than landmarks."""
        frames, trusted = self.view.frames, self.view.landmark_weights[self.frame]
        upper, lower = frames.landmarks.gaps.T
        projected, detected = self._landmark_positions(), frames.landmarks_px[self.frame]
        error = (projected[upper] - projected[lower]) - (detected[upper] - detected[lower])
        trust = np.minimum(trusted[upper], trusted[lower])
        scale = self.shares.landmarks * self.weights.gap / frames.face_size_px
        metric, pull = absolute(error, scale * trust / len(upper), SMALLEST_GAP_PX * self.view.unit_px)
        return jacobian[upper] - jacobian[lower], metric, pull

    def _outline(self, drawing: Drawing, field: np.ndarray) -> Points:
        """Silhouette points against background, pulled along the matte's distance field."""
        edges = drawing.renderer.silhouette_edges(drawing.clip, drawing.fragments)
        face = drawing.fragments.face_index[0].numpy()
        owner, other = edges.owner_px.numpy(), edges.other_px.numpy()
        vertices, share = edges.vertices.numpy(), edges.edge_weight.numpy()
        outer = face[other[:, 1], other[:, 0]] < 0
        outer &= ~self.masks.ignored_outline[vertices].any(axis=1)
        crossing = edges.crossing.numpy()[:, None]
        point = owner * (1 - crossing) + other * crossing
        distance = bilinear(field, point)
        # Below the chin clothes reach beyond the mesh, but the mesh may not reach into background.
        above = self.view.frames.above_chin(self.frame)[owner[:, 1], owner[:, 0]]
        outer &= above | (distance < 0)
        owner, point, distance = owner[outer], point[outer], distance[outer]
        vertices, share = vertices[outer], share[outer]
        slope = np.stack([bilinear(field, point + step) - bilinear(field, point - step) for step in np.eye(2)], -1) / 2
        near = np.abs(distance) < OUTLINE_REACH_PX * self.view.unit_px
        matte = self.shares.colours * self.weights.matte
        weight = matte / drawing.num_covered / np.maximum(np.abs(distance), 1) * near
        unhidden = self.view.frames.unhidden(self.frame)
        if unhidden is not None:
            weight = weight * unhidden[owner[:, 1], owner[:, 0]]
        metric = weight[:, None, None] * slope[:, :, None] * slope[:, None, :]
        pull = (weight * distance)[:, None] * slope
        weights = np.stack([1 - share, share, np.zeros_like(share)], axis=1)
        return np.concatenate([vertices, vertices[:, :1]], axis=1), weights, metric, pull
