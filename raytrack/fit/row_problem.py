"""What stays fixed while rows are solved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.fit.config import Weights
from raytrack.fit.groups import FrameGroups
from raytrack.fit.landmark_sets import LandmarkSet
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.row_terms import RowView
from raytrack.fit.score_prior import ScorePrior
from raytrack.fit.shared import SharedParameters
from raytrack.fit.surface import SurfaceModel
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.render.protocol import Renderer


@dataclass(frozen=True, kw_only=True)
class RowProblem:
    """Everything that stays fixed while rows are solved."""

    head: HeadModel
    surface: SurfaceModel
    views: tuple[RowView, ...]
    landmarks: LandmarkSet
    groups: FrameGroups
    weights: Weights
    prior: RowPrior
    link_weights: Float[np.ndarray, " links"]
    """How strongly frame k and k + 1 are alike, 0 to 1: less the further apart in time, 0 next to a missing face."""
    ignored_faces: Bool[np.ndarray, " faces"]
    """Faces that colours are not aligned to."""
    ignored_outline: Bool[np.ndarray, " vertices"]
    """Vertices whose silhouettes are not aligned to the matte: the open edge of the bust, occluded regions."""
    make_renderer: Callable[[], Renderer]
    num_threads: int
    score_prior: ScorePrior | None = None
    """Where the frames have expression scores."""
    num_samples: int = 2500
    """Most pixels per view and iteration."""
    seed: int = 0

    def prior_at(
        self, row: Float[Tensor, " columns"], frame: int
    ) -> tuple[Float[Tensor, "columns columns"], Float[Tensor, " columns"]]:
        """Curvature matrix and gradient of what a frame's row should look like."""
        curvature, slope = self.prior.quadratic(row)
        if self.score_prior is None:
            return curvature, slope
        more, pull = self.score_prior.quadratic(row, frame)
        return curvature + torch.diag(more), slope + pull


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Shared parameters, unpacked once per pass."""

    shared: SharedParameters
    neutral: Tensor
    joints: Tensor
    cameras: tuple[tuple[Camera, ...], ...]
    """Of each view, for each focal length."""
    focal_group: Int[np.ndarray, " frames"]

    @classmethod
    def create(cls, problem: RowProblem, shared: SharedParameters) -> "Setting":
        """Of what is held fixed."""
        neutral, joints = problem.head.identity(shared.shape)
        focals_px = shared.log_focal.exp()
        return cls(
            shared=shared,
            neutral=neutral + shared.offset,
            joints=joints,
            cameras=tuple(
                tuple(view.frames.camera(focal_px, shared.cameras) for focal_px in focals_px) for view in problem.views
            ),
            focal_group=problem.groups.focal,
        )

    def camera(self, view: int, frame: int) -> Camera:
        """What a view's picture of a frame was taken with."""
        return self.cameras[view][self.focal_group[frame]]
