"""Whether the disk has room for what a run will write: asked before any work."""

import dataclasses
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from raytrack.config import RunConfig
from raytrack.errors import OutputError, RaytrackError
from raytrack.pipeline.footage import read_recording
from raytrack.pipeline.plan import SequencePlan
from raytrack.pipeline.sources import taken_cameras
from raytrack.tables.store import read_part

logger = logging.getLogger(__name__)

# Measured on the demo and on faces filmed with webcam and studio cameras; noisy footage takes the more.
_PICTURE_BYTES_PER_PIXEL = 1.5
_MASK_BYTES_PER_PIXEL = 0.06
_PREVIEW_BYTES_PER_FRAME = 30e3
_DATASET_BYTES_PER_FRAME = 400e3
"""A mesh, head parameters, expressions."""
_TRACK_BYTES = 80e6
"""Of a whole sequence, with its checkpoints."""
_WARN_SHARE = 0.8
_GB = 1e9


def check_space(
    config: RunConfig, out: Path, plans: Iterable[SequencePlan], unions: Iterable[SequencePlan] = ()
) -> str:
    """Compare what is still to be written with the room there is.

    Args:
        config: The run's configuration.
        out: The output folder, which exists.
        plans: What is left to do.
        unions: Likewise, of the subjects' unions.

    Returns:
        A warning where it will be tight, else "".

    Raises:
        OutputError: There is not enough room.
    """
    needed = sum(_bytes_to_write(config, plan) for plan in plans if not plan.finished)
    needed += sum(_bytes_to_copy(config, union) for union in unions if not union.finished)
    free = shutil.disk_usage(out).free
    if needed <= _WARN_SHARE * free:
        return ""
    finding = f"{out}: this run will write about {needed / _GB:.1f} GB, and {free / _GB:.1f} GB are free"
    advice = (
        "free some space or choose another --out; less is written with a lower --target-fps, `max_frames` under "
        "`extract` in a job file, fewer --downsample-scales, and by `raytrack track`, which leaves out the pictures, "
        "the preview and the dataset"
    )
    if needed > free:
        raise OutputError(f"{finding}: {advice}")
    return f"{finding}: should that be too little, {advice}"


def expected_bytes(
    config: RunConfig, num_frames: int, size_hw: tuple[int, int], num_cameras: int = 1
) -> dict[str, float]:
    """About how much each stage writes for a sequence of so many frames of each camera, by stage."""
    pixels = num_frames * num_cameras * size_hw[0] * size_hw[1]
    return {
        "frames": _PICTURE_BYTES_PER_PIXEL * pixels,
        "downsample": _PICTURE_BYTES_PER_PIXEL * sum(pixels / scale**2 for scale in config.extract.downsample_scales),
        "alphas": 0.0 if config.matting == "none" else _MASK_BYTES_PER_PIXEL * pixels,
        "track": _TRACK_BYTES,
        "render": _pair_bytes(pixels) + _PREVIEW_BYTES_PER_FRAME * num_frames,
        "export": len(config.export.formats) * _dataset_bytes(num_frames, pixels),
    }


def _pair_bytes(pixels: float) -> float:
    return (_PICTURE_BYTES_PER_PIXEL + _MASK_BYTES_PER_PIXEL) * pixels


def _dataset_bytes(num_frames: int, pixels: float) -> float:
    return _pair_bytes(pixels) + _DATASET_BYTES_PER_FRAME * num_frames


def _bytes_to_copy(config: RunConfig, union: SequencePlan) -> float:
    """Of the datasets that a union holds copies of, less what there is of them already."""
    if config.union is None or config.union.placement != "copy":
        return 0.0
    expected = 0.0
    for member in union.waits_for:
        if (extent := _extent(config, member)) is not None:
            num_frames, (height, width), num_cameras = extent
            expected += _dataset_bytes(num_frames, num_frames * num_cameras * height * width)
    (stage,) = union.stages
    num_formats = len(union.configs[stage.name].value["formats"])
    return max(0.0, num_formats * expected - sum(_bytes_under(union, pattern) for pattern in stage.folders))


def _bytes_to_write(config: RunConfig, plan: SequencePlan) -> float:
    """Of a sequence's stages that are not done, less what there is of them already."""
    footage = _extent(config, plan)
    if footage is None:
        return 0.0
    expected = expected_bytes(config, *footage)
    to_do = [stage for stage in plan.stages if not plan.stage_done(stage.name)]
    return sum(
        max(0.0, expected.get(stage.name, 0.0) - sum(_bytes_under(plan, pattern) for pattern in stage.folders))
        for stage in to_do
    )


def _bytes_under(plan: SequencePlan, pattern: str) -> int:
    paths = plan.out.glob(pattern.format(sequence=plan.name, pid="*"))
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)))
    return sum(file.stat().st_size for file in files if file.is_file())


def _extent(config: RunConfig, plan: SequencePlan) -> tuple[int, tuple[int, int], int] | None:
    """Number of frames, their (height, width), and number of cameras.

    None where that cannot be told, which a stage will report.
    """
    probes = [stage for stage in plan.stages if stage.name == "probe"]
    if not probes:
        return None
    try:
        if plan.stage_done("probe"):
            (row,) = read_part(probes[0].part_path(plan.out, plan.key, 0)).to_pylist()
            return (row["num_frames"], (row["height"], row["width"]), row["num_cameras"]) if "height" in row else None
        capture, cameras = config.capture, taken_cameras(plan.sequence, config.capture)
        if len(cameras) > 1:  # One tells enough: looking at all of them would take as long as reading them.
            alone = dataclasses.replace(capture.cameras, names=cameras[:1])
            capture = dataclasses.replace(capture, cameras=alone)
        recording = read_recording(plan.sequence, config.extract, capture)
    except RaytrackError as error:
        logger.info("%s: room on the disk is not checked: %s", plan.name, error)
        return None
    return recording.num_frames, recording.size_hw, max(1, len(cameras))
