"""Face detection and landmarks: on a drawn face, on the demo clip, and where there is no face."""

import cv2
import numpy as np
import pytest
from media_files import read_frames
from test_observe_matting import drawn_person

from raytrack.assets import asset_path
from raytrack.errors import ConfigError
from raytrack.media.source import probe
from raytrack.observe.blazeface import BlazeFace, box_overlap
from raytrack.observe.config import LandmarkConfig
from raytrack.observe.crop import Window, crop, to_image
from raytrack.observe.facemesh import FaceMesh, window_of_landmarks
from raytrack.observe.faces import LandmarkDetector
from raytrack.observe.identity import select_face
from raytrack.observe.landmarks import make_landmark_detector

EYE_CORNERS, MOUTH_CORNERS = [33, 263], [61, 291]


@pytest.fixture(scope="module")
def detector() -> FaceMesh:
    return FaceMesh()


@pytest.fixture(scope="module")
def demo_frames() -> list[np.ndarray]:
    info = probe(asset_path("demo/demo.mp4"))
    return [frame for index, frame in enumerate(read_frames(info)) if index % 6 == 0]


@pytest.fixture(scope="module")
def demo_truth() -> dict[str, np.ndarray]:
    with np.load(asset_path("demo/ground_truth.npz"), allow_pickle=False) as arrays:
        return {name: arrays[name][::6] for name in ("landmarks_px", "eyes_closed", "gaze_world", "turn_deg")}


def on_canvas(image: np.ndarray, size_hw: tuple[int, int], top_left: tuple[int, int]) -> np.ndarray:
    canvas = np.full((*size_hw, 3), 90, np.uint8)
    top, left = top_left
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


# --- windows


def test_crop_and_points_agree():
    y, x = np.mgrid[:90, :120]
    # Two channels tell the position: a pixel's centre is half a pixel after its corner.
    image = np.stack([x * 2, y * 2, x * 0], -1).astype(np.uint8)
    window = Window(center_px=(60.0, 45.0), size_px=40.0, angle_rad=0.4)
    cut = crop(image, window, 80, repeat_border=True).astype(float)
    rows, columns = np.mgrid[10:70, 10:70]
    places = to_image(np.stack([columns + 0.5, rows + 0.5], -1), window, 80)
    np.testing.assert_allclose(cut[10:70, 10:70, 0] / 2 + 0.5, places[..., 0], atol=0.3)
    np.testing.assert_allclose(cut[10:70, 10:70, 1] / 2 + 0.5, places[..., 1], atol=0.3)


def test_crop_of_the_whole_image_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    whole = Window(center_px=(32.0, 32.0), size_px=64.0)
    np.testing.assert_array_equal(crop(image, whole, 64, repeat_border=False), image)
    averaged = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)
    assert np.abs(crop(image, whole, 16, repeat_border=False).astype(int) - averaged).max() <= 1


def test_beyond_the_image():
    image = np.full((20, 20, 3), 200, np.uint8)
    window = Window(center_px=(0.0, 0.0), size_px=20.0)
    assert crop(image, window, 20, repeat_border=True).min() == 200
    assert crop(image, window, 20, repeat_border=False)[:8, :8].max() == 0


def test_window_is_level_with_the_eyes_and_holds_the_face():
    points = np.random.default_rng(0).uniform(-50, 50, (478, 2))
    points[[33, 263]] = [[-30, 0], [30, 0]]
    turn = np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]])
    window = window_of_landmarks(points @ turn + [200, 100])
    assert window.angle_rad == pytest.approx(0.5)
    assert window.size_px == pytest.approx(1.5 * np.ptp(points, axis=0).max())
    center = (points.min(0) + points.max(0)) / 2 @ turn + [200, 100]
    np.testing.assert_allclose(window.center_px, center)


def test_overlap_of_boxes():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], float)
    np.testing.assert_allclose(box_overlap(boxes[0], boxes), [1.0, 1 / 3, 0.0])


# --- one face


def test_a_drawn_face(detector):
    image, _ = drawn_person(480, 480)
    (face,) = detector.observe(image)
    assert isinstance(detector, LandmarkDetector)
    assert (face.landmarks.shape, face.landmarks.dtype) == ((478, 2), np.float32)
    assert (face.depth.shape, face.expression_scores.shape) == ((478,), (52,))
    assert len(detector.expression_names) == 52
    assert face.score > 0.9
    assert ((face.expression_scores >= 0) & (face.expression_scores <= 1)).all()
    np.testing.assert_allclose(face.box, [*face.landmarks.min(0), *face.landmarks.max(0)])
    # Eyes were drawn at x = 240 ± 31, y = 168, the mouth at y = 235.
    np.testing.assert_allclose(face.landmarks[[468, 473]], [[209, 168], [271, 168]], atol=8)
    np.testing.assert_allclose(face.landmarks[MOUTH_CORNERS, 1], 235, atol=10)


@pytest.mark.parametrize("angle", [-30, 20])
def test_a_tilted_head_gives_tilted_landmarks(detector, angle):
    image, _ = drawn_person(480, 480)
    upright = detector.observe(image)[0].landmarks
    turn = cv2.getRotationMatrix2D((240 - 0.5, 240 - 0.5), angle, 1.0)
    tilted = detector.observe(cv2.warpAffine(image, turn, (480, 480), borderMode=cv2.BORDER_REPLICATE))[0].landmarks
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    expected = (upright - 240) @ np.array([[cosine, -sine], [sine, cosine]]) + 240
    assert np.linalg.norm(tilted - expected, axis=1).mean() < 4


def test_moving_the_picture_moves_the_landmarks(detector):
    image, _ = drawn_person(400, 400)
    here = detector.observe(on_canvas(image, (500, 560), (20, 30)))[0]
    there = detector.observe(on_canvas(image, (500, 560), (70, 130)))[0]
    shift = there.landmarks - here.landmarks
    assert np.linalg.norm(shift - [100, 50], axis=1).mean() < 1.0


def test_a_small_face_in_a_large_picture(detector):
    image, _ = drawn_person(300, 300)
    large = cv2.resize(np.random.default_rng(0).integers(80, 130, (36, 64, 3)).astype(np.uint8), (1280, 720))
    large[400:700, 900:1200] = image
    assert BlazeFace().detect(large) == []
    faces = detector.observe(large)
    assert len(faces) == 1
    center = (faces[0].box[:2] + faces[0].box[2:]) / 2
    np.testing.assert_allclose(center, [1050, 525], atol=15)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (7, 300), (480, 640)])
def test_no_face(detector, height, width):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    assert detector.observe(np.full((height, width, 3), 128, np.uint8)) == ()
    assert detector.observe(noise) == ()


# --- clips


def test_a_face_in_part_of_the_frames(detector):
    image, _ = drawn_person(240, 240)
    empty = np.full_like(image, 128)
    tracked = list(detector.track([empty, image, image, empty, image]))
    assert [len(faces) for faces in tracked] == [0, 1, 1, 0, 1]
    np.testing.assert_allclose(tracked[1][0].landmarks, tracked[2][0].landmarks, atol=2.0)


def test_the_same_frames_give_the_same_numbers(detector, demo_frames):
    first, second = (list(detector.track(demo_frames[:4])) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0].landmarks, b[0].landmarks)
        np.testing.assert_array_equal(a[0].expression_scores, b[0].expression_scores)


def test_landmarks_of_the_demo_clip_lie_where_the_truth_is(detector, demo_frames, demo_truth):
    tracked = list(detector.track(demo_frames))
    assert all(len(faces) == 1 and faces[0].score > 0.9 for faces in tracked)
    error = np.stack([faces[0].landmarks for faces in tracked]) - demo_truth["landmarks_px"]
    distance = np.linalg.norm(error, axis=-1)
    assert distance.mean() < 2.2
    assert distance.mean(axis=1).max() < 3.5
    # No common shift: pixel centres are at half-integers in both.
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.6


def test_chunks_of_the_demo_clip_agree(detector, demo_frames):
    whole = list(detector.track(demo_frames))
    half = len(demo_frames) // 2
    parts = [*detector.track(demo_frames[:half]), *detector.track(demo_frames[half:])]
    for a, b in zip(whole, parts, strict=True):
        assert np.linalg.norm(a[0].landmarks - b[0].landmarks, axis=1).mean() < 1.0


def test_two_faces_are_followed_each_and_told_apart(detector, demo_frames):
    """The demo's person on the left, a smaller copy that moves to and fro on the right; chunks observed apart."""
    clip = []
    for index, frame in enumerate(demo_frames):
        small = cv2.resize(frame[40:344, 72:376], (220, 220), interpolation=cv2.INTER_AREA)
        canvas = on_canvas(frame, (448, 800), (0, 0))
        shift = int(60 + 50 * np.sin(index / 2))
        canvas[100:320, 448 + shift : 668 + shift] = small
        clip.append(canvas)
    observed = [*detector.track(clip[:7]), *detector.track(clip[7:])]
    assert [len(faces) for faces in observed] == [2] * len(clip)
    # The detector lists the largest first; here every other frame is turned round.
    shuffled = [faces[:: 1 if index % 2 else -1] for index, faces in enumerate(observed)]
    chosen = select_face(shuffled)
    assert (chosen >= 0).all()
    assert all(faces[index].box[2] < 448 for faces, index in zip(shuffled, chosen, strict=True))


def test_at_most_so_many_faces(demo_frames):
    canvas = on_canvas(demo_frames[0], (448, 900), (0, 0))
    canvas[40:400, 500:860] = cv2.resize(demo_frames[0], (360, 360), interpolation=cv2.INTER_AREA)
    (face,) = FaceMesh(max_faces=1).observe(canvas)
    assert face.box[2] < 448
    assert len(FaceMesh(max_faces=2).observe(canvas)) == 2


def test_expression_scores_follow_the_demos_blinks(detector, demo_frames, demo_truth):
    blink = [detector.expression_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    scores = np.array([faces[0].expression_scores[blink].mean() for faces in detector.track(demo_frames)])
    closed = demo_truth["eyes_closed"]
    if closed.any():
        assert scores[closed].min() > scores[~closed].mean()
    assert scores[~closed].mean() < 0.4


# --- the registry


def test_registry():
    assert make_landmark_detector("auto").name == "facemesh"
    assert make_landmark_detector("facemesh", max_faces=2).landmark_set == "facemesh"
    with pytest.raises(ConfigError, match="unknown landmark method 'magic'; known: auto, facemesh"):
        make_landmark_detector("magic")
    with pytest.raises(ValueError, match="max_faces"):
        LandmarkConfig(max_faces=0)


# --- real footage


@pytest.mark.shared
def test_every_frame_of_real_footage_has_its_landmarks(detector, shared_folder):
    for clip in ("obama", "nersemble_074_camC", "nersemble_074_camL"):
        info = probe(shared_folder / "clips" / f"{clip}.mp4")
        tracked = list(detector.track(read_frames(info, 0, min(info.num_frames, 60))))
        assert all(len(faces) == 1 for faces in tracked), clip
        landmarks = np.stack([faces[0].landmarks for faces in tracked])
        jumps = np.linalg.norm(np.diff(landmarks, axis=0), axis=-1).mean(axis=1)
        assert jumps.max() < 0.1 * np.ptp(landmarks[0], axis=0).max(), clip


@pytest.mark.shared
def test_two_people_side_by_side_one_moving(detector, shared_folder):
    left = read_frames(probe(shared_folder / "clips" / "obama.mp4"), 0, 40)
    right = read_frames(probe(shared_folder / "clips" / "nersemble_074_camC.mp4"), 0, 40)
    clip = []
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        canvas = on_canvas(a, (512, 900), (0, 0))
        canvas[20 + 3 * index : 378 + 3 * index, 560 + index : 806 + index] = b
        clip.append(canvas)
    observed = [*detector.track(clip[:16]), *detector.track(clip[16:])]
    shuffled = [faces[:: 1 if index % 3 else -1] for index, faces in enumerate(observed)]
    chosen = select_face(shuffled)
    assert (chosen >= 0).all()
    assert all(faces[index].box[2] < 512 for faces, index in zip(shuffled, chosen, strict=True))
