"""Drawing a finished track over its input frames, at their full size."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from raytrack.fit.head_renderer import make_head_renderer
from raytrack.fit.track import Track
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.head.regions import PERTURBATION_REGIONS
from raytrack.render.registry import RendererName

PAINTED_REGIONS = PERTURBATION_REGIONS
"""What the values of `Painted.region_index` stand for."""


@dataclass(frozen=True, kw_only=True)
class Painted:
    """One frame as the track explains it."""

    color: UInt8[np.ndarray, "height width 3"]
    """The anti-aliased render over the input frame, RGB."""
    mask: Bool[np.ndarray, "height width"]
    """Pixels whose centre the head covers."""
    normals: Float[np.ndarray, "height width 3"]
    """Unit surface normals in world axes; 0 where nothing is covered."""
    region_index: Int[np.ndarray, "height width"]
    """Index into `PAINTED_REGIONS`; −1 where nothing, or no region, is covered."""
    face_index: Int[np.ndarray, "height width"]
    """The face that each pixel shows; −1 where nothing is covered."""
    landmarks_px: Float[np.ndarray, "points 2"]
    """The head's landmarks, those that the painter was made for, projected."""
    vertices: Float[np.ndarray, "vertices 3"]
    """World vertices, metres."""


class FramePainter:
    """Draws frames of one track.

    What `paint` returns depends on the track and the frame alone, so frames may be drawn in any order, by any number of
    painters; one painter serves one thread at a time.
    """

    def __init__(
        self,
        track: Track,
        head: HeadModel,
        renderer_name: RendererName = "auto",
        num_threads: int = 1,
        landmarks: str = "facemesh",
        view: int = 0,
    ) -> None:
        """Prepare what all frames share.

        Args:
            track: The track to draw.
            head: The head it was tracked with.
            renderer_name: One of `raytrack.render.registry`'s back ends.
            num_threads: Threads of a CPU back end; the result does not depend on it.
            landmarks: Which of the head's landmarks to project.
            view: Which of the track's cameras to draw for, counted among those it has.

        Raises:
            InputError: The track was made with another head.
        """
        track.check_head(head)
        self._track, self._head, self._landmarks = track, head, landmarks
        self._view = view
        self._renderer = make_head_renderer(head, renderer_name, num_threads)
        self._device = "cuda" if self._renderer.name == "nvdiffrast" else "cpu"
        self._neutral, self._joints = head.identity(track.shape)
        if track.static_offset is not None:
            self._neutral = self._neutral + track.static_offset[0]
        self._region_of_face = _region_of_face(head)

    def camera(self, index: int) -> Camera:
        """The camera that a frame is drawn with, at the input's size."""
        return self._track.camera_at(index, self._view)

    def vertices(self, index: int) -> Float[torch.Tensor, "vertices 3"]:
        """World vertices of a frame, metres."""
        with torch.no_grad():
            return self._head.pose(self._neutral, self._joints, self._track.parameters.select([index]))[0]

    def landmarks_px(self, index: int) -> Float[np.ndarray, "points 2"]:
        """Projected landmarks of a frame, without drawing it."""
        return self._projected(self.camera(index), self.vertices(index))

    def _projected(self, camera: Camera, vertices: Float[torch.Tensor, "vertices 3"]) -> Float[np.ndarray, "points 2"]:
        return camera.project(self._head.landmarks_world(vertices, self._landmarks)).numpy()

    @torch.no_grad()
    def paint(self, index: int, image: UInt8[np.ndarray, "height width 3"]) -> Painted:
        """Draw one frame.

        Args:
            index: The frame, from 0.
            image: The input frame, RGB, of the camera's size.

        Raises:
            ValueError: The image has another size.
        """
        renderer, camera, vertices = self._renderer, self.camera(index), self.vertices(index)
        if image.shape[:2] != camera.size_hw:
            raise ValueError(f"frame {index} is {image.shape[:2]} (h, w), the camera {camera.size_hw}")
        landmarks_px = self._projected(camera, vertices)
        clip, drawn_vertices, texture, lights, background = (
            tensor.to(self._device)
            for tensor in (
                camera.clip(vertices[None]),
                vertices[None],
                self._track.texture,
                self._track.light_at(index, self._view)[None],
                torch.from_numpy(image)[None].float() / 255,
            )
        )
        normals = renderer.vertex_normals(drawn_vertices)
        shaded, fragments = renderer.shade(clip, normals, texture, lights, background)
        color = renderer.antialias(shaded, clip, fragments)[0]
        face_index = fragments.face_index[0].cpu().numpy()
        return Painted(
            color=(color.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy(),
            mask=face_index >= 0,
            normals=torch.nn.functional.normalize(renderer.interpolate(normals, fragments)[0], dim=-1).cpu().numpy(),
            # Index −1 picks the last entry, which stands for "nothing".
            region_index=self._region_of_face[face_index],
            face_index=face_index,
            landmarks_px=landmarks_px,
            vertices=vertices.numpy(),
        )


def _region_of_face(head: HeadModel) -> Int[np.ndarray, " faces_and_nothing"]:
    """Region of each face, with −1 appended for pixels without a face; later regions win."""
    regions = np.full(len(head.faces) + 1, -1, np.int8)
    for index, name in enumerate(PAINTED_REGIONS):
        regions[:-1][head.face_region(name).numpy()] = index
    return regions
