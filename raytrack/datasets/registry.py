"""Readers of datasets with calibrated cameras, by the `dataset` of a job."""

from collections.abc import Callable
from pathlib import Path

from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.nersemble_v1 import nersemble_v1_sequence
from raytrack.datasets.nersemble_v2 import nersemble_v2_sequence
from raytrack.datasets.sequence import Sequence
from raytrack.errors import ConfigError
from raytrack.media.config import ExtractConfig

READERS: dict[str, Callable[..., Sequence]] = {
    "nersemble-v1": nersemble_v1_sequence,
    "nersemble-v2": nersemble_v2_sequence,
}


def calibrated_recording(
    dataset: str,
    root: Path,
    subject: str,
    sequence: str,
    *,
    name: str = "",
    capture: CaptureConfig | None = None,
    extract: ExtractConfig | None = None,
    threads: int = 1,
) -> Sequence:
    """Look at one recording of a dataset and decide what is taken of it; see the dataset's own reader.

    Raises:
        ConfigError: There is no such kind of dataset; a name cannot name a folder; no camera or timestep is left.
        InputError: The footage or what belongs to it is missing or cannot be used.
    """
    if dataset not in READERS:
        raise ConfigError(f"unknown dataset {dataset!r}; known: {', '.join(READERS)}")
    return READERS[dataset](root, subject, sequence, name=name, capture=capture, extract=extract, threads=threads)
