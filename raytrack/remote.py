"""Files given as a URI, such as heads and weights that may not be shipped: fetched once per machine, and checked.

``s3://bucket/heads/flame2023.npz#sha256=9f86…`` or ``file:///shared/heads/flame2023.npz``: what every node of a cluster
can reach. Each node keeps what it fetched in a folder of its user, under the digest of its bytes.
"""

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from raytrack.assets import sha256_of
from raytrack.errors import AssetError

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "RAYTRACK_CACHE"
SCHEMES = ("file", "s3", "gs")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.+", re.DOTALL)
_FRAGMENT = "#sha256="
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that lies elsewhere."""

    uri: str
    """Without the digest."""
    sha256: str = ""
    """What its bytes must have; "" where nobody said."""

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(self.uri.partition("?")[0]).name


def is_uri(text: str) -> bool:
    """Whether a file is given as a URI, not as a path or a name."""
    return _URI.fullmatch(text) is not None


def parse_uri(text: str) -> RemoteFile:
    """Take a URI apart.

    Args:
        text: With ``#sha256=`` and 64 hexadecimal digits at its end, or without.

    Raises:
        AssetError: The scheme is none that can be fetched, no file is named, the digest is none, or there are
            credentials in it.
    """
    uri, marked, digest = text.partition(_FRAGMENT)
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        shown = _without_user(scheme, rest) if "@" in rest else uri
        raise AssetError(f"{shown}: {scheme}:// cannot be fetched; known: {known}")
    if _has_credentials(scheme, rest):
        raise AssetError(
            f"{_without_user(scheme, rest)}: a file's URI has no credentials in it, as it is kept and shown with the "
            "results; those of the node are used (an instance role, the usual environment variables)"
        )
    if marked and not _DIGEST.fullmatch(digest.lower()):
        raise AssetError(f"{text}: after {_FRAGMENT} come the 64 hexadecimal digits that `sha256sum` prints")
    file = RemoteFile(uri=uri, sha256=digest.lower())
    if not file.name or "/" not in rest or rest.endswith("/"):
        raise AssetError(f"{text}: names no file")
    return file


def _has_credentials(scheme: str, rest: str) -> bool:
    """Whether a user or a key stands before the bucket; a key may have slashes of its own."""
    bucket = rest.partition("/")[0]
    if scheme == "gs":
        bucket = bucket.removeprefix("anonymous@")  # Google's public buckets
    return "@" in bucket or ":" in bucket


def _without_user(scheme: str, rest: str) -> str:
    """What of a URI can be shown."""
    _, mark, place = rest.rpartition("@")
    return f"{scheme}://…{mark}{place if mark else ''}"


def fetched(text: str) -> Path:
    """A copy of a remote file on this machine, whose digest was checked by this process.

    Args:
        text: As `parse_uri` takes it. Without a digest, the file is fetched again when its size or time of change is
            another.

    Raises:
        AssetError: It cannot be fetched, or is another file than the digest says.
    """
    file = parse_uri(text)
    if file.sha256:
        if path := _kept(file, file.sha256):
            return path
        with _alone(file.sha256):
            return _kept(file, file.sha256) or _fetch(file)
    known = cache_folder() / "known" / _state_digest(file)
    with _alone(known.name):
        with contextlib.suppress(OSError):
            if path := _kept(file, known.read_text(encoding="ascii")):
                return path
        path = _fetch(file)
        known.parent.mkdir(mode=0o700, exist_ok=True)
        known.write_text(path.parent.name, encoding="ascii")
        return path


def pinned(text: str) -> str:
    """A URI with the digest of what is there now, so that no machine takes anything else; other text as it is.

    Raises:
        AssetError: The file cannot be fetched.
    """
    if not is_uri(text) or parse_uri(text).sha256:
        return text
    return f"{text}{_FRAGMENT}{fetched(text).parent.name}"


def cache_folder() -> Path:
    """Where fetched files are kept: `$RAYTRACK_CACHE`, else `raytrack/fetched` in the user's cache folder.

    Raises:
        AssetError: It cannot be written, or others could change what is kept there.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "raytrack" / "fetched"
    folder = Path(os.environ.get(CACHE_VARIABLE) or base).expanduser()
    try:
        for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        raise AssetError(
            f"{folder}: remote files cannot be kept there ({error.strerror}): name a folder in ${CACHE_VARIABLE}"
        ) from error
    if not stat.S_ISDIR(state.st_mode):
        raise AssetError(f"{folder}: is no folder: name one in ${CACHE_VARIABLE}")
    if state.st_uid != os.geteuid():
        raise AssetError(f"{folder}: remote files are not kept in another user's folder: name one in ${CACHE_VARIABLE}")
    if state.st_mode & 0o022:
        raise AssetError(
            f"{folder}: others could change the remote files that are kept there: chmod go-w it, or name another "
            f"folder in ${CACHE_VARIABLE}"
        )
    return folder


def _kept(file: RemoteFile, digest: str) -> Path | None:
    """The copy that is kept under a digest; None where there is none, or it is damaged."""
    path = cache_folder() / digest / file.name
    try:
        state = path.stat()
        if _sha256_of(path, (state.st_ino, state.st_size, state.st_mtime_ns)) == digest:
            return path
    except OSError:
        return None
    logger.warning("%s: is damaged, and is fetched again", path)
    return None


@functools.cache
def _sha256_of(path: Path, _state: tuple[int, ...]) -> str:
    """Digest of a file, reckoned once per process unless the file is another."""
    return sha256_of(path)


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Let one process of this machine fetch a file while the others wait; the lock dies with its holder."""
    with (cache_folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _opened(file: RemoteFile) -> tuple[Any, str]:
    """The file system, as pyarrow has it, and the path on it."""
    from pyarrow import fs  # noqa: PLC0415 (heavy, and seldom needed)

    try:
        return fs.FileSystem.from_uri(file.uri)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise _unreachable(file, error) from error


def _state_digest(file: RemoteFile) -> str:
    """Changes when the file does, as far as that can be told without reading it."""
    system, path = _opened(file)
    try:
        info = system.get_file_info(path)
    except OSError as error:
        raise _unreachable(file, error) from error
    if not info.is_file:
        raise AssetError(f"{file.uri}: there is no such file")
    return hashlib.sha256(f"{file.uri}\0{info.size}\0{info.mtime_ns}".encode()).hexdigest()


def _fetch(file: RemoteFile) -> Path:
    """Copy a file into the cache, under the digest of its bytes."""
    system, source = _opened(file)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=cache_folder()) as folder:
        copy = Path(folder) / file.name
        try:
            with system.open_input_stream(source) as stream, copy.open("wb") as target:
                shutil.copyfileobj(stream, target, 1 << 20)
        except OSError as error:
            raise _unreachable(file, error) from error
        digest = sha256_of(copy)
        if file.sha256 and digest != file.sha256:
            raise AssetError(
                f"{file.uri} is another file than it should be (sha256 {digest[:12]}…, expected {file.sha256[:12]}…)"
            )
        path = cache_folder() / digest / file.name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        copy.replace(path)
    return path


def _unreachable(file: RemoteFile, error: Exception) -> AssetError:
    """It cannot be fetched now, but perhaps later."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    fault = AssetError(f"{file.uri}: cannot be fetched ({first})")
    fault.passing = not isinstance(error, (FileNotFoundError, PermissionError, ValueError))
    return fault
