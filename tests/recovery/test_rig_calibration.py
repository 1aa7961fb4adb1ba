"""Calibrations that cannot be right are refused whichever cameras are used, and right ones never are."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from raytrack.errors import InputError
from raytrack.fit.config import TrackConfig
from raytrack.fit.landmark_stage import check_rig
from raytrack.fit.views import SequenceViews
from tests.rig_scene import head, scene

CONFIG = TrackConfig(landmarks_only=True)
SOME_OF_THEM = [slice(0, 2), slice(0, 3), slice(9, 12), slice(0, None, 5), slice(None)]


def inverted(camera):
    rotation, translation = camera.cam_from_world.split((3, 1), dim=1)
    return dataclasses.replace(camera, cam_from_world=torch.cat([rotation.T, -rotation.T @ translation], dim=1))


def of_pictures_scaled_by(factor):
    scale = torch.diag(torch.tensor([factor, factor, 1.0]))
    return lambda camera: dataclasses.replace(camera, intrinsics=scale @ camera.intrinsics)


def changed(views, change):
    return [
        dataclasses.replace(
            view, calibrated=dataclasses.replace(view.calibrated, camera=change(view.calibrated.camera))
        )
        for view in views
    ]


def check(views):
    check_rig(SequenceViews.of(views), head(), CONFIG)


NAMES = ("0-1", "0-2", "9-11", "every fifth", "all")
MISTAKES = {
    "inverted": (inverted, "invert them$", 5),
    "a quarter": (of_pictures_scaled_by(1 / 4), "another size", 4),
    "four times": (of_pictures_scaled_by(4.0), "another size", 4),
}


@pytest.mark.parametrize(
    ("mistake", "words", "chosen"),
    [
        pytest.param(mistake, words, chosen, id=f"{name}-{which}")
        for name, (mistake, words, count) in MISTAKES.items()
        for which, chosen in list(zip(NAMES, SOME_OF_THEM, strict=True))[:count]
    ],
)
def test_mistakes_are_found_with_few_cameras_and_many(mistake, words, chosen):
    with pytest.raises(InputError, match=f"calibration contradicts.*{words}"):
        check(changed(scene().views[chosen], mistake))


def noisy(view, share):
    """Detections that are off by a share of the face, every point on its own."""
    rng = np.random.default_rng(view.calibrated.index)
    points = view.landmarks_px
    size = np.ptp(points, axis=1).max(axis=1)[:, None, None]
    # The mean length of a Gaussian vector in the plane is 1.25 σ.
    return dataclasses.replace(
        view, landmarks_px=(points + rng.normal(0, 1, points.shape) * size * share / 1.25).astype(np.float32)
    )


def biased(view):
    """Faces a little too narrow, with the chin too far up, and off in another direction in every camera."""
    points = view.landmarks_px
    centre, size = points.mean(axis=1, keepdims=True), np.ptp(points, axis=1).max(axis=1)[:, None]
    moved = centre + (points - centre) * np.array([0.95, 1.0])
    below = np.maximum(points[..., 1] - centre[..., 1], 0)
    moved[..., 1] -= 0.06 * below
    angle = 2.4 * view.calibrated.index
    moved += 0.02 * size[..., None] * np.array([np.cos(angle), np.sin(angle)])
    return dataclasses.replace(view, landmarks_px=moved.astype(np.float32))


@pytest.mark.parametrize("chosen", SOME_OF_THEM[:4], ids=NAMES[:4])
@pytest.mark.parametrize(
    "detector",
    [lambda view: noisy(view, 0.015), biased, lambda view: noisy(biased(view), 0.02)],
    ids=["noisy", "biased", "both"],
)
def test_right_calibrations_are_not_refused(detector, chosen, caplog):
    with caplog.at_level(logging.WARNING):
        check([detector(view) for view in scene().views[chosen]])
    assert "agree badly" not in caplog.text
