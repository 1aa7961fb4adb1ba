"""Row-wise optimiser state, and the pictures that the vhap preset keeps."""

import functools

import numpy as np
import pytest
import torch

from raytrack.fit.config import TrackConfig
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_images import TargetImages
from raytrack.fit.vhap_objective import VhapObjective
from raytrack.fit.vhap_schedule import Unit
from raytrack.fit.vhap_solver import StageSolver
from raytrack.fit.vhap_stages import VhapFit
from raytrack.head.parameters import NUM_POSE
from tests.vhap_clip import SIZE_HW, clip, head

NUM_TRACKED = 4


@functools.cache
def fit() -> VhapFit:
    numbers = VhapConfig(texture_size=64, batch_size=2, image_size_px=48)
    config = TrackConfig(preset="vhap", renderer="numba", num_threads=1, focal_ratio=2.5, vhap=numbers)
    return VhapFit(clip().observation, head(), config)


def solver(name: str) -> StageSolver:
    stage = {stage.name: stage for stage in fit().schedule}[name]
    return StageSolver(VhapObjective(fit().problem, stage, fit().gates[name]), NUM_TRACKED, max(SIZE_HW))


def random_rows() -> torch.Tensor:
    return 0.01 * torch.randn(NUM_TRACKED, NUM_POSE + head().num_expressions)


def unit(*batches, new_optimiser=True, start_from=None) -> Unit:
    arrays = tuple(np.array(batch) for batch in batches)
    return Unit(batches=arrays, new_optimiser=new_optimiser, rate_scale=1.0, start_from=start_from)


@pytest.mark.parametrize("name", ["lmk_init_all", "rgb_sequential_tracking"])
def test_rows_outside_the_batch_stay_bit_for_bit(name):
    rows = random_rows()
    moved, _, _ = solver(name).run(rows, fit().first_shared, unit([1, 2], [1, 2]), (0,))
    assert torch.equal(moved[[0, 3]], rows[[0, 3]])
    assert bool((moved[[1, 2], :6] != rows[[1, 2], :6]).all())


def test_a_rows_momentum_stops_while_others_move():
    """A row that was moved earlier neither drifts nor ages: its next step does not depend on what came between."""
    rows, shared = random_rows(), fit().first_shared
    direct, between = solver("lmk_init_rigid"), solver("lmk_init_rigid")
    start, _, _ = direct.run(rows, shared, unit([0], [0], [0]), (0,))
    one, _, _ = direct.run(start, shared, unit([0], new_optimiser=False), (0,))
    other, _, _ = between.run(rows, shared, unit([0], [0], [0]), (0,))
    other, _, _ = between.run(other, shared, unit([2, 3], [2, 3], new_optimiser=False), (0,))
    other, _, _ = between.run(other, shared, unit([0], new_optimiser=False), (0,))
    assert torch.equal(one[0], other[0])


def test_a_fresh_rows_first_step_is_the_learning_rate():
    rows = random_rows()
    worker = solver("lmk_init_rigid")
    moved, _, _ = worker.run(rows, fit().first_shared, unit([0], [0], [0]), (0,))
    later, _, _ = worker.run(moved, fit().first_shared, unit([3], new_optimiser=False), (0,))
    step = (later - rows)[3].abs()
    assert step[:3].tolist() == pytest.approx([5e-3] * 3, rel=1e-2)
    assert step[3:6].tolist() == pytest.approx([1e-3] * 3, rel=1e-2)


def test_only_what_the_stage_optimises_moves():
    rows, shared = random_rows(), fit().first_shared
    moved, after, _ = solver("lmk_init_rigid").run(rows, shared, unit([0, 1]), (0,))
    assert torch.equal(moved[:, 6:], rows[:, 6:])
    assert torch.equal(after.shape, shared.shape)
    assert not torch.equal(after.log_focal, shared.log_focal)
    moved, after, _ = solver("rgb_init_texture").run(rows, shared, unit([0, 1]), (0,))
    assert torch.equal(moved, rows)
    for name in ("shape", "texture", "light", "log_focal"):
        assert not torch.equal(getattr(after, name), getattr(shared, name))
    assert torch.equal(after.offset, shared.offset)


def test_expressions_that_the_head_switches_off_do_not_move():
    rows = random_rows()
    off = torch.nonzero(~head().expression_enabled).flatten() + NUM_POSE
    moved, _, _ = solver("lmk_init_all").run(rows, fit().first_shared, unit([0, 1, 2, 3]), (0,))
    assert len(off) > 0
    assert torch.equal(moved[:, off], rows[:, off])


def test_a_batch_starts_from_the_row_before_it():
    rows = random_rows()
    moved, _, _ = solver("lmk_init_rigid").run(rows, fit().first_shared, unit([2, 3], start_from=1), (0,))
    assert torch.equal(moved[2, 6:], rows[1, 6:])
    assert float((moved[[2, 3], :6] - rows[1, :6]).abs().max()) <= 5.1e-3


def test_the_focal_length_moves_as_a_ratio():
    shared = fit().first_shared
    _, after, _ = solver("lmk_init_rigid").run(random_rows(), shared, unit([0, 1]), (0,))
    assert abs(float(after.log_focal.exp() - shared.log_focal.exp())) / max(SIZE_HW) == pytest.approx(5e-3, rel=1e-2)


def test_the_seed_decides_the_perturbation():
    rows, shared = random_rows(), fit().first_shared
    results = [solver("rgb_init_all").run(rows, shared, unit([0, 1]), (seed,))[1].texture for seed in (1, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_images_are_read_again_when_there_is_no_room():
    reads = []

    def load(frame: int) -> np.ndarray:
        reads.append(frame)
        return np.full((8, 6, 3), frame, np.uint8)

    room_for_two = 2 * 3 * 8 * 6
    images = TargetImages(load, np.array([3, 5, 7]), (8, 6), memory_bytes=room_for_two, device=torch.device("cpu"))
    assert images.batch(np.array([0, 2]))[:, 0, 0, 0].tolist() == pytest.approx([3 / 255, 7 / 255])
    images.batch(np.array([0, 2]))
    assert reads == [3, 7]
    images.batch(np.array([1]))
    images.batch(np.array([2]))
    assert reads == [3, 7, 5]
    images.batch(np.array([0]))
    assert reads == [3, 7, 5, 3]
