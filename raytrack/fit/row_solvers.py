"""The solvers of rows of one fit: one for each set of pictures, made anew when something new is known to be hidden."""

from raytrack.fit.alignment import Alignment
from raytrack.fit.camera_solver import CameraSolver
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.groups import FrameGroups
from raytrack.fit.head_renderer import make_head_renderer, row_renderer
from raytrack.fit.landmark_sets import LandmarkSet
from raytrack.fit.neighbours import link_weights
from raytrack.fit.picture_cache import PictureCache, PictureSet
from raytrack.fit.pictures import Pictures
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.row_problem import RowProblem
from raytrack.fit.schedule import FrameChoice
from raytrack.fit.score_prior import ScorePrior
from raytrack.fit.surface import SurfaceModel
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel


class RowSolvers:
    """Makes them on first use and keeps them."""

    def __init__(
        self,
        pictures: PictureCache,
        views: SequenceViews,
        head: HeadModel,
        config: TrackConfig,
        *,
        alignment: Alignment,
        landmarks: LandmarkSet,
        groups: FrameGroups,
        usual_step_s: float | None,
    ) -> None:
        """Prepare a sequence.

        Args:
            pictures: Of the sequence.
            views: The whole sequence.
            head: The head model.
            config: Weights, renderer, threads, seed.
            alignment: What of the head is aligned to what.
            landmarks: Which points were detected.
            groups: Which light and focal length each frame has.
            usual_step_s: Time between neighbouring frames; by default that of these.
        """
        self._pictures, self._views, self._head, self._config = pictures, views, head, config
        self._alignment, self._landmarks, self._groups = alignment, landmarks, groups
        self._usual_step_s = usual_step_s
        self._prior = RowPrior.create(head, config.weights)
        self._surface = SurfaceModel.create(head)
        self._solvers: dict[PictureSet, tuple[Pictures, CameraSolver]] = {}

    def of(self, state: FitState, frames: FrameChoice, *, fine: bool = False) -> CameraSolver:
        """The solver for the pictures that a stage needs (`PictureCache.of`)."""
        key, pictures = self._pictures.key(frames, fine), self._pictures.of(state, frames, fine=fine)
        known = self._solvers.get(key)
        if known is None or known[0] is not pictures:
            known = pictures, CameraSolver(self._problem(state, frames, fine, pictures))
            self._solvers[key] = known
        return known[1]

    def _problem(self, state: FitState, frames: FrameChoice, fine: bool, pictures: Pictures) -> RowProblem:
        return RowProblem(
            head=self._head,
            surface=self._surface,
            views=pictures.row_views,
            landmarks=self._landmarks,
            groups=self._groups,
            weights=self._config.weights,
            prior=self._prior,
            link_weights=link_weights(
                self._views.first.timestamps_s,
                self._pictures.solved(state, frames, fine),
                self._views.group,
                self._usual_step_s,
            ),
            ignored_faces=self._alignment.unaligned_faces.numpy(),
            ignored_outline=self._alignment.held_outline.numpy(),
            make_renderer=lambda: make_head_renderer(self._head, row_renderer(self._config.renderer)),
            num_threads=self._config.num_threads,
            score_prior=ScorePrior.create(self._views, self._head, self._config.weights),
            seed=self._config.seed,
        )
