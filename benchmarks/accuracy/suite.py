"""The clips of the suite: rendered on first use by the demo's ray tracer, kept in a cache folder with their truth."""

import dataclasses
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from benchmarks.accuracy.cast import CAST, LIGHTS, Member
from benchmarks.accuracy.scripts import NUM_FRAMES, make_script

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
TRACER = ROOT / "assets" / "demo" / "build_demo"
HEAD = ROOT / "assets" / "head" / "head.npz"
_DECIDING = ("cameras.py", "scripts.py", "props.py", "filming.py")
"""Files of this package that decide what the pictures show, beside what `ClipSpec` says."""
LABELS = ("room", "face", "hair", "ears", "neck", "clothes", "prop")
"""What `Clip.labels` stand for."""


def tracer_digest() -> bytes:
    """Of the ray tracer's code."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(TRACER.glob("*.py")))).digest()


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipSpec:
    """A clip to be made."""

    member: Member
    kind: str
    """`mono`: one camera and all frames. `rig`: eight calibrated cameras and some of the frames."""
    frames: tuple[int, ...]
    """Of the performance."""
    size_px: int = 288
    grid: int = 2
    """Samples along a pixel's side."""

    @property
    def name(self) -> str:
        """What results call it."""
        return f"{self.kind}-{self.member.name}"

    @cached_property
    def digest(self) -> str:
        """Of everything that decides what the clip shows."""
        digest = hashlib.sha256(HEAD.read_bytes() + tracer_digest())
        for path in (Path(__file__).with_name(name) for name in _DECIDING):
            digest.update(path.read_bytes())
        described = {"spec": dataclasses.asdict(self), "light": LIGHTS[self.member.light]}
        digest.update(json.dumps(described, sort_keys=True, default=_plain).encode())
        return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else dataclasses.asdict(value)


def suite_specs(*, quick: bool = False) -> tuple[ClipSpec, ...]:
    """The suite: each person once before one camera and once in the rig; `quick`: two people."""
    members = [CAST[3], CAST[0]] if quick else CAST
    specs = []
    for member in members:
        # A person's clips one after the other: they share what is painted.
        specs.append(ClipSpec(member=member, kind="mono", frames=tuple(range(NUM_FRAMES))))
        blink = max(make_script(member.script_seed, member.turn_deg).blinks)
        specs.append(ClipSpec(member=member, kind="rig", frames=(3, 13, 20, blink)))
    return tuple(specs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A rendered clip and its truth, in the world in which it was rendered: metres, y up."""

    folder: Path
    frames: tuple[int, ...]
    """Of the performance: what is between them was not filmed."""
    name: str
    is_rig: bool
    camera_ids: tuple[str, ...]
    intrinsics: Float[np.ndarray, "cameras 3 3"]
    """Pixels; (0, 0) is the top-left corner."""
    cam_from_world: Float[np.ndarray, "cameras 3 4"]
    """OpenCV axes."""
    size_hw: tuple[int, int]
    vertices: Float[np.ndarray, "frames vertices 3"]
    landmarks_px: Float[np.ndarray, "cameras frames 478 2"]
    gaze: Float[np.ndarray, "frames 2 3"]
    """Unit directions, the subject's left eye first."""
    labels: UInt8[np.ndarray, "cameras frames height width"]
    """What is seen at each pixel's centre: an index of `LABELS`."""
    parts: dict[str, Bool[np.ndarray, " vertices"]]
    """Vertices that are measured: face, skull (under the hair as well) and neck (above the clothes)."""
    head_sha256: str
    digest: str

    @property
    def videos(self) -> tuple[Path, ...]:
        """One for each camera."""
        return tuple(self.folder / f"cam_{name}.mp4" for name in self.camera_ids)

    @property
    def num_frames(self) -> int:
        """Frames of each camera."""
        return len(self.vertices)

    @classmethod
    def load(cls, folder: Path, frames: tuple[int, ...]) -> "Clip":
        """Read what `make_clip` wrote of a specification with these frames."""
        with np.load(folder / "truth.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        part_names = [name.removeprefix("part_") for name in arrays if name.startswith("part_")]
        return cls(
            folder=folder,
            frames=frames,
            name=str(arrays["name"]),
            is_rig=bool(arrays["is_rig"]),
            camera_ids=tuple(arrays["camera_ids"].tolist()),
            size_hw=(int(arrays["size_hw"][0]), int(arrays["size_hw"][1])),
            parts={name: arrays[f"part_{name}"] for name in part_names},
            head_sha256=str(arrays["head_sha256"]),
            digest=str(arrays["digest"]),
            **{
                name: arrays[name]
                for name in ("intrinsics", "cam_from_world", "vertices", "landmarks_px", "gaze", "labels")
            },
        )


def clip_folder(spec: ClipSpec, cache: Path) -> Path:
    """Where a clip lies, made or not."""
    return cache / f"{spec.name}-{spec.digest}"


def make_clip(spec: ClipSpec, cache: Path, *, num_threads: int = 1) -> Clip:
    """The clip of a specification: from the cache, else rendered into it."""
    folder = clip_folder(spec, cache)
    if (folder / "truth.npz").is_file():
        return Clip.load(folder, spec.frames)
    # The tracer's kernels take seconds to load, and a suite that is there needs none of them.
    from benchmarks.accuracy.filming import film_clip  # noqa: PLC0415

    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as temporary:
        finished = Path(temporary) / "clip"
        finished.mkdir()
        film_clip(spec, finished, cache / "plates", num_threads=num_threads)
        shutil.rmtree(folder, ignore_errors=True)
        # At once: a clip is there with all its files, or not at all.
        finished.rename(folder)
    return Clip.load(folder, spec.frames)


def make_suite(specs: Sequence[ClipSpec], cache: Path, *, num_threads: int = 1) -> list[Clip]:
    """All clips, in order; those that are not there yet are rendered one after the other."""
    missing = [spec for spec in specs if not (clip_folder(spec, cache) / "truth.npz").is_file()]
    clips = []
    for spec in specs:
        if spec in missing:
            logger.info("rendering %s (%d of %d)", spec.name, missing.index(spec) + 1, len(missing))
        clips.append(make_clip(spec, cache, num_threads=num_threads))
    return clips
