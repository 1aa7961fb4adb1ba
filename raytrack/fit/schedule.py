"""The stages of a fit, as data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from raytrack.fit.config import TrackConfig

ALL_SHARED = ("shape", "texture", "light", "offset")
FrameChoice = Literal["shared", "others", "all"]
"""Which frames' rows a stage moves: of a long sequence those that everything shared is fitted to, the others, or all;
of a short one they are all the same frames (`raytrack.fit.frame_choice`)."""
COMPONENTS = "texture_coefficients"
"""Field of `SharedParameters`: principal components of albedo, of heads that have some."""


@dataclass(frozen=True, kw_only=True)
class RowStage:
    """Gauss–Newton on every frame, shared parameters held."""

    name: str
    blur_schedule_px: tuple[float, ...]
    """σ of each iteration in pixels of a 256-pixel image; scaled with the tracking size."""
    round_index: int
    always: bool = False
    """Run even when the rounds have converged."""
    frames: FrameChoice = "shared"
    fine: bool = False
    """In the larger pictures of the last rounds."""
    comparable: bool = False
    """Whether its colour error tells, beside that of the round before, how far the fit has come.
    It does not while cameras move."""


@dataclass(frozen=True, kw_only=True)
class CameraStage:
    """Gauss–Newton on the cameras of an uncalibrated rig together with the identity and some rows."""

    name: str
    blur_schedule_px: tuple[float, ...]
    """As of `RowStage`."""
    round_index: int
    num_frames: int = 24
    """Evenly spaced."""
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class JointStage:
    """Gauss–Newton on identity and focal length together with some rows, of a single camera."""

    name: str
    blur_schedule_px: tuple[float, ...]
    """As of `RowStage`."""
    num_frames: int = 20
    hold_focal: bool = False
    """The focal length is known."""


@dataclass(frozen=True, kw_only=True)
class SharedStage:
    """Adam on shared parameters, rows held."""

    name: str
    optimise: tuple[str, ...]
    num_epochs: float
    batch_size: int = 8
    first_scale: float = 1.0
    decay: float = 0.8
    offset_laplacian: float = 1.0
    """Factor on the configured weight."""
    colours_only: bool = False
    texture_rate: float = 1e-2
    light_rate: float = 5e-3
    always: bool = False
    fine: bool = False
    """In the larger pictures of the last rounds."""


@dataclass(frozen=True, kw_only=True)
class TextureStage:
    """Adam on texture and light alone, at the pictures' own size."""

    name: str
    num_epochs: float = 1.5
    batch_size: int = 4
    texture_variation: float = 0.03
    """Factor on the configured weight."""
    texture_rate: float = 2e-2


@dataclass(frozen=True, kw_only=True)
class OcclusionStage:
    """A look for what stands before the head; moves nothing."""

    name: str
    always: bool = False
    """Run even when the rounds have converged."""


Stage = RowStage | CameraStage | JointStage | SharedStage | TextureStage | OcclusionStage

_FIRST_PICTURES, _MOST_FIRST_PICTURES, _FIRST_EPOCHS_OF_RIG = 240, 960, 15
"""Pictures from which texture and light start. A rig shows the head from all sides: rows that are fitted to a texture
which does not know them yet move to make up for it (measured: 1.07 mm on the face in place of 0.86)."""

_SECOND_COLOURS = 0.5
"""Of the epochs that colours take at first, when heads have moved since."""
_JOINT_BLUR = (3, 2, 1, 1, 1, 0)
_PLACING_TURNS = 3
"""Before the rounds of an uncalibrated rig."""
_ROUNDS = (
    ((6, 5, 4, 3, 2, 1, 0), 3, 0.3),
    ((3, 2, 1, 0), 4, 0.1),
    ((1, 0, 0), 6, 0.03),
    ((0, 0), 6, 0.01),
    ((0, 0), 6, 0.01),
    ((0, 0), 6, 0.01),
)
"""Blur schedule, Adam epochs and factor on the Laplacian weight of each round."""
_FIRST_FINE_ROUND = 3
"""From this one on pictures are larger: what small ones leave undecided is a third of a pixel of the input."""


_ROUNDS_OF_KNOWN_IDENTITY = ((6, 5, 4, 3, 2, 1, 0), (1, 0))
_FIRST_LIGHT_PICTURES, _FEWEST_LIGHT_PICTURES, _LIGHT_EPOCHS = 120, 192, 1.5
_FIRST_LIGHT_RATE = 2e-2
_CATCH_UP = ((6, 5, 4, 3, 2, 1, 0), (1, 0, 0))
"""Blur schedules of the frames of a long sequence that take no part in the rounds."""


def default_schedule(
    config: TrackConfig,
    num_pictures: int,
    *,
    calibrated: bool = False,
    solved: bool = False,
    components: bool = False,
    long: bool = False,
    known_identity: bool = False,
) -> tuple[Stage, ...]:
    """Texture and light first, a short joint warm-up, then rounds of (rows, shared), rows once more, the final texture.

    Args:
        config: How many rounds, with or without offsets.
        num_pictures: Pictures of an epoch; few of them need more epochs to come to the same number of steps.
        calibrated: Whether the cameras are known.
        solved: Whether the cameras are those of an uncalibrated rig, as landmarks gave them.
        components: Whether the head's principal components of albedo take part.
        long: Whether what frames share is fitted to some of them alone: the others then catch up before the last rows.
        known_identity: Whether shape, offset and texture are given: light and focal length are all that is left.
    """
    if known_identity:
        return _schedule_of_known_identity(config, num_pictures, calibrated=calibrated, solved=solved, long=long)
    colours = ("texture", "light", "gains") if solved else ("texture", "light")
    shared = tuple(name for name in ALL_SHARED if name != "offset" or config.static_offset)
    shared += ("gains",) if solved else ()
    longer = max(1.0, 64 / num_pictures)
    first_pictures = _FIRST_PICTURES
    if calibrated:
        first_pictures = min(max(_FIRST_EPOCHS_OF_RIG * num_pictures, _FIRST_PICTURES), _MOST_FIRST_PICTURES)
    first_colours = SharedStage(name="texture_init", optimise=colours, num_epochs=first_pictures / num_pictures,
                                batch_size=4, texture_rate=3e-2, decay=1.0, colours_only=True, always=True)  # fmt: skip
    stages: list[Stage] = [
        first_colours,
        SharedStage(name="warm_up", optimise=shared, num_epochs=2 * longer, offset_laplacian=1.0, always=True),
    ]  # fmt: skip
    if solved:
        stages[1:1] = _placing_stages(num_pictures)
    if not calibrated:
        stages[1:1] = _joint_stages(first_colours, hold_focal=config.focal_px is not None)
    for index, (blur, epochs, laplacian) in enumerate(_ROUNDS[: config.rounds]):
        if solved:
            stages.append(
                CameraStage(name=f"cameras_{index}", blur_schedule_px=blur[-4:], round_index=_PLACING_TURNS + index)
            )
        stages.append(OcclusionStage(name=f"occlusion_{index}", always=index == 0))
        fine, first = index >= _FIRST_FINE_ROUND, index in (0, _FIRST_FINE_ROUND)
        stages.append(
            RowStage(name=f"rows_{index}", blur_schedule_px=blur, round_index=index, always=fine and first,
                     fine=fine, comparable=not first and not solved)
        )  # fmt: skip
        stages.append(
            SharedStage(name=f"shared_{index}", optimise=shared, num_epochs=epochs * longer, first_scale=0.8,
                        offset_laplacian=laplacian, always=fine and first, fine=fine)
        )  # fmt: skip
    stages.append(OcclusionStage(name="occlusion_final", always=True))
    stages.extend(_last_rows(config, long=long))
    stages.append(TextureStage(name="texture_final", num_epochs=1.5 * longer))
    return with_components(stages) if components else tuple(stages)


def _joint_stages(colours: SharedStage, *, hold_focal: bool) -> list[Stage]:
    """Identity and focal length before there are offsets, which would make up for what is wrong with them."""
    return [
        OcclusionStage(name="occlusion_first", always=True),
        JointStage(name="identity", blur_schedule_px=_JOINT_BLUR, hold_focal=hold_focal),
        replace(colours, name="texture_again", num_epochs=_SECOND_COLOURS * colours.num_epochs),
    ]


def _placing_stages(num_pictures: int) -> list[Stage]:
    """Cameras with identity, rows and colours in turn.

    Landmarks leave cameras some degrees off, for they are poor on faces seen from the side; identity and offsets must
    not learn to make up for that.
    """
    stages: list[Stage] = []
    for turn in range(_PLACING_TURNS):
        stages += [
            CameraStage(name=f"cameras_first_{turn}", blur_schedule_px=_ROUNDS[0][0], round_index=turn, always=True),
            RowStage(name=f"rows_first_{turn}", blur_schedule_px=(3, 1), round_index=0, always=True),
            SharedStage(name=f"colours_{turn}", optimise=("texture", "light", "gains"), batch_size=4,
                        num_epochs=_FIRST_PICTURES / num_pictures, texture_rate=3e-2, always=True),
        ]  # fmt: skip
    return stages


def _last_rows(config: TrackConfig, *, long: bool) -> list[RowStage]:
    """The rows of all frames, when what they share is known; those that took no part so far catch up first."""
    stages = []
    for index, blur in enumerate(_CATCH_UP if long else ()):
        name, number = f"catch_up_{index}", config.rounds + 1 + index
        stages.append(RowStage(name=name, blur_schedule_px=blur, round_index=number, always=True, frames="others"))
    stages.append(
        RowStage(name="rows_final", blur_schedule_px=(0, 0), round_index=config.rounds, always=True, frames="all",
                 fine=True)
    )  # fmt: skip
    return stages


def _schedule_of_known_identity(
    config: TrackConfig, num_pictures: int, *, calibrated: bool, solved: bool, long: bool
) -> tuple[Stage, ...]:
    """Light first, then rows and what is left of the shared parameters in turn, rows once more."""
    left = ("light",) if calibrated or config.focal_px is not None else ("light", "log_focal")
    first: tuple[str, ...] = ("light",)
    if solved:
        left, first = (*left, "gains"), (*first, "gains")
    stages: list[Stage] = [
        SharedStage(name="light_init", optimise=first, num_epochs=_FIRST_LIGHT_PICTURES / num_pictures,
                    batch_size=4, decay=1.0, colours_only=True, always=True, light_rate=_FIRST_LIGHT_RATE),
    ]  # fmt: skip
    for index, blur in enumerate(_ROUNDS_OF_KNOWN_IDENTITY):
        if solved:
            stages.append(CameraStage(name=f"cameras_{index}", blur_schedule_px=blur, round_index=index, always=True))
        stages.append(OcclusionStage(name=f"occlusion_{index}", always=True))
        stages.append(RowStage(name=f"rows_{index}", blur_schedule_px=blur, round_index=index, always=True))
        epochs = max(_LIGHT_EPOCHS, _FEWEST_LIGHT_PICTURES / num_pictures)
        stages.append(SharedStage(name=f"light_{index}", optimise=left, num_epochs=epochs, always=True))
    return (*stages, *_last_rows(config, long=long))


def with_components(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages with the principal components of albedo: first by themselves, then beside the texture.

    Both at once could explain the same colours in many ways. What is left when the components have explained what they
    can is the texture's; the final texture leaves them as they are.
    """
    result: list[Stage] = []
    for stage in stages:
        if isinstance(stage, SharedStage) and "texture" in stage.optimise:
            if not result:
                others = tuple(name for name in stage.optimise if name != "texture")
                result.append(replace(stage, name="components_init", optimise=(COMPONENTS, *others)))
            result.append(replace(stage, optimise=(*stage.optimise, COMPONENTS)))
        else:
            result.append(stage)
    return tuple(result)
