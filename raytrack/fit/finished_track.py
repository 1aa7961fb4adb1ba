"""The track that a finished fit's state amounts to."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.groups import longest
from raytrack.fit.identity import Identity
from raytrack.fit.rig import RigCamera, unpacked
from raytrack.fit.shared import SharedParameters
from raytrack.fit.track import Track
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters


def track_of(
    state: FitState, views: SequenceViews, head: HeadModel, config: TrackConfig, identity: Identity | None = None
) -> Track:
    """The track that a fit ended with."""
    basis = None if identity else AlbedoBasis.create(head, config)
    shared, coefficients = with_whole_texture(state.shared, basis), state.shared.texture_coefficients
    found = Identity(
        shape=shared.shape,
        static_offset=shared.offset[None] if config.static_offset and not config.landmarks_only else None,
        texture=shared.texture.clamp(0, 1),
        head_name=head.name,
        head_sha256=head.asset_sha256,
    )
    kept = identity or found
    return Track(
        parameters=FrameParameters.unpack(state.rows),
        shape=kept.shape,
        static_offset=kept.static_offset,
        texture=kept.texture,
        texture_coefficients=None if basis is None else coefficients,
        **_lights_and_focals(shared, views),
        size_hw=views.first.size_hw,
        timestep_ids=views.first.timestep_ids,
        tracked=torch.from_numpy(views.detected.copy()),
        head_name=head.name,
        head_sha256=head.asset_sha256,
        gains=shared.gains if len(shared.gains) else None,
        rig=_rig(shared, views),
    )


def _rig(shared: SharedParameters, views: SequenceViews) -> tuple[RigCamera, ...]:
    """The cameras as they are known in the end."""
    if not len(shared.cameras):
        return views.rig
    return tuple(
        replace(view, camera=unpacked(values, view.camera.size_hw))
        for view, values in zip(views.rig, shared.cameras, strict=True)
    )


def _lights_and_focals(shared: SharedParameters, views: SequenceViews) -> dict[str, Any]:
    """Those of the longest group of frames, and those of each frame where there are several groups."""
    several = len(shared.light) > 1
    group = views.group if several else np.zeros(views.num_frames, np.int64)
    focals_px, main, index = shared.log_focal.exp(), longest(group), torch.from_numpy(group)
    return {
        "lights": shared.light[main],
        "focal_px": None if views.is_rig else float(focals_px[main]),
        "group": torch.from_numpy(views.group) if views.group.any() else None,
        "lights_per_frame": shared.light[index] if several else None,
        "focal_px_per_frame": focals_px[index] if several and not views.is_rig else None,
    }
