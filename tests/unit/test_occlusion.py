"""What stands before the head is found; what only looks different is not."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest
import torch

from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.frames import TrackingFrames
from raytrack.fit.head_renderer import make_head_renderer
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.occlusion import ErrorLevels, HiddenSpots, PictureErrors, landmarks_shown, shown
from raytrack.fit.schedule import OcclusionStage, RowStage, default_schedule
from raytrack.fit.shared import SharedParameters
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from tests.occluders import OCCLUDERS

SIZE_HW = (200, 200)
FACE_PX = 85.0
TURNS = (-0.4, -0.2, 0.0, 0.2, 0.4)


@functools.cache
def head():
    return load_head("default")


@functools.cache
def drawn(turn: float) -> tuple[np.ndarray, np.ndarray]:
    return draw_head(turn)


def draw_head(turn=0.0, *, jaw=0.0, expression=None, shift_m=(0.0, 0.0)):
    """Picture in [0, 1] and face index of a head."""
    parameters = FrameParameters.zeros(1, head().num_expressions)
    coefficients = parameters.expression.clone()
    for name, value in (expression or {}).items():
        coefficients[0, head().expression_names.index(name)] = value
    parameters = dataclasses.replace(
        parameters,
        rotation=torch.tensor([[0.0, turn, 0.0]]),
        jaw_pose=torch.tensor([[jaw, 0.0, 0.0]]),
        expression=coefficients,
        translation=torch.tensor([[*shift_m, 0.0]]),
    )
    renderer, light = make_head_renderer(head()), white_light()
    light[1] = 0.4
    clip = monocular_camera(torch.tensor(450.0), SIZE_HW).clip(head().vertices(parameters, torch.zeros(1)))
    normals = renderer.vertex_normals(head().vertices(parameters, torch.zeros(1)))
    image, fragments = renderer.shade(clip, normals, head().albedo, light[None], torch.full((1, *SIZE_HW, 3), 0.4))
    return image[0].numpy(), fragments.face_index[0].numpy()


def compare(image, target, face):
    noise = np.random.default_rng(1).normal(0, 0.01, target.shape)
    return PictureErrors.create(image, (target + noise).astype(np.float32), face, FACE_PX)


@functools.cache
def levels():
    return ErrorLevels.create([compare(drawn(turn)[0], drawn(turn)[0], drawn(turn)[1]) for turn in TURNS], head())


def disc(centre, radius):
    mask = np.zeros(SIZE_HW, np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    return mask > 0


@pytest.mark.parametrize("colour", [(0.15, 0.15, 0.15), (0.9, 0.85, 0.8), (0.2, 0.4, 0.7)])
def test_something_before_the_cheek_is_found(colour):
    image, face = drawn(0.0)
    where = disc((118, 110), 16)
    target = np.where(where[..., None], np.float32(colour), image)
    hidden = levels().hidden(compare(image, target, face), FACE_PX)
    assert (hidden & where & (face >= 0)).sum() > 0.9 * (where & (face >= 0)).sum()
    assert (hidden & ~disc((118, 110), 23)).sum() == 0


@pytest.mark.parametrize("turn", TURNS)
def test_a_clean_picture_hides_nothing(turn):
    image, face = drawn(turn)
    assert not levels().hidden(compare(image, image, face), FACE_PX).any()


def test_a_wide_open_mouth_and_closed_eyes_are_no_occluders():
    """As landmarks leave them before colours take part: the lids missed, the jaw half-way."""
    image, face = draw_head(jaw=0.2)
    target, _ = draw_head(jaw=0.4, expression={"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "mouthFunnel": 0.3})
    assert np.abs(target - image).max() > 0.3
    assert levels().hidden(compare(image, target, face), FACE_PX)[face >= 0].mean() < 0.01


def test_a_head_that_is_a_little_off_is_not_hidden():
    image, face = drawn(0.0)
    target, _ = draw_head(shift_m=(0.003, 0.002))
    assert levels().hidden(compare(image, target, face), FACE_PX)[face >= 0].mean() < 0.01


def test_a_highlight_is_too_small():
    image, face = drawn(0.0)
    target = np.where(disc((100, 70), 3)[..., None], np.float32(1.0), image)
    assert not levels().hidden(compare(image, target, face), FACE_PX).any()


def test_what_always_disagrees_is_judged_by_its_own_level():
    """A texture that cannot follow, such as curls: every picture differs there, and they are doubted less."""
    curls = disc((100, 45), 22)
    pictures, rng = [], np.random.default_rng(3)
    for turn in TURNS:
        image, face = drawn(turn)
        noise = cv2.GaussianBlur(rng.normal(0, 1, SIZE_HW).astype(np.float32), (0, 0), 4)
        target = image + np.where(curls, 0.2 * np.abs(noise) / noise.std(), 0)[..., None].astype(np.float32)
        pictures.append(compare(image, target, face))
    share = {}
    for name, known in (("own", ErrorLevels.create(pictures, head())), ("clean", levels())):
        share[name] = np.mean([known.hidden(picture, FACE_PX)[curls].mean() for picture in pictures])
    assert share["clean"] > 0.2
    assert share["own"] < 0.6 * share["clean"]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("hand", 0.25, 0.5), ("microphone", 0.9, 1), ("scarf", 0, 0.01), ("glasses", 0.9, 1)],
)
def test_painted_occluders(name, least, most):
    """Of what they hide of the head much is found, and what they leave is left.

    A hand is skin on skin, and of a scarf, which covers the neck alone, nothing is found.
    """
    image, face = drawn(0.0)
    camera = monocular_camera(torch.tensor(450.0), SIZE_HW)
    vertices = head().vertices(FrameParameters.zeros(1, head().num_expressions), torch.zeros(1))
    landmarks = camera.project(head().landmarks_world(vertices))[0].numpy()
    target, alpha = OCCLUDERS[name](
        (image.clip(0, 1) * 255).astype(np.uint8), np.zeros(SIZE_HW, np.uint8), landmarks, 0.5
    )
    hidden = levels().hidden(compare(image, np.float32(target) / 255, face), FACE_PX)
    painted = (alpha > 128) & (face >= 0)
    assert painted.sum() > 400
    assert least <= (hidden & painted).sum() / painted.sum() <= most
    near = cv2.dilate(painted.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    assert (hidden & ~near).sum() < 0.05 * (face >= 0).sum()


def test_landmarks_under_a_hand_count_little():
    hidden = HiddenSpots.none().with_picture(0, 7, disc((60, 60), 30))
    spots = hidden.of_view(0)[7]
    points = np.array([[60.0, 60.0], [70, 60], [150, 150], [190, 20]], np.float32)
    factors = landmarks_shown(spots, points, SIZE_HW)
    assert factors[:2].max() < 0.35
    np.testing.assert_array_equal(factors[2:], 1)


def test_spots_fit_pictures_of_any_size():
    spots = HiddenSpots.none().with_picture(1, 3, disc((150, 50), 30)).of_view(1)[3]
    trust = shown(spots, (50, 50))
    assert trust[12, 37] == 0
    assert trust[40, 10] == 1
    assert HiddenSpots.none().with_picture(0, 0, np.zeros(SIZE_HW, bool)).of_view(0) == {}


def test_a_checkpoint_keeps_what_is_hidden(tmp_path):
    hidden = HiddenSpots.none().with_picture(0, 2, disc((60, 60), 30)).with_picture(1, 5, disc((90, 60), 10))
    shared = SharedParameters.start(head(), torch.zeros(2), 300.0, 16)
    state = FitState(rows=torch.zeros(6, 91), shared=shared, stages_done=3, photo_error=0.1, rows_error=0.1,
                     converged=False, hidden=hidden)  # fmt: skip
    Checkpoint(tmp_path).save(state)
    kept = Checkpoint(tmp_path).load()
    assert kept is not None
    np.testing.assert_array_equal(kept.hidden.pictures, hidden.pictures)
    np.testing.assert_array_equal(kept.hidden.spots, hidden.spots)


def frames_with_matte(matte, hidden=None):
    landmarks = np.random.default_rng(0).uniform(70, 130, (1, 478, 2)).astype(np.float32)
    landmarks[0, 152] = 100, 130
    observation = SequenceObservation(
        size_hw=SIZE_HW, timestep_ids=("0",), timestamps_s=np.zeros(1), landmarks_px=landmarks, scores=np.ones(1),
        load_image=lambda _: np.zeros((*SIZE_HW, 3), np.uint8), load_alpha=lambda _: matte,
    )  # fmt: skip
    frames = TrackingFrames.load(observation, 200)
    return dataclasses.replace(frames, hidden=hidden or {})


def test_hidden_pixels_count_nothing_and_the_rest_as_before():
    matte = np.zeros(SIZE_HW, np.uint8)
    matte[40:160, 40:160] = 255
    plain = frames_with_matte(matte)
    height, width = plain.size_hw
    covered = np.zeros(plain.size_hw, bool)
    covered[: height // 2] = True
    spots = HiddenSpots.none().with_picture(0, 0, covered).of_view(0)
    before, after = plain.pixel_weights(0), frames_with_matte(matte, spots).pixel_weights(0)
    assert before is not None
    assert after is not None
    assert after[: height // 2 - 4].max() == 0
    np.testing.assert_array_equal(after[height // 2 + 4 :], before[height // 2 + 4 :])
    assert before[height // 2, width // 2] == 1


def test_every_round_begins_with_a_look():
    stages = default_schedule(TrackConfig(), 90)
    before_rows = [stages[index - 1] for index, stage in enumerate(stages) if isinstance(stage, RowStage)]
    assert len(before_rows) == TrackConfig().rounds + 1
    assert all(isinstance(stage, OcclusionStage) for stage in before_rows)
