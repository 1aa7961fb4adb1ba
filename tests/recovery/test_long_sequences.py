"""A sequence in segments against the same in one piece, and sequences of one subject with one identity."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from test_fit_recovery import NUM_FRAMES, fast, scene  # noqa: F401 (a fixture)

from raytrack.errors import ConfigError, InputError
from raytrack.fit.checkpoint import FitState
from raytrack.fit.frame_choice import Segment, choose_shared_frames
from raytrack.fit.groups import FrameGroups
from raytrack.fit.identity import Identity
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.row_solver import RowResult, RowSolver
from raytrack.fit.segment_bounds import segment_bounds
from raytrack.fit.segmented import SegmentRows, fit_segment, fit_shared, join_segments
from raytrack.fit.shared import SharedParameters
from raytrack.fit.shared_stage import SharedOptimiser
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.tracker import track_sequence
from raytrack.fit.views import SequenceViews
from tests.occluders import OCCLUDERS

LONG, SHARED, WITH_HAND = 26, 8, (10, 11, 12, 13, 14)


def in_segments(observation, head, config, identity=None):
    """The three parts, one after the other; each segment could have a machine of its own."""
    state = fit_shared(observation, head, config, identity=identity)
    parts = [
        fit_segment(observation, head, config, state, Segment(start=start, stop=stop), identity=identity)
        for start, stop in segment_bounds(observation.num_frames, config)
    ]
    return join_segments(observation, head, config, state, parts, identity=identity), parts


def long_observation(observation):
    """The sequence there and back again, with a hand before the face for a moment."""
    order = np.abs((np.arange(LONG) + NUM_FRAMES - 1) % (2 * NUM_FRAMES - 2) - NUM_FRAMES + 1)

    @functools.cache
    def picture(frame):
        image, alpha = observation.load_image(order[frame]), observation.load_alpha(order[frame])
        points = observation.landmarks_px[order[frame]]
        return OCCLUDERS["hand"](image, alpha, points, 0.5) if frame in WITH_HAND else (image, alpha)

    return dataclasses.replace(
        observation,
        timestep_ids=tuple(f"{k:06d}" for k in range(LONG)),
        timestamps_s=np.arange(LONG) / 25,
        load_image=lambda frame: picture(frame)[0],
        load_alpha=lambda frame: picture(frame)[1],
        landmarks_px=observation.landmarks_px[order],
        scores=np.ones(LONG, np.float32),
    )


def test_segments_of_a_long_sequence_give_what_one_piece_gives(scene):  # noqa: F811
    head, _, observation = scene
    small = {"tracking_size_px": 96, "texture_size": 64, "texture_image_size_px": 96, "final_texture_size": 128}
    config = dataclasses.replace(fast(shared_frames=SHARED, segment_frames=9, num_key_frames=4), **small)
    long = long_observation(observation)
    runner = StageRunner(SequenceViews.of(long), head, config)
    assert runner.is_long
    assert runner.shared_frames.sum() == SHARED
    split, parts = in_segments(long, head, config)
    assert [len(part.rows) for part in parts] == [8, 9, 9]
    whole = track_sequence(long, head, dataclasses.replace(config, segment_frames=0))
    assert torch.equal(split.parameters.pack(), whole.parameters.pack())
    assert torch.equal(split.texture, whole.texture)
    hidden = {int(frame) for part in parts for frame in part.hidden.pictures[:, 1]}
    others = {int(frame) for frame in WITH_HAND if not runner.shared_frames[frame]}
    assert len(others) > 1
    assert hidden >= others, "those that what is shared has not seen"
    assert hidden <= set(WITH_HAND)


def test_segments_give_what_one_piece_gives(scene):  # noqa: F811
    head, _, observation = scene
    config = fast(segment_frames=3)
    scores = observation.scores.copy()
    scores[4] = 0  # Joined frames lie beside one without a face.
    gapped = dataclasses.replace(observation, scores=scores)
    split, parts = in_segments(gapped, head, config)
    whole = track_sequence(gapped, head, dataclasses.replace(config, segment_frames=0))
    assert [len(part.rows) for part in parts] == [2, 3, 3]
    vertices = [head.vertices(track.parameters, track.shape, track.static_offset[0]) for track in (split, whole)]
    assert torch.equal(*vertices)
    assert torch.equal(split.texture, whole.texture)
    assert split.focal_px == whole.focal_px


def test_a_segment_alone_knows_nothing_of_its_neighbourhood(scene):  # noqa: F811
    """What makes the joins exact: without the frames beside it, a segment's first rows come out otherwise."""
    head, _, observation = scene
    config = fast(segment_frames=4)
    state = fit_shared(observation, head, config)
    part = fit_segment(observation, head, config, state, Segment(start=4, stop=8))
    moved = dataclasses.replace(state, rows=state.rows.clone())
    moved.rows[3, :6] += 0.05
    other = fit_segment(observation, head, config, moved, Segment(start=4, stop=8))
    assert not torch.equal(part.rows[0], other.rows[0])


def test_the_shared_frames_of_a_long_sequence_are_spread_over_times_poses_and_groups():
    count, rng = 400, np.random.default_rng(0)
    landmarks = np.tile(rng.uniform(100, 200, (478, 2)).astype(np.float32), (count, 1, 1))
    landmarks[250:255, :200] += 60.0  # A turn of a moment.
    group = np.zeros(count, np.int64)
    group[390:396] = 1
    views = SequenceViews.of(
        dataclasses.replace(blank_observation(count), landmarks_px=landmarks, scores=np.ones(count, np.float32))
    )
    chosen = choose_shared_frames(views, 40, FrameGroups.of(group))
    assert chosen.sum() in range(40, 47)
    assert chosen[250:255].any()
    assert chosen[390:396].all()
    numbers = np.flatnonzero(chosen)
    assert np.diff(numbers).max() < 25
    assert choose_shared_frames(views, 400, FrameGroups.of(group)).all()


def blank_observation(count):
    return SequenceObservation(
        size_hw=(300, 300),
        timestep_ids=tuple(f"{k:06d}" for k in range(count)),
        timestamps_s=np.arange(count) / 25,
        load_image=lambda _: np.zeros((300, 300, 3), np.uint8),
        load_alpha=None,
        landmarks_px=np.zeros((count, 478, 2), np.float32),
        scores=np.zeros(count, np.float32),
    )


@pytest.fixture(scope="module")
def first(scene):  # noqa: F811
    head, _, observation = scene
    return track_sequence(observation, head, fast())


def test_a_known_identity_is_held_and_takes_fewer_steps(scene, first, tmp_path, monkeypatch):  # noqa: F811
    head, _, observation = scene
    Identity.of_track(first).save(tmp_path / "identity.npz")
    identity = Identity.load(tmp_path / "identity.npz")
    turned = slice(None, None, -1)
    later = dataclasses.replace(
        observation,
        load_image=lambda k: observation.load_image(NUM_FRAMES - 1 - k),
        load_alpha=lambda k: observation.load_alpha(NUM_FRAMES - 1 - k),
        landmarks_px=observation.landmarks_px[turned],
    )
    track = track_sequence(later, head, dataclasses.replace(fast(), rounds=3), identity=identity)
    assert torch.equal(track.shape, first.shape)
    assert torch.equal(track.static_offset, first.static_offset)
    assert torch.equal(track.texture, identity.texture)
    found = head.vertices(track.parameters, track.shape, track.static_offset[0])
    projected = track.camera.project(head.landmarks_world(found)).numpy()
    assert np.linalg.norm(projected - later.landmarks_px, axis=-1).mean() < 0.6
    assert abs(track.focal_px / first.focal_px - 1) < 0.02
    own = head.vertices(first.parameters, first.shape, first.static_offset[0])
    assert (found - own.flip(0)).norm(dim=-1).mean() < 0.02
    (steps, iterations), (all_steps, all_iterations) = (
        effort(later, head, known, monkeypatch) for known in (identity, None)
    )
    assert steps < 0.5 * all_steps
    assert iterations < 0.8 * all_iterations


def effort(observation, head, identity, monkeypatch):
    """Steps of Adam of a whole fit that never comes to rest, and Gauss–Newton iterations of all frames."""
    steps, iterations = [], []

    def step(_optimiser, rows, shared, *_, **__):
        steps.append(1)
        return rows, shared, torch.tensor(0.1)

    def solve(_solver, rows, _shared, numbers, blur_schedule_px, **_):
        iterations.append(len(numbers) * len(blur_schedule_px))
        errors = np.full(len(numbers), 0.9 ** len(iterations))
        return RowResult(rows=rows, first_error=errors, last_error=errors)

    with monkeypatch.context() as patched:
        patched.setattr(SharedOptimiser, "step", step)
        patched.setattr(RowSolver, "solve", solve)
        track_sequence(observation, head, dataclasses.replace(fast(), rounds=3), identity=identity)
    return len(steps), sum(iterations)


def test_segments_with_a_known_identity(scene, first):  # noqa: F811
    head, _, observation = scene
    config, identity = fast(shared_frames=4, segment_frames=4), Identity.of_track(first)
    split, _ = in_segments(observation, head, config, identity)
    whole = track_sequence(observation, head, config, identity=identity)
    assert torch.equal(split.parameters.pack(), whole.parameters.pack())
    assert torch.equal(split.lights, whole.lights)


def test_an_identity_that_cannot_be_used_is_refused(scene, first, tmp_path):  # noqa: F811
    head, _, observation = scene
    other = dataclasses.replace(Identity.of_track(first), head_sha256="0" * 64)
    with pytest.raises(InputError, match="not of this version"):
        track_sequence(observation, head, fast(), identity=other)
    other.save(tmp_path / "other.npz")
    named = fast(identity=str(tmp_path / "other.npz"))
    whole = SegmentRows(segment=Segment(start=0, stop=NUM_FRAMES), rows=first.parameters.pack())
    shared = SharedParameters.start(head, first.shape, first.focal_px, 128)
    state = FitState(rows=whole.rows, shared=shared, stages_done=1, photo_error=0, rows_error=1, converged=False)
    parts = (
        fit_shared,
        functools.partial(fit_segment, state=state, segment=whole.segment),
        functools.partial(join_segments, state=state, parts=[whole]),
    )
    for part in parts:
        with pytest.raises(InputError, match="not of this version"):
            part(observation, head, fast(), identity=other)
        with pytest.raises(InputError, match="not of this version"):
            part(observation, head, named)
    with pytest.raises(ConfigError, match="vhap"):
        track_sequence(observation, head, fast(preset="vhap"), identity=Identity.of_track(first))
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a readable"):
        Identity.load(tmp_path / "x.npz")
