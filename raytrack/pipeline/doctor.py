"""What this machine has and lacks, and how to get it."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raytrack import __version__
from raytrack.assets import asset_names, asset_path, assets_folder, sha256_of
from raytrack.errors import RaytrackError
from raytrack.head.names import HEAD_SUFFIX, user_head_names, user_heads_folder
from raytrack.observe.weights import ASSETS_VARIABLE, EXTERNAL_WEIGHTS, installed_weights

_GB = 1 << 30
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (looked at, not written to)
_LEAST_SHARED_MEMORY = 256 << 20
_LEAST_DISK = 5 * _GB
_LEAST_RAY = (2, 52)
_INSTALL_AGAIN = "install raytrack again"
_DIGEST_SHOWN = 12
"""Hex digits of a head's sha256 that are shown: enough to tell versions apart."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding."""

    name: str
    verdict: Literal["ok", "note", "bad"]
    """`note`: raytrack runs without it; `bad`: it does not."""
    finding: str
    advice: str = ""


def examine(*, warm: bool = False) -> Iterator[Check]:
    """Look at everything that a run needs, one finding after the other.

    Args:
        warm: Also compile the render kernels, or load them from their cache.
    """
    checks: tuple[tuple[str, Callable[[], Check], str], ...] = (
        ("python", _python, _INSTALL_AGAIN),
        ("torch", _torch, _reinstall("torch")),
        ("ray", _ray, _reinstall("ray")),
        ("opencv", _opencv, "pip install --force-reinstall opencv-python-headless, which needs no libGL"),
        ("video", _video, _reinstall("av")),
        ("tables", _tables, _reinstall("pyarrow")),
        ("assets", _assets, _INSTALL_AGAIN),
        ("gpu", _gpu, _reinstall("torch")),
        ("nvdiffrast", _nvdiffrast, ""),
        ("heads", _heads, "import it again with raytrack assets import-flame"),
        ("weights", _weights, ""),
        ("shared memory", _memory, ""),
        ("disk", _disk, ""),
        ("kernel cache", _kernel_cache, _reinstall("numba llvmlite numpy")),
        *((("kernels", _warm, _reinstall("numba llvmlite numpy")),) if warm else ()),
    )
    for name, check, mend in checks:
        yield _guarded(name, check, mend)


def _guarded(name: str, check: Callable[[], Check], mend: str) -> Check:
    """A check's finding; what keeps it from looking is a finding, too."""
    try:
        return check()
    except importlib.metadata.PackageNotFoundError as error:
        return Check(name=name, verdict="bad", finding=f"the package {error.name} is not installed", advice=mend)
    except (ImportError, OSError, RuntimeError, RaytrackError) as error:
        return Check(name=name, verdict="bad", finding=f"cannot be loaded ({error})", advice=mend)


def _reinstall(packages: str) -> str:
    return f"pip install --force-reinstall {packages}"


def _python() -> Check:
    from raytrack.pipeline.executor import available_cpus  # noqa: PLC0415

    supported = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return Check(
        name="python",
        verdict="ok" if supported else "bad",
        finding=f"{platform.python_version()}, raytrack {__version__}, {available_cpus()} CPUs",
        advice="" if supported else "install Python 3.10 to 3.13 and raytrack into it",
    )


def _torch() -> Check:
    import torch  # noqa: PLC0415 (heavy; each check loads what it looks at)

    return Check(name="torch", verdict="ok", finding=torch.__version__)


def _ray() -> Check:
    finding = importlib.metadata.version("ray")
    if tuple(int(part) for part in finding.split(".")[:2] if part.isdigit()) < _LEAST_RAY:
        return Check(
            name="ray",
            verdict="bad",
            finding=f"{finding} knows no token authentication: anyone on this machine could run code in a run's Ray",
            advice=f"pip install 'ray>={'.'.join(map(str, _LEAST_RAY))}'",
        )
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return Check(
            name="ray", verdict="ok", finding=f"{finding}; runs start a local instance with token authentication"
        )
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return Check(
            name="ray",
            verdict="bad",
            finding=f"{finding}; {address} without token authentication: anyone in the network can run code there",
            advice="start the cluster with RAY_AUTH_MODE=token and set it here, too (`ray get-auth-token --generate`)",
        )
    return Check(name="ray", verdict="ok", finding=f"{finding}; RAY_ADDRESS={address}, token authentication")


def _opencv() -> Check:
    packages = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
    found = {name: version for name in packages if (version := _version(name))}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        return Check(
            name="opencv",
            verdict="bad",
            finding=f"{listed}: they overwrite each other's files",
            advice=f"pip uninstall {' '.join(found)}; then pip install opencv-python-headless",
        )
    import cv2  # noqa: PLC0415

    return Check(name="opencv", verdict="ok", finding=listed or cv2.__version__)


def _video() -> Check:
    import av  # noqa: PLC0415

    missing = [name for name in ("h264", "hevc", "vp9") if not _has_codec(name, "r")]
    missing += [name for name in ("libx264",) if not _has_codec(name, "w")]
    version = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return Check(
        name="video",
        verdict="bad" if missing else "ok",
        finding=f"PyAV {av.__version__}, libavcodec {version}" + (f"; without {', '.join(missing)}" if missing else ""),
        advice=f"install PyAV's own wheel: {_reinstall('av')}" if missing else "",
    )


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av  # noqa: PLC0415

    try:
        av.Codec(name, mode)
    except ValueError:
        return False
    return True


def _tables() -> Check:
    import pyarrow as pa  # noqa: PLC0415

    return Check(name="tables", verdict="ok", finding=f"pyarrow {pa.__version__}")


def _assets() -> Check:
    names = asset_names()
    for name in names:
        asset_path(name)
    return Check(name="assets", verdict="ok", finding=f"{len(names)} files intact in {assets_folder()}")


def _gpu() -> Check:
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        build = "" if torch.version.cuda else " (this torch is built without CUDA)"
        return Check(name="gpu", verdict="note", finding=f"no CUDA device{build}; everything runs on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check(name="gpu", verdict="ok", finding=", ".join(names))


def _nvdiffrast() -> Check:
    version = _version("nvdiffrast")
    if version:
        return Check(name="nvdiffrast", verdict="ok", finding=f"{version} (for non-commercial use)")
    return Check(
        name="nvdiffrast",
        verdict="note",
        finding="not installed; the numba renderer is used",
        advice="only of use with a CUDA device; the README says how to build it",
    )


def _heads() -> Check:
    """The heads that the user imported, with the beginning of each file's sha256, which tracks name in full."""
    names, folder = user_head_names(), user_heads_folder()
    if not names:
        return Check(
            name="heads",
            verdict="note",
            finding=f"none of your own in {folder}; the shipped head is used",
            advice="only needed for exports with FLAME's parameters: raytrack assets import-flame --help",
        )
    digests = {name: sha256_of(folder / (name + HEAD_SUFFIX)) for name in names}
    found = [f"{name} {digest[:_DIGEST_SHOWN]}" for name, digest in digests.items()]
    return Check(name="heads", verdict="ok", finding=f"{', '.join(found)} in {folder}")


def _weights() -> Check:
    found = {method: installed_weights(method) for method in EXTERNAL_WEIGHTS}
    listed = [f"{method} {path}" for method, path in found.items() if path]
    lacking = [method for method, path in found.items() if not path]
    where = f"${ASSETS_VARIABLE}" + ("" if os.environ.get(ASSETS_VARIABLE) else ", which is not set")
    return Check(
        name="weights",
        verdict="ok" if listed else "note",
        finding=", ".join(listed) or f"none of your own in {where}; the shipped detectors and mattes are used",
        advice="" if listed else f"only needed for {', '.join(lacking)}; choosing one says which file to get",
    )


def _memory() -> Check:
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return Check(name="shared memory", verdict="note", finding="there is none; Ray uses a temporary folder")
    low = free < _LEAST_SHARED_MEMORY
    return Check(
        name="shared memory",
        verdict="note" if low else "ok",
        finding=f"{free / _GB:.1f} GB free in {_SHARED_MEMORY}",
        advice="in a container, start it with --shm-size=1g" if low else "",
    )


def _disk() -> Check:
    folder = Path.cwd()
    free, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
    temporary_free = shutil.disk_usage(tempfile.gettempdir()).free
    low = min(free, temporary_free) < _LEAST_DISK
    finding = f"{free / _GB:.0f} GB free here, {temporary_free / _GB:.0f} GB for temporary files"
    advice = "free some space: a minute of 512 x 512 footage takes about 2 GB" if low else ""
    if not writable:
        finding, advice = f"{finding}; this folder cannot be written", "give a folder of yours as --out"
    return Check(name="disk", verdict="note" if low or not writable else "ok", finding=finding, advice=advice)


def _kernel_cache() -> Check:
    from raytrack.render import jit  # noqa: PLC0415

    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Check(
            name="kernel cache",
            verdict="note",
            finding=f"{folder} cannot be written: kernels are compiled anew by every process",
            advice="set NUMBA_CACHE_DIR to a folder of yours",
        )
    compiled = len(list(folder.rglob("*.nbc")))
    finding = f"{folder}, {compiled} compiled kernels (numba {jit.numba.__version__})"
    advice = "" if compiled else "raytrack doctor --warm compiles them now"
    return Check(name="kernel cache", verdict="ok" if compiled else "note", finding=finding, advice=advice)


def _warm() -> Check:
    from raytrack.render.warm import warm_up  # noqa: PLC0415

    start = time.perf_counter()
    warm_up()
    return Check(name="kernels", verdict="ok", finding=f"ready after {time.perf_counter() - start:.1f} s")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
