"""The stages of a run, in the order in which they are shown, each after those that it needs."""

import dataclasses

from raytrack.config import DEFAULT_HEAD, RunConfig
from raytrack.errors import ConfigError
from raytrack.observe.weights import resolve_landmark_method, weights_identity
from raytrack.pipeline.stage import Resources, Stage
from raytrack.pipeline.stages_footage import EXTRACT, LANDMARKS, MATTE, PROBE, SHRINK
from raytrack.pipeline.stages_track import EXPORT, RENDER, TRACK, head_identity


def all_stages(config: RunConfig) -> tuple[Stage, ...]:
    """Every stage, with the resources that the configuration gives it."""
    cpus = Resources(cpus=config.pipeline.track_cpus)
    return (
        PROBE,
        EXTRACT,
        SHRINK,
        MATTE,
        LANDMARKS,
        dataclasses.replace(TRACK, resources=cpus),
        dataclasses.replace(RENDER, resources=cpus),
        EXPORT,
    )


def check_job(config: RunConfig) -> None:
    """Find mistakes that would otherwise come to light only after minutes of work.

    Raises:
        ConfigError: There is no such head, or it has no such region.
        AssetError: The head is damaged, or the weights of a chosen method are missing.
    """
    weights_identity(config.matting, config.matting_weights)
    weights_identity(
        resolve_landmark_method(config.landmarks.method, config.landmarks.weights), config.landmarks.weights
    )
    if config.head == DEFAULT_HEAD and not config.track.occluded:
        return
    head_identity(config)
    from raytrack.head.library import load_head  # noqa: PLC0415 (takes a second, and is seldom needed)

    regions = load_head(config.head).regions
    for name in config.track.occluded:
        if name not in regions:
            raise ConfigError(f"the head has no region {name!r} to be occluded; regions: {', '.join(sorted(regions))}")
