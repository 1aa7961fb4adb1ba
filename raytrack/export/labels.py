"""What each pixel of a dataset's picture shows of the head: depth, and labels as face parsers give them."""

import threading

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from raytrack.export.scene import Scene, SceneView, Timestep
from raytrack.fit.head_renderer import make_head_renderer
from raytrack.head.model import HeadModel
from raytrack.render.protocol import Renderer

LABELS = {
    "skin": 1,
    "left_eye_region": 1,
    "right_eye_region": 1,
    "left_eyeball": 4,
    "right_eyeball": 5,
    "left_ear": 7,
    "right_ear": 8,
    "nose": 10,
    "mouth_interior": 11,
    "teeth": 11,
    "tongue": 11,
    "lips": 12,
    "neck": 14,
    "bust": 16,
    "hair": 17,
}
"""Label of each region of a head, numbered as in CelebAMask-HQ, the later ones over the earlier. That tells both lips
apart and the brows from the skin, we do not."""


class HeadPictures:
    """Draws depth and labels of a scene. Several threads may ask at once."""

    def __init__(self, scene: Scene) -> None:
        self._head = scene.head
        self._label_of_face = label_of_face(scene.head)
        self._own = threading.local()

    def draw(
        self, view: SceneView, step: Timestep
    ) -> tuple[Float[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
        """Depth along the camera's axis in metres, and labels; 0 where the head is not."""
        vertices, camera = torch.from_numpy(step.vertices_world)[None], view.camera(step.frame)
        with torch.no_grad():
            renderer = self._renderer()
            fragments = renderer.rasterize(camera.clip(vertices), camera.size_hw)
            depth = renderer.interpolate(camera.cam_points(vertices)[..., 2:], fragments)
        face_index: Int[np.ndarray, "height width"] = fragments.face_index[0].numpy()
        # Index −1 picks the last entry, which stands for "nothing".
        return depth[0, ..., 0].numpy(), self._label_of_face[face_index]

    def _renderer(self) -> Renderer:
        """The thread's own: a renderer serves one."""
        if not hasattr(self._own, "renderer"):
            self._own.renderer = make_head_renderer(self._head)
        return self._own.renderer


def label_of_face(head: HeadModel) -> UInt8[np.ndarray, " faces_and_nothing"]:
    """Label of each face, skin where no region is known, with 0 appended for pixels without a face."""
    labels = np.ones(len(head.faces) + 1, np.uint8)
    labels[-1] = 0
    for name, label in LABELS.items():
        if name in head.regions:
            labels[:-1][head.face_region(name).numpy()] = label
    return labels
