"""The stages of the `vhap` preset, as data, and the steps they come to."""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from jaxtyping import Int

from raytrack.fit.vhap_config import VhapConfig, VhapRates

POSE = ("rotation", "translation")
JOINTS = ("neck_pose", "jaw_pose", "eyes_pose")
_UNIT_STEPS = 50
"""Stages on the first batch can be resumed after so many steps."""


class FrameOrder(Enum):
    """Which frames a stage works on."""

    FIRST_BATCH = "first_batch"
    """`repeats` steps on the first batch."""
    SEQUENTIAL = "sequential"
    """`repeats` steps on each batch in turn, which starts from the last frame before it; a new Adam for each."""
    SHUFFLED = "shuffled"
    """`repeats` epochs of shuffled batches."""


@dataclass(frozen=True, kw_only=True)
class VhapStage:
    """One stage: what moves, on which frames, and which parts of the head are aligned to nothing."""

    name: str
    order: FrameOrder
    repeats: int
    optimise: tuple[str, ...]
    """Blocks of a frame's row and fields of `SharedParameters`."""
    photometric: bool
    """Landmarks alone otherwise."""
    jawline: bool = True
    """Whether its landmarks count; where a single camera is tracked they always do."""
    smooth: bool = False
    """Whether frames are pulled towards the ones before them."""
    texture_except: tuple[str, ...] = ()
    """Regions whose texture coordinates carry no gradient."""
    boundary_except: tuple[str, ...] = ()
    """Regions whose silhouettes carry no gradient."""
    rate_scale: float = 1.0
    rate_decay: float = 1.0
    """Factor on the learning rates per epoch."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Steps between two moments at which a fit can be resumed. Frames are numbered among those with a face."""

    batches: tuple[Int[np.ndarray, " _"], ...]
    """Frames of each step."""
    new_optimiser: bool
    rate_scale: float
    start_from: int | None = None
    """Frame whose row all frames of the unit start from."""


def vhap_schedule(
    config: VhapConfig,
    *,
    static_offset: bool,
    landmarks_only: bool,
    components: bool = False,
    calibrated: bool = False,
) -> tuple[VhapStage, ...]:
    """VHAP's stages for one camera, or for a calibrated rig.

    Args:
        config: Steps and epochs.
        calibrated: A rig's jawlines count at first only (from the side they lie elsewhere), its tracking stages leave
            the whole boundary out, and tracking timestep after timestep leaves the texture as it is.
        static_offset: Without them the offset stage is left out.
        landmarks_only: Rigid and full initialisation, then both tracking passes, on landmarks.
        components: Whether principal components of albedo move wherever the texture does.
    """
    first, sequential, shuffled = FrameOrder.FIRST_BATCH, FrameOrder.SEQUENTIAL, FrameOrder.SHUFFLED
    steps = config.init_steps
    camera = () if calibrated else ("log_focal",)
    faces = (*POSE, *JOINTS, "expression")
    stages = [
        VhapStage(name="lmk_init_rigid", order=first, repeats=steps, photometric=False, optimise=(*camera, *POSE)),
        VhapStage(name="lmk_init_all", order=first, repeats=steps, photometric=False,
                  optimise=(*camera, "shape", *faces)),
    ]  # fmt: skip
    scale, decay = config.rates.global_scale, config.rates.global_decay
    if landmarks_only:
        stages += [
            VhapStage(name="lmk_sequential_tracking", order=sequential, repeats=config.sequential_steps,
                      photometric=False, smooth=True, optimise=faces),
            VhapStage(name="lmk_global_tracking", order=shuffled, repeats=config.global_epochs,
                      photometric=False, smooth=True, optimise=(*camera, "shape", *faces),
                      rate_scale=scale, rate_decay=decay),
        ]  # fmt: skip
        return tuple(stages)
    loose = ("hair", "boundary", "neck")
    appearance = (*camera, "shape", "texture", "light")
    stages += [
        VhapStage(name="rgb_init_texture", order=first, repeats=steps, photometric=True, optimise=appearance,
                  texture_except=loose, boundary_except=("hair", "boundary")),
        VhapStage(name="rgb_init_all", order=first, repeats=steps, photometric=True, optimise=(*appearance, *faces),
                  texture_except=loose, boundary_except=("hair", "bottomline"), jawline=not calibrated),
    ]  # fmt: skip
    everything = (*appearance, *faces)
    if static_offset:
        everything = (*everything, "offset")
        stages.append(
            VhapStage(name="rgb_init_offset", order=first, repeats=steps, photometric=True, optimise=everything,
                      texture_except=loose, boundary_except=("bottomline",), jawline=not calibrated)
        )  # fmt: skip
    texture = () if calibrated else ("texture",)
    texture_except, boundary_except = (("boundary",), ("boundary",)) if calibrated else ((), ("bottomline",))
    stages += [
        VhapStage(name="rgb_sequential_tracking", order=sequential, repeats=config.sequential_steps, photometric=True,
                  smooth=True, optimise=(*faces, *texture), texture_except=texture_except,
                  boundary_except=boundary_except, jawline=not calibrated),
        VhapStage(name="rgb_global_tracking", order=shuffled, repeats=config.global_epochs, photometric=True,
                  smooth=True, optimise=everything, texture_except=texture_except, boundary_except=boundary_except,
                  jawline=not calibrated, rate_scale=scale, rate_decay=decay),
    ]  # fmt: skip
    return tuple(_with_components(stage) if components else stage for stage in stages)


def _with_components(stage: VhapStage) -> VhapStage:
    if "texture" not in stage.optimise:
        return stage
    return replace(stage, optimise=(*stage.optimise, "texture_coefficients"))


def units(stage: VhapStage, num_frames: int, batch_size: int, seed: tuple[int, ...]) -> tuple[Unit, ...]:
    """The steps of a stage.

    Args:
        stage: Which frames, how often.
        num_frames: Frames with a face.
        batch_size: Most frames per step.
        seed: Decides the order of shuffled frames.
    """
    starts = range(0, num_frames, batch_size)
    in_order = [np.arange(start, min(start + batch_size, num_frames)) for start in starts]
    if stage.order is FrameOrder.FIRST_BATCH:
        counts = [min(_UNIT_STEPS, stage.repeats - done) for done in range(0, stage.repeats, _UNIT_STEPS)]
        return tuple(
            Unit(batches=(in_order[0],) * count, new_optimiser=index == 0, rate_scale=stage.rate_scale)
            for index, count in enumerate(counts)
        )
    if stage.order is FrameOrder.SEQUENTIAL:
        return tuple(
            Unit(batches=(batch,) * stage.repeats, new_optimiser=True, rate_scale=stage.rate_scale,
                 start_from=int(batch[0]) - 1 if batch[0] > 0 else None)
            for batch in in_order
        )  # fmt: skip
    epochs = []
    for epoch in range(stage.repeats):
        order = np.random.default_rng([*seed, epoch]).permutation(num_frames)
        epochs.append(
            Unit(batches=tuple(np.sort(order[start : start + batch_size]) for start in starts),
                 new_optimiser=epoch == 0, rate_scale=stage.rate_scale * stage.rate_decay**epoch)
        )  # fmt: skip
    return tuple(epochs)


def row_rates(rates: VhapRates) -> dict[str, float]:
    """Learning rate of each block of a frame's row."""
    base = dict.fromkeys((*POSE, *JOINTS), rates.base)
    return {**base, "translation": rates.translation, "expression": rates.expression}


def shared_rates(rates: VhapRates) -> dict[str, float]:
    """Learning rate of each field of `SharedParameters`; that of the focal length is for its ratio to the image."""
    base = dict.fromkeys(("shape", "texture", "texture_coefficients"), rates.base)
    return {**base, "offset": rates.offset, "light": rates.light, "log_focal": rates.focal}
