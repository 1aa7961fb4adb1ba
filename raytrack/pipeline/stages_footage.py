"""Stages that look at the footage: what is in it, its frames, mattes and faces."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import InputError
from raytrack.media.config import ExtractConfig
from raytrack.observe.weights import resolve_landmark_method, weights_identity
from raytrack.pipeline.device import torch_device
from raytrack.pipeline.digests import DIGESTS_FILE, Digests
from raytrack.pipeline.sources import content_sha256, source_path
from raytrack.pipeline.stage import Chunk, Stage, StageContext, StageOutput
from raytrack.tables.schemas import ALPHAS, DOWNSAMPLED, FRAMES, SEQUENCES, landmarks_schema, to_vectors

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415

_READING = ("datasets", "media", "tables/schemas.py")
"""Code that decides which frames there are and what they look like."""
_OBSERVING = ("observe", "head", "geometry", "render")
"""Beside the detectors the package holds what looks at heads: their import."""


def frame_path(name: str, frame: int, folder: str = "images") -> str:
    """Where a frame's picture lies, relative to the output folder."""
    return f"frames/{name}/{folder}/{frame:06d}.png"


@functools.lru_cache(maxsize=4)
def _open(path: Path, state: tuple[int, int], sequence: SequenceConfig, extract: ExtractConfig) -> Any:  # noqa: ARG001
    """The footage of a sequence, opened once per worker for as long as its file does not change."""
    from raytrack.datasets.monocular import monocular_sequence

    key = sequence.key
    return monocular_sequence(path, name=key.sequence, subject=key.subject, dataset=key.dataset, extract=extract)


def _footage(context: StageContext, extract: ExtractConfig) -> Any:
    path = source_path(context.sequence.video)
    state = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (0, 0)
    return _open(path, state, context.sequence, extract)


def _frames_of(context: StageContext) -> Chunk:
    """The frames to work on.

    Raises:
        ValueError: The stage is not cut into chunks.
    """
    if context.chunk is None:
        raise ValueError(f"stage {context.stage!r} works on chunks")
    return context.chunk


def probe(context: StageContext) -> StageOutput:
    """What the footage holds, and how many of its frames are taken."""
    sequence = _footage(context, context.config)
    source = sequence.cameras[0].source
    fps = getattr(source, "average_fps", context.config.image_fps)
    row = {
        "source_sha256": content_sha256(context.sequence.video, Digests(context.out / ".work" / DIGESTS_FILE)),
        "kind": "video" if hasattr(source, "codec") else "images",
        "codec": getattr(source, "codec", None),
        "num_source_frames": source.num_frames,
        "num_frames": sequence.num_frames,
        "height": sequence.size_hw[0],
        "width": sequence.size_hw[1],
        "duration_s": float(sequence.timestamps_s[-1]) + 1.0 / fps,
        "has_alpha": sequence.has_alpha,
    }
    return StageOutput(rows=pa.Table.from_pylist([row], schema=SEQUENCES))


def extract_frames(context: StageContext) -> StageOutput:
    """The frames as PNG."""
    from raytrack.media.images import write_png

    chunk = _frames_of(context)
    sequence = _footage(context, context.config)
    rows = []
    for frame, picture in zip(chunk.frames, sequence.read(chunk.start, chunk.stop), strict=True):
        path = frame_path(context.name, frame)
        write_png(context.out / path, picture.rgb)
        rows.append(
            {
                "frame": frame,
                "source_frame": int(sequence.source_index[frame]),
                "timestep_id": sequence.frame_ids[frame],
                "timestamp_s": float(sequence.timestamps_s[frame]),
                "image": path,
            }
        )
        context.progress(frame + 1 - chunk.start, len(chunk.frames))
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=FRAMES), files=tuple(row["image"] for row in rows))


def shrink_frames(context: StageContext) -> StageOutput:
    """Smaller copies of the frames, where they are asked for."""
    from raytrack.media.images import write_png
    from raytrack.media.resize import downsample

    frames = context.read("frames", chunk=_frames_of(context).index)
    rows = []
    for frame, _, image in _pictures(context, frames) if context.config else ():
        for scale in context.config:
            path = frame_path(context.name, frame, f"images_{scale}")
            write_png(context.out / path, downsample(image, scale))
            rows.append({"frame": frame, "scale": scale, "image": path})
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=DOWNSAMPLED), files=tuple(row["image"] for row in rows))


def _pictures(context: StageContext, frames: pa.Table) -> Iterator[tuple[int, str, np.ndarray]]:
    """Frame, its id and its picture, frame after frame, telling whoever watches how far it is."""
    from raytrack.media.images import read_image

    for done, row in enumerate(frames.to_pylist(), start=1):
        yield row["frame"], row["timestep_id"], read_image(context.out / row["image"]).rgb
        context.progress(done, frames.num_rows)


def _mattes(context: StageContext, frames: pa.Table) -> tuple[str, Iterator[tuple[int, np.ndarray]]]:
    """The matting method that applies, and each frame's matte.

    Raises:
        InputError: Masks are to be taken where there are none.
    """
    from raytrack.observe.matting import make_matter, resolve_matting_method

    chunk, sequence, config = _frames_of(context), context.sequence, context.config
    masks = source_path(sequence.masks) if sequence.masks else None
    plate = source_path(sequence.plate) if sequence.plate else None
    own_alpha = bool(context.read("probe")["has_alpha"][0].as_py())
    has_masks = masks is not None or own_alpha
    method = resolve_matting_method(config["matting"], has_masks=has_masks, has_plate=plate is not None)
    if method == "given" and masks is None:
        if not own_alpha:
            raise InputError(
                "matting 'given' needs masks: name their folder as `masks`, or give footage whose alpha channel tells "
                "the person from the background"
            )
        footage = _footage(context, config["extract"]).read(chunk.start, chunk.stop)
        return "footage", ((frame, picture.alpha) for frame, picture in zip(chunk.frames, footage, strict=True))
    weights = config["weights"].get("path", "")
    matter = make_matter(
        method,
        masks=masks,
        plate=plate,
        weights=weights,
        refinement=config["refinement"],
        device=torch_device(context),
    )
    # A method with a memory is shown the frames before the chunk, too.
    before = min(matter.warm_up_frames, chunk.start)
    if before:
        frames = context.read("frames").slice(chunk.start - before, before + len(chunk.frames))
    mattes = matter.track((name, image) for _, name, image in _pictures(context, frames))
    return method, zip(chunk.frames, itertools.islice(mattes, before, None), strict=True)


def matte(context: StageContext) -> StageOutput:
    """The person's matte in every frame."""
    from raytrack.media.images import write_png

    chunk = _frames_of(context)
    frames = context.read("frames", chunk=chunk.index)
    method, mattes = _mattes(context, frames)
    if method == "none":
        rows = [{"frame": frame, "method": method} for frame in chunk.frames]
        return StageOutput(rows=pa.Table.from_pylist(rows, schema=ALPHAS))
    rows, files = [], []
    for frame, alpha in mattes:
        files.append(frame_path(context.name, frame, "alpha_maps"))
        write_png(context.out / files[-1], alpha)
        share = float(np.float32(alpha.mean(dtype=np.float64) / 255))
        rows.append({"frame": frame, "method": method, "alpha": files[-1], "foreground_share": share})
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=ALPHAS), files=tuple(files))


@functools.lru_cache(maxsize=1)
def _detector(method: str, weights: str, max_faces: int, device: str) -> Any:
    from raytrack.observe.landmarks import make_landmark_detector

    return make_landmark_detector(method, weights=weights, max_faces=max_faces, device=device)


def find_landmarks(context: StageContext) -> StageOutput:
    """All faces in every frame."""
    frames = context.read("frames", chunk=_frames_of(context).index)
    config = context.config
    weights = config["weights"].get("path", "")
    detector = _detector(config["method"], weights, config["max_faces"], torch_device(context))
    images = (image for _, _, image in _pictures(context, frames))
    found: list[tuple[int, int, Any]] = []
    for frame, faces in zip(frames["frame"].to_pylist(), detector.track(images), strict=True):
        found += [(frame, index, face) for index, face in enumerate(faces)] or [(frame, -1, None)]
    return StageOutput(rows=_landmark_rows(found, detector))


def _landmark_rows(found: list[tuple[int, int, Any]], detector: Any) -> pa.Table:
    """One row per face, and one for each frame without any."""
    faces = [face for _, _, face in found]
    has_depth = all(face is None or face.depth is not None for face in faces)
    num_points, num_scores = detector.num_landmarks, len(detector.expression_names)
    schema = landmarks_schema(num_points, num_scores, has_depth=has_depth)

    def stacked(name: str, *shape: int) -> pa.Array:
        blank = np.full(shape, np.nan, np.float32)
        values = [blank if face is None else getattr(face, name) for face in faces]
        return to_vectors(np.stack(values).astype(np.float32), schema.field(name).type)

    columns = {
        "frame": [frame for frame, _, _ in found],
        "face": [index for _, index, _ in found],
        "detector": [detector.name] * len(found),
        "landmark_set": [detector.landmark_set] * len(found),
        "score": [0.0 if face is None else float(face.score) for face in faces],
        "box": stacked("box", 4),
        "landmarks": stacked("landmarks", num_points, 2),
    }
    columns |= {"depth": stacked("depth", num_points)} if has_depth else {}
    columns |= {"expression_scores": stacked("expression_scores", num_scores)} if num_scores else {}
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _extract(config: RunConfig) -> ExtractConfig:
    """What decides which frames are taken; in which sizes they are kept as well does not."""
    return dataclasses.replace(config.extract, downsample_scales=())


def _matting(config: RunConfig) -> dict[str, Any]:
    return {
        "extract": _extract(config),
        "matting": config.matting,
        "weights": weights_identity(config.matting, config.matting_weights),
        "refinement": config.plate_refinement,
    }


def _landmarks(config: RunConfig) -> dict[str, Any]:
    """The detector that `auto` stands for here and now, so that installing weights is a change like any other."""
    method = resolve_landmark_method(config.landmarks.method, config.landmarks.weights)
    return {
        "method": method,
        "weights": weights_identity(method, config.landmarks.weights),
        "max_faces": config.landmarks.max_faces,
    }


def _landmark_assets(config: RunConfig) -> tuple[str, ...]:
    shipped = {
        "facemesh": (
            "facemesh/face_detector.npz",
            "facemesh/face_landmarks_detector.npz",
            "facemesh/face_blendshapes.npz",
        ),
        "star": ("facemesh/face_detector.npz",),
    }
    return shipped.get(resolve_landmark_method(config.landmarks.method, config.landmarks.weights), ())


PROBE = Stage(
    name="probe",
    version=1,
    function=probe,
    code=_READING,
    table="sequences",
    reads=_extract,
    sources=("video",),
    timeout_s=1800,
    cost=0.002,
)
EXTRACT = Stage(
    name="frames",
    version=1,
    function=extract_frames,
    code=_READING,
    table="frames",
    reads=_extract,
    sources=("video",),
    after=("probe",),
    fan_out="probe",
    timeout_s=1800,
    frame_timeout_s=10,
    folders=("frames/{sequence}/images",),
    cost=0.015,
)
SHRINK = Stage(
    name="downsample",
    version=1,
    function=shrink_frames,
    code=("media", "tables/schemas.py"),
    table="downsampled",
    reads=lambda config: config.extract.downsample_scales,
    after=("frames",),
    fan_out="probe",
    timeout_s=600,
    frame_timeout_s=10,
    folders=("frames/{sequence}/images_*",),
    cost=0.002,
)
MATTE = Stage(
    name="alphas",
    version=2,
    function=matte,
    code=(*_READING, *_OBSERVING),
    table="alphas",
    reads=_matting,
    assets=lambda config: ("selfie/selfie_segmentation.npz",) if config.matting in ("auto", "selfie") else (),
    sources=("video", "masks", "plate"),
    after=("probe", "frames"),
    fan_out="probe",
    timeout_s=600,
    frame_timeout_s=10,
    folders=("frames/{sequence}/alpha_maps",),
    cost=0.03,
)
LANDMARKS = Stage(
    name="landmarks",
    version=2,
    function=find_landmarks,
    code=("media", *_OBSERVING, "tables/schemas.py"),
    table="landmarks",
    reads=_landmarks,
    assets=_landmark_assets,
    after=("frames",),
    fan_out="probe",
    timeout_s=600,
    frame_timeout_s=20,
    cost=0.04,
)
