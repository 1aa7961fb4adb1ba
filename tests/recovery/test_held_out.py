"""Held-out frames and cameras: nothing of them reaches what frames share, yet their rows are fitted."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest
import torch
from synthetic_track import head, make_rig, make_track

from raytrack.errors import ConfigError, NoFaceError
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.held_out import held_out_frames, with_held_out_rows
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.occlusion import ErrorLevels, HiddenSpots
from raytrack.fit.painting import FramePainter
from raytrack.fit.pictures import Pictures
from raytrack.fit.schedule import OcclusionStage, RowStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_loop import Progress
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.track import Track
from raytrack.fit.tracker import track_sequence
from raytrack.fit.views import SequenceViews, frames_of
from raytrack.head.parameters import NUM_POSE

SIZE_HW, NUM_FRAMES = (96, 96), 6
ODD = np.arange(NUM_FRAMES) % 2 == 1
SHARED = ("shape", "static_offset", "texture", "lights")
CONFIG = TrackConfig(
    tracking_size_px=96, texture_image_size_px=96, texture_size=32, final_texture_size=32, rounds=1, num_threads=1
)
HALF = dataclasses.replace(CONFIG, held_out_every=2)


@functools.cache
def scene() -> tuple[SequenceObservation, Track]:
    """Pictures of a known head over grey, with what a perfect observer finds in them."""
    truth = make_track(NUM_FRAMES, SIZE_HW)
    truth = dataclasses.replace(truth, texture=head().albedo)
    painter, room = FramePainter(truth, head()), np.full((*SIZE_HW, 3), 128, np.uint8)
    painted = [painter.paint(index, room) for index in range(NUM_FRAMES)]
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=truth.timestep_ids,
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda index: painted[index].color,
        load_alpha=lambda index: painted[index].mask * np.uint8(255),
        landmarks_px=np.stack([one.landmarks_px for one in painted]),
        scores=np.ones(NUM_FRAMES, np.float32),
    )
    return observation, truth


def changed(observation: SequenceObservation, frames: np.ndarray) -> SequenceObservation:
    """Other pictures, mattes, landmarks and scores in some frames."""
    landmarks, scores = observation.landmarks_px.copy(), observation.scores.copy()
    landmarks[frames] += np.float32([3.0, -2.0])
    scores[frames] = 0.7

    def image(index: int) -> np.ndarray:
        picture = observation.load_image(index)
        return 255 - picture if frames[index] else picture

    def alpha(index: int) -> np.ndarray:
        matte = observation.load_alpha(index)
        return np.roll(matte, 5, axis=1) if frames[index] else matte

    return dataclasses.replace(observation, load_image=image, load_alpha=alpha, landmarks_px=landmarks, scores=scores)


TOLD: list[Progress] = []


@functools.cache
def half_track() -> Track:
    return track_sequence(scene()[0], head(), HALF, on_progress=TOLD.append)


def test_what_frames_share_never_sees_held_out_frames():
    whole, other = half_track(), track_sequence(changed(scene()[0], ODD), head(), HALF)
    for name in SHARED:
        assert torch.equal(getattr(whole, name), getattr(other, name)), name
    assert whole.focal_px == other.focal_px
    assert torch.equal(whole.parameters.translation[~ODD], other.parameters.translation[~ODD])
    assert not torch.equal(whole.parameters.translation[ODD], other.parameters.translation[ODD])
    np.testing.assert_array_equal(whole.held_out.numpy(), ODD)


def test_other_frames_do_change_what_is_shared():
    """Else the test above could not fail."""
    last = np.arange(NUM_FRAMES) == NUM_FRAMES - 2
    other = track_sequence(changed(scene()[0], last), head(), HALF)
    assert all(not torch.equal(getattr(half_track(), name), getattr(other, name)) for name in SHARED)


def test_rows_of_held_out_frames_are_fitted_to_their_pictures():
    observation, truth = scene()
    track = half_track()
    vertices = head().vertices(track.parameters, track.shape, track.static_offset[0])
    found = track.camera.project(head().landmarks_world(vertices)).numpy()
    error = np.linalg.norm(found - observation.landmarks_px, axis=-1).mean(axis=1)
    between = (observation.landmarks_px[:-2] + observation.landmarks_px[2:])[0::2] / 2
    interpolated = np.linalg.norm(between - observation.landmarks_px[1:-1:2], axis=-1).mean()
    assert error[ODD].mean() < 1.5
    assert error[ODD].mean() < 0.3 * interpolated
    assert track.num_frames == truth.num_frames
    assert track.tracked.all()


def test_without_held_out_frames_nothing_is_marked(tmp_path):
    track = half_track()
    track.save(tmp_path / "half.npz", base_albedo=head().albedo)
    again = Track.load(tmp_path / "half.npz")
    np.testing.assert_array_equal(again.held_out.numpy(), ODD)
    dataclasses.replace(track, held_out=None).save(tmp_path / "all.npz", base_albedo=head().albedo)
    assert Track.load(tmp_path / "all.npz").held_out is None
    assert "held_out" not in np.load(tmp_path / "all.npz").files


def test_progress_ends_when_the_held_out_rows_are_done():
    half_track()
    assert TOLD[-1].stage == "rows_held_out"
    assert TOLD[-1].done == TOLD[-1].total
    assert [one.done for one in TOLD] == sorted(one.done for one in TOLD)
    assert len({one.total for one in TOLD}) == 1


def test_faces_in_held_out_frames_alone_are_none():
    observation = scene()[0]
    scores = np.where(ODD, observation.scores, 0).astype(np.float32)
    with pytest.raises(NoFaceError):
        track_sequence(dataclasses.replace(observation, scores=scores), head(), HALF)


def test_a_part_of_a_sequence_is_a_sequence():
    observation = dataclasses.replace(scene()[0], source_index=10 + np.arange(NUM_FRAMES))
    (part,) = frames_of(SequenceViews.of(observation), np.array([0, 3, 5])).observations
    assert part.timestep_ids == ("000000", "000003", "000005")
    assert part.source_index.tolist() == [10, 13, 15]
    np.testing.assert_array_equal(part.load_image(1), observation.load_image(3))
    np.testing.assert_array_equal(part.load_alpha(2), observation.load_alpha(5))
    np.testing.assert_array_equal(part.landmarks_px, observation.landmarks_px[[0, 3, 5]])
    assert part.num_frames == len(part.scores) == len(part.timestamps_s) == 3


def test_every_third_frame_is_the_last_of_three():
    config = dataclasses.replace(CONFIG, held_out_every=3)
    views = SequenceViews.of(scene()[0])
    np.testing.assert_array_equal(np.flatnonzero(held_out_frames(views, config)), [2, 5])
    assert not held_out_frames(views, CONFIG).any()
    cut = dataclasses.replace(scene()[0], group=np.array([0, 0, 0, 0, 0, 1]))
    np.testing.assert_array_equal(np.flatnonzero(held_out_frames(SequenceViews.of(cut), config)), [2])
    for settings in ({"held_out_every": 1}, {"held_out_every": -2}, {"held_out_every": 2, "preset": "vhap"}):
        with pytest.raises(ValueError, match="held_out_every"):
            TrackConfig(**settings)


def test_a_shot_whose_only_faces_would_be_held_out_keeps_them():
    """Its light would have to come from frames without a face."""
    scores, group = np.float32([1, 1, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    cut = dataclasses.replace(scene()[0], scores=scores, group=group)
    np.testing.assert_array_equal(np.flatnonzero(held_out_frames(SequenceViews.of(cut), HALF)), [1, 5])


def test_shots_keep_their_lights_though_the_fit_counts_them_otherwise(monkeypatch):
    """Without the held-out frames, the third shot comes before the second."""
    order, group = np.array([0, 1, 2, 3, 0, 1, 2, 3]), np.array([0, 1, 2, 2, 1, 1, 1, 1])
    plain = scene()[0]
    arrays = {name: getattr(plain, name)[order] for name in ("landmarks_px", "scores")}
    cut = dataclasses.replace(
        plain, **arrays, group=group, timestep_ids=tuple("01234567"), timestamps_s=np.arange(8) / 25,
        load_image=lambda index: plain.load_image(order[index]),
        load_alpha=lambda index: plain.load_alpha(order[index]),
    )  # fmt: skip
    views = SequenceViews.of(cut)
    lights, focals = torch.arange(3.0)[:, None, None].expand(3, 9, 3), torch.tensor([200.0, 201.0, 202.0])
    shared = SharedParameters.start(head(), torch.zeros(head().num_shapes), focals.tolist(), 32, 3)
    state = FitState(
        rows=torch.zeros(4, NUM_POSE + head().num_expressions), shared=shared.with_values(light=lights),
        stages_done=9, photo_error=0, rows_error=1, converged=False,
    )  # fmt: skip
    monkeypatch.setattr(StageRunner, "schedule", lambda *_: ())
    whole = with_held_out_rows(state, views, head(), HALF)
    kept = np.array([0, 2, 4, 6])
    fitted = frames_of(views, kept).group
    assert fitted.tolist() != views.group[kept].tolist(), "else nothing is to be told apart"
    assert whole.shared.light[views.group[kept], 0, 0].tolist() == lights[fitted, 0, 0].tolist()
    torch.testing.assert_close(whole.shared.log_focal.exp()[views.group[kept]], focals[fitted])


def usual_errors() -> ErrorLevels:
    count = len(head().faces)
    return ErrorLevels(levels=np.full(count, 0.03, np.float32), whole=0.03, mobile=np.zeros(count, bool))


def true_state(hidden: HiddenSpots, *, mattes_refused: bool = False) -> FitState:
    """Of a fit of the even frames that found everything."""
    truth = scene()[1]
    assert truth.focal_px is not None
    shared = SharedParameters.start(head(), truth.shape, truth.focal_px, 128).with_values(light=truth.lights[None])
    if truth.static_offset is not None:
        shared = shared.with_values(offset=truth.static_offset[0])
    return FitState(
        rows=truth.parameters.pack()[torch.from_numpy(~ODD)], shared=shared, stages_done=9, photo_error=0,
        rows_error=1, converged=False, hidden=hidden, mattes_refused=mattes_refused, levels=usual_errors(),
    )  # fmt: skip


def pictures_of_held_out_rows(monkeypatch, observation: SequenceObservation, state: FitState) -> Pictures:
    """What the held-out rows are fitted to."""
    rows = RowStage(name="rows", blur_schedule_px=(0,), round_index=0)
    stages = OcclusionStage(name="too early"), rows, OcclusionStage(name="look"), rows
    seen: list[Pictures] = []

    def solve_rows(runner: StageRunner, _stage: RowStage, state: FitState, _frames: np.ndarray) -> FitState:
        seen.append(runner.pictures.of(state, "all"))
        return dataclasses.replace(state, rows=scene()[1].parameters.pack())

    monkeypatch.setattr(StageRunner, "schedule", lambda *_: stages)
    monkeypatch.setattr(StageRunner, "solve_rows", solve_rows)
    with_held_out_rows(state, SequenceViews.of(observation), head(), HALF)
    return seen[-1]


def test_what_hides_a_held_out_frame_is_found_in_it(monkeypatch):
    """And is not taken from the frame that the fit, without the others, gives the same number."""
    plain, with_ball = scene()[0], 3

    def image(index: int) -> np.ndarray:
        centre = plain.landmarks_px[index].mean(axis=0).astype(int).tolist()
        picture = plain.load_image(index)
        return cv2.circle(picture.copy(), centre, 9, (0, 0, 255), -1) if index == with_ball else picture

    observation = dataclasses.replace(plain, load_image=image)
    of_the_fit = HiddenSpots.none().with_picture(0, 1, np.ones((96, 96), bool))
    found = pictures_of_held_out_rows(monkeypatch, observation, true_state(of_the_fit))
    assert set(found.row_views[0].frames.hidden) == {with_ball}


def test_mattes_that_the_fit_refused_are_refused_for_held_out_frames(monkeypatch):
    refused = pictures_of_held_out_rows(monkeypatch, scene()[0], true_state(HiddenSpots.none(), mattes_refused=True))
    assert not refused.has_mattes
    taken = pictures_of_held_out_rows(monkeypatch, scene()[0], true_state(HiddenSpots.none()))
    assert taken.has_mattes


def rig_views() -> tuple[Track, tuple[SequenceObservation, ...]]:
    truth = make_rig(make_track(4, SIZE_HW), sizes_hw=(SIZE_HW,))
    truth = dataclasses.replace(truth, texture=head().albedo)
    room = np.full((*SIZE_HW, 3), 128, np.uint8)
    views = []
    for number, camera in enumerate(truth.cameras):
        painter = FramePainter(truth, head(), view=number)
        painted = [painter.paint(index, room) for index in range(4)]
        views.append(
            SequenceObservation(
                size_hw=SIZE_HW,
                timestep_ids=truth.timestep_ids,
                timestamps_s=np.arange(4) / 25,
                load_image=lambda index, painted=painted: painted[index].color,
                load_alpha=lambda index, painted=painted: painted[index].mask * np.uint8(255),
                landmarks_px=np.stack([one.landmarks_px for one in painted]),
                scores=np.ones(4, np.float32),
                calibrated=camera,
            )
        )
    return truth, tuple(views)


def test_held_out_cameras_take_no_part_but_are_in_the_track():
    truth, views = rig_views()
    config = dataclasses.replace(CONFIG, held_out_cameras=("222002",))
    track = track_sequence(views, head(), config)
    other = track_sequence((*views[:2], changed(views[2], np.ones(4, bool))), head(), config)
    assert all(torch.equal(getattr(track, name), getattr(other, name)) for name in SHARED)
    assert torch.equal(track.parameters.translation, other.parameters.translation)
    assert [camera.id for camera in track.cameras] == [camera.id for camera in truth.cameras]
    assert track.held_out_cameras == ("222002",)
    with pytest.raises(ConfigError, match="no camera 7; there are 222000, 222001, 222002"):
        track_sequence(views, head(), dataclasses.replace(CONFIG, held_out_cameras=("7",)))
    with pytest.raises(ConfigError, match="no calibrated rig"):
        track_sequence(scene()[0], head(), config)
