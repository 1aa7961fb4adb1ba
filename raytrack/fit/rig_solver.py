"""The cameras of an uncalibrated rig, from the head that they all see.

The cameras stand still and record the same timesteps. The most frontal one stands where a single camera would stand,
at (0, 0, 1) m, looking down −z; where the others are and what focal lengths all have is found with the head, whose
identity prior gives the metres.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from raytrack.errors import InputError
from raytrack.fit.alignment import occluded_vertices, trusted_landmarks
from raytrack.fit.camera_fit import CameraFitter, CameraSolution, FocalPrior, focal_px_of
from raytrack.fit.config import TrackConfig
from raytrack.fit.joint_fit import LANDMARK_PRIOR
from raytrack.fit.key_frames import choose_key_frames
from raytrack.fit.landmark_fit import FOCAL_PRIOR_WEIGHT
from raytrack.fit.landmark_pose import initial_rows
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.landmark_stage import agreeing_views, pose_features, targets_of
from raytrack.fit.landmark_targets import RigTargets, select
from raytrack.fit.npz import read_npz, write_npz
from raytrack.fit.rig import packed, unpacked
from raytrack.fit.rig_focal import PhotoError, best_factor
from raytrack.fit.rig_start import head_poses, relative_cameras
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.views import SequenceViews
from raytrack.fit.visibility import LandmarkVisibility
from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.head.model import HeadModel

logger = logging.getLogger(__name__)
_KEY_FRAMES = 2
"""So many times the key frames of a single view: relative poses gain from each."""
_FEWEST_PER_VIEW = 6
_RARELY = 10
"""A camera that sees the face at fewer timesteps is mentioned."""
_SUSPICIOUS_PERCENT, _IMPOSSIBLE_PERCENT = 5.0, 10.0
"""Of the face. Cameras that may stand anywhere fit what they see to 1 or 2 percent."""
_HELD_FOCAL_WEIGHT = 100.0


def solved_views(
    views: SequenceViews,
    head: HeadModel,
    config: TrackConfig,
    *,
    kept: Path | None = None,
    photo_error: PhotoError | None = None,
) -> SequenceViews:
    """The views with the cameras that their landmarks give; other views as they are.

    Args:
        views: Of a sequence.
        head: The head model.
        config: Number of key frames, first guess of the focal length.
        kept: A file that keeps the cameras: an interrupted fit goes on with the very same ones.
        photo_error: Decides between focal lengths (`raytrack.fit.rig_focal`); without it landmarks do.

    Raises:
        InputError: A camera cannot be placed, or no head can be where all cameras see one.
    """
    if not views.is_unsolved:
        return views
    cameras = _read(kept, views) if kept is not None and kept.is_file() else None
    if cameras is None:
        cameras = _placed_cameras(views, head, config, photo_error)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_npz(kept, {"cameras": packed(cameras).numpy()})
    return views.with_cameras(cameras)


def _placed_cameras(
    views: SequenceViews, head: HeadModel, config: TrackConfig, photo_error: PhotoError | None
) -> tuple[Camera, ...]:
    if photo_error is None:
        return solve_cameras(views, head, config)
    # What cannot be placed is refused before anything is tried.
    solve_cameras(views, head, config, tell=False)

    def place(factor: float, *, tell: bool = False) -> tuple[Camera, ...]:
        guess = replace(config, focal_ratio=factor * config.focal_ratio)
        return solve_cameras(views, head, guess, hold_focal=True, tell=tell)

    return place(best_factor(views, config, place, photo_error), tell=True)


def solve_cameras(
    views: SequenceViews,
    head: HeadModel,
    config: TrackConfig,
    *,
    hold_focal: bool = False,
    tell: bool = True,
) -> tuple[Camera, ...]:
    """Place the cameras of a rig by landmarks.

    Args:
        views: Several views without calibration.
        head: The head model.
        config: Number of key frames, first guess of the focal length.
        hold_focal: Keep the cameras' mean focal length near that, and refuse no cameras that contradict each other.
        tell: Say where the cameras are, and warn of what does not fit together.

    Raises:
        InputError: A camera never sees the face at the same time as the others, or the cameras contradict each other.
    """
    names = landmark_set(views.first.landmark_set)
    embedding, occluded = names.embedding, occluded_vertices(head, config)
    trust = np.stack([trusted_landmarks(head, seen, occluded, names) for seen in views.detected_by_view])
    fitter = CameraFitter(head, RowPrior.create(head, LANDMARK_PRIOR), embedding)
    solver = _Solver(fitter=fitter, visibility=LandmarkVisibility.create(fitter.head, embedding), views=views)
    numbers = np.flatnonzero(views.detected)
    everything = select(targets_of(views, trust), numbers)
    focals_px = tuple(config.focal_ratio * max(view.size_hw) for view in views.observations)
    poses = head_poses(fitter.head, everything, focals_px)
    reference = poses.most_frontal()
    placed = relative_cameras(poses, reference)
    _check_placed(views, placed)
    first = _first_cameras(everything, placed, reference, focals_px)
    targets = _with_cameras(everything, first)
    chosen = _key_frames(solver, targets, config.num_key_frames)
    key_targets = select(targets, chosen)
    weight = _HELD_FOCAL_WEIGHT if hold_focal else FOCAL_PRIOR_WEIGHT
    found = solver.solve(key_targets, FocalPrior(first_px=focals_px, weight=weight), reference)
    errors = solver.errors_percent(found, key_targets)
    if not hold_focal:
        _refuse_contradictions(views, errors)
    if tell:
        _tell(views, found.cameras, errors)
    return found.cameras


@dataclass(frozen=True, kw_only=True)
class _Solver:
    fitter: CameraFitter
    visibility: LandmarkVisibility
    views: SequenceViews

    def solve(self, targets: RigTargets, prior: FocalPrior, held: int) -> CameraSolution:
        """Rows first, then everything; once more without what turns out to be hidden or another face."""
        shape = torch.zeros(self.fitter.head.num_shapes)
        rows = initial_rows(self.fitter.head, shape, targets, 1.0)
        seen = self._visible(targets, rows)
        rows = self.fitter.fit_rows(seen, rows, shape, 1.0)
        found = self.fitter.fit_cameras(seen, rows, shape, prior, held=held)
        again = _with_cameras(targets, found.cameras)
        seen = self._visible(again, found.solution.rows)
        seen = agreeing_views(self.fitter, seen, found.solution.rows, found.solution.shape)
        return self.fitter.fit_cameras(seen, found.solution.rows, found.solution.shape, prior, held=held)

    def _visible(self, targets: RigTargets, rows: torch.Tensor) -> RigTargets:
        return tuple(
            view.with_weights(view.weights * self.visibility.weights(rows, view.camera(1.0)).numpy())
            for view in targets
        )

    def errors_percent(self, found: CameraSolution, targets: RigTargets) -> Float[np.ndarray, "views frames"]:
        """How far what each camera can see is off.

        Args:
            found: The cameras.
            targets: All detections of the frames that they were found by.
        """
        rows, shape = found.solution.rows, found.solution.shape
        everything = self._visible(_with_cameras(targets, found.cameras), rows)
        return self.fitter.errors_percent(everything, rows, shape, 1.0)


def _refuse_contradictions(views: SequenceViews, errors_percent: Float[np.ndarray, "views frames"]) -> None:
    """Refuse cameras that cannot be.

    Raises:
        InputError: No head can be where all cameras see one.
    """
    for number, own in enumerate(errors_percent):
        off = float(np.median(own[np.isfinite(own)])) if np.isfinite(own).any() else 0.0
        if off > _IMPOSSIBLE_PERCENT:
            raise InputError(
                f"{views.name(number)} cannot be placed: no head fits what it and the others see (landmarks "
                f"are {off:.0f} % of the face off); cameras must stand still, show the same person and have "
                "recorded the same frames at the same times"
            )


def _tell(views: SequenceViews, cameras: tuple[Camera, ...], errors_percent: Float[np.ndarray, "views frames"]) -> None:
    """Say where the cameras are; warn of what is doubtful."""
    total = views.num_frames
    for number in range(views.num_views):
        seen = int(views.detected_by_view[number].sum())
        if seen < min(_RARELY, total):
            logger.warning(
                "%s sees the face at only %d of %d frames: it is placed by those", views.name(number), seen, total
            )
    typical = float(np.nanmedian(errors_percent))
    if typical > _SUSPICIOUS_PERCENT:
        logger.warning(
            "the cameras agree badly (landmarks are %.0f %% of the face off): do they stand still, and have they "
            "recorded the same frames at the same times?", typical,
        )  # fmt: skip
    for number, (camera, own) in enumerate(zip(cameras, errors_percent, strict=True)):
        position = ", ".join(f"{value:.2f}" for value in camera.position.tolist())
        off = np.nanmedian(own) if np.isfinite(own).any() else float("nan")
        logger.info(
            "%s: focal length %.0f px, at (%s) m, landmarks %.1f %% of the face off",
            views.name(number), focal_px_of(camera), position, off,
        )  # fmt: skip


def _check_placed(views: SequenceViews, placed: dict[int, Float[np.ndarray, "3 4"]]) -> None:
    """Refuse a rig with a camera that nothing ties to the others.

    Raises:
        InputError: There is one.
    """
    total = views.num_frames
    for number in range(views.num_views):
        seen = int(views.detected_by_view[number].sum())
        if number not in placed:
            why = f"at {seen} of {total} frames, but never together with another camera" if seen else "in no frame"
            raise InputError(
                f"{views.name(number)} cannot be placed: it sees the face {why}; leave it out, or calibrate the rig"
            )


def _first_cameras(
    targets: RigTargets, placed: dict[int, Float[np.ndarray, "3 4"]], reference: int, focals_px: tuple[float, ...]
) -> tuple[Camera, ...]:
    """The cameras in the world in which the reference stands where a single camera does."""
    cameras = []
    own = monocular_camera(torch.tensor(1.0), (1, 1)).cam_from_world
    for number, view in enumerate(targets):
        pose = torch.from_numpy(placed[number]).float()
        moved = pose[:, :3] @ own + torch.cat([torch.zeros(3, 3), pose[:, 3:]], dim=1)
        alone = monocular_camera(torch.tensor(float(focals_px[number])), view.size_hw)
        cameras.append(alone if number == reference else replace(alone, cam_from_world=moved))
    return tuple(cameras)


def _with_cameras(targets: RigTargets, cameras: tuple[Camera, ...]) -> RigTargets:
    return tuple(replace(view, calibrated=camera) for view, camera in zip(targets, cameras, strict=True))


def _key_frames(solver: _Solver, targets: RigTargets, count: int) -> Int[np.ndarray, " chosen"]:
    """Timesteps that many cameras see well and in which the head differs; some of every camera."""
    views, numbers = solver.views, np.flatnonzero(solver.views.detected)
    seen = views.detected_by_view[:, numbers]
    scores = np.stack([np.where(view.detected, view.scores, 0) for view in views.observations])[:, numbers]
    rows = initial_rows(solver.fitter.head, torch.zeros(solver.fitter.head.num_shapes), targets, 1.0)
    features = pose_features(rows, targets, views)
    chosen = set(choose_key_frames(scores.mean(axis=0), features, _KEY_FRAMES * count).tolist())
    for own, by_view in zip(seen, scores, strict=True):
        missing = _FEWEST_PER_VIEW - int(own[sorted(chosen)].sum())
        best = [frame for frame in np.argsort(-by_view, kind="stable").tolist() if own[frame] and frame not in chosen]
        chosen.update(best[: max(missing, 0)])
    return np.array(sorted(chosen))


def _read(path: Path, views: SequenceViews) -> tuple[Camera, ...] | None:
    """Cameras that were kept; None if they are of other views."""
    try:
        values = torch.from_numpy(read_npz(path)["cameras"])
    except (InputError, KeyError):
        return None
    if values.shape != (views.num_views, 3, 7):
        return None
    return tuple(unpacked(one, view.size_hw) for one, view in zip(values, views.observations, strict=True))
