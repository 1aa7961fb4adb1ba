"""A head fitted to the landmarks of some frames in all views at once, from nothing."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import Weights
from raytrack.fit.landmark_fit import LandmarkFitter, LandmarkSolution
from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_targets import Focals, RigTargets
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.visibility import LandmarkVisibility
from raytrack.head.model import HeadModel

LANDMARK_PRIOR = Weights(expression=1.7, expression_range=35.0, neck=0.1, jaw=0.5, eyes=0.5, eyes_apart=1.0)
"""Against landmark distances in percent of the face."""

_ROUGH_ITERATIONS = 5


@dataclass(frozen=True, kw_only=True)
class JointFit:
    """Where a fit ended, and what it was fitted to."""

    targets: RigTargets
    """Without what the cameras cannot see."""
    solution: LandmarkSolution


class JointFitter:
    """Fits a head's identity and rows; what a rig's cameras cannot see of it counts nothing."""

    def __init__(self, head: HeadModel, embedding: str, focal_px: float) -> None:
        """Prepare a head.

        Args:
            head: Carries the landmarks.
            embedding: Which of the head's landmarks are fitted.
            focal_px: Of an uncalibrated camera, to start from.
        """
        self.landmarks = LandmarkFitter(head, RowPrior.create(head, LANDMARK_PRIOR), embedding)
        self.visibility = LandmarkVisibility.create(self.landmarks.head, embedding)
        self.focal_px = focal_px
        self._shape = torch.zeros(head.num_shapes)

    def first_rows(self, targets: RigTargets) -> Float[Tensor, "frames columns"]:
        """Rigid poses of the head's own identity."""
        return initial_rows(self.landmarks.head, self._shape, targets, self.focal_px)

    def fit(self, targets: RigTargets) -> JointFit:
        """Rows and identity together, and the focal length of an uncalibrated camera."""
        rows = self.first_rows(targets)
        visible = self.visible(targets, rows, self.focal_px)
        return JointFit(targets=visible, solution=self.landmarks.fit(visible, rows, self._shape, self.focal_px))

    def roughly(self, targets: RigTargets) -> JointFit:
        """Rows alone, of the head's own identity, in a few iterations."""
        rows, shape = self.first_rows(targets), self._shape
        visible = self.visible(targets, rows, self.focal_px)
        rows = self.landmarks.fit_rows(visible, rows, shape, self.focal_px, max_iterations=_ROUGH_ITERATIONS)
        return JointFit(
            targets=visible,
            solution=LandmarkSolution(
                rows=rows, shape=shape, focal_px=np.array([self.focal_px]), cost=float("nan"),
                iterations=_ROUGH_ITERATIONS, converged=False,
            ),
        )  # fmt: skip

    def visible(self, targets: RigTargets, rows: Float[Tensor, "frames columns"], focal_px: Focals) -> RigTargets:
        """A rig's targets without what a camera cannot see; all of an uncalibrated camera's."""
        if targets[0].calibrated is None:
            return targets
        return tuple(
            view.with_weights(view.weights * self.visibility.weights(rows, view.camera(focal_px)).numpy())
            for view in targets
        )

    def errors_percent(self, fit: JointFit) -> Float[np.ndarray, "views frames"]:
        """Each view's mean landmark distance in percent of the face; NaN where it sees none."""
        found = fit.solution
        return self.landmarks.errors_percent(fit.targets, found.rows, found.shape, found.focal_px)
