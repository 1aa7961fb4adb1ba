"""Tracks clips and keeps their scores: what has been measured with the same code and clip is not measured again."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import raytrack
from benchmarks.accuracy.observing import observe_clip
from benchmarks.accuracy.scoring import Scores, score_track
from benchmarks.accuracy.suite import Clip
from benchmarks.accuracy.variants import Variant
from benchmarks.render import head_renderer as benchmark_renderer
from benchmarks.render import optimisation_step
from raytrack.errors import RaytrackError
from raytrack.fit.tracker import track_sequence
from raytrack.head.library import load_head

logger = logging.getLogger(__name__)
_REFERENCE_SIZE_PX = 256


@cache
def code_digest() -> str:
    """Of everything that decides a score: the tracker, its assets, and what scores are computed with."""
    package = Path(raytrack.__file__).parent
    here = Path(__file__).parent
    scoring = [here / name for name in ("metrics.py", "observing.py", "scoring.py", "variants.py", "real.py")]
    digest = hashlib.sha256((package.parent / "assets" / "SHA256SUMS").read_bytes())
    parts = ("fit", "geometry", "head", "media", "observe", "render", "export")
    for path in [*(path for part in parts for path in sorted((package / part).rglob("*.py"))), *scoring]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def reference_ms() -> float:
    """The fastest optimisation step on one 256² picture on one thread, here and now: what CPU times are divided by."""
    step = optimisation_step(benchmark_renderer("numba", 1), _REFERENCE_SIZE_PX, 1, head_model=True)
    step()
    times = []
    for _ in range(20):
        # Time on the processor: other work on the machine hardly changes it.
        before = time.process_time()
        step()
        times.append(1000 * (time.process_time() - before))
    return min(times)


def measured(results: Path, name: str, variant: str, digest: str, work: Any) -> dict[str, Any]:
    """A result from its file, or by doing the work and writing it.

    Args:
        results: Folder of results.
        name: Of the clip.
        variant: How it is tracked.
        digest: Of the clip.
        work: Makes the result, without arguments.
    """
    path = results / variant / f"{name}.json"
    key = f"{digest} {code_digest()}"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept
    result = {"key": key, "clip": name, "variant": variant, **work()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result, indent=1), encoding="utf-8")
    unfinished.replace(path)
    return result


def measure_clip(clip: Clip, variant: Variant, results: Path, tracks: Path, *, num_threads: int) -> dict[str, Any]:
    """Track a clip and score it; `scores` is empty and `failure` says why where there is no track."""

    def work() -> dict[str, Any]:
        logger.info("%s: tracking %s", variant.title, clip.name)
        head = load_head("default")
        views = observe_clip(clip)
        start = time.process_time()
        try:
            track = track_sequence(variant.views(views, head), head, variant.config(num_threads))
        except RaytrackError as error:
            return {"scores": {}, "failure": str(error)}
        seconds = time.process_time() - start
        path = tracks / variant.name / f"{clip.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        track.save(path, base_albedo=head.albedo)
        scores = score_track(track, head, views, clip)
        per_picture = 1000 * seconds / (clip.num_frames * len(views))
        scores["time_ratio"] = per_picture / reference_ms()
        logger.info("%s: %s", clip.name, _brief(scores))
        return {"scores": scores, "failure": ""}

    return measured(results, clip.name, variant.name, clip.digest, work)


def _brief(scores: Scores) -> str:
    shown = ("face_mm", "skull_mm", "neck_mm", "landmark_px", "gaze_deg", "blink_f1", "focal_percent", "jitter_px")
    return ", ".join(f"{name} {scores[name]:.2f}" for name in shown if scores.get(name) is not None)


def measure_all(clips: Sequence[Clip], variant: Variant, out: Path, *, num_threads: int) -> list[dict[str, Any]]:
    """The results of a variant on some clips, in order."""
    torch.set_num_threads(1)
    return [measure_clip(clip, variant, out / "results", out / "tracks", num_threads=num_threads) for clip in clips]
