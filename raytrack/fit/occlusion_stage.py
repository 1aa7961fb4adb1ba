"""The look for what stands before the head, over all pictures of a fit."""

import numpy as np
import torch
from jaxtyping import Int

from raytrack.fit.groups import FrameGroups
from raytrack.fit.occlusion import ErrorLevels, HiddenSpots, PictureErrors
from raytrack.fit.pictures import Pictures
from raytrack.fit.shared import SharedParameters
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.render.protocol import Renderer

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
