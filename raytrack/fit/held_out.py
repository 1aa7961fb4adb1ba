"""Held-out frames and cameras: how good what frames share is where it was not fitted.

What frames share is fitted to a sequence that the held-out frames are not part of, so nothing of them can leak into it:
no picture, matte or landmark, and no choice that depends on one. Their rows are fitted afterwards, with all that is
shared held still, each from the interpolation between its neighbours, and not steadied: that would move the neighbours.
Held-out cameras take no part at all.
"""

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Int

from raytrack.errors import ConfigError
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.identity import Identity
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.occlusion import HiddenSpots
from raytrack.fit.schedule import OcclusionStage, RowStage
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.views import SequenceViews, frames_of
from raytrack.head.model import HeadModel

logger = logging.getLogger(__name__)


def held_out_frames(views: SequenceViews, config: TrackConfig) -> Bool[np.ndarray, " frames"]:
    """The last of every `config.held_out_every` frames: with 2 the odd ones, counted from 0; with 0 none.

    Not those of a group of frames that would have no other face left: its light could not be known.
    """
    every, group = config.held_out_every, views.group
    if not every:
        return np.zeros(views.num_frames, bool)
    held_out = np.arange(views.num_frames) % every == every - 1
    seen = ~held_out & views.detected
    return held_out & np.isin(group, group[seen]) if seen.any() else held_out


def without_held_out_cameras(views: SequenceViews, config: TrackConfig) -> SequenceViews:
    """The views that take part in the fit.

    Raises:
        ConfigError: A camera to be held out does not exist, or none is left.
    """
    if not config.held_out_cameras:
        return views
    names = [camera.id for camera in views.rig]
    if unknown := set(config.held_out_cameras) - set(names):
        known = ", ".join(names) or "none, for there is no calibrated rig"
        raise ConfigError(f"held_out_cameras: no camera {', '.join(sorted(unknown))}; there are {known}")
    left = tuple(
        view for view, name in zip(views.observations, names, strict=True) if name not in config.held_out_cameras
    )
    if not left:
        raise ConfigError("held_out_cameras: no camera is left to track with")
    return SequenceViews.of(left)


def _fitted_groups(views: SequenceViews, kept: Bool[np.ndarray, " frames"]) -> Int[np.ndarray, " groups"]:
    """What the fit of the kept frames calls the groups of all frames: both count them as they appear to them."""
    seen = np.flatnonzero(kept & views.detected)
    _, first = np.unique(views.group[seen], return_index=True)
    places = np.cumsum(kept)[seen[first]] - 1
    return frames_of(views, np.flatnonzero(kept)).group[places]


def with_held_out_rows(
    state: FitState,
    views: SequenceViews,
    head: HeadModel,
    config: TrackConfig,
    identity: Identity | None = None,
    on_share: Callable[[float], None] = lambda _: None,
) -> FitState:
    """The state of all frames, from that of a finished fit of those that are not held out.

    Args:
        state: Of the fitted frames; what it says of shared parameters comes back as it is, in the order of the groups
            of all frames.
        views: Of all frames.
        head: The head model.
        config: As for the fit.
        identity: As for the fit.
        on_share: Told the finished share of the work.
    """
    held_out = held_out_frames(views, config)
    rows = state.rows.new_zeros(views.num_frames, state.rows.shape[1])
    rows[torch.from_numpy(~held_out)] = state.rows
    rows = interpolate_missing(rows, views.detected & ~held_out, views.group)
    fitted = _fitted_groups(views, ~held_out)
    shared = state.shared.with_values(light=state.shared.light[fitted], log_focal=state.shared.log_focal[fitted])
    state = dataclasses.replace(state, shared=shared)
    if views.is_rig:  # The head that frames the pictures
        state = dataclasses.replace(state, first_rows=rows, first_shape=state.shared.shape)
    state = dataclasses.replace(state, rows=rows)
    # What is hidden in the kept frames, which the state numbers without the others, matters no more.
    state = dataclasses.replace(state, hidden=HiddenSpots.none())
    runner = StageRunner(views, head, config, identity=identity, mattes_decided=True)
    stages = [stage for stage in runner.schedule(state) if isinstance(stage, RowStage | OcclusionStage)]
    # No look at heads that are where their neighbours were.
    stages = stages[next((number for number, stage in enumerate(stages) if isinstance(stage, RowStage)), 0) :]
    for done, stage in enumerate(stages):
        if isinstance(stage, RowStage):
            state = runner.solve_rows(stage, state, held_out)
        else:
            state = runner.look_at(state, held_out)
        on_share((done + 1) / len(stages))
    error = float(np.mean(state.unit_errors)) if state.unit_errors else float("nan")
    logger.info("held-out frames: colour error %.4f", error)
    return dataclasses.replace(state, rows=interpolate_missing(state.rows, views.detected, views.group), unit_errors=())
