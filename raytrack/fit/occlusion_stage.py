"""The look for what stands before the head, over all pictures of a fit."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int

from raytrack.fit.albedo import AlbedoBasis, with_whole_texture
from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.groups import FrameGroups
from raytrack.fit.head_renderer import make_head_renderer, row_renderer
from raytrack.fit.occlusion import ErrorLevels, HiddenSpots, PictureErrors
from raytrack.fit.picture_cache import PictureCache
from raytrack.fit.pictures import Pictures
from raytrack.fit.schedule import OcclusionStage
from raytrack.fit.shared import SharedParameters
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Renderer

PICTURES_PER_LOOK = 256
"""Of one unit of a stage."""
PICTURES_FOR_LEVELS = 128
"""How large errors usually are is learnt from so many pictures, spread over the sequence."""


class OcclusionSearch:
    """Draws the head over pictures and compares. Holds nothing that changes."""

    def __init__(
        self,
        pictures: Pictures,
        head: HeadModel,
        renderer: Renderer,
        rows: torch.Tensor,
        shared: SharedParameters,
        groups: FrameGroups,
        levels: ErrorLevels | None = None,
    ) -> None:
        """Learn the usual errors.

        Args:
            pictures: Those to look at.
            head: The head model.
            renderer: On the CPU.
            rows: Packed parameters of every frame.
            shared: With the whole texture.
            groups: Which light and focal length each frame has.
            levels: The usual errors, where they are known; by default they are learnt from the pictures.
        """
        self._pictures, self._head, self._renderer = pictures, head, renderer
        self._rows, self._shared, self._groups = rows, shared, groups
        self.levels = self._learnt() if levels is None else levels

    def _learnt(self) -> ErrorLevels:
        pairs = self._pictures.pairs
        chosen = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), PICTURES_FOR_LEVELS)).round().astype(int))
        return ErrorLevels.create([self._errors(*pair)[0] for pair in pairs[chosen].tolist()], self._head)

    def look(self, pairs: Int[np.ndarray, "pictures 2"], found: HiddenSpots) -> tuple[HiddenSpots, list[float]]:
        """What is hidden in some pictures, added to what was found in others; and their mean colour errors.

        Args:
            pairs: (place of the view, timestep).
            found: In pictures before these.
        """
        means, parts = [], [found]
        for place, timestep in pairs.tolist():
            errors, mean = self._errors(place, timestep)
            hidden = self.levels.hidden(errors, self._pictures.row_views[place].frames.face_size_px)
            parts.append(HiddenSpots.none().with_picture(place, timestep, hidden))
            means.append(mean)
        return HiddenSpots.joined(parts), means

    @torch.no_grad()
    def _errors(self, place: int, timestep: int) -> tuple[PictureErrors, float]:
        frames, shared, renderer = self._pictures.row_views[place].frames, self._shared, self._renderer
        row = FrameParameters.unpack(self._rows[timestep : timestep + 1])
        vertices = self._head.vertices(row, shared.shape, shared.offset)
        light = shared.light_in(int(self._groups.light[timestep]), frames.place)
        focal_px = shared.log_focal[self._groups.focal[timestep]].exp()
        clip, target = frames.camera(focal_px, shared.cameras).clip(vertices), frames.targets([timestep])
        normals = renderer.vertex_normals(vertices)
        image, fragments = renderer.shade(clip, normals, shared.texture, light[None], target)
        mean = float((image - target).abs().sum() / (3 * fragments.coverage.sum().clamp_min(1)))
        face = fragments.face_index[0].numpy()
        return PictureErrors.create(image[0].numpy(), target[0].numpy(), face, frames.face_size_px), mean


class Looks:
    """Carries out the stages that look, unit by unit, and looks at single frames."""

    def __init__(
        self,
        pictures: PictureCache,
        head: HeadModel,
        config: TrackConfig,
        groups: FrameGroups,
        albedo_basis: AlbedoBasis | None,
    ) -> None:
        """Prepare a sequence.

        Args:
            pictures: Of the sequence.
            head: The head model.
            config: Renderer and threads.
            groups: Which light and focal length each frame has.
            albedo_basis: Where the texture has components.
        """
        self._pictures, self._head, self._config = pictures, head, config
        self._groups, self._albedo_basis = groups, albedo_basis
        self._search: tuple[int, OcclusionSearch] | None = None

    def num_units(self, stage: OcclusionStage, state: FitState) -> int:
        """How many units a stage has."""
        return -(-len(self._looked_at(stage, state)) // PICTURES_PER_LOOK)

    def run(self, stage: OcclusionStage, state: FitState, unit: int) -> FitState:
        """A unit of a stage, counted from 0."""
        if self._search is None or self._search[0] != state.stages_done:
            levels = None if stage.frames == "shared" else state.levels
            pictures = self._pictures.plain(state, stage.frames)
            self._search = state.stages_done, self._new_search(pictures, state, levels)
        search, pairs = self._search[1], self._looked_at(stage, state)
        shared_frames = self._pictures.shared_frames
        first = HiddenSpots.none() if stage.frames == "shared" else state.hidden.within(shared_frames)
        known = state.hidden if unit else first
        hidden, errors = search.look(pairs[unit * PICTURES_PER_LOOK : (unit + 1) * PICTURES_PER_LOOK], known)
        return replace(state, hidden=hidden, levels=search.levels, unit_errors=(*state.unit_errors, *errors))

    def at(self, state: FitState, frames: Bool[np.ndarray, " frames"]) -> FitState:
        """What stands before the head in some frames alone, by the levels that the state knows."""
        pictures = self._pictures.plain(state, "all")
        chosen = pictures.pairs[frames[pictures.pairs[:, 1]]]
        hidden, _ = self._new_search(pictures, state, state.levels).look(chosen, HiddenSpots.none())
        return replace(state, hidden=hidden)

    def _looked_at(self, stage: OcclusionStage, state: FitState) -> Int[np.ndarray, "pictures 2"]:
        pairs = self._pictures.plain(state, stage.frames).pairs
        return pairs if stage.frames == "shared" else pairs[~self._pictures.shared_frames[pairs[:, 1]]]

    def _new_search(self, pictures: Pictures, state: FitState, levels: ErrorLevels | None) -> OcclusionSearch:
        shared = with_whole_texture(state.shared, self._albedo_basis)
        renderer = make_head_renderer(self._head, row_renderer(self._config.renderer), self._config.num_threads)
        return OcclusionSearch(pictures, self._head, renderer, state.rows, shared, self._groups, levels)
