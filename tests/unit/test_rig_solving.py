"""The parts that place the cameras of an uncalibrated rig."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from raytrack.errors import InputError
from raytrack.fit.camera_fit import FocalPrior
from raytrack.fit.camera_motion import MOST_SHIFT_M, camera_rates, moved_camera, without_place
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.rig import packed, unpacked
from raytrack.fit.rig_focal import best_factor
from raytrack.fit.rig_solver import solved_views
from raytrack.fit.rig_start import HeadPoses, mean_position, mean_rotation, relative_cameras
from raytrack.fit.schedule import CameraStage, default_schedule
from raytrack.fit.shared import SharedParameters
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import Camera, monocular_camera
from tests.rig_scene import FRONT, PROFILE, head, scene


def uncalibrated(view):
    return dataclasses.replace(view, calibrated=None, camera_id=view.calibrated.id)


def turned(degrees, axis=(0, 1, 0)):
    return Rotation.from_rotvec(np.deg2rad(degrees) * np.array(axis, float)).as_matrix()


def test_a_third_of_wrong_rotations_hardly_moves_the_mean():
    rng = np.random.default_rng(0)
    good = [turned(30) @ Rotation.from_rotvec(rng.normal(0, 0.02, 3)).as_matrix() for _ in range(40)]
    wrong = [turned(angle, axis=(1, 0, 0)) for angle in rng.uniform(60, 170, 20)]
    found = mean_rotation(np.stack(good + wrong))
    assert np.rad2deg(Rotation.from_matrix(turned(30).T @ found).magnitude()) < 1.0
    assert np.rad2deg(Rotation.from_matrix(turned(30).T @ mean_rotation(np.stack(good))).magnitude()) < 0.8
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)


def test_a_third_of_wrong_positions_hardly_moves_the_mean():
    rng = np.random.default_rng(1)
    good, wrong = rng.normal([1, 2, 3], 0.01, (40, 3)), rng.normal([9, 0, 0], 2.0, (20, 3))
    assert np.linalg.norm(mean_position(np.concatenate([good, wrong])) - [1, 2, 3]) < 0.02


def head_seen_by(cameras, seen):
    """Exact poses of a moving head in the axes of cameras (rotation and translation from the world)."""
    rng, count = np.random.default_rng(2), seen.shape[1]
    poses = [(Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix(), rng.normal(0, 0.1, 3)) for _ in range(count)]
    rotations = np.stack([[rotation @ own for own, _ in poses] for rotation, _ in cameras])
    centres = np.stack([[rotation @ place + shift for _, place in poses] for rotation, shift in cameras])
    return HeadPoses(rotations=rotations, centres_m=centres, seen=seen)


def test_cameras_are_chained_over_shared_timesteps():
    cameras = [(np.eye(3), np.array([0, 0, 1.0])), (turned(40), np.array([0.1, 0, 1.1])), (turned(80), np.ones(3))]
    seen = np.ones((3, 6), bool)
    seen[0, 3:] = seen[2, :3] = False  # The first and the last never see the head at once.
    placed = relative_cameras(head_seen_by(cameras, seen), 0)
    first = np.vstack([np.column_stack(cameras[0]), [0, 0, 0, 1]])
    for number, camera in enumerate(cameras):
        expected = np.column_stack(camera) @ np.linalg.inv(first)
        np.testing.assert_allclose(placed[number], expected, atol=1e-4)
    seen[1] = False
    assert set(relative_cameras(head_seen_by(cameras, seen), 0)) == {0}


def test_the_cameras_rates_are_its_motions_derivatives():
    torch.manual_seed(0)
    camera = monocular_camera(torch.tensor(500.0, dtype=torch.float64), (300, 200))
    camera = dataclasses.replace(
        camera, intrinsics=camera.intrinsics + torch.tensor([[0, 0, 7.0], [0, 9, 3], [0, 0, 0]])
    )
    points = 0.1 * torch.randn(20, 3, dtype=torch.float64)
    pivot = camera.cam_points(points).mean(dim=0)
    zero = torch.full((7,), 1e-9, dtype=torch.float64)
    numeric = torch.autograd.functional.jacobian(lambda x: moved_camera(camera, x, pivot).project(points), zero)
    torch.testing.assert_close(camera_rates(camera, points, pivot), numeric, atol=1e-4, rtol=1e-5)


def test_a_motion_keeps_what_it_should():
    camera = monocular_camera(torch.tensor(500.0), (300, 200))
    farther = moved_camera(camera, torch.tensor([0.0] * 6 + [0.2]), torch.tensor([0.0, 0.0, 1.0]))
    on_plane = torch.tensor([[0.1, -0.05, 0.0], [0.0, 0.2, 0.0]])  # 1 m before the camera
    torch.testing.assert_close(farther.project(on_plane), camera.project(on_plane), atol=1e-3, rtol=0)
    assert float(farther.intrinsics[0, 0]) == pytest.approx(500 * np.exp(0.2), rel=1e-5)
    long = moved_camera(camera, torch.tensor([0.0, 0, 0, 5.0, 0, 0, 0]), torch.zeros(3))
    assert float(long.cam_from_world[0, 3]) == pytest.approx(MOST_SHIFT_M)
    held = moved_camera(camera, without_place(torch.ones(1, 7), 0)[0], torch.zeros(3))
    assert torch.equal(held.cam_from_world, camera.cam_from_world)
    assert float(held.intrinsics[0, 0]) > 600


def test_focal_lengths_are_thought_alike():
    prior = FocalPrior(first_px=(500.0, 500.0))

    def cost(*focals):
        return prior.quadratic([monocular_camera(torch.tensor(focal), (10, 10)) for focal in focals])[0]

    assert cost(500.0, 500.0) == 0
    assert cost(500.0, 700.0) > 3 * cost(592.0, 592.0) > 0


def test_the_focal_length_is_that_at_which_colours_agree():
    views = SequenceViews.of([uncalibrated(scene().views[number]) for number in (FRONT, 9)])
    config = TrackConfig(focal_ratio=1.5)

    def place(factor):
        return [monocular_camera(torch.tensor(100.0 * factor), view.size_hw) for view in views.observations]

    def found(true_factor, curvature):
        def photo_error(tried, trial):
            assert tried.solved
            assert trial.tracking_size_px <= config.tracking_size_px
            factor = float(tried.rig[0].camera.intrinsics[0, 0]) / 100
            return 0.03 * np.exp(curvature * np.log(factor / true_factor) ** 2)

        return best_factor(views, config, place, photo_error)

    assert found(1.7, curvature=1.0) == pytest.approx(1.7, rel=0.05)
    assert found(0.8, curvature=1.0) == pytest.approx(0.8, rel=0.05)
    # What colours hardly tell is left near the first guess.
    assert 1.0 < found(2.2, curvature=0.03) < 1.6


def test_a_camera_that_sees_no_face_is_refused_in_words():
    views = [uncalibrated(scene().views[number]) for number in (FRONT, 9, 11)]
    views[2] = dataclasses.replace(views[2], scores=np.zeros_like(views[2].scores))
    with pytest.raises(InputError, match=r"camera cam11 cannot be placed: it sees the face in no frame; leave it out"):
        solved_views(SequenceViews.of(views), head(), TrackConfig())
    alone = np.array([0, 0, 0, 1.0], np.float32)
    views[2] = dataclasses.replace(uncalibrated(scene().views[11]), scores=alone)
    views[:2] = [dataclasses.replace(view, scores=1 - alone) for view in views[:2]]
    with pytest.raises(InputError, match=r"at 1 of 4 frames, but never together with another camera"):
        solved_views(SequenceViews.of(views), head(), TrackConfig())


def test_cameras_of_other_people_are_refused():
    views = [uncalibrated(scene().views[number]) for number in (FRONT, 9, 11)]
    turn = views[1].landmarks_px[::-1, :, ::-1] * [0.7, 1.4] + np.linspace(0, 90, 4)[:, None, None]
    views[1] = dataclasses.replace(views[1], landmarks_px=turn.astype(np.float32))
    views[2] = dataclasses.replace(views[2], landmarks_px=turn[:, ::-1].astype(np.float32))
    with pytest.raises(InputError, match=r"camera cam\d\d cannot be placed: no head fits what it and the others see"):
        solved_views(SequenceViews.of(views), head(), TrackConfig())


def test_kept_cameras_are_taken_as_they_are(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    views = SequenceViews.of([uncalibrated(scene().views[number]) for number in (FRONT, PROFILE, 9)])
    assert views.is_unsolved
    assert views.name(1) == "camera cam00"
    first = solved_views(views, head(), TrackConfig(num_key_frames=2), kept=tmp_path / "a" / "cameras.npz")
    assert "camera cam09: focal length" in caplog.text
    caplog.clear()
    again = solved_views(views, head(), TrackConfig(num_key_frames=2), kept=tmp_path / "a" / "cameras.npz")
    assert not caplog.text
    assert first.solved
    assert first.is_rig
    assert [one.id for one in first.rig] == ["cam10", "cam00", "cam09"]
    for one, other in zip(first.rig, again.rig, strict=True):
        assert torch.equal(one.camera.cam_from_world, other.camera.cam_from_world)
        assert torch.equal(one.camera.intrinsics, other.camera.intrinsics)


def test_the_checkpoint_keeps_cameras_and_gains(tmp_path):
    shared = SharedParameters.start(head(), torch.zeros(head().num_shapes), 300.0, 16)
    assert torch.equal(shared.light_in(0, 1), shared.light[0])
    shared = shared.with_values(cameras=torch.rand(3, 3, 7), gains=torch.rand(3, 3))
    torch.testing.assert_close(shared.light_in(0, 1), shared.light[0] * shared.gains[1])
    state = FitState(
        rows=torch.zeros(2, 5), shared=shared, stages_done=1, photo_error=0.1, rows_error=0.2, converged=False
    )
    Checkpoint(tmp_path).save(state)
    kept = Checkpoint(tmp_path).load()
    assert kept is not None
    assert torch.equal(kept.shared.cameras, shared.cameras)
    assert torch.equal(kept.shared.gains, shared.gains)


def test_only_solved_rigs_have_camera_stages():
    def stages(**kind):
        return default_schedule(TrackConfig(rounds=2), 100, **kind)

    solved = [stage.name for stage in stages(calibrated=True, solved=True) if isinstance(stage, CameraStage)]
    assert solved == ["cameras_first_0", "cameras_first_1", "cameras_first_2", "cameras_0", "cameras_1"]
    assert not any(isinstance(stage, CameraStage) for stage in (*stages(), *stages(calibrated=True)))


def test_packed_cameras_come_back():
    camera = Camera(intrinsics=torch.rand(3, 3), cam_from_world=torch.rand(3, 4), size_hw=(4, 5))
    back = unpacked(packed([camera])[0], (4, 5))
    assert torch.equal(back.intrinsics, camera.intrinsics)
    assert torch.equal(back.cam_from_world, camera.cam_from_world)
