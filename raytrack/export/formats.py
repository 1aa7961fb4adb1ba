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

from raytrack.errors import ConfigError
from raytrack.export import gaussian_avatars, imavatar, insta, nerf
from raytrack.export.config import DatasetFormatName, ExportConfig, dataset_path
from raytrack.export.layout import Dataset
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel


def _any_head(_head: HeadModel) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """How one format is written."""

    write: Callable[..., Dataset]
    """Takes what `raytrack.export.nerf.write_dataset` takes."""
    refusal: Callable[[HeadModel], str] = _any_head
    """Why a head cannot be exported so; "" where it can."""
    rig_refusal: str = ""
    """Why the cameras of a rig cannot be exported so; "" where they can."""


FORMATS: Mapping[DatasetFormatName, DatasetFormat] = {
    "nerf": DatasetFormat(write=nerf.write_dataset),
    "gaussian-avatars": DatasetFormat(write=gaussian_avatars.write_gaussian_avatars, refusal=gaussian_avatars.refusal),
    "insta": DatasetFormat(write=insta.write_insta),
    "imavatar": DatasetFormat(
        write=imavatar.write_imavatar, refusal=gaussian_avatars.refusal, rig_refusal=imavatar.ONE_CAMERA
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
    """Write a sequence's dataset in every format that is asked for, in place of what was there.

    Args:
        track: The track; frames where `tracked` is false are left out.
        head: The head it was tracked with.
        out: The output folder.
        sequence: The sequence's name.
        config: Formats, background, split and the like.
        views: Pictures and mattes as each of the track's cameras saw them, in the track's order.
        num_threads: Timesteps written side by side; the files do not depend on it.

    Raises:
        InputError: No frame of the track has a face, or a format does not take the head.
        OutputError: A folder cannot be written.
        ValueError: The views are not those of the track's cameras.
    """
    written = []
    for name in config.formats:
        path = dataset_path(name, sequence)
        dataset = FORMATS[name].write(track, head, out / path, config, views=views, num_threads=num_threads)
        written.append(WrittenDataset(format=name, path=path, dataset=dataset))
    return tuple(written)
