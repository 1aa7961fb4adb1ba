"""Stages that look at the pictures: the person's matte and the faces."""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raytrack.config import RunConfig
from raytrack.errors import InputError
from raytrack.observe.weights import resolve_landmark_method, weights_identity
from raytrack.pipeline.device import torch_device
from raytrack.pipeline.footage import frame_path, frames_of, open_recording, pictures
from raytrack.pipeline.sources import source_path
from raytrack.pipeline.stage import Stage, StageContext, StageOutput
from raytrack.pipeline.stages_footage import READING, extraction
from raytrack.tables.schemas import ALPHAS, landmarks_schema, to_vectors

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415

_OBSERVING = ("observe", "head", "geometry", "render")
"""Beside the detectors the package holds what looks at heads: their import."""


def _mattes(context: StageContext, frames: pa.Table) -> tuple[str, Iterator[tuple[int, np.ndarray]]]:
    """The matting method that applies to a camera, and each frame's matte.

    Raises:
        InputError: Masks or a clean plate are to be taken where there are none.
    """
    from raytrack.observe.matting import make_matter, resolve_matting_method

    chunk, config, camera_id = frames_of(context), context.config, frames["camera_id"][0].as_py()
    masks = _masks(context, camera_id)
    own_alpha = bool(context.read("probe")["has_alpha"][0].as_py())
    has_masks = masks is not None or own_alpha
    plate = _plate(context)
    method = resolve_matting_method(config["matting"], has_masks=has_masks, has_plate=plate is not None)
    if method == "given" and masks is None:
        if not own_alpha:
            raise InputError(
                "matting 'given' needs masks: name their folder as `masks`, or give footage whose alpha channel tells "
                "the person from the background"
            )
        recording = open_recording(context.sequence, config["extract"], config["capture"])
        footage = recording.read(chunk.start, chunk.stop, camera=chunk.view)
        return "footage", ((frame, picture.alpha) for frame, picture in zip(chunk.frames, footage, strict=True))
    if method in {"plate", "bgmv2"} and plate is None:
        raise InputError(
            f"matting {method!r} needs clean plates, and camera {camera_id} has none: add "
            f"BACKGROUND/image_{camera_id}.jpg, or choose another method"
        )
    weights = config["weights"].get("path", "")
    matter = make_matter(
        method,
        masks=masks,
        plate=plate,
        weights=weights,
        refinement=config["refinement"],
        device=torch_device(context),
    )
    # A method with a memory is shown the same camera's frames before the chunk, too.
    before = min(matter.warm_up_frames, chunk.start)
    if before:
        everything = context.read("frames")
        ours = everything.filter(pa.array(everything["camera"].to_numpy() == frames["camera"][0].as_py()))
        frames = ours.slice(chunk.start - before, before + len(chunk.frames))
    mattes = matter.track((row["timestep_id"], image) for row, image in pictures(context, frames))
    return method, zip(chunk.frames, itertools.islice(mattes, before, None), strict=True)


def _masks(context: StageContext, camera_id: str) -> Path | None:
    """The folder of a camera's masks, where masks are given."""
    if not context.sequence.masks:
        return None
    folder = source_path(context.sequence.masks)
    return folder / f"cam_{camera_id}" if context.sequence.is_rig else folder


def _plate(context: StageContext) -> Any:
    """The clean plate, if there is one: a file, or the picture that a rig's camera took, corrected as its frames."""
    sequence, config = context.sequence, context.config
    if not sequence.is_calibrated:
        return source_path(sequence.plate) if sequence.plate else None
    if config["matting"] not in {"auto", "plate", "bgmv2"}:
        return None
    recording = open_recording(sequence, config["extract"], config["capture"])
    camera = recording.cameras[frames_of(context).view]
    return None if camera.clean_plate is None else camera.read_clean_plate().rgb


def matte(context: StageContext) -> StageOutput:
    """The person's matte in every frame of one camera."""
    from raytrack.media.images import write_png

    chunk = frames_of(context)
    frames = context.read("frames", chunk=chunk.index)
    method, mattes = _mattes(context, frames)
    camera = {name: frames[name][0].as_py() for name in ("camera", "camera_id")}
    if method == "none":
        rows = [{**camera, "frame": frame, "method": method} for frame in chunk.frames]
        return StageOutput(rows=pa.Table.from_pylist(rows, schema=ALPHAS))
    rows, files = [], []
    for frame, alpha in mattes:
        files.append(frame_path(context.sequence, camera["camera_id"], frame, "alpha_maps"))
        write_png(context.out / files[-1], alpha)
        share = float(np.float32(alpha.mean(dtype=np.float64) / 255))
        found = {"method": method, "alpha": files[-1], "foreground_share": share}
        rows.append({**camera, "frame": frame, **found})
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=ALPHAS), files=tuple(files))


@functools.lru_cache(maxsize=1)
def _detector(method: str, weights: str, max_faces: int, device: str) -> Any:
    from raytrack.observe.landmarks import make_landmark_detector

    return make_landmark_detector(method, weights=weights, max_faces=max_faces, device=device)


def find_landmarks(context: StageContext) -> StageOutput:
    """All faces in every frame of one camera."""
    frames = context.read("frames", chunk=frames_of(context).index)
    config = context.config
    weights = config["weights"].get("path", "")
    detector = _detector(config["method"], weights, config["max_faces"], torch_device(context))
    images = (image for _, image in pictures(context, frames))
    found: list[tuple[int, int, Any]] = []
    for frame, faces in zip(frames["frame"].to_pylist(), detector.track(images), strict=True):
        found += [(frame, index, face) for index, face in enumerate(faces)] or [(frame, -1, None)]
    camera = {name: frames[name][0].as_py() for name in ("camera", "camera_id")}
    return StageOutput(rows=_landmark_rows(camera, found, detector))


def _landmark_rows(camera: dict[str, Any], found: list[tuple[int, int, Any]], detector: Any) -> pa.Table:
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
        **{name: [value] * len(found) for name, value in camera.items()},
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


def _matting(config: RunConfig) -> dict[str, Any]:
    return {
        **extraction(config),
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


MATTE = Stage(
    name="alphas",
    version=3,
    function=matte,
    code=(*READING, *_OBSERVING, "pipeline/stages_footage.py"),
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
    version=3,
    function=find_landmarks,
    code=("media", *_OBSERVING, "tables/schemas.py", "pipeline/footage.py"),
    table="landmarks",
    reads=_landmarks,
    assets=_landmark_assets,
    after=("frames",),
    fan_out="probe",
    timeout_s=600,
    frame_timeout_s=20,
    cost=0.04,
)
