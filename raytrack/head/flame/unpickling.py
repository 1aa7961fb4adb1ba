"""Read FLAME's pickles without running what is in them.

A pickle is a program: reading one with Python's own reader runs it. Here only arrays, sparse matrices and chumpy's
arrays can come out, the latter two as inert records that `array_of` makes into arrays; anything else is refused. Needs
neither chumpy nor the Python 2 that wrote most of these files.
"""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from raytrack.errors import AssetError

_MALFORMED = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    struct.error,
)
"""What a pickle can raise that is damaged, or made to deceive."""
_NUMPY_PREFIXES = ("numpy.core.", "numpy._core.")
_multiarray: Any = np.zeros(0).__reduce__()[0]
_scalar: Any = np.float64(0).__reduce__()[0]  # type: ignore[misc]


class Record:
    """An object of the file as its attributes, without behaviour.

    Attributes:
        kind: Full name of the class in the file.
        state: Its attributes.
    """

    kind = ""

    def __init__(self, *_: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a {self.kind} without attributes")
        self.state = state


def _reconstructed(cls: type, base: type, state: object) -> Record:
    """Python 2's way to make an object before its attributes are set."""
    if not (isinstance(cls, type) and issubclass(cls, Record) and base is object and state is None):
        raise pickle.UnpicklingError(f"the file would make a {cls!r}")
    return cls()


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding not in {"latin1", "latin-1"}:
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _frombuffer(buffer: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """How numpy is pickled by protocol 5."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


_HARMLESS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("multiarray", "_reconstruct"): _multiarray,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _frombuffer,
    ("copy_reg", "_reconstructor"): _reconstructed,
    ("copyreg", "_reconstructor"): _reconstructed,
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}
"""All that a file may call. chumpy keeps a few sets beside its arrays."""


class _ArrayUnpickler(pickle.Unpickler):
    """Finds nothing but what is harmless."""

    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins for the few classes that hold arrays.

        Raises:
            UnpicklingError: For anything else.
        """
        plain = module
        for prefix in _NUMPY_PREFIXES:
            plain = plain.removeprefix(prefix)
        if (plain, name) in _HARMLESS and "." not in name:
            return _HARMLESS[plain, name]
        is_sparse = module.startswith("scipy.sparse") and name.endswith(("_matrix", "_array"))
        if is_sparse or module == "chumpy" or module.startswith("chumpy."):
            return type(name, (Record,), {"kind": f"{module}.{name}"})
        raise pickle.UnpicklingError(f"it would load {module}.{name}, which is not an array")


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a FLAME pickle. Its values are for `array_of`.

    Raises:
        AssetError: The file cannot be read, is damaged, holds anything but arrays, or no dictionary.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror})") from error
    return unpickled(content, where=str(path))


def unpickled(content: bytes, *, where: str) -> dict[str, Any]:
    """The dictionary in the bytes of a pickle.

    Args:
        content: Of any protocol; text of Python 2 is taken as latin1.
        where: What the error message begins with.

    Raises:
        AssetError: See `read_pickle`.
    """
    try:
        value = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _MALFORMED as error:
        raise AssetError(f"{where}: not a pickle that can be trusted ({error}); download the file again") from error
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()
    if not isinstance(value, dict):
        raise AssetError(f"{where}: holds a {type(value).__name__}, expected a dictionary of arrays")
    return {str(key): item for key, item in value.items()}


def array_of(value: object) -> np.ndarray:
    """A value of a FLAME pickle as a dense array: an array, a list, a sparse matrix, or one of chumpy's arrays.

    Raises:
        ValueError: It is something else, or contradicts itself.
    """
    if not isinstance(value, Record):
        result = np.asarray(value)
        if result.dtype.kind not in "biuf":
            raise ValueError(f"expected numbers, got {result.dtype}")
        return result
    if value.kind.startswith("scipy."):
        return _dense(value)
    if "x" in value.state:
        return array_of(value.state["x"])
    if {"a", "idxs"} <= value.state.keys():
        # chumpy's selections: some entries of a flattened array, in a new shape.
        picked = array_of(value.state["a"]).ravel()[array_of(value.state["idxs"]).ravel()]
        shape = value.state.get("preferred_shape")
        return picked if shape is None else picked.reshape(tuple(int(side) for side in shape))
    raise ValueError(f"a {value.kind}, which is computed by chumpy and cannot be read as an array")


def _dense(value: Record) -> np.ndarray:
    """A sparse matrix's stand-in as a dense array."""
    state = value.state
    shape = tuple(int(side) for side in state.get("_shape", state.get("shape", ())))
    if len(shape) != 2 or shape[0] * shape[1] > 10**8:
        raise ValueError(f"a sparse matrix of shape {shape}")
    name = value.kind.rsplit(".", 1)[1].split("_")[0]
    if name not in {"csc", "csr", "coo"}:
        raise ValueError(f"a sparse matrix of kind {name}, expected csc, csr or coo")
    data = array_of(state["data"])
    if name == "coo":
        row, column = state["coords"] if "coords" in state else (state["row"], state["col"])
        return sp.coo_matrix((data, (array_of(row), array_of(column))), shape=shape).toarray()
    compressed = sp.csc_matrix if name == "csc" else sp.csr_matrix
    matrix = compressed((data, array_of(state["indices"]), array_of(state["indptr"])), shape=shape)
    matrix.check_format(full_check=True)  # else indices beyond the shape would write beyond the array
    return matrix.toarray()
