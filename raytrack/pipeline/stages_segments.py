"""What comes before the track of a long sequence: what all its frames share, then its segments, side by side.

A shorter sequence has no need of either.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from raytrack.assets import sha256_of
from raytrack.config import DEFAULT_HEAD, RunConfig, SequenceConfig
from raytrack.errors import ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.fit.segment_bounds import segment_bounds
from raytrack.head.names import head_path
from raytrack.pipeline.device import torch_device
from raytrack.pipeline.stage import Resources, Stage, StageContext, StageOutput
from raytrack.tables.schemas import TRACK_SHARED as SHARED_SCHEMA
from raytrack.tables.schemas import from_vectors, to_vectors, track_segments_schema, vector_shape

# The stages' libraries are loaded by the workers that need them, not by the driver.
# ruff: noqa: PLC0415

OBSERVED = ("probe", "frames", "alphas", "landmarks")
TRACKING = (
    *("fit", "geometry", "head", "media", "observe", "render"),
    *("pipeline/observation.py", "pipeline/track_rows.py", "pipeline/stages_segments.py", "tables/schemas.py"),
)
"""Code that decides what a track is."""


def track_shared(context: StageContext) -> StageOutput:
    """Fit what all frames of a long sequence share; goes on from its checkpoints."""
    from raytrack.fit.checkpoint import state_bytes
    from raytrack.fit.segmented import fit_shared
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_views

    torch_device(context)  # refuses at once where the renderer would need a GPU that is not there
    (observation,) = read_views(context)
    state = fit_shared(
        observation,
        load_head(context.head),
        tracking_config(context),
        identity=known_identity(context),
        checkpoint_folder=context.checkpoint_folder,
        on_progress=teller(context),
    )
    row = {"num_parts": 1, "state": state_bytes(state)}
    return StageOutput(rows=pa.Table.from_pylist([row], schema=SHARED_SCHEMA))


def track_segment(context: StageContext) -> StageOutput:
    """Find the rows of one segment; goes on from its checkpoints."""
    from raytrack.fit.checkpoint import state_from_bytes
    from raytrack.fit.frame_choice import Segment
    from raytrack.fit.segmented import fit_segment
    from raytrack.head.library import load_head
    from raytrack.pipeline.observation import read_views

    if context.chunk is None:
        raise ValueError("a segment needs its frames")
    (observation,) = read_views(context)
    (shared,) = context.read("track_shared").to_pylist()
    found = fit_segment(
        observation,
        load_head(context.head),
        tracking_config(context),
        state_from_bytes(shared["state"]),
        Segment(start=context.chunk.start, stop=context.chunk.stop),
        identity=known_identity(context),
        checkpoint_folder=context.checkpoint_folder,
        on_progress=teller(context),
    )
    schema = track_segments_schema(found.rows.shape[1])
    num_parts = len(_segment_bounds(context.config, context.sequence, observation.num_frames))
    spots, frames = found.hidden.of_view(0), range(context.chunk.start, context.chunk.stop)
    columns = [
        pa.array([num_parts] * len(context.chunk.frames), pa.int32()),
        pa.array(context.chunk.frames, pa.int32()),
        to_vectors(found.rows.numpy(), schema.field("row").type),
        pa.array([spots[frame].tobytes() if frame in spots else None for frame in frames], pa.binary()),
    ]
    return StageOutput(rows=pa.table(columns, schema=schema))


def joined_track(context: StageContext) -> Callable[..., Any]:
    """What makes the track of segments that are there; called as `raytrack.fit.tracker.track_sequence` is."""
    import torch

    from raytrack.fit.checkpoint import state_from_bytes
    from raytrack.fit.frame_choice import Segment
    from raytrack.fit.occlusion import HiddenSpots
    from raytrack.fit.segmented import SegmentRows, join_segments

    (shared,) = context.read("track_shared").to_pylist()
    parts = []
    for index in range(len(context.parts["track_segments"])):
        table = context.read("track_segments", chunk=index)
        rows = torch.from_numpy(from_vectors(table["row"], vector_shape(table.schema.field("row").type)).copy())
        first = table["frame"][0].as_py()
        hidden = HiddenSpots.of_bytes(first, table["hidden"].to_pylist())
        parts.append(SegmentRows(segment=Segment(start=first, stop=first + len(rows)), rows=rows, hidden=hidden))

    def join(views: Any, head: Any, config: TrackConfig, **options: Any) -> Any:
        (observation,) = views
        return join_segments(observation, head, config, state_from_bytes(shared["state"]), parts, **options)

    return join


def teller(context: StageContext) -> Callable[[Any], None]:
    """Passes the progress of a fit on."""

    def tell(progress: Any) -> None:
        context.progress(progress.done, progress.total, progress.stage)

    return tell


def tracking_config(context: StageContext) -> TrackConfig:
    """How the sequence is tracked, by as many threads as it is given."""
    return dataclasses.replace(context.config["track"], num_threads=context.cpus)


def reads_tracking(config: RunConfig) -> dict[str, Any]:
    """What of the configuration decides what a track is; the number of threads changes no result.

    Raises:
        ConfigError: There is no such head, or a file of an identity cannot be read.
    """
    # Where an identity lies is nothing to the result.
    track = dataclasses.replace(config.track, num_threads=1, identity="")
    reads = {"head": head_identity(config), "track": track}
    return {**reads, "identity": identity_digest(config.track.identity)} if config.track.identity else reads


def identity_digest(path: str) -> str:
    """What stands for an identity in fingerprints.

    Raises:
        ConfigError: Its file cannot be read.
    """
    try:
        return sha256_of(Path(path))
    except OSError as error:
        raise ConfigError(f"track.identity {path!r} cannot be read ({error.strerror})") from error


def known_identity(context: StageContext) -> Any:
    """The subject's identity; None where it is to be found."""
    from raytrack.fit.identity import Identity

    return Identity.load(Path(context.identity)) if context.identity else None


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


def head_assets(config: RunConfig) -> tuple[str, ...]:
    """The shipped assets of the head."""
    return ("head/head.npz",) if config.head == DEFAULT_HEAD else ()


def _segment_bounds(reads: dict[str, Any], sequence: SequenceConfig, num_frames: int) -> list[tuple[int, int]]:
    """Where a sequence's segments begin and end; none if it is tracked in one piece."""
    return [] if sequence.is_rig else segment_bounds(num_frames, reads["track"])


def _whole(reads: dict[str, Any], sequence: SequenceConfig, num_frames: int) -> list[tuple[int, int]]:
    """A sequence that is tracked in segments, as one."""
    return [(0, num_frames)] if _segment_bounds(reads, sequence, num_frames) else []


_common = functools.partial(
    Stage, version=1, code=TRACKING, reads=reads_tracking, assets=head_assets, fan_out="probe",
    uses_identity=True, compiles=True,
    timeout_s=1800, frame_timeout_s=60,
)  # fmt: skip
TRACK_SHARED = _common(
    name="track_shared",
    function=track_shared,
    table="track_shared",
    after=OBSERVED,
    cut=_whole,
    actor=True,
    resources=Resources(cpus=2),
)
TRACK_SEGMENTS = _common(
    name="track_segments",
    function=track_segment,
    table="track_segments",
    after=(*OBSERVED, "track_shared"),
    cut=_segment_bounds,
    # Frames are solved one by one in Python: processes get on better side by side than threads.
    resources=Resources(cpus=1),
)
