"""What the person does: key frames of head turns, gaze, blinks, visemes and smiles, interpolated over the clip."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator

from .head_asset import Array, HeadAsset

NUM_FRAMES = 90
FRAMES_PER_SECOND = 25
NECK_SHARE = 0.82
"""Share of a head turn that the neck makes; the trunk makes the rest."""

TURNS_DEG = {
    0: (0, 0, 0), 5: (2, 1, 1), 12: (7, 3, 3), 18: (1, -2, 2), 25: (-18, -1, -2), 33: (-35.5, 3, -4),
    36: (-35.5, 2, -4), 44: (-14, 5, 0), 50: (4, 9, 2), 56: (12, -7, 3), 62: (27, -3, 5), 67: (35.5, 2, 6),
    70: (35.5, 3, 6), 78: (15, 1, 2), 85: (3, -1, -3), 89: (1, 0, -3),
}  # fmt: skip
"""Frame: yaw towards the subject's left, pitch down, roll."""
PLACE_M = np.array([0.0, 0.012, -0.050])
"""Where the head's origin is in the world."""
SHIFTS_MM = {
    0: (0, 0, 0), 12: (4, -1, 5), 25: (-6, 0, 2), 35: (-11, -2, -4), 50: (0, -4, 10), 56: (3, 2, 4), 68: (12, -1, -6),
    80: (4, 1, 2), 89: (0, 0, 4),
}  # fmt: skip
"""Frame: movement x, y, z from there."""
GAZE_DEG = {
    0: (0, 0), 9: (-2, 1), 14: (-2, 1), 16: (-14, 3), 22: (-14, 3), 24: (6, -2), 38: (14, 0), 40: (20, 2), 45: (8, 4),
    47: (0, -4), 52: (-2, -3), 54: (-6, -6), 60: (-8, -2), 63: (-16, 0), 71: (-18, 1), 74: (-4, 6), 80: (-2, 2),
    82: (0, 0), 89: (0, 0),
}  # fmt: skip
"""Frame: gaze to the subject's left and down, relative to the head; jumps within two frames are saccades."""
BLINKS = {11: 1.0, 43: 1.0, 75: 1.0}
"""Frame at which the lids are fully closed (they stay so for two frames)."""
BLINK_PROFILE = {-3: 0.0, -2: 0.3, -1: 0.85, 0: 1.0, 1: 1.0, 2: 0.75, 3: 0.38, 4: 0.14, 5: 0.0}

VISEMES: dict[str, dict[str, float]] = {
    "rest": {"jaw": 0.02},
    "closed": {"jaw": 0.0, "mouthPressLeft": 0.35, "mouthPressRight": 0.3, "mouthRollLower": 0.15},
    "ah": {"jaw": 0.55, "mouthLowerDownLeft": 0.2, "mouthLowerDownRight": 0.2},
    "wide": {
        "jaw": 1.0, "mouthLowerDownLeft": 0.25, "mouthLowerDownRight": 0.25, "mouthUpperUpLeft": 0.2,
        "mouthUpperUpRight": 0.25, "browInnerUp": 0.6, "browOuterUpLeft": 0.4, "browOuterUpRight": 0.4,
        "eyeWideLeft": 0.3, "eyeWideRight": 0.3,
    },
    "ee": {
        "jaw": 0.17, "mouthStretchLeft": 0.35, "mouthStretchRight": 0.3, "mouthSmileLeft": 0.3, "mouthSmileRight": 0.25,
        "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3, "mouthLowerDownLeft": 0.35, "mouthLowerDownRight": 0.35,
    },
    "oh": {"jaw": 0.35, "mouthFunnel": 0.6},
    "pucker": {"jaw": 0.03, "mouthPucker": 0.9},
    "eff": {"jaw": 0.1, "mouthRollLower": 0.55, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3},
    "smile": {
        "jaw": 0.14, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4,
        "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4, "eyeSquintLeft": 0.25, "eyeSquintRight": 0.25,
    },
    "grin": {
        "jaw": 0.0, "mouthSmileLeft": 0.55, "mouthSmileRight": 0.5, "cheekSquintLeft": 0.25, "cheekSquintRight": 0.25,
    },
    "frown": {
        "jaw": 0.22, "browDownLeft": 0.6, "browDownRight": 0.55, "mouthLowerDownLeft": 0.3,
        "mouthLowerDownRight": 0.25, "noseSneerLeft": 0.15,
    },
}  # fmt: skip
"""Expression units of each viseme; "jaw" is the opening as a share of the full one."""
SPEECH = {
    0: "rest", 3: "closed", 7: "ah", 11: "ee", 14: "eff", 17: "oh", 21: "pucker", 25: "pucker", 29: "ah", 32: "closed",
    34: "closed", 38: "frown", 41: "ee", 44: "oh", 47: "closed", 49: "closed", 54: "wide", 57: "wide", 61: "ee",
    64: "closed", 67: "ah", 70: "oh", 73: "eff", 76: "ah", 79: "closed", 83: "smile", 87: "smile", 89: "grin",
}  # fmt: skip
"""Frame: viseme."""
JAW_SIDE_RAD = {0: 0.0, 20: 0.015, 40: -0.03, 60: 0.03, 75: -0.02, 89: 0.0}


@dataclass(frozen=True, kw_only=True)
class Script:
    """Key frames of a clip; those of the demo unless told otherwise."""

    num_frames: int = NUM_FRAMES
    turns_deg: Mapping[int, tuple[float, ...]] = field(default_factory=lambda: TURNS_DEG)
    shifts_mm: Mapping[int, tuple[float, ...]] = field(default_factory=lambda: SHIFTS_MM)
    gaze_deg: Mapping[int, tuple[float, ...]] = field(default_factory=lambda: GAZE_DEG)
    blinks: Mapping[int, float] = field(default_factory=lambda: BLINKS)
    speech: Mapping[int, str] = field(default_factory=lambda: SPEECH)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One row per frame: joint pose (T, 5, 3) axis-angle, translation (T, 3) m, expression (T, E), blink (T,)."""

    pose: Array
    translation: Array
    expression: Array
    blink: Array
    turn_deg: Array
    """(T, 3) yaw, pitch, roll of the skull against the camera's axes."""


def curve(keys: Mapping[int, tuple[float, ...]], num_frames: int = NUM_FRAMES) -> Array:
    """(T, C) values of a monotone cubic through key frames."""
    frames = sorted(keys)
    values = np.array([np.atleast_1d(keys[frame]) for frame in frames], float)
    return PchipInterpolator(frames, values, axis=0)(np.arange(num_frames))


def turn_rotation(turn_deg: Array) -> Array:
    """(3, 3) of yaw about y, then pitch about x, then roll about z (intrinsic)."""
    yaw, pitch, roll = np.radians(turn_deg)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def axis_angle(matrix: Array) -> Array:
    """Axis-angle (3,) of a rotation by less than π."""
    cosine = np.clip((np.trace(matrix) - 1) / 2, -1, 1)
    angle = float(np.arccos(cosine))
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    return axis * (0.5 if angle < 1e-7 else angle / (2 * np.sin(angle)))


def perform(head: HeadAsset, script: Script | None = None) -> Performance:
    """The whole clip's parameters."""
    script = script or Script()
    num_frames = script.num_frames
    turns, shifts = curve(script.turns_deg, num_frames), curve(script.shifts_mm, num_frames) / 1000
    gaze, blink = np.radians(curve(script.gaze_deg, num_frames)), np.zeros(num_frames)
    for frame, amount in script.blinks.items():
        for offset, share in BLINK_PROFILE.items():
            if 0 <= frame + offset < num_frames:
                blink[frame + offset] = max(blink[frame + offset], amount * share)
    units = sorted({name for viseme in VISEMES.values() for name in viseme})
    keys = {frame: tuple(VISEMES[name].get(unit, 0.0) for unit in units) for frame, name in script.speech.items()}
    spoken = curve(keys, num_frames)
    expression = np.zeros((num_frames, len(head.expression_names)))
    pose = np.zeros((num_frames, 5, 3))
    for unit, values in zip(units, spoken.T, strict=True):
        if unit == "jaw":
            pose[:, 2, 0] = values * head.jaw_open_full_rad
        else:
            expression[:, head.expression_names.index(unit)] += values
    pose[:, 2, 1] = curve({k: (v,) for k, v in JAW_SIDE_RAD.items()}, num_frames)[:, 0] * (pose[:, 2, 0] > 0.02)
    add_eyes(head, expression, pose, gaze, blink)
    for frame in range(num_frames):
        root = turn_rotation(turns[frame] * (1 - NECK_SHARE))
        pose[frame, 0] = axis_angle(root)
        pose[frame, 1] = axis_angle(root.T @ turn_rotation(turns[frame]))
    return Performance(pose=pose, translation=PLACE_M + shifts, expression=expression, blink=blink, turn_deg=turns)


def add_eyes(head: HeadAsset, expression: Array, pose: Array, gaze: Array, blink: Array) -> None:
    """Writes eyeball rotations and the lids that follow them; closed lids override the rest."""
    for joint, side in ((3, "Left"), (4, "Right")):
        pose[:, joint, 1], pose[:, joint, 0] = gaze[:, 0], gaze[:, 1]
        down, out = np.degrees(gaze[:, 1]) / 25, np.degrees(gaze[:, 0]) / 30 * (1 if side == "Left" else -1)
        open_share = 1 - blink
        for name, value in (
            (f"eyeLookDown{side}", np.maximum(down, 0) * open_share),
            (f"eyeLookUp{side}", np.maximum(-down, 0) * open_share),
            (f"eyeLookOut{side}", np.maximum(out, 0) * open_share),
            (f"eyeLookIn{side}", np.maximum(-out, 0) * open_share),
            (f"eyeBlink{side}", blink),
        ):
            expression[:, head.expression_names.index(name)] += value
        for name in (f"eyeSquint{side}", f"eyeWide{side}"):
            expression[:, head.expression_names.index(name)] *= open_share
