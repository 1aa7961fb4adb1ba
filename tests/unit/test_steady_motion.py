"""Frames fitted together: shaking goes, motion stays, and no window depends on who else is there."""

import numpy as np
import pytest
import torch

from raytrack.fit.config import TrackConfig, Weights
from raytrack.fit.frame_choice import Segment
from raytrack.fit.row_problem import Setting
from raytrack.fit.schedule import RowStage, SteadyStage, default_schedule
from raytrack.fit.shared import SharedParameters
from raytrack.fit.steady_motion import MotionMetrics, Quadratic, solve_pentadiagonal, steady_steps
from raytrack.fit.steady_solver import SteadySolver, middle_frames
from raytrack.head.library import load_head

PULL = Weights().steady
NUM_FRAMES = 40
EYES = slice(12, 18)


@pytest.fixture(scope="module")
def metrics() -> MotionMetrics:
    return MotionMetrics.create(load_head("default"))


def said(num_columns: int, curvature: float, num_frames: int = NUM_FRAMES) -> Quadratic:
    matrices = np.tile(curvature * np.eye(num_columns), (num_frames, 1, 1))
    return Quadratic(matrices=matrices, gradients=np.zeros((num_frames, num_columns)))


def inside(num_frames: int = NUM_FRAMES) -> np.ndarray:
    return np.isin(np.arange(num_frames), (0, num_frames - 1), invert=True)


def shaking(rows: np.ndarray) -> float:
    return float(np.abs(np.diff(rows, n=2, axis=0)).mean())


def test_metrics_are_millimetres(metrics):
    head = load_head("default")
    shift = np.zeros(18 + head.num_expressions)
    shift[3:6] = (0.003, 0.0, 0.004)
    assert np.sqrt(shift @ metrics.parts[0] @ shift) == pytest.approx(5.0, rel=1e-3)
    assert all(np.abs(part @ shift).max() < 1e-9 for part in metrics.parts[1:]), "the whole head's way is no part's"
    gaze = np.zeros_like(shift)
    gaze[EYES] = 0.1
    assert [bool(gaze @ part @ gaze > 0.01) for part in metrics.parts] == [False, False, False, False, True]


def test_shaking_goes_and_even_motion_stays(metrics):
    rng = np.random.default_rng(0)
    num_columns = len(metrics.unseen)
    even = np.zeros((NUM_FRAMES, num_columns))
    even[:, 1] = 0.01 * np.arange(NUM_FRAMES)
    still = steady_steps(even, said(num_columns, 1.0), inside(), metrics, PULL)
    assert np.abs(still).max() < 1e-9
    shaky = even.copy()
    shaky[:, 12] += rng.normal(0, 0.01, NUM_FRAMES)
    found = shaky + steady_steps(shaky, said(num_columns, 0.3), inside(), metrics, PULL)
    assert shaking(found[:, 12:13]) < 0.4 * shaking(shaky[:, 12:13])
    assert np.abs(found[:, 1] - even[:, 1]).max() < 1e-3


def test_the_block_solver_solves():
    frames, columns = 7, 3
    generator = torch.Generator().manual_seed(0)
    lower = torch.randn(frames, columns, frames, columns, generator=generator, dtype=torch.float64)
    row, column = torch.meshgrid(torch.arange(frames), torch.arange(frames), indexing="ij")
    lower *= ((row >= column) & (row <= column + 2))[:, None, :, None]
    lower = lower.reshape(frames * columns, -1) + 5 * torch.eye(frames * columns)
    matrix = (lower @ lower.T).reshape(frames, columns, frames, columns)
    matrix *= ((row - column).abs() <= 2)[:, None, :, None]
    right = torch.randn(frames, columns, generator=generator, dtype=torch.float64)
    blocks = torch.full((3, frames, columns, columns), float("nan"), dtype=torch.float64)
    for distance in range(3):
        for t in range(frames - distance):
            blocks[distance, t] = matrix[t + distance, :, t]
    blocks[blocks.isnan()] = 1e9
    found = solve_pentadiagonal(blocks, right)
    wanted = torch.linalg.solve(matrix.reshape(frames * columns, -1), right.ravel()).view_as(right)
    torch.testing.assert_close(found, wanted)


def test_what_a_picture_says_clearly_stays_and_what_it_is_silent_about_is_filled_in(metrics):
    num_columns = len(metrics.unseen)
    rows = np.zeros((NUM_FRAMES, num_columns))
    rows[20, 12] = 0.05
    sure, silent = said(num_columns, 1.0), said(num_columns, 1.0)
    sure.matrices[20] *= 1e4
    silent.matrices[20] *= 1e-4
    steps = [steady_steps(rows, quadratic, inside(), metrics, PULL)[20, 12] for quadratic in (sure, silent)]
    assert abs(steps[0]) < 1e-4
    assert steps[1] == pytest.approx(-0.05, abs=0.01)


def test_a_saccade_costs_less_than_its_size(metrics):
    num_columns = len(metrics.unseen)
    lost = []
    for size in (0.02, 0.4):
        rows = np.zeros((NUM_FRAMES, num_columns))
        rows[20:, [12, 15]] = size
        moved = steady_steps(rows, said(num_columns, 3.0), inside(), metrics, PULL)
        lost.append(np.abs(moved[:, 12]).max() / size)
    assert lost[0] > 0.1
    assert lost[1] < 0.02


def test_only_even_steps_without_a_cut_are_motion():
    times = np.array([0, 1, 2, 3, 5, 6, 7, 8.02, 9, 10, 11.0]) / 25
    solved = np.ones(11, bool)
    solved[9] = False
    group = np.zeros(11, np.int64)
    group[7:] = 1
    assert np.flatnonzero(middle_frames(times, solved, group)).tolist() == [1, 2, 5]
    assert np.flatnonzero(middle_frames(times, solved, np.zeros(11, np.int64))).tolist() == [1, 2, 5, 6, 7]
    assert not middle_frames(times, solved, group, usual_s=0.02).any()


class FakeRows:
    """Stands for the pictures: what a frame says depends on its number and its own row alone."""

    def linearised(self, setting, rows, numbers, round_index):
        for number in numbers:
            rng = np.random.default_rng(number)
            base = rng.normal(size=(rows.shape[1], 4))
            matrix = torch.from_numpy(base @ base.T + 0.1 * np.eye(len(base)))
            yield matrix, matrix @ (rows[number].double() - torch.from_numpy(rng.normal(0, 0.01, len(base)))), 0.1

    def colour_errors(self, setting, rows, numbers):
        return [0.5 if number == 21 else 0.1 for number in numbers]


def shared() -> SharedParameters:
    head = load_head("default")
    return SharedParameters.start(head, torch.zeros(head.num_shapes), [500.0], 16, 1)


def fake_solver(metrics: MotionMetrics, middle: np.ndarray, monkeypatch) -> SteadySolver:
    monkeypatch.setattr("raytrack.fit.steady_solver.Setting.create", lambda *_: object.__new__(Setting))
    solver = object.__new__(SteadySolver)
    columns = len(metrics.unseen)
    moved = np.convolve(middle, np.ones(3), mode="same") > 0
    parts = {
        "_solver": type("Rows", (FakeRows,), {"problem": None})(),
        "_middle": middle,
        "_pull": PULL,
        "_metrics": metrics,
        "_longest_step": np.ones(columns),
        "moved": moved,
    }
    for name, value in parts.items():
        setattr(solver, name, value)
    return solver


def test_a_segment_gives_its_frames_the_rows_of_the_whole(metrics, monkeypatch):
    count = 100
    generator = torch.Generator().manual_seed(1)
    rows = 0.02 * torch.randn(count, len(metrics.unseen), generator=generator)
    solver = fake_solver(metrics, inside(count), monkeypatch)
    whole = rows.clone()
    for start, stop in solver.blocks(64):
        whole[start:stop] = solver.solve(rows, shared(), start, stop).rows[start:stop]
    assert not torch.equal(whole[20], rows[20])
    assert torch.equal(whole[21], rows[21]), "a frame that came out worse keeps its row"
    segment = Segment(start=37, stop=71)
    needed = segment.widened_to_windows(count)
    middle = inside(count) & needed.mask(count)
    middle[[needed.start, needed.stop - 1]] = False
    other = rows.clone()
    other[: needed.start], other[needed.stop :] = 0.5, 0.5
    solver = fake_solver(metrics, middle, monkeypatch)
    split = other.clone()
    for start, stop in solver.blocks(64):
        split[start:stop] = solver.solve(other, shared(), start, stop).rows[start:stop]
    assert torch.equal(split[37:71], whole[37:71])
    assert not torch.equal(split[needed.start], whole[needed.start]), "the margin is needed"


def test_windows_meet_without_a_jump(metrics, monkeypatch):
    count = 96
    rows = 0.02 * torch.randn(count, len(metrics.unseen), generator=torch.Generator().manual_seed(1))
    solver = fake_solver(metrics, inside(count), monkeypatch)
    monkeypatch.setattr(FakeRows, "colour_errors", lambda self, setting, rows, numbers: [0.1] * len(numbers))
    windowed = solver.solve(rows, shared(), 0, count).rows
    monkeypatch.setattr("raytrack.fit.steady_solver.STEADY_WINDOW", count)
    together = solver.solve(rows, shared(), 0, count).rows
    change = (together - rows).abs().max()
    assert change > 0.05
    assert (windowed - together).abs().max() < 0.1 * change


def test_one_camera_is_steadied_after_the_last_rows_and_only_if_wanted():
    def names(**options):
        weights = options.pop("weights", Weights())
        return [(type(stage), stage.name) for stage in default_schedule(TrackConfig(weights=weights), 40, **options)]

    for options in ({}, {"long": True}, {"known_identity": True}):
        stages = names(**options)
        place = stages.index((SteadyStage, "steady"))
        assert stages[place - 1] == (RowStage, "rows_final")
    assert (SteadyStage, "steady") not in names(calibrated=True)
    assert (SteadyStage, "steady") not in names(weights=Weights(steady=0.0))
