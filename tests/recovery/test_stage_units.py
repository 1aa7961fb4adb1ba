"""Single units of a fit: looks for what stands before the head, steps of textures, eyeballs that are centred."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from synthetic_track import head
from test_held_out import CONFIG, NUM_FRAMES, SIZE_HW, scene

from raytrack.fit import occlusion_stage, stage_runner
from raytrack.fit.adam_stages import AdamStages
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.eye_texture import EyeRings
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import OcclusionStage, SharedStage, TextureStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.views import SequenceViews

WITH_BALL = 3
LOOK = OcclusionStage(name="look")
COLOURS = SharedStage(name="colours", optimise=("texture", "light"), num_epochs=1, batch_size=3, colours_only=True)


def with_ball() -> SequenceObservation:
    plain = scene()[0]

    def image(index: int) -> np.ndarray:
        centre = plain.landmarks_px[index].mean(axis=0).astype(int).tolist()
        picture = plain.load_image(index)
        return cv2.circle(picture.copy(), centre, 9, (0, 0, 255), -1) if index == WITH_BALL else picture

    return dataclasses.replace(plain, load_image=image)


def true_state(texture_size: int = 128) -> FitState:
    truth = scene()[1]
    assert truth.focal_px is not None
    shared = SharedParameters.start(head(), truth.shape, truth.focal_px, texture_size)
    shared = shared.with_values(light=truth.lights[None])
    if truth.static_offset is not None:
        shared = shared.with_values(offset=truth.static_offset[0])
    return FitState(
        rows=truth.parameters.pack(), shared=shared, stages_done=1, photo_error=0, rows_error=1, converged=False
    )


def new_runner(**changes) -> StageRunner:
    return StageRunner(SequenceViews.of(with_ball()), head(), dataclasses.replace(CONFIG, **changes))


@pytest.fixture
def in_three_units(monkeypatch):
    monkeypatch.setattr(occlusion_stage, "PICTURES_PER_LOOK", NUM_FRAMES // 3)
    monkeypatch.setattr(StageRunner, "schedule", lambda *_: (LOOK, COLOURS))


def looked(checkpoint: Checkpoint | None = None) -> FitState:
    """The state after a look; with a checkpoint, of a fit that is killed after every unit."""
    runner, state = new_runner(), true_state()
    while state.stages_done == 1:
        state = runner.run_unit(LOOK, state, 1)
        if checkpoint is not None:
            checkpoint.save(state)
            kept = checkpoint.load()
            assert kept is not None
            runner, state = new_runner(), kept
    return state


def test_a_look_that_is_interrupted_ends_like_one_that_is_not(in_three_units, tmp_path):
    whole, again = looked(), looked(Checkpoint(tmp_path))
    assert whole.hidden.pictures.tolist() == again.hidden.pictures.tolist() == [[0, WITH_BALL]]
    np.testing.assert_array_equal(whole.hidden.spots, again.hidden.spots)
    assert whole.levels is not None
    assert again.levels is not None
    np.testing.assert_array_equal(whole.levels.levels, again.levels.levels)
    assert whole.photo_error == again.photo_error


def test_the_error_of_a_look_is_that_of_all_pictures(in_three_units, monkeypatch):
    several = looked()
    monkeypatch.setattr(occlusion_stage, "PICTURES_PER_LOOK", 100)
    assert looked().photo_error == pytest.approx(several.photo_error)


def test_what_a_look_finds_counts_neither_for_rows_nor_for_textures(in_three_units):
    runner, state = new_runner(), looked()
    pictures = runner.pictures.of(state)
    (view,) = pictures.row_views
    row, column = view.frames.landmarks_px[WITH_BALL].mean(axis=0).astype(int)[::-1]
    for frame in (WITH_BALL, WITH_BALL + 1):
        weights = view.frames.pixel_weights(frame)
        assert weights is not None
        assert (weights[row, column] == 0) == (frame == WITH_BALL)
    before = runner.pictures.of(true_state()).row_views[0].landmark_weights
    assert (view.landmark_weights < before).any(axis=1).tolist() == [k == WITH_BALL for k in range(NUM_FRAMES)]
    (batch,) = pictures.sample(np.random.default_rng(0), NUM_FRAMES, max(SIZE_HW))
    assert [int(batch.rows[number]) for number in batch.frames.hidden] == [WITH_BALL]


def test_a_look_changes_no_seed(in_three_units, monkeypatch):
    seeds = []
    monkeypatch.setattr(AdamStages, "run", lambda _, __, state, unit, index: seeds.append((unit, index)) or state)
    state = dataclasses.replace(true_state(), unit_errors=(0.1,))
    new_runner().run_unit(COLOURS, dataclasses.replace(state, stages_done=2), 2)
    monkeypatch.setattr(StageRunner, "schedule", lambda *_: (COLOURS,))
    new_runner().run_unit(COLOURS, state, 1)
    assert seeds == [(0, 1)] * 2


def test_eyes_are_round_while_tracking_and_free_in_the_final_texture(monkeypatch):
    """Also where both textures have the same size."""
    monkeypatch.setattr(StageRunner, "schedule", lambda *_: (COLOURS, TextureStage(name="texture", num_epochs=0.5)))
    rounded, symmetric = [], EyeRings.symmetric
    monkeypatch.setattr(EyeRings, "symmetric", lambda own, texture: rounded.append(1) or symmetric(own, texture))
    runner, state = new_runner(texture_size=64, final_texture_size=64), true_state(64)
    colours, texture = runner.schedule(state)
    state = runner.run_unit(colours, state, 1)
    assert rounded
    rounded.clear()
    assert state.stages_done == 2
    painted = runner.run_unit(texture, state, 2)
    assert not rounded
    assert not torch.equal(painted.shared.texture, state.shared.texture)


def test_eyeballs_are_centred_by_frames_whose_rows_know_colours(monkeypatch):
    seen = []
    monkeypatch.setattr(
        stage_runner, "centred_eyes", lambda _, rows, offset, chosen: seen.append(chosen) or (rows, offset)
    )
    runner = new_runner(shared_frames=3)
    assert runner.is_long
    runner._with_centred_eyes(true_state())
    assert seen[0].any()
    assert not (seen[0] & ~runner.shared_frames).any()
