"""Writing a file in one step: it is whole or not there."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raytrack.errors import OutputError


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A path to write to in place of `path`, which it becomes when the block ends without an error.

    The folder of `path` is made. Whatever happens, nothing is left beside it.

    Raises:
        OutputError: The file cannot be written.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be written ({reason}); free space or choose another OUT") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
