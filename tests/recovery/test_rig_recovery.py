"""Sixteen calibrated cameras around a rendered head: the head is found in the rig's world, in true metres."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from raytrack.errors import InputError
from raytrack.fit.config import TrackConfig
from raytrack.fit.tracker import track_sequence
from raytrack.geometry.camera import GL_FROM_CV
from tests.rig_scene import FRONT, PROFILE, head, of_timesteps, scene

SIZES = {"tracking_size_px": 128, "texture_image_size_px": 128, "texture_size": 256, "final_texture_size": 256}
LANDMARKS = TrackConfig(landmarks_only=True, texture_size=16, final_texture_size=16)


def vertices(track):
    offset = None if track.static_offset is None else track.static_offset[0]
    return head().vertices(track.parameters, track.shape, offset)


def error_mm(track, *regions, frames=slice(None)):
    """Mean distance of vertices to where they truly are: nothing is aligned."""
    chosen = torch.stack([head().region(name) for name in regions]).any(dim=0) & ~head().region("mouth_interior")
    return 1000 * float((vertices(track) - scene().vertices)[frames][:, chosen].norm(dim=-1).mean())


def with_camera(view, change):
    rig_camera = view.calibrated
    return dataclasses.replace(view, calibrated=dataclasses.replace(rig_camera, camera=change(rig_camera.camera)))


def blind(view, frames=slice(None)):
    scores = view.scores.copy()
    scores[frames] = 0
    return dataclasses.replace(view, scores=scores)


@pytest.fixture(scope="module")
def by_landmarks():
    return track_sequence(scene().views, head(), LANDMARKS)


@pytest.fixture(scope="module")
def fitted():
    progress = []
    track = track_sequence(scene().views, head(), TrackConfig(rounds=1, **SIZES), on_progress=progress.append)
    return track, progress


def test_the_head_is_found_in_metres(fitted):
    track, progress = fitted
    assert error_mm(track, "face") < 1.0
    assert error_mm(track, "scalp") < 4.0
    assert error_mm(track, "neck_upper") < 4.0
    assert progress[-1].photo_error < 0.015
    assert progress[-1].done == progress[-1].total


def test_the_track_knows_its_cameras(fitted):
    track, _ = fitted
    assert track.focal_px is None
    assert [camera.id for camera in track.cameras] == [f"cam{k:02d}" for k in range(16)]
    assert track.camera is scene().views[0].calibrated.camera
    assert track.tracked.all()


def test_colours_bring_skull_and_neck_nearer(fitted, by_landmarks):
    """They carry no landmarks: outlines and colours of all views move them."""
    for region in ("scalp", "neck_upper"):
        assert error_mm(fitted[0], region) < 0.85 * error_mm(by_landmarks, region)


def test_landmarks_of_all_views_find_the_face(by_landmarks):
    assert error_mm(by_landmarks, "face") < 0.9


def with_intrinsics(view, intrinsics):
    return with_camera(view, lambda camera: dataclasses.replace(camera, intrinsics=intrinsics))


def test_every_camera_needs_its_own_intrinsics(by_landmarks):
    """Principal points and focal lengths taken for those of other cameras of the rig."""
    own = [view.calibrated.camera.intrinsics for view in scene().views]
    views = [with_intrinsics(view, other) for view, other in zip(scene().views, reversed(own), strict=True)]
    assert error_mm(track_sequence(views, head(), LANDMARKS), "face") > 2 * error_mm(by_landmarks, "face")


def test_two_cameras_with_each_others_intrinsics_are_named(caplog):
    views = list(scene().views)
    first, second = (views[number].calibrated.camera.intrinsics for number in (FRONT, PROFILE))
    views[FRONT], views[PROFILE] = with_intrinsics(views[FRONT], second), with_intrinsics(views[PROFILE], first)
    with caplog.at_level(logging.WARNING):
        track_sequence(views, head(), LANDMARKS)
    assert "camera cam00 disagrees" in caplog.text
    assert "camera cam10 disagrees" in caplog.text


def test_views_without_a_face_and_timesteps_without_a_view():
    """A camera at the back never sees the face; the face goes unseen by all cameras at one timestep."""
    views = [blind(view, 2) for view in scene().views]
    views[PROFILE] = blind(views[PROFILE])
    track = track_sequence(views, head(), LANDMARKS)
    assert track.tracked.tolist() == [True, True, False, True]
    assert error_mm(track, "face", frames=[0, 1, 3]) < 0.95
    translation = track.parameters.translation
    torch.testing.assert_close(translation[2], (translation[1] + translation[3]) / 2)


def test_one_calibrated_camera_is_enough():
    track = track_sequence([scene().views[FRONT]], head(), LANDMARKS)
    assert track.focal_px is None
    assert len(track.cameras) == 1
    # The depth is what a single view knows least.
    assert error_mm(track, "face") < 60
    camera = scene().views[FRONT].calibrated.camera
    between = camera.project(vertices(track)) - camera.project(scene().vertices)
    assert float(between[:, head().region("face")].norm(dim=-1).mean()) < 1.5


def test_a_view_that_took_something_else_for_the_face_does_not_count(by_landmarks):
    views = list(scene().views)
    views[FRONT] = dataclasses.replace(views[FRONT], landmarks_px=views[FRONT].landmarks_px * 0.4 + 70)
    track = track_sequence(views, head(), LANDMARKS)
    assert error_mm(track, "face") < 1.3 * error_mm(by_landmarks, "face")


def scaled(camera, factor):
    moved = torch.cat([camera.cam_from_world[:, :3], factor * camera.cam_from_world[:, 3:]], dim=1)
    return dataclasses.replace(camera, cam_from_world=moved)


def inverted(camera):
    rotation, translation = camera.cam_from_world.split((3, 1), dim=1)
    return dataclasses.replace(camera, cam_from_world=torch.cat([rotation.T, -rotation.T @ translation], dim=1))


def in_opengl_axes(camera):
    return dataclasses.replace(camera, cam_from_world=GL_FROM_CV @ camera.cam_from_world)


def of_larger_pictures(camera):
    return dataclasses.replace(camera, intrinsics=torch.diag(torch.tensor([4.0, 4.0, 1.0])) @ camera.intrinsics)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda camera: scaled(camera, 1000), "millimetres"),
        (inverted, "invert them"),
        (in_opengl_axes, "OpenGL"),
        (of_larger_pictures, "another size"),
    ],
)
def test_impossible_calibrations_are_refused_in_words(mistake, words):
    views = [with_camera(view, mistake) for view in scene().views[::5]]
    with pytest.raises(InputError, match=f"calibration contradicts.*{words}"):
        track_sequence(views, head(), LANDMARKS)


def test_a_camera_that_disagrees_is_named(caplog):
    views = list(scene().views)
    views[FRONT] = with_camera(views[FRONT], lambda camera: scaled(camera, 1.3))
    with caplog.at_level(logging.WARNING):
        track_sequence(views, head(), LANDMARKS)
    assert "camera cam10 disagrees with the others" in caplog.text


def small(**changes):
    """Two timesteps in five cameras, one of which finds no face."""
    views = [of_timesteps(view, 1, 2) for view in scene().views[::4]]
    views.append(
        blind(dataclasses.replace(views[0], calibrated=dataclasses.replace(views[0].calibrated, id="blind", index=16)))
    )
    sizes = {"tracking_size_px": 48, "texture_image_size_px": 48, "texture_size": 32, "final_texture_size": 32}
    return views, TrackConfig(rounds=1, **(sizes | changes))


def same(track, other):
    return (
        torch.equal(track.parameters.pack(), other.parameters.pack())
        and torch.equal(track.texture, other.texture)
        and torch.equal(track.static_offset, other.static_offset)
    )


def test_resuming_gives_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("raytrack.fit.stage_loop.CHECKPOINT_INTERVAL_S", 0.0)
    views, config = small()
    undisturbed = track_sequence(views, head(), config)

    class Killed(Exception):
        pass

    for stop_after in (2, 9, 6):
        calls = []

        def interrupt(progress, calls=calls, stop_after=stop_after):
            calls.append(progress)
            if len(calls) == stop_after:
                raise Killed

        with pytest.raises(Killed):
            track_sequence(views, head(), config, checkpoint_folder=tmp_path, on_progress=interrupt)
    resumed = track_sequence(views, head(), config, checkpoint_folder=tmp_path)
    assert same(resumed, undisturbed)


def test_threads_do_not_change_the_result():
    one, two = (track_sequence(*(small()[0], head(), small(num_threads=count)[1])) for count in (1, 2))
    assert same(one, two)


def test_a_head_outside_the_picture_does_not_poison_the_rest():
    """The detector puts the face beyond the picture's edge at one timestep: its row is what the landmarks gave."""
    points = scene().views[FRONT].landmarks_px.copy()
    points[2, :, 0] += 400
    views = [dataclasses.replace(scene().views[FRONT], landmarks_px=points)]
    progress = []
    config = dataclasses.replace(small()[1], rounds=2)
    track = track_sequence(views, head(), config, on_progress=progress.append)
    assert np.isfinite([now.photo_error for now in progress if now.done >= 2]).all()
    by_landmarks = track_sequence(views, head(), LANDMARKS)
    # Eyeballs moved in the head, and with them the gaze of every frame.
    not_eyes = torch.tensor([column not in range(12, 18) for column in range(track.parameters.pack().shape[1])])
    assert torch.equal(track.parameters.pack()[2, not_eyes], by_landmarks.parameters.pack()[2, not_eyes])
    assert not torch.equal(track.parameters.pack()[1], by_landmarks.parameters.pack()[1])


def test_a_camera_that_looks_away_is_left_out(caplog):
    views, config = small()

    def turned(camera):
        away = torch.diag(torch.tensor([-1.0, 1.0, -1.0])) @ camera.cam_from_world
        return dataclasses.replace(camera, cam_from_world=away)

    views[-1] = with_camera(views[-1], turned)
    with caplog.at_level(logging.WARNING):
        track = track_sequence(views, head(), config)
    assert "camera blind never shows the head" in caplog.text
    assert len(track.cameras) == len(views)
    assert np.isfinite(track.parameters.pack().numpy()).all()
    assert track.num_frames == 2
