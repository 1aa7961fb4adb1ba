"""What the stages that look at footage share: the recording itself, and where pictures lie."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raytrack.config import SequenceConfig
from raytrack.datasets.config import CaptureConfig
from raytrack.media.config import ExtractConfig
from raytrack.pipeline.sources import recording_state, source_path
from raytrack.pipeline.stage import Chunk, StageContext
from raytrack.tables.keys import rig_names

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415


def frame_path(sequence: SequenceConfig, camera_id: str, frame: int, folder: str = "images") -> str:
    """Where a picture lies, relative to the output folder; a rig's pictures lie in a folder for each camera."""
    camera = f"cam_{camera_id}/" if sequence.is_rig else ""
    return f"frames/{sequence.key.sequence}/{folder}/{camera}{frame:06d}.png"


def read_recording(sequence: SequenceConfig, extract: ExtractConfig, capture: CaptureConfig) -> Any:
    """Look at a sequence's footage: a `raytrack.datasets.sequence.Sequence`.

    Raises:
        ConfigError: No camera or timestep is left.
        InputError: The footage or what belongs to it is missing or cannot be used.
    """
    key = sequence.key
    if sequence.videos:
        from raytrack.datasets.synchronous import synchronous_sequence

        paths = [source_path(video) for video in sequence.videos]
        return synchronous_sequence(
            paths, rig_names(sequence.videos)[1],
            name=key.sequence, subject=key.subject, dataset=key.dataset, extract=extract,
        )  # fmt: skip
    if sequence.is_calibrated:
        from raytrack.datasets.registry import calibrated_recording

        return calibrated_recording(
            key.dataset,
            Path(sequence.root),
            key.subject,
            sequence.sequence,
            name=key.sequence,
            capture=capture,
            extract=extract,
        )
    from raytrack.datasets.monocular import monocular_sequence

    path = source_path(sequence.video)
    return monocular_sequence(path, name=key.sequence, subject=key.subject, dataset=key.dataset, extract=extract)


@functools.lru_cache(maxsize=4)
def _opened(
    state: tuple[tuple[str, int, int], ...],  # noqa: ARG001
    sequence: SequenceConfig,
    extract: ExtractConfig,
    capture: CaptureConfig,
) -> Any:
    return read_recording(sequence, extract, capture)


def open_recording(sequence: SequenceConfig, extract: ExtractConfig, capture: CaptureConfig) -> Any:
    """`read_recording`, once per worker for as long as the files do not change."""
    return _opened(recording_state(sequence, capture), sequence, extract, capture)


def frames_of(context: StageContext) -> Chunk:
    """The frames to work on.

    Raises:
        ValueError: The stage is not cut into chunks.
    """
    if context.chunk is None:
        raise ValueError(f"stage {context.stage!r} works on chunks")
    return context.chunk


def pictures(context: StageContext, frames: pa.Table) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Each row of the table `frames` with its picture, telling whoever watches how far it is."""
    from raytrack.media.images import read_image

    for done, row in enumerate(frames.to_pylist(), start=1):
        yield row, read_image(context.out / row["image"]).rgb
        context.progress(done, frames.num_rows, note_of(context, row["camera_id"]))


def note_of(context: StageContext, camera_id: str) -> str:
    """Which camera is worked on, where there are several."""
    return f"camera {camera_id}" if context.sequence.is_rig else ""
