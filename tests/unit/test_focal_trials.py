"""Which focal length is taken of those that were tried, some of which may fail."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raytrack.errors import InputError, NotConvergedError
from raytrack.fit import rig_focal, tracker
from raytrack.fit.config import TrackConfig
from raytrack.fit.joint_fit import lowest
from raytrack.fit.rig_focal import RATIOS, best_factor
from raytrack.fit.shared import Adam, GroupAdam

LOG_RATIOS = np.log([0.5, 1.0, 2.0])


def test_what_is_no_number_is_never_the_lowest():
    assert lowest(LOG_RATIOS, np.array([math.nan, 1.0, 2.0])) == pytest.approx(1)
    assert lowest(LOG_RATIOS, np.array([math.nan, math.inf, 2.0])) == pytest.approx(2)
    four = np.log([0.5, 1.0, 2.0, 4.0])
    assert lowest(four, np.array([5.0, 2.0, 1.0, math.inf])) == lowest(four[:3], np.array([5.0, 2.0, 1.0]))


def found_factor(monkeypatch, photo_error) -> float:
    views = SimpleNamespace(with_cameras=lambda cameras: cameras)
    monkeypatch.setattr(rig_focal, "_few_timesteps", lambda _: np.arange(3))
    monkeypatch.setattr(rig_focal, "frames_of", lambda *_: views)
    return best_factor(views, TrackConfig(), lambda ratio: ratio, photo_error)  # pyright: ignore[reportArgumentType]


def test_a_focal_length_that_cannot_be_fitted_is_not_taken(monkeypatch):
    failures = {0.67: torch.linalg.LinAlgError("singular"), 2.25: NotConvergedError("diverged")}  # pyright: ignore[reportPrivateImportUsage]

    def photo_error(ratio, _config):
        if ratio in failures:
            raise failures[ratio]
        return {1.0: 0.05, 1.5: 0.04}[ratio]

    assert found_factor(monkeypatch, photo_error) == pytest.approx(1.5)


def test_none_that_can_be_fitted_is_an_error(monkeypatch):
    def photo_error(*_):
        raise InputError("no camera shows the head")

    with pytest.raises(NotConvergedError, match="no focal length"):
        found_factor(monkeypatch, photo_error)
    with pytest.raises(NotConvergedError, match="no focal length"):
        found_factor(monkeypatch, lambda *_: math.nan)
    assert len(RATIOS) > 2


def test_frames_of_a_trial_are_as_far_apart_as_they_were(monkeypatch):
    given = {}

    def runner(*_, **options):
        given.update(options)

    monkeypatch.setattr(tracker, "StageRunner", runner)
    monkeypatch.setattr(tracker, "run_stages", lambda *_, **__: SimpleNamespace(photo_error=0.5))
    trial = functools.partial(tracker.photo_error_of_cameras, "head", usual_step_s=0.04)  # pyright: ignore[reportArgumentType]
    assert trial("views", "config") == 0.5  # pyright: ignore[reportArgumentType]
    assert given["usual_step_s"] == 0.04


@pytest.mark.parametrize("make", [Adam, GroupAdam])
def test_an_optimiser_that_took_no_step_is_restored_as_such(make):
    adam, value = make(0.1), torch.ones(2, 3)
    arguments = (torch.arange(2),) if make is GroupAdam else ()
    adam.step(value, *arguments, torch.ones(2, 3))
    adam.restore(make(0.1).state())
    fresh = make(0.1).step(value, *arguments, 2 * torch.ones(2, 3))
    torch.testing.assert_close(adam.step(value, *arguments, 2 * torch.ones(2, 3)), fresh)
