"""Numpy archives whose bytes depend on the arrays alone.

`numpy.savez` stamps each member with the time of day; here every member carries the same fixed date, so equal arrays
give equal files. No pickle on either side.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from raytrack.errors import InputError

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_npz(
    path: Path | str, arrays: Mapping[str, np.ndarray], *, compression_level: int = 1, durable: bool = True
) -> None:
    """Write arrays as a compressed ``.npz``, in the mapping's order, by way of a temporary file and a rename.

    Args:
        path: Where the archive goes; its folder must exist.
        arrays: Name to array; no object arrays.
        compression_level: zlib's, 0 (stored) to 9.
        durable: Wait until the disk has the bytes, so that a power cut leaves the old file or the new one.

    Raises:
        ValueError: An array holds Python objects.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{path.name}")
    with temporary.open("wb") as file:
        _write_archive(file, arrays, compression_level)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)


def npz_bytes(arrays: Mapping[str, np.ndarray], *, compression_level: int = 1) -> bytes:
    """The archive that `write_npz` would write."""
    buffer = io.BytesIO()
    _write_archive(buffer, arrays, compression_level)
    return buffer.getvalue()


def _write_archive(file: IO[bytes], arrays: Mapping[str, np.ndarray], compression_level: int) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(_member(name), _npy_bytes(array), zipfile.ZIP_DEFLATED, compression_level)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
    member.create_system, member.external_attr = 3, 0o600 << 16
    return member


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # asarray, for ascontiguousarray turns a scalar into one dimension.
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def read_npz(path: Path | str | IO[bytes]) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``, by its path or open for reading.

    Raises:
        InputError: The file is missing, truncated, or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; has the sequence been tracked?") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a readable .npz archive ({error}); delete it and run again") from error
