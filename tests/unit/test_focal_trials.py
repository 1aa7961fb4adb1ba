"""Which focal length is taken of those that were tried, some of which may fail."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from raytrack.errors import InputError, NotConvergedError
from raytrack.fit import rig_trial, tracker
from raytrack.fit.config import TrackConfig
from raytrack.fit.joint_fit import lowest
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig_focal import best_factor
from raytrack.fit.shared import Adam, GroupAdam
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.head.library import load_head

LOG_RATIOS = np.log([0.5, 1.0, 2.0])


def test_what_is_no_number_is_never_the_lowest():
    assert lowest(LOG_RATIOS, np.array([math.nan, 1.0, 2.0])) == pytest.approx(1)
    assert lowest(LOG_RATIOS, np.array([math.nan, math.inf, 2.0])) == pytest.approx(2)
    four = np.log([0.5, 1.0, 2.0, 4.0])
    assert lowest(four, np.array([5.0, 2.0, 1.0, math.inf])) == lowest(four[:3], np.array([5.0, 2.0, 1.0]))


SIZE_HW = (80, 100)


def two_views() -> SequenceViews:
    view = SequenceObservation(
        size_hw=SIZE_HW, timestep_ids=("0", "1"), timestamps_s=np.array([0.0, 4.0]), scores=np.ones(2, np.float32),
        landmarks_px=np.random.default_rng(0).uniform(20, 60, (2, 478, 2)).astype(np.float32),
        load_image=lambda _: np.zeros((*SIZE_HW, 3), np.uint8), load_alpha=None,
    )  # fmt: skip
    return SequenceViews.of([dataclasses.replace(view, camera_id=name) for name in "ab"])


def found_factor(photo_error: Callable[[float], float]) -> float:
    """Where cameras stand nowhere: their focal lengths are told apart by `photo_error`."""

    def place(factor: float) -> list[Camera]:
        return [monocular_camera(torch.tensor(100.0 * factor), SIZE_HW)] * 2

    def error(views: SequenceViews, _: TrackConfig) -> float:
        return photo_error(round(float(views.rig[0].camera.intrinsics[0, 0]) / 100, 2))

    return best_factor(two_views(), TrackConfig(), place, error)


def test_a_focal_length_that_cannot_be_fitted_is_not_taken():
    singular = torch.linalg.LinAlgError("singular")  # pyright: ignore[reportPrivateImportUsage]
    failures = {0.67: singular, 2.25: NotConvergedError("diverged")}

    def photo_error(ratio: float) -> float:
        if ratio in failures:
            raise failures[ratio]
        return {1.0: 0.05, 1.5: 0.04}[ratio]

    assert found_factor(photo_error) == pytest.approx(1.5)


def test_none_that_can_be_fitted_is_an_error():
    def photo_error(_: float) -> float:
        raise InputError("no camera shows the head")

    with pytest.raises(NotConvergedError, match="no focal length"):
        found_factor(photo_error)
    with pytest.raises(NotConvergedError, match="no focal length"):
        found_factor(lambda _: math.nan)


def test_frames_of_a_trial_pull_at_each_other_no_more_than_in_the_whole(monkeypatch):
    """They are far apart."""
    given = []

    class Reached(Exception):
        pass

    def runner(*_, **options):
        given.append(options)
        raise Reached

    def solved_views(views, *_, photo_error, **__):
        return photo_error(views, TrackConfig())

    monkeypatch.setattr(rig_trial, "StageRunner", runner)
    monkeypatch.setattr(tracker, "solved_views", solved_views)
    with pytest.raises(Reached):
        tracker.track_sequence(two_views().observations, load_head("default"), TrackConfig())
    assert given[0]["usual_step_s"] == 4.0


@pytest.mark.parametrize("make", [Adam, GroupAdam])
def test_an_optimiser_that_took_no_step_is_restored_as_such(make):
    adam, value = make(0.1), torch.ones(2, 3)
    arguments = (torch.arange(2),) if make is GroupAdam else ()
    adam.step(value, *arguments, torch.ones(2, 3))
    adam.restore(make(0.1).state())
    fresh = make(0.1).step(value, *arguments, 2 * torch.ones(2, 3))
    torch.testing.assert_close(adam.step(value, *arguments, 2 * torch.ones(2, 3)), fresh)
