"""Expression shapes: ARKit-named face units and the MakeHuman units that add something new. 1.0 = full.

jawOpen, jawLeft and jawRight are left out: the jaw joint does them. Eyeballs never move with expressions.
"""

import numpy as np

from .render import View, rasterize

JAW_UNITS = ("jawOpen", "jawLeft", "jawRight")
OFF_BY_DEFAULT = ("tongueOut", "mh_neck_platysma")
"""Fits misuse them: the tongue for bright lips, the tense neck for clothes."""
REDUNDANT_SHARE = 0.45
"""A MakeHuman unit is kept if the other shapes leave more than this share of its size unexplained."""
EXCLUDED_UNITS = ("mouth-open", "eye-left-closure", "eye-right-closure")
"""Units the jaw joint and eyeBlink already do."""
TONGUE_OUT_OPENING = 0.6
"""Jaw opening (share of full) at which tongueOut undoes the jaw corrective's tongue drop, so that it clears the lip."""
BLINK_MARGIN = 1.28
BLINK_OPEN_PX = 20
"""Blink at 1.0 goes BLINK_MARGIN past the first fraction that shows at most this many eyeball pixels (of some 13000
open) on the mean head. The margin is for other identities, whose wider eyes the same displacement must close; where
it is not needed, the upper lid lies over the lower one."""
BLINK_VIEWS_DEG = ((0.0, 0.0), (-40.0, 0.0), (40.0, 0.0), (0.0, 25.0), (0.0, -25.0))
"""Yaw and pitch from which a closed eye must hide the eyeball."""


def select_units(face_units: dict[str, np.ndarray], makehuman_units: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ARKit shapes without the jaw's, then each MakeHuman unit that least squares on the earlier ones cannot make."""
    chosen = {name: d for name, d in face_units.items() if name not in JAW_UNITS}
    basis = [d.ravel() for d in face_units.values()]
    for name, displacement in sorted(makehuman_units.items()):
        if name in EXCLUDED_UNITS or np.abs(displacement).max() < 1e-5:
            continue
        matrix = np.stack(basis, axis=1)
        rest = (
            displacement.ravel()
            - matrix
            @ np.linalg.lstsq(
                matrix.T @ matrix + 1e-9 * np.eye(matrix.shape[1]), matrix.T @ displacement.ravel(), rcond=None
            )[0]
        )
        if np.linalg.norm(rest) > REDUNDANT_SHARE * np.linalg.norm(displacement):
            chosen["mh_" + name.replace("-", "_")] = displacement
            basis.append(displacement.ravel())
    return chosen


def visible_eyeball_px(vertices: np.ndarray, faces: np.ndarray, is_eyeball: np.ndarray, centre: np.ndarray) -> int:
    """Pixels (0.2 mm) of an eyeball that show through the lids, over all BLINK_VIEWS_DEG."""
    total = 0
    for yaw, pitch in BLINK_VIEWS_DEG:
        view = View(size_hw=(200, 240), yaw_deg=yaw, pitch_deg=pitch, centre=tuple(centre), px_per_m=5000)
        _, index, _ = rasterize(view.project(vertices), faces.astype(np.int64), *view.size_hw)
        total += int((is_eyeball[np.maximum(index, 0)] & (index >= 0)).sum())
    return total


def blink_scale(
    vertices: np.ndarray, faces: np.ndarray, is_eyeball: np.ndarray, centre: np.ndarray, blink: np.ndarray
) -> float:
    """Factor on MakeHuman's blink unit so that 1.0 just closes the eye, with a small margin."""
    for fraction in np.arange(0.5, 1.3, 0.02):
        if visible_eyeball_px(vertices + fraction * blink, faces, is_eyeball, centre) <= BLINK_OPEN_PX:
            return BLINK_MARGIN * float(fraction)
    raise ValueError("blink never hides the eyeball")
