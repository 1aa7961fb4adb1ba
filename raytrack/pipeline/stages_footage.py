"""Stages that take the pictures out of the footage: what is in it, its frames, and smaller copies of them."""

import dataclasses
from typing import Any

import pyarrow as pa

from raytrack.config import RunConfig
from raytrack.pipeline.digests import DIGESTS_FILE, Digests
from raytrack.pipeline.footage import frame_path, frames_of, note_of, open_recording, pictures
from raytrack.pipeline.sources import source_digests
from raytrack.pipeline.stage import Stage, StageContext, StageOutput
from raytrack.tables.schemas import CAMERAS, DOWNSAMPLED, FRAMES, SEQUENCES

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415

READING = (
    *("datasets", "datasets/nersemble.yaml", "media", "tables/schemas.py"),
    *("pipeline/footage.py", "pipeline/sources.py"),
)
"""Code that decides which frames there are and what they look like."""


def extraction(config: RunConfig) -> dict[str, Any]:
    """What decides which frames are taken and what they show; in which sizes they are kept as well does not."""
    return {"extract": dataclasses.replace(config.extract, downsample_scales=()), "capture": config.capture}


def probe(context: StageContext) -> StageOutput:
    """What the footage holds, how many of its frames are taken, and by which cameras."""
    recording = open_recording(context.sequence, **context.config)
    sources, turn = [camera.source for camera in recording.cameras], recording.tracker_from_capture
    digests = Digests(context.out / ".work" / DIGESTS_FILE)
    digest = source_digests(context.sequence, frozenset({"video"}), digests, context.config["capture"])["video"]
    row = {
        "source_sha256": digest,
        "kind": "video" if hasattr(sources[0], "codec") else "images",
        "codec": getattr(sources[0], "codec", None),
        "num_source_frames": min(source.num_frames for source in sources),
        "num_frames": recording.num_frames,
        "num_cameras": len(recording.cameras),
        "height": recording.size_hw[0],
        "width": recording.size_hw[1],
        "duration_s": float(recording.timestamps_s[-1]) + 1.0 / _frame_rate(context, sources[0]),
        "has_alpha": recording.has_alpha,
        "capture_from_tracker": None if turn is None else turn.T.tolist(),
    }
    cameras = _camera_rows(recording)
    return StageOutput(
        rows=pa.Table.from_pylist([row], schema=SEQUENCES), also={"cameras": cameras} if cameras.num_rows else {}
    )


def _frame_rate(context: StageContext, source: Any) -> float:
    """Frames per second of the footage, or of the recording of which the footage shows the timesteps."""
    if context.sequence.is_calibrated:
        return context.config["capture"].fps
    return getattr(source, "average_fps", context.config["extract"].image_fps)


def _camera_rows(recording: Any) -> pa.Table:
    """The cameras of a rig: in the tracker's world where they are calibrated, else with NaN; none for a single one."""
    from raytrack.datasets.alignment import in_tracker_world
    from raytrack.datasets.synchronous import unknown_calibration

    rows, turn = [], recording.tracker_from_capture
    for camera in recording.cameras:
        if turn is None and len(recording.cameras) == 1:
            continue
        calibration = camera.calibration if turn is None else in_tracker_world(camera.calibration, turn)
        if calibration is None:
            calibration = unknown_calibration(recording.size_hw)
        rows.append(
            {
                "camera": camera.index,
                "camera_id": camera.name,
                "height": calibration.size_hw[0],
                "width": calibration.size_hw[1],
                "intrinsics": calibration.intrinsics.tolist(),
                "cam_from_world": calibration.cam_from_world.tolist(),
            }
        )
    return pa.Table.from_pylist(rows, schema=CAMERAS)


def extract_frames(context: StageContext) -> StageOutput:
    """The frames of one camera as PNG."""
    from raytrack.media.images import write_png
    from raytrack.media.resize import thumbnail

    chunk = frames_of(context)
    recording = open_recording(context.sequence, **context.config)
    camera = recording.cameras[chunk.view]
    rows = []
    for frame, picture in zip(chunk.frames, recording.read(chunk.start, chunk.stop, camera=chunk.view), strict=True):
        path = frame_path(context.sequence, camera.name, frame)
        write_png(context.out / path, picture.rgb)
        rows.append(
            {
                "camera": camera.index,
                "camera_id": camera.name,
                "frame": frame,
                "source_frame": int(recording.source_index[frame]),
                "timestep_id": recording.frame_ids[frame],
                "timestamp_s": float(recording.timestamps_s[frame]),
                "image": path,
                "thumbnail": thumbnail(picture.rgb).tobytes(),
            }
        )
        context.progress(frame + 1 - chunk.start, len(chunk.frames), note_of(context, camera.name))
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=FRAMES), files=tuple(row["image"] for row in rows))


def shrink_frames(context: StageContext) -> StageOutput:
    """Smaller copies of the frames, where they are asked for."""
    from raytrack.media.images import write_png
    from raytrack.media.resize import downsample

    frames = context.read("frames", chunk=frames_of(context).index)
    rows = []
    for row, image in pictures(context, frames) if context.config else ():
        for scale in context.config:
            path = frame_path(context.sequence, row["camera_id"], row["frame"], f"images_{scale}")
            write_png(context.out / path, downsample(image, scale))
            which = {name: row[name] for name in ("camera", "camera_id", "frame")}
            rows.append({**which, "scale": scale, "image": path})
    return StageOutput(rows=pa.Table.from_pylist(rows, schema=DOWNSAMPLED), files=tuple(row["image"] for row in rows))


PROBE = Stage(
    name="probe",
    version=2,
    function=probe,
    code=READING,
    table="sequences",
    reads=extraction,
    sources=("video",),
    timeout_s=1800,
    cost=0.002,
)
EXTRACT = Stage(
    name="frames",
    version=3,
    function=extract_frames,
    code=READING,
    table="frames",
    reads=extraction,
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
    version=2,
    function=shrink_frames,
    code=("media", "tables/schemas.py", "pipeline/footage.py"),
    table="downsampled",
    reads=lambda config: config.extract.downsample_scales,
    after=("frames",),
    fan_out="probe",
    timeout_s=600,
    frame_timeout_s=10,
    folders=("frames/{sequence}/images_*",),
    cost=0.002,
)
