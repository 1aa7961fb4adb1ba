"""Numba's compiler options and where its cache lies.

Importing this module decides the cache folder, so every module of kernels imports it before numba.
"""

import hashlib
import os
import tempfile
from pathlib import Path


def _source_digest() -> str:
    """Numba's own cache only looks at the file a kernel is in; this one covers the files it calls into, too."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("kernels_*.py")), Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _cache_folder() -> Path:
    """A folder that only this user can write: compiled code is run from it."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        folder = base / "raytrack" / f"numba-{_source_digest()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # not writable; no home folder
        return Path(tempfile.mkdtemp(prefix="raytrack-numba-"))


if not os.environ.get("NUMBA_CACHE_DIR"):
    os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())

import numba  # noqa: E402
from numba.core import config  # noqa: E402

if not getattr(config, "CACHE_DIR", ""):  # numba was imported before this module
    config.__dict__["CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]

# Not `nnan` or `ninf`: a fit that diverges must show as NaN, never as an index out of bounds.
_FAST_MATH = {"contract", "nsz", "arcp", "afn"}

kernel = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST_MATH)
"""Decorator of functions called from Python: compiled once for each dtype, cached on disk, run without the GIL."""

exact_kernel = numba.njit(nogil=True, cache=True, error_model="numpy")
"""The same, rounding as torch does."""

inlined = numba.njit(nogil=True, error_model="numpy", fastmath=_FAST_MATH)
"""Decorator of functions that only kernels call."""
