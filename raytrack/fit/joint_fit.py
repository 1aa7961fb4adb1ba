"""A head fitted to the landmarks of some frames in all views at once, from nothing."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.config import Weights
from raytrack.fit.landmark_fit import FOCAL_PRIOR_WEIGHT, LandmarkFitter, LandmarkSolution
from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_targets import Focals, RigTargets, select
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.visibility import LandmarkVisibility
from raytrack.head.model import HeadModel

LANDMARK_PRIOR = Weights(expression=1.7, expression_range=35.0, neck=0.1, jaw=0.5, eyes=0.5, eyes_apart=1.0)
"""Against landmark distances in percent of the face."""

_ROUGH_ITERATIONS = 5
_FOCAL_RATIOS = (0.67, 0.94, 1.33, 1.89, 2.67)
"""To the first guess."""


@dataclass(frozen=True, kw_only=True)
class JointFit:
    """Where a fit ended, and what it was fitted to."""

    targets: RigTargets
    """Without what the cameras cannot see."""
    solution: LandmarkSolution


class JointFitter:
    """Fits a head's identity and rows; what a rig's cameras cannot see of it counts nothing."""

    def __init__(
        self,
        head: HeadModel,
        embedding: str,
        focal_px: float,
        shape: Float[Tensor, " shapes"] | None = None,
        *,
        holds_focal: bool = False,
        hidden_trust: float = 0.0,
    ) -> None:
        """Prepare a head.

        Args:
            head: Carries the landmarks.
            embedding: Which of the head's landmarks are fitted.
            focal_px: Of an uncalibrated camera, to start from or to hold.
            shape: The identity, where it is known and not to be found.
            holds_focal: The focal length is known, too.
            hidden_trust: What is left in points that a camera of a rig cannot see.
        """
        self.landmarks = LandmarkFitter(head, RowPrior.create(head, LANDMARK_PRIOR), embedding)
        self.visibility = LandmarkVisibility.create(self.landmarks.head, embedding)
        self.focal_px = focal_px
        self._hidden_trust = hidden_trust
        self._holds_shape, self._holds_focal = shape is not None, holds_focal
        self._shape = torch.zeros(head.num_shapes) if shape is None else shape

    def first_rows(self, targets: RigTargets) -> Float[Tensor, "frames columns"]:
        """Rigid poses of the head's own identity."""
        return initial_rows(self.landmarks.head, self._shape, targets, self.focal_px)

    def fit(self, targets: RigTargets) -> JointFit:
        """Rows and identity together, unless that is known, and the focal length of an uncalibrated camera."""
        if targets[0].calibrated is not None or self._holds_shape:
            # A known identity cannot make up for a wrong focal length, which is then found like the rows.
            rows = self.first_rows(targets)
            visible = self.visible(targets, rows, self.focal_px)
            solution = self.landmarks.fit(
                visible, rows, self._shape, self.focal_px, hold_shape=self._holds_shape, hold_focal=self._holds_focal
            )
            return JointFit(targets=visible, solution=solution)
        return JointFit(targets=targets, solution=self._with_best_focal(targets))

    def _with_best_focal(self, targets: RigTargets) -> LandmarkSolution:
        """The fit at the focal lengths at which the landmarks of each group of frames are explained best."""
        (view,) = targets
        if self._holds_focal:
            return self._at_focal(targets, np.full(view.num_groups, self.focal_px))
        groups = np.zeros(len(view.positions_px), np.int64) if view.group is None else view.group
        focals_px = np.full(view.num_groups, self.focal_px)
        known = np.unique(groups)
        focals_px[known] = [self._best_focal(select(targets, np.flatnonzero(groups == one))) for one in known]
        return self._at_focal(targets, focals_px)

    def _best_focal(self, targets: RigTargets) -> float:
        """The focal length of some frames.

        The cost is all but flat along it, for identity and distance make up for it: a fit that is free to change it
        ends near where it began. So it is held at several values, and the best one is between the lowest three.
        """
        fits = [self._at_focal(targets, self.focal_px * ratio) for ratio in _FOCAL_RATIOS]
        prior = FOCAL_PRIOR_WEIGHT * np.log(_FOCAL_RATIOS) ** 2
        costs = np.array([fit.cost for fit in fits]) + len(fits[0].rows) * prior
        return self.focal_px * lowest(np.log(_FOCAL_RATIOS), costs)

    def _at_focal(self, targets: RigTargets, focal_px: Focals) -> LandmarkSolution:
        rows = initial_rows(self.landmarks.head, self._shape, targets, focal_px)
        return self.landmarks.fit(targets, rows, self._shape, focal_px, hold_shape=self._holds_shape, hold_focal=True)

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
        """A rig's targets with little or no trust in what a camera cannot see; all of an uncalibrated camera's."""
        if targets[0].calibrated is None:
            return targets
        return tuple(
            view.with_weights(
                view.weights * self.visibility.weights(rows, view.camera(focal_px), self._hidden_trust).numpy()
            )
            for view in targets
        )

    def errors_percent(self, fit: JointFit) -> Float[np.ndarray, "views frames"]:
        """Each view's mean landmark distance in percent of the face; NaN where it sees none."""
        found = fit.solution
        return self.landmarks.errors_percent(fit.targets, found.rows, found.shape, found.focal_px)


def lowest(log_ratios: Float[np.ndarray, " values"], costs: Float[np.ndarray, " values"]) -> float:
    """The ratio at the lowest point of the parabola through the lowest value and its neighbours.

    Values that are no numbers are left out; one must be one.
    """
    known = np.isfinite(costs)
    log_ratios, costs = log_ratios[known], costs[known]
    if len(costs) < 3:
        return float(np.exp(log_ratios[np.argmin(costs)]))
    middle = int(np.clip(np.argmin(costs), 1, len(costs) - 2))
    near = slice(middle - 1, middle + 2)
    bend, slope, _ = np.polyfit(log_ratios[near] - log_ratios[middle], costs[near], 2)
    lowest = -slope / (2 * bend) if bend > 0 else log_ratios[np.argmin(costs)] - log_ratios[middle]
    return float(np.exp(np.clip(log_ratios[middle] + lowest, log_ratios[0], log_ratios[-1])))
