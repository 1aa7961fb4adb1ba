"""Network weights that raytrack may not ship: which file, from where, and where to put it. Needs no torch."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from raytrack.assets import sha256_of
from raytrack.errors import AssetError, ConfigError
from raytrack.observe.config import LandmarkMethod
from raytrack.remote import fetched, is_uri

ASSETS_VARIABLE = "RAYTRACK_ASSETS"


@dataclass(frozen=True, kw_only=True)
class ExternalWeights:
    """A network's weights as its authors publish them."""

    title: str
    suffixes: tuple[str, ...]
    """Formats that can be loaded, the preferred one first."""
    wanted: str
    """The file to get, and from where."""
    setting: str
    """The configuration's key for a file that lies elsewhere."""


EXTERNAL_WEIGHTS: Mapping[str, ExternalWeights] = {
    "rvm": ExternalWeights(
        title="RobustVideoMatting",
        suffixes=(".onnx", ".torchscript"),
        wanted="rvm_mobilenetv3_fp32.onnx (with onnxruntime: pip install 'raytrack[rvm]') or "
        "rvm_mobilenetv3_fp32.torchscript from github.com/PeterL1n/RobustVideoMatting/releases (GPL-3.0)",
        setting="matting_weights",
    ),
    "bgmv2": ExternalWeights(
        title="BackgroundMattingV2",
        suffixes=(".pth", ".torchscript", ".pt"),
        wanted="torchscript_mobilenetv2_fp32.pth or torchscript_resnet50_fp32.pth from the model downloads that "
        "github.com/PeterL1n/BackgroundMattingV2 links to (MIT)",
        setting="matting_weights",
    ),
    "star": ExternalWeights(
        title="STAR",
        suffixes=(".torchscript", ".pt", ".pth"),
        wanted="a TorchScript export of STAR's 300W model (github.com/ZhenglinZhou/STAR): the published .pkl is a "
        "state without its network and cannot be loaded; the export takes RGB crops (n, 3, 256, 256) in [-1, 1] and "
        "gives points (n, 68, 2) in [-1, 1], alone or last in a tuple",
        setting="landmarks.weights",
    ),
}
"""By method."""


HUB_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "face-alignment": ("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar"),
    "face-alignment-2.5d": ("s3fd-619a316812.pth", "3DFAN4-7835d9f11d.pth.tar"),
}
"""Files that optional packages look for among torch's downloads, by method."""
_HUB_ORIGIN = "https://www.adrianbulat.com/downloads/python-fan/"


def hub_folder() -> Path:
    """Where torch keeps downloaded weights."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or Path(cache) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def hub_weights(method: str) -> tuple[Path, ...]:
    """The weights of a method that loads them through torch's downloads; nothing is downloaded here.

    Raises:
        AssetError: Some are missing.
    """
    paths = tuple(hub_folder() / name for name in HUB_WEIGHTS[method])
    if missing := [path.name for path in paths if not path.is_file()]:
        raise AssetError(
            f"{method}: weights are missing: get {' and '.join(_HUB_ORIGIN + name for name in missing)} and put them "
            f"into {hub_folder()} (hub/checkpoints under $TORCH_HOME)"
        )
    return paths


def weights_folder(method: str) -> Path | None:
    """Where a method's weights are looked for; None where $RAYTRACK_ASSETS is not set."""
    folder = os.environ.get(ASSETS_VARIABLE)
    return Path(folder).expanduser() / method if folder else None


def installed_weights(method: str) -> Path | None:
    """The weights in the method's folder: of the preferred format, first by name; None where there are none."""
    folder = weights_folder(method)
    for suffix in EXTERNAL_WEIGHTS[method].suffixes:
        if folder and (found := sorted(folder.glob(f"*{suffix}"))):
            return found[0]
    return None


def find_weights(method: str, given: str = "") -> Path:
    """The weights that a method will use.

    Args:
        method: A key of `EXTERNAL_WEIGHTS`.
        given: A file that the user named, by path or URI; by default the one in `$RAYTRACK_ASSETS/<method>`.

    Raises:
        AssetError: There is no such file, it cannot be fetched, or its name says that it is of another format.
    """
    weights = EXTERNAL_WEIGHTS[method]
    path = (fetched(given) if is_uri(given) else Path(given)) if given else installed_weights(method)
    if path is None or not path.is_file():
        looked = given or weights_folder(method) or f"${ASSETS_VARIABLE} is not set"
        raise AssetError(
            f"{method}: the weights of {weights.title} are missing (looked at: {looked}). Get {weights.wanted}. Put "
            f"the file into the folder {method} under ${ASSETS_VARIABLE}, or name it as `{weights.setting}`"
        )
    if path.suffix not in weights.suffixes:
        raise AssetError(
            f"{path}: {method} loads files that end with {' or '.join(weights.suffixes)}. Get {weights.wanted}"
        )
    return path


def resolve_landmark_method(method: str, weights: str = "") -> str:
    """The landmark detector that a configured method stands for.

    Args:
        method: As configured; `auto` takes `star` where its weights are given or installed, else `facemesh`.
        weights: The file that the user named.

    Raises:
        ConfigError: There is no such method.
    """
    known = [name for name in get_args(LandmarkMethod) if name != "auto"]
    if method == "auto":
        return "star" if weights or installed_weights("star") else "facemesh"
    if method not in known:
        raise ConfigError(f"unknown landmark method {method!r}; known: auto, {', '.join(sorted(known))}")
    return method


def weights_identity(method: str, given: str = "") -> dict[str, str]:
    """Path (or URI) and sha256 of the weights that a method will use, or of each of several by name.

    It is empty for methods whose weights are shipped.

    Raises:
        AssetError: They are missing.
    """
    if method in HUB_WEIGHTS:
        return {path.name: _digest(path) for path in hub_weights(method)}
    if method not in EXTERNAL_WEIGHTS:
        return {}
    path = find_weights(method, given).resolve()
    # Where it is kept on this machine is nothing to another node, which fetches it by itself.
    return {"path": given if is_uri(given) else str(path), "sha256": _digest(path)}


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of_state(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _digest_of_state(path: Path, _modified_ns: int, _size: int) -> str:
    return sha256_of(path)
