"""The vhap preset on a calibrated rig: all cameras of a timestep in a step, in the rig's own world."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from raytrack.errors import InputError
from raytrack.fit import vhap_schedule
from raytrack.fit.checkpoint import Checkpoint
from raytrack.fit.config import TrackConfig
from raytrack.fit.tracker import track_sequence
from raytrack.fit.vhap_config import VhapConfig, VhapWeights
from raytrack.fit.vhap_objective import VhapObjective
from raytrack.fit.vhap_stages import VhapFit, run_vhap
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import Camera
from tests.rig_scene import head, of_timesteps, scene

FREE = VhapWeights(smooth_translation=3.0, smooth_rotation=0.3, smooth_neck=0.3)
"""The head turns by ten degrees between two frames of the scene, far more than in a recording."""
SHORT = VhapConfig(texture_size=64, init_steps=80, sequential_steps=60, global_epochs=2, image_size_px=64, weights=FREE)
CONFIG = TrackConfig(preset="vhap", renderer="numba", num_threads=2, vhap=SHORT)
TINY = dataclasses.replace(SHORT, init_steps=2, sequential_steps=1, image_size_px=32, checkpoint_interval_s=0)
NUM_FRAMES = 2
CHOSEN = (0, 3, 4, 7, 14)


def views():
    """Five cameras; the first one never finds the face."""
    chosen = [of_timesteps(scene().views[number], 0, NUM_FRAMES) for number in CHOSEN]
    chosen[0] = dataclasses.replace(chosen[0], scores=np.zeros(NUM_FRAMES, np.float32))
    return chosen


def cropped(view, rows):
    """The view without its lowest rows of pixels: pictures of another size."""
    camera = view.calibrated.camera
    height, width = camera.size_hw
    shorter = Camera(intrinsics=camera.intrinsics, cam_from_world=camera.cam_from_world, size_hw=(height - rows, width))
    return dataclasses.replace(
        view,
        size_hw=shorter.size_hw,
        calibrated=dataclasses.replace(view.calibrated, camera=shorter),
        load_image=lambda frame: view.load_image(frame)[:-rows],
        load_alpha=lambda frame: view.load_alpha(frame)[:-rows],
    )


def face_error_mm(track):
    offset = None if track.static_offset is None else track.static_offset[0]
    found = head().vertices(track.parameters, track.shape, offset)
    face = head().region("face") & ~head().region("mouth_interior")
    return 1000 * float((found - scene().vertices[:NUM_FRAMES])[:, face].norm(dim=-1).mean())


def test_the_head_is_found_in_the_rigs_world():
    stages = {}
    track = track_sequence(views(), head(), CONFIG, on_progress=lambda now: stages.update({now.stage: now.photo_error}))
    assert face_error_mm(track) < 4.0
    assert track.focal_px is None
    assert stages["rgb_global_tracking"] < stages["rgb_init_texture"]
    assert list(stages)[-2:] == ["rgb_sequential_tracking", "rgb_global_tracking"]


def objective_value(given, stage_index):
    torch.manual_seed(0)
    fit = VhapFit(SequenceViews.of(given), head(), CONFIG)
    stage = fit.schedule[stage_index]
    state, quiet = fit.start(), dataclasses.replace(fit.problem.config, perturb_background=0.0, perturb_foreground=0.0)
    problem = dataclasses.replace(fit.problem, config=quiet)
    objective = VhapObjective(problem, stage, fit.gates[stage.name])
    frames = np.array([1])
    loss = objective(state.rows[frames], state.rows[frames], state.shared, frames, torch.Generator().manual_seed(0))
    return len(problem.groups), float(loss.total), float(loss.photo_error)


def test_pictures_of_different_sizes_count_like_those_of_one_size():
    """What is cut off lies below the head's mesh or is covered by it in few pixels."""
    alike, mixed = views(), views()
    mixed[2] = cropped(mixed[2], 2)
    groups, total, error = objective_value(alike, 3)
    assert groups == 1
    other_groups, other_total, other_error = objective_value(mixed, 3)
    assert other_groups == 2
    assert other_total == pytest.approx(total, rel=0.03)
    assert other_error == pytest.approx(error, rel=0.03)


def test_impossible_calibrations_are_refused():
    def inverted(view):
        rotation, translation = view.calibrated.camera.cam_from_world.split((3, 1), dim=1)
        pose = torch.cat([rotation.T, -rotation.T @ translation], dim=1)
        camera = dataclasses.replace(view.calibrated.camera, cam_from_world=pose)
        return dataclasses.replace(view, calibrated=dataclasses.replace(view.calibrated, camera=camera))

    with pytest.raises(InputError, match=r"calibration contradicts.*invert them"):
        track_sequence([inverted(view) for view in views()], head(), CONFIG)


def test_every_step_takes_all_cameras_of_one_timestep():
    fit = VhapFit(SequenceViews.of(views()), head(), CONFIG)
    for index, stage in enumerate(fit.schedule):
        for unit in fit.units(stage, index):
            assert all(len(batch) == 1 for batch in unit.batches)
    first = {int(batch[0]) for unit in fit.units(fit.schedule[0], 0) for batch in unit.batches}
    assert first == {0}
    assert not any("log_focal" in stage.optimise for stage in fit.schedule)
    assert fit.problem.views[0].confidence.sum() == 0


class Killed(RuntimeError):
    """Stands for the end of the process."""


def test_an_interrupted_fit_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(vhap_schedule, "_UNIT_STEPS", 1)
    given, config = SequenceViews.of(views()[:3]), dataclasses.replace(CONFIG, vhap=TINY)
    run_vhap(given, head(), config, checkpoint=Checkpoint(tmp_path / "undisturbed"))
    expected = (tmp_path / "undisturbed" / "state.npz").read_bytes()
    for units in (3, 12):
        count = itertools.count(1)

        def die(*_progress, count=count, units=units):
            if next(count) == units:
                raise Killed

        checkpoint = Checkpoint(tmp_path / f"killed_{units}")
        with pytest.raises(Killed):
            run_vhap(given, head(), config, checkpoint=checkpoint, on_progress=die)
        run_vhap(given, head(), config, checkpoint=checkpoint)
        assert checkpoint.path.read_bytes() == expected
