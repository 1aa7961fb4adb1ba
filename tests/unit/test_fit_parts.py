"""Small parts of the tracker: key frames, interpolation, optimiser state, mattes, regions."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.errors import ConfigError
from raytrack.fit.alignment import Alignment, occluded_vertices, trusted_landmarks
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig, Weights
from raytrack.fit.frames import TrackingFrames, clean_matte, large_array, signed_distance
from raytrack.fit.interpolation import interpolate_missing
from raytrack.fit.key_frames import choose_key_frames
from raytrack.fit.landmark_stage import unwrapped
from raytrack.fit.neighbours import link_weights
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.shared import Adam, RowAdam, SharedParameters, resampled_texture
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head


def test_key_frames_are_spread_and_never_failures():
    poses = np.stack([np.linspace(-1, 1, 50), np.zeros(50), np.zeros(50)], axis=1)
    scores = np.full(50, 0.9)
    scores[[0, 49]] = 0.0
    scores[48] = 0.2
    chosen = choose_key_frames(scores, poses, 4)
    assert len(chosen) == 4
    assert not {0, 48, 49} & set(chosen.tolist())
    assert {1, 47} <= set(chosen.tolist())


def test_key_frames_need_a_face():
    with pytest.raises(ValueError, match="no frame has a face"):
        choose_key_frames(np.zeros(5), np.zeros((5, 3)), 2)


def test_still_footage_gives_few_key_frames():
    assert len(choose_key_frames(np.ones(20), np.zeros((20, 3)), 12)) == 1


def test_missing_rows_are_interpolated_between_and_copied_outside():
    rows = torch.arange(6.0)[:, None] * torch.tensor([[1.0, -2.0]])
    known = np.array([False, True, False, False, True, False])
    broken = rows.clone()
    broken[~torch.from_numpy(known)] = float("nan")
    mended = interpolate_missing(broken, known)
    torch.testing.assert_close(mended[1:5], rows[1:5])
    torch.testing.assert_close(mended[0], rows[1])
    torch.testing.assert_close(mended[5], rows[4])


def test_rows_outside_a_batch_neither_move_nor_age():
    values = torch.ones(4, 2)
    adam = RowAdam(torch.tensor([0.1, 0.2]), 4)
    adam.step(values, torch.tensor([1, 3]), torch.ones(2, 2), 1.0)
    assert torch.equal(values[[0, 2]], torch.ones(2, 2))
    torch.testing.assert_close(values[1], torch.tensor([0.9, 0.8]))
    adam.step(values, torch.tensor([0]), torch.ones(1, 2), 1.0)
    torch.testing.assert_close(values[0], torch.tensor([0.9, 0.8]))


def test_adam_agrees_with_torch():
    start = torch.tensor([1.0, -2.0, 0.5])
    leaf = start.clone().requires_grad_(True)
    reference = torch.optim.Adam([leaf], lr=0.03)
    own, value = Adam(0.03), start
    for _ in range(5):
        reference.zero_grad()
        (leaf.square() * torch.tensor([1.0, 3.0, -0.5])).sum().backward()
        gradient = 2 * value * torch.tensor([1.0, 3.0, -0.5])
        value = own.step(value, gradient)
        reference.step()
    torch.testing.assert_close(value, leaf.detach())


def test_matte_floor():
    alpha = np.array([[0, 76, 165, 255]], np.uint8)
    cleaned = clean_matte(alpha)
    assert cleaned[0, [0, 1, 3]].tolist() == [0, 0, 1]
    assert cleaned[0, 2] == pytest.approx((165 / 255 - 0.3) / 0.7, abs=1e-6)


def test_frames_are_scaled_with_their_landmarks():
    image = np.zeros((200, 100, 3), np.uint8)
    image[:, 50:] = 255
    landmarks = np.random.default_rng(0).uniform((20, 40), (90, 150), (1, 478, 2)).astype(np.float32)
    observation = SequenceObservation(
        size_hw=(200, 100),
        timestep_ids=("0",),
        timestamps_s=np.zeros(1),
        load_image=lambda _: image,
        load_alpha=lambda _: image[..., 0],
        landmarks_px=landmarks,
        scores=np.ones(1, np.float32),
    )
    frames = TrackingFrames.load(observation, 100)
    assert frames.images.shape == (1, 100, 50, 3)
    np.testing.assert_allclose(frames.landmarks_px, landmarks / 2, atol=1e-4)
    assert frames.crop_xyxy == (0, 0, 100, 200)
    distance = frames.signed_distance(0)
    assert distance[50, 40] > 0 > distance[50, 10]
    assert abs(float(distance[50, 25])) <= 1.5
    assert np.abs(distance).max() == 7.0
    assert frames.matte([0])[0, 50, 40] == 1


def test_occluded_regions_leave_both_alignments():
    head = load_head("default")
    free = Alignment.create(head, TrackConfig())
    without = Alignment.create(head, TrackConfig(occluded=("hair",)))
    hair = head.region("hair")
    assert not free.held_outline[hair].all()
    assert without.held_outline[hair].all()
    assert without.unaligned_faces.sum() == head.face_region("hair").sum() > 0
    assert free.unaligned_faces.sum() == 0


def test_no_static_offset_means_hair_is_occluded():
    head = load_head("default")
    assert torch.equal(occluded_vertices(head, TrackConfig(static_offset=False)), head.region("hair"))
    assert not occluded_vertices(head, TrackConfig()).any()


def test_unknown_region_is_refused_by_name():
    with pytest.raises(ConfigError, match="no region beard"):
        occluded_vertices(load_head("default"), TrackConfig(occluded=("beard",)))


def test_landmarks_on_occluded_parts_count_nothing():
    head = load_head("default")
    weights = trusted_landmarks(head, np.array([True, False]), head.region("lips"))
    assert weights[1].sum() == 0
    assert weights[0, 13] == 0
    assert weights[0, 1] == 1


def test_texture_resampling_keeps_the_mean():
    texture = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    small = resampled_texture(texture, 16)
    torch.testing.assert_close(small.mean(dim=(0, 1)), texture.mean(dim=(0, 1)))
    assert resampled_texture(small, 64).shape == (64, 64, 3)


def test_checkpoint_returns_the_state_bit_for_bit(tmp_path):
    head = load_head("default")
    shared = SharedParameters.start(head, torch.randn(head.num_shapes), 777.7, 32)
    state = FitState(
        rows=torch.randn(3, 18 + head.num_expressions),
        shared=shared,
        stages_done=4,
        photo_error=0.03,
        rows_error=float("inf"),
        converged=True,
        units_done=2,
        unit_errors=(0.1, 0.2),
        adam={"texture": {"mean": torch.randn(3), "steps": torch.tensor(7)}},
    )
    Checkpoint(tmp_path / "work").save(state)
    loaded = Checkpoint(tmp_path / "work").load()
    assert loaded is not None
    assert torch.equal(loaded.rows, state.rows)
    for field in dataclasses.fields(shared):
        assert torch.equal(getattr(loaded.shared, field.name), getattr(shared, field.name))
    assert (loaded.stages_done, loaded.photo_error, loaded.rows_error, loaded.converged) == (
        4,
        0.03,
        float("inf"),
        True,
    )


def test_damaged_checkpoint_starts_over(tmp_path):
    (tmp_path / "state.npz").write_bytes(b"not an archive")
    assert Checkpoint(tmp_path).load() is None


def test_arrays_too_large_for_memory_are_files_without_a_name(monkeypatch):
    monkeypatch.setattr("raytrack.fit.frames._IN_MEMORY_BYTES", 1000)
    array = large_array((10, 20, 30), np.uint8)
    assert isinstance(array, np.memmap)
    array[3] = 7
    assert int(array[3].sum()) == 7 * 600
    assert not isinstance(large_array((10,), np.uint8), np.memmap)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"rounds": 0},
        {"texture_size": 100},
        {"final_texture_size": 0},
        {"focal_ratio": 0.0},
        {"focal_ratio": float("nan")},
        {"tracking_size_px": 0},
        {"num_key_frames": 0},
        {"num_threads": 0},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrackConfig(**wrong)


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="photo"):
        Weights(photo=-1.0)


def small_face_observation(**changes):
    """A face of 60 px at (300, 200) in a picture of 640 × 480."""
    points = np.random.default_rng(1).uniform((270, 170), (330, 230), (3, 478, 2)).astype(np.float32)
    values = {
        "size_hw": (480, 640),
        "timestep_ids": ("0", "1", "2"),
        "timestamps_s": np.arange(3) / 25,
        "load_image": lambda _: np.zeros((480, 640, 3), np.uint8),
        "load_alpha": None,
        "landmarks_px": points,
        "scores": np.ones(3, np.float32),
    }
    return SequenceObservation(**(values | changes))


def test_pictures_are_cropped_to_the_head_and_the_camera_follows():
    observation = small_face_observation()
    frames = TrackingFrames.load(observation, 128)
    left, top, right, bottom = frames.crop_xyxy
    assert 190 < left < 230
    assert 370 < right < 410
    assert max(frames.size_hw) == 128
    point = torch.tensor([[0.02, 0.01, 0.1]])
    whole = monocular_camera(torch.tensor(900.0), (480, 640)).project(point)[0]
    cropped = frames.camera(torch.tensor(900.0)).project(point)[0]
    scale = torch.tensor([frames.size_hw[1] / (right - left), frames.size_hw[0] / (bottom - top)])
    torch.testing.assert_close(cropped, (whole - torch.tensor([left, top])) * scale)


@pytest.mark.parametrize("value", [0, 255])
def test_mattes_that_say_nothing_are_left_out(value):
    observation = small_face_observation(load_alpha=lambda _: np.full((480, 640), value, np.uint8))
    assert not TrackingFrames.load(observation, 128).has_matte


def test_one_bad_matte_does_not_count():
    def alpha(number):
        matte = np.zeros((480, 640), np.uint8)
        if number != 1:
            matte[140:300, 250:350] = 255
        return matte

    frames = TrackingFrames.load(small_face_observation(load_alpha=alpha), 128)
    assert frames.matte_valid.tolist() == [True, False, True]
    assert frames.signed_distance(1) is None
    assert frames.signed_distance(0) is not None
    assert frames.pixel_weights(1).min() == 1


def test_outline_lies_between_the_pixels():
    matte = np.zeros((5, 10), np.float32)
    matte[:, 5:] = 1
    assert signed_distance(matte)[2].tolist() == [-4.5, -3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5]


def test_landmarks_without_extent_are_no_face():
    points = small_face_observation().landmarks_px.copy()
    points[0] = 7.0
    points[1, 5] = np.nan
    assert small_face_observation(landmarks_px=points).detected.tolist() == [False, False, True]


def test_links_weaken_with_time_and_break_at_missing_faces():
    times = np.array([0.0, 0.04, 0.08, 0.16, 0.20, 2.0])
    active = np.array([True, True, True, True, False, True])
    assert link_weights(times, active).tolist() == pytest.approx([1, 1, 0.5, 0, 0])


def test_axis_angle_vectors_do_not_jump_at_half_a_turn():
    angles = torch.tensor([3.0, 3.1, -3.08, -2.98])
    vectors = torch.stack([torch.zeros(4), torch.zeros(4), angles], dim=1)
    steps = unwrapped(vectors)[:, 2].diff().abs()
    assert float(steps.max()) < 0.11


def test_a_wholly_occluded_face_is_refused():
    config = TrackConfig(occluded=("left_half", "right_half"))
    with pytest.raises(ConfigError, match="too few landmarks"):
        StageRunner(SequenceViews.of(small_face_observation()), load_head("default"), config)
