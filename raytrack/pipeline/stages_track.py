"""Stages that work on a whole sequence: tracking, the final pictures and scores, the dataset."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from raytrack.export.config import DatasetFormatName, ExportConfig, dataset_path
from raytrack.pipeline.device import torch_device
from raytrack.pipeline.sources import source_path
from raytrack.pipeline.stage import Resources, Stage, StageContext, StageOutput
from raytrack.pipeline.stages_segments import (
    OBSERVED,
    TRACKING,
    head_assets,
    head_identity,
    joined_track,
    known_identity,
    reads_tracking,
    teller,
    tracking_config,
)
from raytrack.pipeline.track_rows import camera_rows, event_rows, scores_row, solved_rows, static_row, track_rows
from raytrack.tables.schemas import EXPORTS

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415


def track_path(name: str) -> str:
    """Where a sequence's track lies, relative to the output folder."""
    return f"tracks/{name}/tracked_params.npz"


def track(context: StageContext) -> StageOutput:
    """Fit the head to the sequence; goes on from its checkpoints."""
    import torch

    from raytrack.fit.flame_track import save_track
    from raytrack.fit.track import Track
    from raytrack.fit.tracker import track_sequence
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_sequence

    torch_device(context)  # refuses at once where the renderer would need a GPU that is not there
    head = load_head(context.head)
    fit = joined_track(context) if context.parts["track_segments"] else track_sequence
    observed = read_sequence(context)
    fitted = fit(
        observed.views,
        head,
        tracking_config(context),
        identity=known_identity(context),
        checkpoint_folder=context.checkpoint_folder,
        on_progress=teller(context),
    )
    (recording,) = context.read("probe").to_pylist()
    if turn := recording["capture_from_tracker"]:
        fitted = dataclasses.replace(fitted, capture_from_world=torch.tensor(turn, dtype=torch.float32))
    path = context.out / track_path(context.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = save_track(path, fitted, head)
    saved = Track.load(path)
    also = {"track_static": static_row(saved, track_path(context.name)), "events": event_rows(observed.events)}
    if context.sequence.videos:
        also["track_cameras"] = solved_rows(saved)
    return StageOutput(
        rows=track_rows(saved),
        files=tuple(file.relative_to(context.out).as_posix() for file in files),
        also=also,
    )


def render(context: StageContext) -> StageOutput:
    """The final pictures of every frame, the preview video, and the scores."""
    from raytrack.export.drawing import draw_sequence
    from raytrack.export.truth import GroundTruth
    from raytrack.fit.track import Track
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_views

    name, truth = context.name, None
    if context.sequence.ground_truth:
        truth = GroundTruth.load(source_path(context.sequence.ground_truth))
        truth = truth.of_frames(_source_frames(context.read("frames")))
    preview = f"preview/{name}.mp4"
    (context.out / "preview").mkdir(exist_ok=True)
    views = _counted(context, read_views(context))
    found = draw_sequence(
        Track.load(context.out / track_path(name)),
        load_head(context.head),
        views,
        render_folder=context.out / "render" / name,
        preview_path=context.out / preview,
        config=context.config["export"],
        renderer_name=context.config["renderer"],
        num_threads=context.cpus,
        truth=truth,
    )
    rows = [
        {"kind": "render", "path": f"render/{name}", "num_frames": views[0].num_frames},
        {"kind": "preview", "path": preview, "num_frames": views[0].num_frames},
    ]
    also = {"scores": scores_row(found.scores, found.ground_truth)}
    if context.sequence.is_rig:
        also["camera_scores"] = camera_rows(found.per_camera)
    return StageOutput(
        rows=pa.Table.from_pylist(rows, schema=EXPORTS),
        files=(*_files_under(context.out, f"render/{name}"), preview),
        also=also,
    )


def _source_frames(frames: pa.Table) -> Any:
    """Which frames of the footage were taken; alike in all cameras."""
    camera = frames["camera"].to_numpy()
    return frames["source_frame"].to_numpy()[camera == camera[0]]


def _counted(context: StageContext, views: Sequence[Any]) -> tuple[Any, ...]:
    """Views of which the first tells how many frames have been asked for."""
    first, num_frames = views[0], views[0].num_frames

    def load(frame: int) -> Any:
        context.progress(frame, num_frames)
        return first.load_image(frame)

    return (dataclasses.replace(first, load_image=load), *views[1:])


def export(context: StageContext) -> StageOutput:
    """The sequence as a dataset."""
    from raytrack.export.formats import write_datasets
    from raytrack.fit.track import Track
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_views

    written = write_datasets(
        Track.load(context.out / track_path(context.name)),
        load_head(context.head),
        context.out,
        context.name,
        context.config["export"],
        views=_counted(context, read_views(context)),
        num_threads=context.cpus,
    )
    rows = [
        {
            "kind": "dataset",
            "path": one.path,
            "num_frames": one.dataset.num_frames,
            "num_train": one.dataset.num_train,
            "num_test": one.dataset.num_test,
            "origin_m": None if one.dataset.origin_m is None else list(one.dataset.origin_m),
        }
        for one in written
    ]
    files = [file for one in written for file in _files_under(context.out, one.path)]
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=EXPORTS), files=tuple(files))


def _files_under(out: Path, folder: str) -> tuple[str, ...]:
    files = (path for path in (out / folder).rglob("*") if path.is_file())
    return tuple(sorted(path.relative_to(out).as_posix() for path in files))


def _picture_options(config: ExportConfig) -> ExportConfig:
    """What decides how pictures and preview look; nothing of the dataset."""
    return ExportConfig(png_compression=config.png_compression, preview_width_px=config.preview_width_px)


TRACK = Stage(
    name="track",
    version=1,
    function=track,
    code=TRACKING,
    table="track",
    reads=reads_tracking,
    assets=head_assets,
    uses_identity=True,
    compiles=True,
    after=(*OBSERVED, "track_shared", "track_segments"),
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
    code=(*TRACKING, "export"),
    table="exports",
    reads=lambda config: {
        "head": head_identity(config),
        "renderer": config.track.renderer,
        "export": _picture_options(config.export),
    },
    assets=head_assets,
    sources=("ground_truth",),
    compiles=True,
    after=(*OBSERVED, "track"),
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
    code=(*TRACKING, "export"),
    table="exports",
    reads=lambda config: {"head": head_identity(config), "export": config.export},
    assets=head_assets,
    after=(*OBSERVED, "track"),
    timeout_s=1800,
    frame_timeout_s=30,
    folders=tuple(
        dataset_path(name, prefix + "{sequence}") for name in get_args(DatasetFormatName) for prefix in ("", ".tmp-")
    ),
    cost=0.05,
)
