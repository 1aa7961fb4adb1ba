"""The vhap preset on five rendered frames: it finds what was rendered, and it can be interrupted anywhere."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from raytrack.fit import vhap_schedule
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.tracker import track_sequence
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_stages import run_vhap
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from raytrack.head.parameters import FrameParameters
from tests.vhap_clip import NUM_FRAMES, SIZE_HW, TEXTURE_SIZE, UNSEEN, clip, head

SHORT = VhapConfig(texture_size=TEXTURE_SIZE, batch_size=2, init_steps=45, sequential_steps=40, global_epochs=2)
CONFIG = TrackConfig(preset="vhap", renderer="numba", num_threads=1, focal_ratio=2.5, vhap=SHORT)
SEEN = [frame for frame in range(NUM_FRAMES) if frame != UNSEEN]


@pytest.fixture(scope="module")
def fitted() -> tuple[FitState, list[tuple[str, float, int, float]]]:
    torch.set_num_threads(1)
    progress = []
    state = run_vhap(clip().observation, head(), CONFIG, on_progress=lambda *now: progress.append(now))
    return state, progress


def landmark_errors_px(state: FitState) -> np.ndarray:
    vertices = head().vertices(FrameParameters.unpack(state.rows), state.shared.shape, state.shared.offset)
    camera = monocular_camera(state.shared.log_focal[0].exp(), SIZE_HW)
    points = camera.project(head().landmarks_world(vertices)).numpy()
    return np.linalg.norm(points - clip().landmarks_px, axis=-1).mean(axis=1)


def head_rotation(parameters: FrameParameters) -> torch.Tensor:
    return matrix_from_axis_angle(parameters.rotation) @ matrix_from_axis_angle(parameters.neck_pose)


def test_landmarks_are_recovered(fitted):
    """All 478 of them, of which 68 were fitted; the last frame as well as the others."""
    errors = landmark_errors_px(fitted[0])
    assert errors[SEEN].max() < 0.5, errors


def test_head_pose_is_recovered(fitted):
    found, true = FrameParameters.unpack(fitted[0].rows), clip().parameters
    between = head_rotation(found) @ head_rotation(true).mT
    degrees = np.degrees(axis_angle_from_matrix(between).norm(dim=1).numpy())
    turned = np.degrees(true.rotation.norm(dim=1).numpy())
    assert turned[SEEN].max() > 10
    assert degrees[SEEN].max() < 3, degrees


def test_a_frame_without_a_face_takes_its_neighbours_pose(fitted):
    assert torch.equal(fitted[0].rows[UNSEEN], fitted[0].rows[UNSEEN + 1])


def test_colours_are_explained_better_from_stage_to_stage(fitted):
    errors = {name: error for name, done, _, error in fitted[1] if done == round(done)}
    assert np.isnan(errors["lmk_init_all"])
    assert errors["rgb_init_all"] < errors["rgb_init_texture"] < 0.1
    assert errors["rgb_init_offset"] < errors["rgb_init_all"]
    assert errors["rgb_global_tracking"] < errors["rgb_sequential_tracking"] < 0.03
    assert fitted[0].photo_error == errors["rgb_global_tracking"]


def test_progress_counts_the_stages(fitted):
    done = [done for _, done, _, _ in fitted[1]]
    assert done == sorted(done)
    assert {1.0, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 6.5, 7.0} == set(done)
    assert {total for _, _, total, _ in fitted[1]} == {7}


def test_landmarks_alone_move_neither_texture_nor_offsets():
    config = dataclasses.replace(CONFIG, landmarks_only=True, texture_size=64)
    state = run_vhap(clip().observation, head(), config)
    assert landmark_errors_px(state)[SEEN].max() < 0.8
    assert np.isnan(state.photo_error)
    assert float(state.shared.offset.abs().max()) == 0
    assert state.shared.texture.shape == (64, 64, 3)


class Killed(RuntimeError):
    """Stands for the end of the process."""


TINY = VhapConfig(
    texture_size=32,
    batch_size=2,
    init_steps=2,
    sequential_steps=1,
    global_epochs=3,
    image_size_px=32,
    checkpoint_interval_s=0,
)


def tiny_run(folder: Path, *, seed: int = 0, units: int | None = None) -> FitState:
    """A few steps of every stage; the process ends after so many units, or never."""
    count = itertools.count(1)

    def die(*_progress):
        if next(count) == units:
            raise Killed

    config = dataclasses.replace(CONFIG, seed=seed, vhap=TINY)
    # Progress is reported before the state is saved: a run that is killed there goes on from the unit before.
    return run_vhap(clip().observation, head(), config, checkpoint=Checkpoint(folder), on_progress=die)


def test_an_interrupted_fit_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(vhap_schedule, "_UNIT_STEPS", 1)
    undisturbed = tiny_run(tmp_path / "undisturbed")
    expected = (tmp_path / "undisturbed" / "state.npz").read_bytes()
    # Two units in each stage on the first batch and in the sequential pass, three in the global one: from inside the
    # first stage, the start of the second, inside the offset stage, the sequential pass, the second global epoch.
    for units in (2, 3, 10, 12, 15):
        folder = tmp_path / f"killed_{units}"
        with pytest.raises(Killed):
            tiny_run(folder, units=units)
        kept = Checkpoint(folder).load()
        assert kept is not None
        assert (kept.stages_done, kept.units_done) == divmod(units - 1, 2) if units < 14 else (6, units - 13)
        resumed = tiny_run(folder)
        assert torch.equal(resumed.rows, undisturbed.rows)
        assert (folder / "state.npz").read_bytes() == expected

    other = tiny_run(tmp_path / "other", seed=1)
    assert not torch.equal(other.rows, undisturbed.rows)


def test_the_tracker_runs_the_preset():
    numbers = dataclasses.replace(TINY, init_steps=1, global_epochs=1)
    stages = []
    track = track_sequence(
        clip().observation,
        head(),
        dataclasses.replace(CONFIG, vhap=numbers),
        on_progress=lambda now: stages.append(now.stage),
    )
    assert stages[-1] == "rgb_global_tracking"
    assert track.texture.shape == (32, 32, 3)
    assert track.tracked.tolist() == [frame != UNSEEN for frame in range(NUM_FRAMES)]
