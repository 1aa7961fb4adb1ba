"""Stages that work on a whole sequence: tracking, the final pictures and scores, the dataset."""

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa

from raytrack.assets import sha256_of
from raytrack.config import DEFAULT_HEAD, RunConfig
from raytrack.errors import ConfigError
from raytrack.export.config import ExportConfig
from raytrack.head.names import head_path
from raytrack.pipeline.sources import source_path
from raytrack.pipeline.stage import Resources, Stage, StageContext, StageOutput
from raytrack.tables.schemas import (
    EXPORTS,
    SCORE_NAMES,
    SCORES,
    TRUTH_NAMES,
    to_vectors,
    track_schema,
    track_static_schema,
)

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415

_OBSERVED = ("probe", "frames", "alphas", "landmarks")
_TRACKING = (
    *("fit", "geometry", "head", "media", "observe", "render"),
    *("pipeline/observation.py", "tables/schemas.py"),
)
"""Code that decides what a track is."""


def track_path(name: str) -> str:
    """Where a sequence's track lies, relative to the output folder."""
    return f"tracks/{name}/tracked_params.npz"


def track(context: StageContext) -> StageOutput:
    """Fit the head to the sequence; goes on from its checkpoints."""
    from raytrack.fit.track import Track
    from raytrack.fit.tracker import Progress, track_sequence
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_observation

    def tell(progress: Progress) -> None:
        context.progress(progress.done, progress.total, progress.stage)

    head = load_head(context.head)
    fitted = track_sequence(
        read_observation(context),
        head,
        dataclasses.replace(context.config["track"], num_threads=context.cpus),
        checkpoint_folder=context.checkpoint_folder,
        on_progress=tell,
    )
    path = context.out / track_path(context.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    fitted.save(path, base_albedo=head.albedo)
    saved = Track.load(path)
    return StageOutput(
        rows=_track_rows(saved),
        files=(track_path(context.name),),
        also={"track_static": _static_row(saved, track_path(context.name))},
    )


def _track_rows(track: Any) -> pa.Table:
    from raytrack.head.parameters import BLOCK_NAMES

    blocks = {name: getattr(track.parameters, name).numpy() for name in BLOCK_NAMES}
    schema = track_schema({name: values.shape[1] for name, values in blocks.items()})
    columns = [
        pa.array(range(track.num_frames), pa.int32()),
        pa.array(track.timestep_ids, pa.string()),
        pa.array(track.tracked.tolist(), pa.bool_()),
        *(to_vectors(values, schema.field(name).type) for name, values in blocks.items()),
    ]
    return pa.table(columns, schema=schema)


def _static_row(track: Any, path: str) -> pa.Table:
    row = {
        "head_name": track.head_name,
        "path": path,
        "num_frames": track.num_frames,
        "num_tracked": int(track.tracked.sum()),
        "height": track.size_hw[0],
        "width": track.size_hw[1],
        "focal_px": track.focal_px,
        "shape": track.shape.tolist(),
        "lights": track.lights.tolist(),
        "has_static_offset": track.static_offset is not None,
        "texture_size": track.texture.shape[0],
    }
    return pa.Table.from_pylist([row], schema=track_static_schema(len(track.shape)))


def render(context: StageContext) -> StageOutput:
    """The final pictures of every frame, the preview video, and the scores."""
    from raytrack.export.drawing import draw_sequence
    from raytrack.export.truth import GroundTruth
    from raytrack.fit.track import Track
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_observation

    name, truth = context.name, None
    if context.sequence.ground_truth:
        truth = GroundTruth.load(source_path(context.sequence.ground_truth))
        truth = truth.of_frames(context.read("frames")["source_frame"].to_numpy())
    observation = read_observation(context)
    preview = f"preview/{name}.mp4"
    (context.out / "preview").mkdir(exist_ok=True)
    scores = draw_sequence(
        Track.load(context.out / track_path(name)),
        load_head(context.head),
        (
            dataclasses.replace(
                observation, load_image=_counted(context, observation.load_image, observation.num_frames)
            ),
        ),
        render_folder=context.out / "render" / name,
        preview_path=context.out / preview,
        config=context.config["export"],
        renderer_name=context.config["renderer"],
        num_threads=context.cpus,
        truth=truth,
    )
    num_frames = observation.num_frames
    rows = [
        {"kind": "render", "path": f"render/{name}", "num_frames": num_frames},
        {"kind": "preview", "path": preview, "num_frames": num_frames},
    ]
    return StageOutput(
        rows=pa.Table.from_pylist(rows, schema=EXPORTS),
        files=(*_files_under(context.out, f"render/{name}"), preview),
        also={"scores": _scores_row(scores.scores, scores.ground_truth)},
    )


def _counted(context: StageContext, load_image: Any, num_frames: int) -> Any:
    """An image loader that tells how many frames have been asked for."""

    def load(frame: int) -> Any:
        context.progress(frame, num_frames)
        return load_image(frame)

    return load


def _counted_views(context: StageContext, observation: Any) -> tuple[Any, ...]:
    load_image = _counted(context, observation.load_image, observation.num_frames)
    return (dataclasses.replace(observation, load_image=load_image),)


def _scores_row(scores: dict[str, Any], truth: dict[str, Any] | None) -> pa.Table:
    row = {name: scores[name] for name in (*SCORE_NAMES, "frames")}
    row |= {f"ground_truth_{name}": (truth or {}).get(name) for name in TRUTH_NAMES}
    return pa.Table.from_pylist([{**row, "has_ground_truth": truth is not None}], schema=SCORES)


def export(context: StageContext) -> StageOutput:
    """The sequence as a dataset."""
    from raytrack.export.nerf import write_dataset
    from raytrack.fit.track import Track
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_observation

    observation = read_observation(context)
    path = f"export/{context.name}"
    dataset = write_dataset(
        Track.load(context.out / track_path(context.name)),
        load_head(context.head),
        context.out / path,
        context.config["export"],
        views=_counted_views(context, observation),
        num_threads=context.cpus,
    )
    row = {
        "kind": "dataset",
        "path": path,
        "num_frames": dataset.num_frames,
        "num_train": dataset.num_train,
        "num_test": dataset.num_test,
        "origin_m": None if dataset.origin_m is None else list(dataset.origin_m),
    }
    return StageOutput(rows=pa.Table.from_pylist([row], schema=EXPORTS), files=_files_under(context.out, path))


def _files_under(out: Path, folder: str) -> tuple[str, ...]:
    files = (path for path in (out / folder).rglob("*") if path.is_file())
    return tuple(sorted(path.relative_to(out).as_posix() for path in files))


def head_identity(config: RunConfig) -> dict[str, str]:
    """A shipped head by its name, one of the user's own by its content.

    Raises:
        ConfigError: There is no such head.
    """
    if config.head == DEFAULT_HEAD:
        return {"name": DEFAULT_HEAD}
    try:
        path = head_path(config.head)
        return {"name": path.stem, "sha256": sha256_of(path)}
    except OSError as error:
        raise ConfigError(f"head {config.head!r} is neither {DEFAULT_HEAD!r} nor a file that can be read") from error


def _head_assets(config: RunConfig) -> tuple[str, ...]:
    return ("head/head.npz",) if config.head == DEFAULT_HEAD else ()


def _picture_options(config: ExportConfig) -> ExportConfig:
    """What decides how pictures and preview look; nothing of the dataset."""
    return ExportConfig(png_compression=config.png_compression, preview_width_px=config.preview_width_px)


TRACK = Stage(
    name="track",
    version=1,
    function=track,
    code=_TRACKING,
    table="track",
    # The number of threads changes no result.
    reads=lambda config: {"head": head_identity(config), "track": dataclasses.replace(config.track, num_threads=1)},
    assets=_head_assets,
    compiles=True,
    after=_OBSERVED,
    actor=True,
    resources=Resources(cpus=2),
    timeout_s=1800,
    frame_timeout_s=60,
    folders=("tracks/{sequence}",),
    cost=1.0,
)
RENDER = Stage(
    name="render",
    version=1,
    function=render,
    code=(*_TRACKING, "export"),
    table="exports",
    reads=lambda config: {
        "head": head_identity(config),
        "renderer": config.track.renderer,
        "export": _picture_options(config.export),
    },
    assets=_head_assets,
    sources=("ground_truth",),
    compiles=True,
    after=(*_OBSERVED, "track"),
    resources=Resources(cpus=2),
    timeout_s=1800,
    frame_timeout_s=30,
    folders=(
        "render/{sequence}",
        "render/.tmp-{sequence}",
        "preview/{sequence}.mp4",
        "preview/.tmp-{pid}-{sequence}.mp4",
    ),
    cost=0.125,
)
EXPORT = Stage(
    name="export",
    version=1,
    function=export,
    code=(*_TRACKING, "export"),
    table="exports",
    reads=lambda config: {"head": head_identity(config), "export": config.export},
    assets=_head_assets,
    after=(*_OBSERVED, "track"),
    timeout_s=1800,
    frame_timeout_s=30,
    folders=("export/{sequence}", "export/.tmp-{sequence}"),
    cost=0.05,
)
