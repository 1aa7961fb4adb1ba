"""The formats of datasets, by name, and where each lies.

================ =================================== ====================================================
nerf             `export/<sequence>/`                VHAP's layout; nerfstudio; any head
gaussian-avatars `export-gaussian-avatars/<s…>/`     GaussianAvatars and its family; FLAME only
insta            `export-insta/<sequence>/`          INSTA, instant-ngp; any head
imavatar         `export-imavatar/<sequence>/`       IMavatar and its family; FLAME and one camera only
================ =================================== ====================================================

The datasets of one format lie beside each other, so that a union of them can lie there too and refer to them as
``../<sequence>/…``; those of different formats lie apart, for they have the same names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raytrack.errors import ConfigError, InputError
from raytrack.export import gaussian_avatars
from raytrack.export.config import DatasetFormatName, ExportConfig, dataset_path
from raytrack.export.imavatar import ONE_CAMERA, ONE_LENS, ImavatarLayout
from raytrack.export.insta import InstaLayout
from raytrack.export.layout import Dataset, DatasetLayout, write_layout
from raytrack.export.nerf import NerfLayout
from raytrack.export.scene import Scene
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel


def _any_head(_head: HeadModel) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """How one format is written."""

    layout: Callable[[Scene], DatasetLayout]
    centred: bool = False
    """Whether pictures are resampled until pixels are square and principal points in the middle."""
    moves_camera: bool = False
    """Whether a single camera moves around a head that keeps still, where the configuration does not say."""
    refusal: Callable[[HeadModel], str] = _any_head
    """Why a head cannot be exported so; "" where it can."""
    rig_refusal: str = ""
    """Why the cameras of a rig cannot be exported so; "" where they can."""
    lens_refusal: str = ""
    """Why a recording with several focal lengths cannot be exported so; "" where it can."""


FORMATS: Mapping[DatasetFormatName, DatasetFormat] = {
    "nerf": DatasetFormat(layout=NerfLayout),
    "gaussian-avatars": DatasetFormat(
        layout=NerfLayout, centred=True, moves_camera=True, refusal=gaussian_avatars.refusal
    ),
    "insta": DatasetFormat(layout=InstaLayout),
    "imavatar": DatasetFormat(
        layout=ImavatarLayout, refusal=gaussian_avatars.refusal, rig_refusal=ONE_CAMERA, lens_refusal=ONE_LENS
    ),
}


@dataclass(frozen=True, kw_only=True)
class WrittenDataset:
    """A dataset and where it lies."""

    format: DatasetFormatName
    path: str
    """Relative to the output folder."""
    dataset: Dataset


def check_export(head: HeadModel, config: ExportConfig, *, of_rigs: bool = False) -> None:
    """Refuse, before anything is tracked, formats that a head or its cameras cannot be exported in.

    Args:
        head: That is to be tracked.
        config: What is to be written.
        of_rigs: Whether there are several cameras, of any sequence.

    Raises:
        ConfigError: There is one; the message says why.
    """
    for name in config.formats:
        if reason := FORMATS[name].refusal(head):
            raise ConfigError(f"export.formats: no {name!r} datasets of this head: {reason}")
        if of_rigs and (reason := FORMATS[name].rig_refusal):
            raise ConfigError(f"export.formats: no {name!r} datasets of these cameras: {reason}")


def write_dataset(
    track: Track,
    head: HeadModel,
    folder: Path,
    config: ExportConfig,
    *,
    views: Sequence[SequenceObservation],
    format_name: DatasetFormatName = "nerf",
    num_threads: int = 1,
) -> Dataset:
    """Write the dataset of one sequence, in place of what was in `folder`.

    Args:
        track: The track; frames where `tracked` is false are left out.
        head: The head it was tracked with.
        folder: The dataset's folder, such as `OUT/export/<sequence>`.
        config: Background, split and the like.
        views: Pictures and mattes as each of the track's cameras saw them, in the track's order. Without mattes
            everything above the neck line is kept.
        format_name: Of the dataset.
        num_threads: Timesteps written side by side; the files do not depend on it.

    Raises:
        InputError: No frame of the track has a face, it was made with another head, or does not know the world that is
            asked for; or the format does not take the head or so many cameras.
        OutputError: The folder cannot be written.
        ValueError: The views are not those of the track's cameras.
    """
    chosen, head_centric = FORMATS[format_name], config.head_centric
    refusals = (
        chosen.refusal(head),
        chosen.rig_refusal if len(track.cameras) > 1 else "",
        chosen.lens_refusal if track.focal_px_per_frame is not None else "",
    )
    if reason := next(filter(None, refusals), ""):
        raise InputError(f"{format_name}: {reason}")
    if head_centric is None:
        head_centric = chosen.moves_camera and not track.rig and config.world == "head"
    scene = Scene(track, head, config, views, centred=chosen.centred, head_centric=head_centric)
    return write_layout(scene, chosen.layout(scene), folder, num_threads=num_threads)


def write_datasets(
    track: Track,
    head: HeadModel,
    out: Path,
    sequence: str,
    config: ExportConfig,
    *,
    views: Sequence[SequenceObservation],
    num_threads: int = 1,
) -> tuple[WrittenDataset, ...]:
    """Write a sequence's dataset in every format that is asked for, each as `write_dataset` does.

    Args:
        track: The track.
        head: The head it was tracked with.
        out: The output folder.
        sequence: The sequence's name.
        config: Formats, background, split and the like.
        views: As each of the track's cameras saw it.
        num_threads: Timesteps written side by side.

    Raises:
        InputError: As `write_dataset`.
        OutputError: A folder cannot be written.
        ValueError: The views are not those of the track's cameras.
    """
    written = []
    for name in config.formats:
        path = dataset_path(name, sequence)
        dataset = write_dataset(track, head, out / path, config, views=views, format_name=name, num_threads=num_threads)
        written.append(WrittenDataset(format=name, path=path, dataset=dataset))
    return tuple(written)
