"""Where NeRSemble keeps what, which subjects and sequences there are, and which of them a job means.

Only paths are looked at here: the configuration needs it, and must be quick.

v1 (`nersemble-v1`)::

    ROOT/camera_params/<subject>/camera_params.json
    ROOT/color_correction/<subject>/<camera>.npy
    ROOT/<subject>/<sequence>/cam_<camera>.mp4  or  images/cam_<camera>_<timestep>.jpg
    ROOT/<subject>/BACKGROUND/image_<camera>.jpg

v2 (`nersemble-v2`)::

    ROOT/<subject>/calibration/camera_params.json, color_calibration.json
    ROOT/<subject>/sequences/<sequence>/images/cam_<camera>.mp4
    ROOT/<subject>/sequences/BACKGROUND/image_<camera>.jpg
"""

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from raytrack.errors import ConfigError

KINDS = ("nersemble-v1", "nersemble-v2")
BACKGROUND = "BACKGROUND"
_RIG_FILE = Path(__file__).with_name("nersemble.yaml")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of a NeRSemble dataset."""

    kind: str
    root: Path

    @property
    def is_v2(self) -> bool:
        """Whether it is version 2."""
        return self.kind == "nersemble-v2"

    def sequences_folder(self, subject: str) -> Path:
        """Where a subject's sequences lie."""
        return self.root / subject / "sequences" if self.is_v2 else self.root / subject

    def calibration_path(self, subject: str) -> Path:
        """A subject's `camera_params.json`."""
        name = "camera_params.json"
        return self.root / (f"{subject}/calibration/{name}" if self.is_v2 else f"camera_params/{subject}/{name}")

    def subjects(self) -> list[str]:
        """Subjects that have sequences (v2) or a calibration (v1)."""
        if not self.root.is_dir():
            raise ConfigError(f"{self.root}: no such folder; `root` is the folder that holds the dataset's subjects")
        names = _folders(self.root)
        if self.is_v2:
            return [name for name in names if self.sequences_folder(name).is_dir()]
        return [name for name in names if self.calibration_path(name).parent.is_dir()]

    def sequences(self, subject: str) -> list[str]:
        """A subject's sequences, in natural order."""
        return _folders(self.sequences_folder(subject))

    def inputs(self, subject: str, sequence: str) -> tuple[Path, ...]:
        """Files and folders that reading a sequence depends on, of those that exist."""
        folders = self.sequences_folder(subject)
        calibration = self.calibration_path(subject)
        colours = () if self.is_v2 else (self.root / "color_correction" / subject,)
        paths = (
            calibration.parent if self.is_v2 else calibration,
            *colours,
            folders / BACKGROUND,
            folders / sequence,
        )
        return tuple(path for path in paths if path.exists())


@dataclass(frozen=True, kw_only=True)
class Found:
    """A sequence that a job means."""

    subject: str
    sequence: str
    """The folder's name, suffix and all."""

    @property
    def name(self) -> str:
        """Tells it from other subjects' sequences of the same name."""
        return f"{self.subject}_{self.sequence}"


def find_sequences(layout: Layout, subjects: str, sequences: str) -> tuple[Found, ...]:
    """The sequences that a job means.

    Args:
        layout: The dataset.
        subjects: Names or patterns with `*`, `?` or `[…]`, separated by spaces; all where empty.
        sequences: The same for sequences; see `matching`.

    Raises:
        ConfigError: A name or pattern means nothing that is there.
    """
    known = layout.subjects()
    chosen = _chosen(known, subjects or "*", f"{layout.root}: no subject", exact=True)
    found = []
    for subject in chosen:
        where = f"{layout.sequences_folder(subject)}: no sequence"
        folders = layout.sequences(subject)
        found += [
            Found(subject=subject, sequence=name) for name in _chosen(folders, sequences or "*", where, exact=False)
        ]
    return tuple(found)


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The sequence folders that a name or pattern means.

    `EMO-1` means the folder `EMO-1`, else every `EMO-1-…`, never `EMO-10`. A pattern means what matches it whole; the
    clean plates in `BACKGROUND` are no sequence unless named.
    """
    names = list(names)
    if any(letter in pattern for letter in "*?["):
        return [name for name in names if fnmatch.fnmatchcase(name, pattern) and name != BACKGROUND]
    return [name for name in names if name == pattern] or [name for name in names if name.startswith(f"{pattern}-")]


def _chosen(names: list[str], patterns: str, nothing: str, *, exact: bool) -> list[str]:
    chosen: list[str] = []
    for pattern in patterns.split():
        found = fnmatch.filter(names, pattern) if exact else matching(names, pattern)
        if not found:
            raise ConfigError(f"{nothing} {pattern!r}; there is: {', '.join(names) or 'nothing'}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]

    def natural(name: str) -> list[tuple[bool, str]]:
        return [
            (part.isdigit(), part.zfill(9) if part.isdigit() else part) for part in re.split(r"(\d+)", name) if part
        ]

    return sorted(names, key=natural)


@cache
def rig() -> dict[str, Any]:
    """What ships with raytrack about the rig: its `cameras` in order, `divisions`, and who has what `occluded`."""
    return yaml.safe_load(_RIG_FILE.read_text(encoding="utf-8"))


def occluded_regions(subject: str, table: Path | None) -> tuple[str, ...]:
    """Head regions of a subject that are hidden.

    Args:
        subject: Who.
        table: A YAML file, subject → list of regions, that goes before what ships with raytrack.

    Raises:
        ConfigError: The file cannot be read or holds something else.
    """
    entries: dict[str, list[str]] = dict(rig()["occluded"])
    if table is not None:
        entries |= _read_table(table)
    return tuple(entries.get(subject, ()))


def _read_table(path: Path) -> dict[str, list[str]]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    entries = data.items() if isinstance(data, dict) else [(None, None)]
    for subject, regions in entries:
        if not isinstance(subject, str) or not isinstance(regions, list) or not all(type(r) is str for r in regions):
            raise ConfigError(f'{path}: expected lines such as "123": [neck_lower], got {subject!r}: {regions!r}')
    return data
