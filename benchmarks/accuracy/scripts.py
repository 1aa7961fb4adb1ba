"""What the people of the suite do: a clip's worth of speech, blinks, saccades and head turns, decided by a seed."""

import numpy as np

from assets.demo.build_demo.performance import Script

NUM_FRAMES = 40
_PHRASES = (
    ("closed", "ah", "ee"),
    ("wide", "wide"),
    ("closed", "pucker", "pucker"),
    ("eff", "oh"),
    ("frown",),
    ("smile", "smile"),
)
"""Every clip has all of them, in its own order: a mouth wide open and a pucker among them."""


def make_script(seed: int, turn_deg: float, num_frames: int = NUM_FRAMES) -> Script:
    """A performance; shorter ones are the beginning of longer ones.

    Args:
        seed: Decides it.
        turn_deg: How far the head turns to either side, about.
        num_frames: How much of it is played.
    """
    rng = np.random.default_rng(1000 + seed)
    return Script(
        num_frames=num_frames,
        turns_deg=_turns(rng, turn_deg),
        shifts_mm=_shifts(rng),
        gaze_deg=_gaze(rng),
        blinks={int(rng.integers(5, 9)): 1.0, int(rng.integers(26, 32)): 1.0},
        speech=_speech(rng),
    )


def _turns(rng: np.random.Generator, turn_deg: float) -> dict[int, tuple[float, ...]]:
    side = rng.choice((-1.0, 1.0))
    first, second = side * turn_deg * rng.uniform(0.9, 1.1), -side * turn_deg * rng.uniform(0.85, 1.05)
    pitch, roll = rng.uniform(-7, 8, 4), rng.uniform(-5, 5, 4)
    return {
        0: (0, 0, 0),
        5: (0.15 * first, pitch[0], roll[0]),
        14: (first, pitch[1], roll[1]),
        17: (first, pitch[1], roll[1]),
        25: (0.1 * second, pitch[2], roll[2]),
        33: (second, pitch[3], roll[3]),
        35: (second, pitch[3], roll[3]),
        39: (0.6 * second, 0, 0),
    }


def _shifts(rng: np.random.Generator) -> dict[int, tuple[float, ...]]:
    return {frame: tuple(rng.uniform(-1, 1, 3) * (9, 4, 7)) for frame in (0, 10, 20, 30, 39)}


def _gaze(rng: np.random.Generator) -> dict[int, tuple[float, ...]]:
    keys: dict[int, tuple[float, ...]] = {0: (0.0, 0.0)}
    frame, place = 0, (0.0, 0.0)
    while frame < NUM_FRAMES:
        frame += int(rng.integers(4, 8))
        keys[frame] = place
        place = (float(rng.uniform(-18, 18)), float(rng.uniform(-7, 7)))
        keys[frame + 2] = place
        frame += 2
    return keys


def _speech(rng: np.random.Generator) -> dict[int, str]:
    visemes = [name for index in rng.permutation(len(_PHRASES)) for name in _PHRASES[index]]
    frames = np.round(np.linspace(3, NUM_FRAMES - 1, len(visemes))).astype(int)
    return {0: "rest", **dict(zip(frames.tolist(), visemes, strict=True))}
