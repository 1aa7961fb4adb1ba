"""The stages of a run, in the order in which they are shown, each after those that it needs."""

import dataclasses

from raytrack.config import DEFAULT_HEAD, RunConfig
from raytrack.errors import ConfigError
from raytrack.observe.weights import resolve_landmark_method, weights_identity
from raytrack.pipeline.executor import available_cpus
from raytrack.pipeline.ray_environment import cluster_address
from raytrack.pipeline.stage import Resources, Stage
from raytrack.pipeline.stages_footage import EXTRACT, PROBE, SHRINK
from raytrack.pipeline.stages_observe import LANDMARKS, MATTE
from raytrack.pipeline.stages_segments import TRACK_SEGMENTS, TRACK_SHARED, head_identity, identity_digest
from raytrack.pipeline.stages_track import EXPORT, RENDER, TRACK

_MATTING_NETWORKS = ("auto", "selfie", "rvm", "bgmv2")
_NETWORK_GPUS = 0.125
"""The networks are small, and between them each process decodes and writes pictures: eight keep one GPU busy."""
_DRAWING_GPUS = 0.25
"""A fit at tracking size takes about 2 GB and leaves a GPU idle while it solves rows on the CPU."""

_CLUSTER_SEQUENCE_CPUS = 4
"""What the driver's machine has says nothing about the others. More CPUs for one sequence pay off less and less."""


def all_stages(config: RunConfig, *, sequential: bool = False) -> tuple[Stage, ...]:
    """Every stage, with the resources that the configuration gives it.

    Args:
        config: The configuration.
        sequential: Whether one thing is done after the other.
    """
    cpus = Resources(cpus=_sequence_cpus(config, sequential=sequential))
    networks, drawing = _network_resources(config), cpus
    if config.track.renderer == "nvdiffrast":
        drawing = dataclasses.replace(cpus, gpus=_DRAWING_GPUS)
    return (
        PROBE,
        EXTRACT,
        SHRINK,
        dataclasses.replace(MATTE, resources=networks if config.matting in _MATTING_NETWORKS else MATTE.resources),
        dataclasses.replace(LANDMARKS, resources=networks),
        dataclasses.replace(TRACK_SHARED, resources=drawing),
        TRACK_SEGMENTS,
        dataclasses.replace(TRACK, resources=drawing),
        dataclasses.replace(RENDER, resources=drawing),
        dataclasses.replace(EXPORT, resources=cpus),
    )


def _network_resources(config: RunConfig) -> Resources:
    """Of the stages that run networks over frames."""
    device = config.pipeline.device
    return Resources(gpus=0 if device == "cpu" else _NETWORK_GPUS, gpu_required=device == "cuda")


def _sequence_cpus(config: RunConfig, *, sequential: bool) -> int:
    """CPUs for a sequence's long steps: those that there are, shared out among the sequences that run at once."""
    if config.pipeline.track_cpus is not None:
        return config.pipeline.track_cpus
    if cluster_address() and not sequential:
        return _CLUSTER_SEQUENCE_CPUS
    cpus = config.pipeline.cpus or available_cpus()
    at_once = 1 if sequential else max(1, min(len(config.sequences), cpus))
    return max(1, cpus // at_once)


def check_job(config: RunConfig, whole: RunConfig | None = None) -> None:
    """Find mistakes that would otherwise come to light only after minutes of work.

    Args:
        config: The configuration.
        whole: The job that its sequences were chosen from, where they are not all.

    Raises:
        ConfigError: There is no such head, it has no such region or cannot be exported in a format that is asked for,
            or no joint identity or focal length can be had as asked for.
        AssetError: The head is damaged, or the weights of a chosen method are missing.
    """
    whole = whole or config
    whole.check_identity()
    if config.identity == "joint" and not whole.identity_members():
        raise ConfigError(
            "`identity: joint` needs two or more sequences of one `subject`, and here each has a subject of its own: "
            "name the same `subject` for them, or take `identity: auto`"
        )
    rigs = [sequence.key.sequence for sequence in config.sequences if sequence.is_rig]
    if config.track.focal_px is not None and rigs:
        raise ConfigError(
            f"`track.focal_px` is of one camera and applies to every video, but {rigs[0]!r} is of several: leave it "
            "out, or give the rigs a job file of their own"
        )
    if config.track.identity:
        identity_digest(config.track.identity)
    weights_identity(config.matting, config.matting_weights)
    weights_identity(
        resolve_landmark_method(config.landmarks.method, config.landmarks.weights), config.landmarks.weights
    )
    occluded = {name: None for sequence in config.sequences for name in config.for_sequence(sequence).track.occluded}
    plain = config.export.formats == ("nerf",) and config.track.texture_model != "pca"
    if config.head == DEFAULT_HEAD and not occluded and plain:
        return
    head_identity(config)
    # These take a second, and are seldom needed.
    from raytrack.export.formats import check_export  # noqa: PLC0415
    from raytrack.fit.albedo import check_texture_model  # noqa: PLC0415
    from raytrack.head.library import load_head  # noqa: PLC0415

    head = load_head(config.head)
    check_texture_model(head, config.track)
    check_export(head, config.export, of_rigs=any(sequence.is_rig for sequence in config.sequences))
    regions = head.regions
    for name in occluded:
        if name not in regions:
            raise ConfigError(f"the head has no region {name!r} to be occluded; regions: {', '.join(sorted(regions))}")
