"""Import a FLAME head into the user's own folder of heads."""

import logging
from pathlib import Path

from raytrack.errors import OutputError
from raytrack.head.asset_writer import write_head
from raytrack.head.flame.importer import FlameFiles, import_flame
from raytrack.head.library import load_head
from raytrack.head.names import user_head_path
from raytrack.observe.head_landmarks import landmarks_seen

_LOGGER = logging.getLogger(__name__)
_KNOWN_NAMES = {"generic_model": "flame2020"}


def default_name(model: Path) -> str:
    """What a head is called after its file: `generic_model.pkl` is FLAME 2020's."""
    return _KNOWN_NAMES.get(model.stem, model.stem)


def install_flame(files: FlameFiles, name: str) -> Path:
    """Import FLAME and write it where `--head NAME` finds it.

    Args:
        files: The user's.
        name: Of the head.

    Returns:
        The head file, readable by its owner only: FLAME's licence does not let it be passed on.

    Raises:
        AssetError: A file or the name cannot be used.
        OutputError: The head cannot be written.
    """
    path = user_head_path(name)
    head = import_flame(files, name=name, shipped=load_head(), find_landmarks=landmarks_seen)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_head(path, head)
        path.chmod(0o600)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    _LOGGER.info("wrote %s: %d vertices, %d faces", path, head.num_vertices, len(head.faces))
    return path
