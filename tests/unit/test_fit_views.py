"""Parts of the tracker that know of several views: which belong together, what each sees, whose turn it is."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.fit.block_system import BlockSystem
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.framing import framings_of_head
from raytrack.fit.joint_fit import LANDMARK_PRIOR
from raytrack.fit.landmark_fit import LandmarkFitter
from raytrack.fit.landmark_stage import pose_features, starting_rows, trust_in_views
from raytrack.fit.landmark_targets import LandmarkTargets
from raytrack.fit.pictures import Pictures
from raytrack.fit.row_priors import RowPrior
from raytrack.fit.row_solver import view_turns
from raytrack.fit.views import SequenceViews
from raytrack.fit.visibility import LandmarkVisibility
from raytrack.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle
from raytrack.head.parameters import FrameParameters
from tests.rig_scene import FRONT, NUM_FRAMES, PROFILE, back_view, head, scene, world_from_head


def true_rows():
    """The scene's parameters as they are in the rig's world."""
    turn, shift = world_from_head()
    parameters, root = scene().parameters, head().joints[0]
    rotation = turn @ matrix_from_axis_angle(parameters.rotation)
    moved = (root + parameters.translation) @ turn.T + shift - root
    return dataclasses.replace(parameters, rotation=axis_angle_from_matrix(rotation), translation=moved).pack()


def views_of(*numbers):
    return SequenceViews.of([scene().views[number] for number in numbers])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calibrated": None}, "need a calibrated camera"),
        ({"timestep_ids": tuple("abcd")}, "other frames"),
        ({"timestamps_s": np.arange(NUM_FRAMES) / 30}, "other frames"),
        ({"landmark_set": "ibug"}, "landmarks 'ibug'"),
        ({"size_hw": (90, 65)}, "pictures are"),
    ],
)
def test_views_that_do_not_belong_together_are_refused(change, words):
    first, second = scene().views[:2]
    with pytest.raises(ValueError, match=words):
        SequenceViews.of([first, dataclasses.replace(second, **change)])


def test_names_of_cameras_are_distinct_and_there_is_one():
    with pytest.raises(ValueError, match="distinct names, got cam00, cam00"):
        SequenceViews.of([scene().views[0]] * 2)
    with pytest.raises(ValueError, match="at least one view"):
        SequenceViews.of([])


def test_places_in_the_rig_are_distinct():
    """Exports name pictures by them."""
    first = scene().views[3]
    other = dataclasses.replace(first, calibrated=dataclasses.replace(first.calibrated, id="other"))
    with pytest.raises(ValueError, match="distinct places in the rig, got 3, 3"):
        SequenceViews.of([first, other])


def test_a_timestep_is_tracked_when_any_view_sees_the_face():
    first, second = (dataclasses.replace(view, scores=np.zeros(4, np.float32)) for view in scene().views[FRONT:][:2])
    first.scores[1], second.scores[2] = 0.7, 0.9
    views = SequenceViews.of([first, second])
    assert views.detected.tolist() == [False, True, True, False]
    assert views.scores.tolist() == pytest.approx([0, 0.7, 0.9, 0])
    assert np.isfinite(views.landmarks_px(0)).all()


def test_far_sides_are_not_trusted():
    visibility = LandmarkVisibility.create(head(), "facemesh")
    rows, middle = true_rows(), slice(1, 3)
    left, right = 454, 234
    front, profile, other = (
        visibility.weights(rows, scene().views[number].calibrated.camera)[middle] for number in (FRONT, PROFILE, 7)
    )
    assert float(front.mean()) > 0.8
    assert float(profile[:, left].max()) == 0
    assert float(profile[:, right].min()) == 1
    assert float(other[:, right].max()) == 0
    assert float(other[:, left].min()) == 1
    assert float(front[:, [13, 14, 159, 145]].min()) == 1


def test_solved_rigs_trust_far_sides_a_little():
    views = views_of(FRONT, PROFILE)
    left, right = 454, 234
    weights = np.ones((2, views.num_frames, 478), np.float32) * views.detected_by_view[..., None]

    def trust(given):
        return trust_in_views(given, head(), weights, true_rows(), torch.zeros(head().num_shapes))[1, 1:3]

    assert trust(views)[:, left].max() == 0
    assert 0.2 < trust(dataclasses.replace(views, solved=True))[:, left].min() < 0.5
    assert trust(dataclasses.replace(views, solved=True))[:, right].min() == 1


def test_turns_show_every_view_and_all_in_the_end():
    turns = view_turns(list(range(16)), 4, first=1)
    assert sorted([*turns[0], *turns[1], *turns[2]]) == list(range(16))
    assert turns[3] == list(range(16))
    assert view_turns([2, 5], 3, first=0) == [[2, 5]] * 3
    assert view_turns(list(range(16)), 1, first=0) == [list(range(16))]


def test_cropped_pictures_have_the_cropped_calibrated_camera():
    view = scene().views[PROFILE]
    framing = framings_of_head(views_of(PROFILE), head(), true_rows(), torch.zeros(head().num_shapes))[0]
    assert framing is not None
    frames = TrackingFrames.load(view, 64, framing=framing)
    left, top, right, bottom = frames.crop_xyxy
    points = scene().vertices[0, ::50]
    whole = view.calibrated.camera.project(points)
    scale = torch.tensor([frames.size_hw[1] / (right - left), frames.size_hw[0] / (bottom - top)])
    expected = (whole - torch.tensor([left, top])) * scale
    torch.testing.assert_close(frames.camera(torch.tensor(1.0)).project(points), expected, atol=1e-3, rtol=1e-4)


def test_heads_are_framed_where_no_face_is_seen():
    """The chin line has the face above it in every camera, seen from above, from below and from behind."""
    given = [*scene().views, back_view()]
    views = SequenceViews.of([dataclasses.replace(view, scores=view.scores * (k == FRONT))
                              for k, view in enumerate(given)])  # fmt: skip
    rows = true_rows()
    framings = framings_of_head(views, head(), rows, torch.zeros(head().num_shapes))
    vertices = head().vertices(FrameParameters.unpack(rows), torch.zeros(head().num_shapes))
    brow = vertices[:, head().region("forehead")].mean(dim=1)
    bust = vertices[:, head().region("bottomline")].mean(dim=1)
    sizes = []
    for view, framing in zip(views.observations, framings, strict=True):
        assert framing is not None
        assert framing.present.all()
        pixels = view.calibrated.camera.project(torch.stack([brow, bust])).numpy()
        heights = ((pixels - framing.chin_px) * framing.up_xy).sum(axis=-1)
        assert heights[0].min() > 0 > heights[1].max()
        sizes.append(framing.face_size_px)
    assert max(sizes) < 1.5 * min(sizes)
    assert framings[0].mouth_open.tolist() == framings[FRONT].mouth_open.tolist()


def test_pictures_of_a_rig_are_those_that_show_the_head():
    views = views_of(PROFILE, FRONT)
    trust = np.ones((2, NUM_FRAMES, 478), np.float32)
    pictures = Pictures.of_rig(views, trust, 48, head(), true_rows(), torch.zeros(head().num_shapes))
    assert len(pictures.pairs) == 2 * NUM_FRAMES
    batches = pictures.epoch(np.random.default_rng(0), 3)
    seen = [(id(part.frames), int(row)) for batch in batches for part in batch for row in part.rows]
    assert len(seen) == len(set(seen)) == 2 * NUM_FRAMES
    assert [sum(len(part.rows) for part in batch) for batch in batches] == [3, 3, 2]
    sample = pictures.sample(np.random.default_rng(0), 3, 100)
    assert sum(len(part.rows) for part in sample) == 3
    assert all(len(part.frames.images) == len(part.rows) for part in sample)


def test_mattes_are_believed_or_not_once_per_view(caplog):
    """Of four frames one has a matte that misses the face: the few frames of a sample do not decide anew."""
    whole = scene().views[FRONT]
    view = dataclasses.replace(whole, load_alpha=lambda frame: whole.load_alpha(frame) * (frame != 1))
    trust = np.ones((1, NUM_FRAMES, 478), np.float32)
    shape = torch.zeros(head().num_shapes)
    pictures = Pictures.of_rig(SequenceViews.of([view]), trust, 48, head(), true_rows(), shape)
    assert pictures.row_views[0].frames.matte_valid.tolist() == [True, False, True, True]
    for seed in range(8):
        (part,) = pictures.sample(np.random.default_rng(seed), 1, 48)
        assert part.frames.has_matte
        assert part.frames.matte_valid.tolist() == [int(part.rows[0]) != 1]
    without = dataclasses.replace(whole, load_alpha=lambda frame: whole.load_alpha(frame) * (frame == 1))
    pictures = Pictures.of_rig(SequenceViews.of([without]), trust, 48, head(), true_rows(), shape)
    assert caplog.text.count("most mattes miss the face") == 1
    assert not any(part.frames.has_matte for part in pictures.sample(np.random.default_rng(0), 4, 48))
    assert not pictures.sample(np.random.default_rng(0), 4, 48)[0].frames.matte_valid.any()
    assert caplog.text.count("most mattes miss the face") == 1


def test_turns_of_the_head_are_seen_in_a_world_that_lies_on_its_side():
    """The head's up is the world's z: a turn about it is yaw all the same, so frames of it make key frames."""
    upright = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    yaws = torch.tensor([0.0, 0.2, -0.3, 0.4])
    own = torch.stack([torch.zeros(4), yaws, torch.zeros(4)], dim=1)
    rows = torch.zeros(NUM_FRAMES, 18 + head().num_expressions)
    rows[:, :3] = axis_angle_from_matrix(upright @ matrix_from_axis_angle(own))
    views = views_of(FRONT)
    targets = (
        LandmarkTargets(
            positions_px=views.landmarks_px(0), weights=np.ones((NUM_FRAMES, 478), np.float32),
            size_hw=views.first.size_hw,
        ),
    )  # fmt: skip
    features = pose_features(rows, targets, views)
    np.testing.assert_allclose(features[:, :2], own[:, :2], atol=1e-5)


def test_initial_poses_are_near_in_the_rigs_world():
    rows = starting_rows(SequenceViews.of(scene().views), head())
    found = head().vertices(FrameParameters.unpack(rows), torch.zeros(head().num_shapes))
    face = head().region("face")
    assert float((found - scene().vertices)[:, face].norm(dim=-1).mean()) < 0.015


def test_landmark_derivatives_by_the_identity_hold_in_any_view():
    """The gradient of the system is that of the cost, for a calibrated camera off the middle."""
    fitter = LandmarkFitter(head(), RowPrior.create(head(), LANDMARK_PRIOR))
    view = scene().views[PROFILE]
    positions = view.calibrated.camera.project(head().landmarks_world(scene().vertices[:1])).numpy()
    targets = (
        LandmarkTargets(
            positions_px=positions.astype(np.float32), weights=np.ones((1, 478), np.float32),
            size_hw=view.size_hw, calibrated=view.calibrated.camera,
        ),
    )  # fmt: skip
    rows, shape = true_rows()[:1], 0.3 * torch.ones(head().num_shapes)
    posed = fitter._posed(rows, shape, 1.0, targets)
    system = fitter._system(posed, rows, shape, 1.0, 1.0, targets, shared=True)
    assert isinstance(system, BlockSystem)
    assert len(system.shared_gradient) == head().num_shapes
    for index in (0, 5):
        step = torch.zeros(head().num_shapes)
        step[index] = 0.02
        costs = [
            fitter._cost(fitter._posed(rows, shape + side * step, 1.0, targets), rows, shape + side * step, 1.0, 1.0,
                         targets)
            for side in (1, -1)
        ]  # fmt: skip
        assert (costs[0] - costs[1]) / 0.04 == pytest.approx(float(system.shared_gradient[index]), rel=0.02, abs=2e-3)
