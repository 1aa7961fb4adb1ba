"""Readers of datasets with calibrated cameras, by the `dataset` of a job."""

from collections.abc import Callable
from pathlib import Path

from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.nersemble_v1 import nersemble_v1_files, nersemble_v1_sequence
from raytrack.datasets.nersemble_v2 import nersemble_v2_files, nersemble_v2_sequence
from raytrack.datasets.rig_files import RigFiles
from raytrack.datasets.sequence import Sequence
from raytrack.errors import ConfigError
from raytrack.media.config import ExtractConfig

READERS: dict[str, Callable[..., Sequence]] = {
    "nersemble-v1": nersemble_v1_sequence,
    "nersemble-v2": nersemble_v2_sequence,
}
FILES: dict[str, Callable[[Path, str, str, CaptureConfig], RigFiles]] = {
    "nersemble-v1": nersemble_v1_files,
    "nersemble-v2": nersemble_v2_files,
}


def recording_files(dataset: str, root: Path, subject: str, sequence: str, capture: CaptureConfig) -> RigFiles:
    """Find the files that one recording of a dataset is read from; none is decoded.

    Raises:
        ConfigError: There is no such kind of dataset, or no camera is left.
        InputError: Footage or calibration is missing or cannot be used.
    """
    if dataset not in FILES:
        raise ConfigError(f"unknown dataset {dataset!r}; known: {', '.join(FILES)}")
    return FILES[dataset](root, subject, sequence, capture)


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
