"""What identifies one sequence in every table and folder."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raytrack.errors import ConfigError

_FOOTAGE_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".gif", ".apng", ".mpg", ".mpeg", ".ts", ".mts"),
        *(".m2ts", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".ogg", ".3gp", ".mxf", ".nut", ".h264", ".264"),
        *(".hevc", ".h265", ".265", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"),
    )
)
_SEPARATORS = "._+-"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True, kw_only=True, order=True)
class SequenceKey:
    """Dataset, subject and sequence: strings, so that subject "074" stays "074".

    They name folders, so only letters, digits and ``. _ + -`` are allowed and the first must be a letter or digit.
    """

    dataset: str
    subject: str
    sequence: str

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ConfigError: A name could leave its folder or would not survive as one.
        """
        for field in ("dataset", "subject", "sequence"):
            value = getattr(self, field)
            if not isinstance(value, str) or not _SAFE_NAME.fullmatch(value):
                raise ConfigError(
                    f"{field} name {value!r} cannot name a folder: use letters, digits and . _ + - (at most 128), "
                    "beginning with a letter or digit"
                )

    @property
    def is_identity(self) -> bool:
        """Whether it means the joint identity of the subject's sequences."""
        return self.sequence == identity_name(self.subject)

    @property
    def is_union(self) -> bool:
        """Whether it means the union of the subject's sequences."""
        return self.sequence == union_name(self.subject)

    def partition(self) -> Path:
        """Hive-style folder of this sequence, relative to a table's folder."""
        return Path(f"dataset={self.dataset}", f"subject={self.subject}", f"sequence={self.sequence}")


def union_name(subject: str) -> str:
    """What the union of a subject's sequences is called; no sequence may be."""
    return f"union_{subject}"


def identity_name(subject: str) -> str:
    """What the joint identity of a subject's sequences is called; no sequence may be."""
    return f"identity_{subject}"


def safe_name(text: str) -> str:
    """The nearest name that `SequenceKey` accepts: other characters become underscores."""
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).lstrip("._+-")[:128]
    return name or "sequence"


def footage_name(source: str) -> str:
    """What footage is called when nobody names it: its file's or folder's name, made fit to name a folder.

    Only the suffixes of videos and images are left out, so that the folder `ben.v2` is called just that. Whether there
    is such a file or folder makes no difference.

    Args:
        source: A path as job files and command lines have it, ``assets:NAME`` included.
    """
    path = Path(os.path.abspath(source.removeprefix("assets:")))  # noqa: PTH100 (links keep their own names)
    return safe_name(path.stem if path.suffix.lower() in _FOOTAGE_SUFFIXES else path.name)


def rig_names(sources: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What the videos of a rig are called when nobody names them: all of them together, and the cameras.

    `anna_camL.mp4` and `anna_camR.mp4` are `anna`, of the cameras `camL` and `camR`.

    Args:
        sources: Paths as job files and command lines have them, two or more.
    """
    names = [footage_name(source) for source in sources]
    same = 0
    while all(name[same : same + 1] == names[0][same : same + 1] != "" for name in names):
        same += 1
    common = names[0][:same]
    common = common[: max((common.rfind(sign) for sign in _SEPARATORS), default=-1) + 1]
    cameras = [safe_name(name[len(common) :]) for name in names]
    shared = safe_name(common.rstrip(_SEPARATORS)) if common.rstrip(_SEPARATORS) else names[0]
    if any(name == common for name in names) or len({camera.lower() for camera in cameras}) < len(cameras):
        cameras = [f"{number}" for number in range(len(names))]
    return shared, tuple(cameras)
