"""The vhap preset on five rendered frames: it finds what was rendered, and it can be interrupted anywhere."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from raytrack.fit import vhap_schedule
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.vhap_checkpoint import StageCheckpoint
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_stages import run_vhap
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from raytrack.head.parameters import FrameParameters
from tests.vhap_clip import NUM_FRAMES, SIZE_HW, TEXTURE_SIZE, UNSEEN, clip, head

CONFIG = TrackConfig(preset="vhap", renderer="numba", num_threads=1, focal_ratio=2.5)
SHORT = VhapConfig(texture_size=TEXTURE_SIZE, batch_size=2, init_steps=45, sequential_steps=40, global_epochs=2)
SEEN = [frame for frame in range(NUM_FRAMES) if frame != UNSEEN]


@pytest.fixture(scope="module")
def fitted() -> tuple[FitState, list[tuple[str, int, int, float]]]:
    torch.set_num_threads(1)
    stages = []
    state = run_vhap(clip().observation, head(), CONFIG, SHORT, on_stage=lambda *stage: stages.append(stage))
    return state, stages


def landmark_errors_px(state: FitState) -> np.ndarray:
    vertices = head().vertices(FrameParameters.unpack(state.rows), state.shared.shape, state.shared.offset)
    camera = monocular_camera(state.shared.log_focal.exp(), SIZE_HW)
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
    errors = {name: error for name, _, _, error in fitted[1]}
    assert np.isnan(errors["lmk_init_all"])
    assert errors["rgb_init_all"] < errors["rgb_init_texture"] < 0.1
    assert errors["rgb_init_offset"] < errors["rgb_init_all"]
    assert errors["rgb_global_tracking"] < errors["rgb_sequential_tracking"] < 0.03
    assert fitted[0].photo_error == errors["rgb_global_tracking"]


def test_progress_counts_the_stages(fitted):
    assert [done for _, done, _, _ in fitted[1]] == [1, 2, 3, 4, 5, 6, 7]
    assert {total for _, _, total, _ in fitted[1]} == {7}


def test_landmarks_alone_move_neither_texture_nor_offsets():
    config = TrackConfig(
        preset="vhap", renderer="numba", num_threads=1, focal_ratio=2.5, landmarks_only=True, texture_size=64
    )
    state = run_vhap(clip().observation, head(), config, SHORT)
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


def tiny_run(folder: Path, seed: int = 0) -> FitState:
    config = dataclasses.replace(CONFIG, seed=seed)
    return run_vhap(clip().observation, head(), config, TINY, checkpoint=Checkpoint(folder))


def kill_after(patch: pytest.MonkeyPatch, num_saves: int) -> list[str]:
    """Let the process end right after some file was written; returns the names of the files, as they are written."""
    written = []

    def counted(save):
        def save_then_die(self, state):
            save(self, state)
            written.append(self.path.name)
            if len(written) == num_saves:
                raise Killed

        return save_then_die

    for kind in (Checkpoint, StageCheckpoint):
        patch.setattr(kind, "save", counted(kind.save))
    return written


def test_an_interrupted_fit_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(vhap_schedule, "_UNIT_STEPS", 1)
    with monkeypatch.context() as patch:
        written = kill_after(patch, 1000)
        undisturbed = tiny_run(tmp_path / "undisturbed")
    expected = (tmp_path / "undisturbed" / "state.npz").read_bytes()
    assert written.count("state.npz") == 7
    # Inside each stage on the first batch, the sequential pass, twice in the global one.
    assert written.count("vhap_stage.npz") == 5 + 1 + 2
    assert not (tmp_path / "undisturbed" / "vhap_stage.npz").exists()

    # Between two stages, inside the offset stage, the sequential pass, the global one.
    for num_saves in (6, 9, 11, 14):
        folder = tmp_path / f"killed_{num_saves}"
        with monkeypatch.context() as patch:
            kill_after(patch, num_saves)
            with pytest.raises(Killed):
                tiny_run(folder)
        resumed = tiny_run(folder)
        assert torch.equal(resumed.rows, undisturbed.rows)
        assert (folder / "state.npz").read_bytes() == expected

    other = tiny_run(tmp_path / "other", seed=1)
    assert not torch.equal(other.rows, undisturbed.rows)
