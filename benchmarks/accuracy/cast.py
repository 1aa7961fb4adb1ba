"""The people of the suite: who they are, how they are lit, and through which lens they are seen."""

from dataclasses import dataclass, field

import numpy as np

from assets.demo.build_demo.hair import HairStyle
from assets.demo.build_demo.person import Traits
from assets.demo.build_demo.scene import Lamp, Palette
from assets.demo.build_demo.skin import Complexion

NO_HAIRLINE_M = -1.0


@dataclass(frozen=True, kw_only=True)
class Light:
    """Lamps, and the colour of what comes from all sides."""

    lamps: tuple[Lamp, ...]
    sky: tuple[float, float, float] = (1.0, 1.0, 1.0)


LIGHTS = {
    "frontal": Light(
        lamps=(((0.0, 0.45, 1.30), (0.90, 0.70), 7.5, (1.0, 0.96, 0.90)), ((0.5, 0.9, -0.8), (0.4, 0.4), 5, (1, 1, 1)))
    ),
    "side": Light(
        lamps=(
            ((-1.20, 0.25, 0.35), (0.50, 0.60), 13.0, (1.0, 0.92, 0.82)),
            ((1.30, 0.10, 0.70), (0.60, 0.90), 1.6, (0.8, 0.9, 1.0)),
        ),
        sky=(0.85, 0.85, 0.88),
    ),
    "warm": Light(
        lamps=(
            ((0.70, 0.60, 0.95), (0.50, 0.50), 13.0, (1.0, 0.76, 0.48)),
            ((-1.20, 0.30, 0.60), (0.60, 0.90), 2.5, (1.0, 0.82, 0.62)),
        ),
        sky=(1.05, 0.92, 0.75),
    ),
    "cool": Light(
        lamps=(
            ((-0.55, 0.85, 1.00), (0.90, 0.60), 6.5, (0.78, 0.90, 1.0)),
            ((0.80, 0.60, -0.80), (0.35, 0.35), 9.0, (1.0, 0.80, 0.60)),
        ),
        sky=(0.86, 0.96, 1.12),
    ),
    "contrasty": Light(
        lamps=(
            ((-0.60, 0.95, 0.75), (0.16, 0.16), 125.0, (1.0, 0.95, 0.88)),
            ((1.0, 0.5, -0.7), (0.3, 0.3), 9.0, (0.8, 0.9, 1.0)),
        ),
        sky=(0.5, 0.5, 0.54),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One person of the suite, and how the clip of them is filmed."""

    name: str
    traits: Traits
    complexion: Complexion = field(default_factory=Complexion)
    hair: HairStyle = field(default_factory=HairStyle)
    palette: Palette = field(default_factory=Palette)
    prop: str = ""
    """`glasses`, `microphone` (in some frames), or nothing."""
    light: str = "frontal"
    focal_ratio: float = 2.0
    """Focal length over the picture's side; the camera stands where the head fills the picture as in the demo."""
    script_seed: int = 0
    turn_deg: float = 28.0
    """How far the head turns to either side, about."""


def _rgb(*values: float) -> np.ndarray:
    return np.array(values)


def _traits(seed: int, **changes: float) -> Traits:
    return Traits(shape_seed=100 + seed, offset_seed=200 + seed, mouth_seed=300 + seed, **changes)


BLACK_HAIR, BROWN_HAIR, BLOND_HAIR, RED_HAIR, GREY_HAIR = (
    _rgb(0.018, 0.014, 0.012),
    _rgb(0.060, 0.034, 0.019),
    _rgb(0.34, 0.22, 0.105),
    _rgb(0.20, 0.062, 0.022),
    _rgb(0.24, 0.235, 0.23),
)
_DEEP = Complexion(
    skin=_rgb(0.160, 0.080, 0.050), flush=_rgb(0.150, 0.058, 0.038), shade=_rgb(0.085, 0.042, 0.030),
    lip=_rgb(0.165, 0.065, 0.055), hair=_rgb(0.012, 0.010, 0.009), stubble=_rgb(0.04, 0.028, 0.022), beard=0.5,
    freckles=0.0, seed=50,
)  # fmt: skip
_BROWN = Complexion(
    skin=_rgb(0.330, 0.180, 0.110), flush=_rgb(0.310, 0.125, 0.085), shade=_rgb(0.180, 0.092, 0.062),
    lip=_rgb(0.270, 0.100, 0.085), hair=_rgb(0.012, 0.010, 0.009), stubble=_rgb(0.07, 0.045, 0.035), beard=0.0,
    freckles=0.0, seed=60,
)  # fmt: skip
_PALE = Complexion(
    skin=_rgb(0.680, 0.440, 0.345), flush=_rgb(0.640, 0.300, 0.240), shade=_rgb(0.430, 0.250, 0.215),
    lip=_rgb(0.480, 0.190, 0.175), hair=_rgb(0.16, 0.06, 0.03), stubble=_rgb(0.3, 0.2, 0.15), beard=0.0, freckles=1.6,
    seed=70,
)  # fmt: skip
_OLIVE = Complexion(
    skin=_rgb(0.500, 0.310, 0.195), flush=_rgb(0.470, 0.200, 0.135), shade=_rgb(0.300, 0.165, 0.115),
    lip=_rgb(0.360, 0.130, 0.110), hair=_rgb(0.014, 0.011, 0.010), stubble=_rgb(0.07, 0.05, 0.045), beard=1.6,
    freckles=0.3, seed=80,
)  # fmt: skip

CAST = (
    Member(
        name="ada", traits=_traits(1), complexion=_PALE,
        hair=HairStyle(num_hairs=16000, hanging_m=(0.20, 0.27), part_x_m=-0.012, width=1.5, seed=22),
        palette=Palette(hair=RED_HAIR, brow=_rgb(0.11, 0.045, 0.022), iris=_rgb(0.5, 1.3, 2.6),
                        cloth=_rgb(0.05, 0.10, 0.05), stripe=_rgb(0.05, 0.10, 0.05)),
        light="side", focal_ratio=2.0, script_seed=1, turn_deg=26,
    ),
    Member(
        name="bo", traits=_traits(2, shape_std=0.75), complexion=_DEEP._replace(hairline_m=NO_HAIRLINE_M),
        hair=HairStyle(num_hairs=0),
        palette=Palette(brow=_rgb(0.012, 0.010, 0.009), iris=_rgb(0.6, 0.6, 0.6), cloth=_rgb(0.45, 0.43, 0.40),
                        stripe=_rgb(0.30, 0.05, 0.05)),
        light="frontal", focal_ratio=1.4, script_seed=2, turn_deg=30,
    ),
    Member(
        name="cleo", traits=_traits(3), complexion=_BROWN,
        hair=HairStyle(length=1.25, volume=2.2, curl=4.0, width=1.15, seed=23),
        palette=Palette(hair=BLACK_HAIR, brow=_rgb(0.014, 0.011, 0.010), iris=_rgb(0.7, 0.6, 0.6),
                        cloth=_rgb(0.42, 0.24, 0.04), stripe=_rgb(0.42, 0.24, 0.04)),
        light="warm", focal_ratio=3.0, script_seed=3, turn_deg=32,
    ),
    Member(
        name="dan", traits=_traits(4, asymmetry=-1.3), complexion=_OLIVE,
        palette=Palette(hair=BLACK_HAIR, brow=_rgb(0.016, 0.012, 0.010), cloth=_rgb(0.03, 0.03, 0.035),
                        stripe=_rgb(0.03, 0.03, 0.035)),
        prop="microphone", light="cool", focal_ratio=2.0, script_seed=4, turn_deg=24,
    ),
    Member(
        name="eve", traits=_traits(5, bump_height_m=0.0009), complexion=Complexion(beard=0.0, freckles=0.2, seed=90),
        hair=HairStyle(num_hairs=13000, hanging_m=(0.13, 0.17), part_x_m=0.02, hairline_m=0.006, width=1.6, seed=24),
        palette=Palette(hair=BLOND_HAIR, brow=_rgb(0.12, 0.075, 0.04), iris=_rgb(0.45, 1.0, 3.2),
                        cloth=_rgb(0.32, 0.06, 0.10), stripe=_rgb(0.5, 0.45, 0.4), prop=_rgb(0.015, 0.012, 0.012)),
        prop="glasses", light="contrasty", focal_ratio=1.4, script_seed=5, turn_deg=28,
    ),
    Member(
        name="finn", traits=_traits(6, shape_std=0.75, asymmetry=1.5),
        complexion=Complexion(hair=_rgb(0.05, 0.03, 0.02), beard=2.0, freckles=0.4, hairline_m=-0.004, seed=100),
        hair=HairStyle(length=0.4, volume=0.7, hairline_m=-0.004, seed=25),
        palette=Palette(hair=BROWN_HAIR, brow=_rgb(0.04, 0.024, 0.015), iris=_rgb(0.5, 1.1, 1.4),
                        cloth=_rgb(0.10, 0.12, 0.20), stripe=_rgb(0.10, 0.12, 0.20)),
        light="contrasty", focal_ratio=1.0, script_seed=6, turn_deg=30,
    ),
    Member(
        name="gus", traits=_traits(7, bump_height_m=0.0009),
        complexion=_PALE._replace(hair=_rgb(0.2, 0.19, 0.18), beard=0.6, stubble=_rgb(0.3, 0.29, 0.28), freckles=0.4),
        hair=HairStyle(length=1.1, volume=1.5, part_x_m=-0.03, seed=26),
        palette=Palette(hair=GREY_HAIR, brow=_rgb(0.14, 0.13, 0.125), iris=_rgb(0.5, 1.2, 2.2),
                        cloth=_rgb(0.16, 0.10, 0.06), stripe=_rgb(0.4, 0.36, 0.3)),
        light="warm", focal_ratio=3.0, script_seed=7, turn_deg=34,
    ),
    Member(
        name="hana", traits=_traits(8),
        complexion=Complexion(skin=_rgb(0.600, 0.395, 0.275), flush=_rgb(0.560, 0.260, 0.190), beard=0.0, freckles=0.1,
                              shade=_rgb(0.37, 0.215, 0.16), hair=_rgb(0.014, 0.011, 0.010), seed=110),
        hair=HairStyle(num_hairs=16000, hanging_m=(0.15, 0.21), part_x_m=0.0, hairline_m=0.012, width=1.5, seed=27),
        palette=Palette(hair=BLACK_HAIR, brow=_rgb(0.016, 0.012, 0.010), iris=_rgb(0.7, 0.7, 0.7),
                        cloth=_rgb(0.30, 0.32, 0.36), stripe=_rgb(0.06, 0.07, 0.10)),
        light="frontal", focal_ratio=1.0, script_seed=8, turn_deg=26,
    ),
)  # fmt: skip
"""Eight people; between them every light, four focal lengths, long, short, curly and no hair, and two occluders."""
