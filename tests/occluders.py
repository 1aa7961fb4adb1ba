"""Things that get in front of a head, painted over pictures of one: each changes picture and matte alike.

Sizes are in faces (the larger side of the landmarks' box), so that they suit any picture. Landmarks are Face Mesh's.
"""

from collections.abc import Callable

import cv2
import numpy as np

CHIN, FOREHEAD, NOSE_TIP = 152, 10, 1
LEFT_TEMPLE, RIGHT_TEMPLE = 454, 234
LEFT_EYE, RIGHT_EYE = (263, 362, 386, 374), (33, 133, 159, 145)
SKIN = (196, 142, 116)

Occluder = Callable[[np.ndarray, np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
"""Picture (h, w, 3) and matte (h, w) uint8, landmarks px, how far the clip is (0 to 1) to a picture and a matte."""


def face_px(landmarks: np.ndarray) -> float:
    return float(np.ptp(landmarks, axis=0).max())


def grain(size_hw: tuple[int, int], seed: int, coarse_px: float) -> np.ndarray:
    """Smooth noise of unit deviation, the same for the same seed."""
    noise = np.random.default_rng(seed).standard_normal(size_hw).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(coarse_px, 0.5))
    return noise / max(float(noise.std()), 1e-6)


def paint(
    picture: np.ndarray, alpha: np.ndarray, mask: np.ndarray, colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay a colour (h, w, 3) over a picture where a mask (h, w, 0 to 1) says so; the matte takes it for foreground."""
    share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
    result = picture * (1 - share[..., None]) + colour * share[..., None]
    return np.clip(result, 0, 255).astype(np.uint8), np.maximum(alpha, (255 * share).astype(np.uint8))


def hand(picture: np.ndarray, alpha: np.ndarray, landmarks: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """A palm and four fingers that pass before the face from one side to the other in the middle half of the clip."""
    size, height, width = face_px(landmarks), *alpha.shape
    middle = landmarks[NOSE_TIP]
    across = (phase - 0.5) * 4 * 0.9 * size
    centre = middle + np.array([across, 0.25 * size])
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (tuple(centre.tolist()), (0.34 * size, 0.42 * size), 10.0), 1, -1)
    for finger in range(4):
        start = centre + size * np.array([-0.13 + 0.085 * finger, -0.1])
        tip = start + size * np.array([-0.04 + 0.03 * finger, -0.38 + 0.03 * abs(finger - 1.5)])
        cv2.line(mask, start.astype(int).tolist(), tip.astype(int).tolist(), 1, max(1, round(0.07 * size)))
    # Its texture moves along with it.
    shift = np.array([[1, 0, centre[0] - width / 2], [0, 1, centre[1] - height / 2]], np.float32)
    relief = cv2.warpAffine(grain((height, width), 3, 0.03 * size), shift, (width, height), borderMode=cv2.BORDER_WRAP)
    shade = 1 + 0.12 * relief - 0.35 * (cv2.Laplacian(mask.astype(np.float32), cv2.CV_32F) < 0)
    return paint(picture, alpha, mask, np.array(SKIN, np.float32) * shade[..., None])


def microphone(
    picture: np.ndarray, alpha: np.ndarray, landmarks: np.ndarray, phase: float
) -> tuple[np.ndarray, np.ndarray]:
    """Stands still in the picture, before where the chin is in the clip: a dark ball on a stand."""
    del phase, landmarks
    height, width = alpha.shape
    mask = np.zeros((height, width), np.uint8)
    centre = (round(0.42 * width), round(0.60 * height))
    cv2.circle(mask, centre, round(0.075 * width), 1, -1)
    cv2.line(mask, centre, (round(0.34 * width), height), 1, max(2, round(0.03 * width)))
    return paint(picture, alpha, mask, 45 + 14 * grain((height, width), 8, 0.8)[..., None].repeat(3, axis=2))


def glasses(
    picture: np.ndarray, alpha: np.ndarray, landmarks: np.ndarray, phase: float
) -> tuple[np.ndarray, np.ndarray]:
    """Thick dark frames that go with the head."""
    del phase
    size = face_px(landmarks)
    mask = np.zeros(alpha.shape, np.uint8)
    thick = max(1, round(0.03 * size))
    centres = [landmarks[list(eye)].mean(axis=0) for eye in (LEFT_EYE, RIGHT_EYE)]
    for centre, temple in zip(centres, (LEFT_TEMPLE, RIGHT_TEMPLE), strict=True):
        cv2.ellipse(
            mask, (tuple((centre + np.array([0, 0.02 * size])).tolist()), (0.30 * size, 0.24 * size), 0.0), 1, thick
        )
        cv2.line(mask, centre.astype(int).tolist(), landmarks[temple].astype(int).tolist(), 1, thick)
    cv2.line(mask, centres[0].astype(int).tolist(), centres[1].astype(int).tolist(), 1, thick)
    return paint(picture, alpha, mask, np.full((*alpha.shape, 3), 25.0, np.float32))


def scarf(picture: np.ndarray, alpha: np.ndarray, landmarks: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """A thick striped band around the neck, up to the chin; it hangs still while the head turns."""
    size, (height, width) = face_px(landmarks), alpha.shape
    middle = np.array([landmarks[:, 0].mean(), landmarks[CHIN, 1] + 0.22 * size])
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (tuple(middle.tolist()), (1.25 * size, 0.42 * size), 4 * np.sin(9 * phase)), 1, -1)
    row, column = np.mgrid[:height, :width].astype(np.float32) / size
    stripes = np.sin(28 * (row - middle[1] / size) + 6 * (column - middle[0] / size) ** 2) > 0
    colour = np.where(stripes[..., None], [176.0, 40.0, 48.0], [228.0, 214.0, 190.0])
    return paint(picture, alpha, mask, colour + 10 * grain((height, width), 4, 1.0)[..., None])


def long_hair(
    picture: np.ndarray, alpha: np.ndarray, landmarks: np.ndarray, phase: float
) -> tuple[np.ndarray, np.ndarray]:
    """Locks from both temples over cheeks' edges, ears and neck down to the shoulders, which swing a little."""
    size, (height, width) = face_px(landmarks), alpha.shape
    mask = np.zeros((height, width), np.uint8)
    tone = np.zeros((height, width), np.float32)
    rng = np.random.default_rng(6)
    middle = landmarks[:, 0].mean()
    for temple in (LEFT_TEMPLE, RIGHT_TEMPLE):
        root = landmarks[temple]
        side = np.sign(root[0] - middle)
        for _ in range(110):
            start = root + size * np.array([side * rng.uniform(-0.05, 0.12), rng.uniform(-0.55, 0.0)])
            sway = 0.03 * np.sin(12 * phase + 2 * rng.random())
            spread, length = rng.uniform(-0.12, 0.22), rng.uniform(0.9, 1.5)
            steps = np.linspace(0, 1, 12)[:, None]
            curve = start + size * steps * np.array([side * spread, length]) + size * sway * steps**2 * [1.0, 0.0]
            points = [curve.round().astype(np.int32)]
            cv2.polylines(mask, points, False, 1, max(1, round(0.025 * size)))
            cv2.polylines(tone, points, False, float(rng.uniform(-1, 1)), max(1, round(0.02 * size)))
    return paint(picture, alpha, mask, np.array([84.0, 56.0, 36.0]) * (1 + 0.35 * tone[..., None]))


OCCLUDERS: dict[str, Occluder] = {
    "hand": hand, "microphone": microphone, "glasses": glasses, "scarf": scarf, "long_hair": long_hair,
}  # fmt: skip
