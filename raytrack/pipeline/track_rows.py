"""Tracks and scores as rows of their tables."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raytrack.tables.schemas import (
    CAMERA_SCORE_NAMES,
    CAMERA_SCORES,
    CAMERAS,
    EVENTS,
    SCORE_NAMES,
    SCORES,
    TRUTH_NAMES,
    to_vectors,
    track_schema,
    track_static_schema,
)


def track_rows(track: Any) -> pa.Table:
    """The poses of a track, a row per frame."""
    from raytrack.head.parameters import BLOCK_NAMES  # noqa: PLC0415 (heavy, and the driver needs none of it)

    blocks = {name: getattr(track.parameters, name).numpy() for name in BLOCK_NAMES}
    schema = track_schema({name: values.shape[1] for name, values in blocks.items()})
    columns = [
        pa.array(range(track.num_frames), pa.int32()),
        pa.array(track.timestep_ids, pa.string()),
        pa.array(track.tracked.tolist(), pa.bool_()),
        *(to_vectors(values, schema.field(name).type) for name, values in blocks.items()),
    ]
    return pa.table(columns, schema=schema)


def static_row(track: Any, path: str) -> pa.Table:
    """What a track has once for all frames, and where it lies."""
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


def solved_rows(track: Any) -> pa.Table:
    """The cameras of an uncalibrated rig as they were found."""
    rows = [
        {
            "camera": view.index,
            "camera_id": view.id,
            "height": view.camera.size_hw[0],
            "width": view.camera.size_hw[1],
            "intrinsics": view.camera.intrinsics.tolist(),
            "cam_from_world": view.camera.cam_from_world.tolist(),
        }
        for view in track.rig
    ]
    return pa.Table.from_pylist(rows, schema=CAMERAS)


def scores_row(scores: dict[str, Any], truth: dict[str, Any] | None) -> pa.Table:
    """Scores of a sequence, and how far it is from ground truth where there is some."""
    row = {name: scores[name] for name in (*SCORE_NAMES, "frames")}
    row |= {f"ground_truth_{name}": (truth or {}).get(name) for name in TRUTH_NAMES}
    return pa.Table.from_pylist([{**row, "has_ground_truth": truth is not None}], schema=SCORES)


def event_rows(events: Sequence[Any]) -> pa.Table:
    """What happens in a sequence's footage, a row per event."""
    rows = [{name: getattr(event, name) for name in EVENTS.names} for event in events]
    return pa.Table.from_pylist(rows, schema=EVENTS)


def camera_rows(per_camera: Sequence[Any]) -> pa.Table:
    """Scores of each camera of a rig."""
    rows = [
        {"camera": camera.camera_index, "camera_id": camera.camera_id}
        | {name: camera.scores[name] for name in CAMERA_SCORE_NAMES}
        for camera in per_camera
    ]
    return pa.Table.from_pylist(rows, schema=CAMERA_SCORES)
