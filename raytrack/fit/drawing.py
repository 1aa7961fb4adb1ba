"""A posed head drawn over a picture, and what of the head takes part when both are compared."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from raytrack.fit.shared import SharedParameters
from raytrack.fit.surface_jacobian import PosedSurface
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.render.protocol import Fragments, Renderer

_FINE_REGIONS = ("eyeballs", "eyelids", "lips", "mouth_interior", "teeth", "tongue")


@dataclass(frozen=True, kw_only=True)
class SurfaceMasks:
    """What of a head takes part, as arrays."""

    faces: np.ndarray
    landmark_corners: np.ndarray
    landmark_barycentric: np.ndarray
    ignored_faces: Bool[np.ndarray, " faces"]
    """Faces that colours are not aligned to."""
    ignored_outline: Bool[np.ndarray, " vertices"]
    """Vertices whose silhouettes are not aligned to the matte."""
    fine_faces: Bool[np.ndarray, " faces"]
    """Eyes and mouth: small in pictures, and of their pixels more are taken (`raytrack.fit.pixel_samples`)."""
    eyeball_faces: Bool[np.ndarray, " faces"]

    @classmethod
    def create(
        cls, head: HeadModel, embedding: str, ignored_faces: np.ndarray, ignored_outline: np.ndarray
    ) -> "SurfaceMasks":
        """Of a head with one set of landmarks."""
        points = head.landmarks[embedding]
        return cls(
            faces=head.faces.numpy(),
            landmark_corners=head.faces[points.faces].numpy(),
            landmark_barycentric=points.barycentric.float().numpy(),
            ignored_faces=ignored_faces,
            ignored_outline=ignored_outline,
            fine_faces=np.any([head.face_region(name).numpy() for name in _FINE_REGIONS], axis=0),
            eyeball_faces=head.face_region("eyeballs").numpy(),
        )


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One render of one view of one frame."""

    image: np.ndarray
    target: np.ndarray
    clip: Tensor
    fragments: Fragments
    renderer: Renderer
    num_covered: int
    mean_error: float
    """Mean absolute colour error over the covered pixels."""


@torch.no_grad()
def draw(
    renderer: Renderer,
    camera: Camera,
    surface: PosedSurface,
    shared: SharedParameters,
    target: Tensor,
    light: Tensor | None = None,
) -> Drawing:
    """Render a posed head over a picture (1, h, w, 3), in a light (9, 3): by default the first there is."""
    world = torch.from_numpy(surface.world)[None]
    clip = camera.clip(world)
    lights = (shared.light[0] if light is None else light)[None]
    image, fragments = renderer.shade(clip, renderer.vertex_normals(world), shared.texture, lights, target)
    image = renderer.antialias(image, clip, fragments)
    num_covered = int(fragments.coverage.sum())
    error = float((image - target).abs().sum()) / (3 * num_covered) if num_covered else float("inf")
    return Drawing(image=image[0].numpy(), target=target[0].numpy(), clip=clip, fragments=fragments, renderer=renderer,
                   num_covered=max(num_covered, 1), mean_error=error)  # fmt: skip
