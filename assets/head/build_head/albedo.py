"""Procedural base albedo (sRGB), painted per texel from positions on the mean head. No photographs."""

import numpy as np
from scipy import ndimage

from .anatomy import Anatomy
from .brows import brow_texels
from .brushes import step
from .head_map import vertex_normals
from .paint_parts import paint_eyeball, paint_mouth, paint_teeth, paint_tongue
from .paint_skin import CORNER, paint_skin
from .regions import Surface
from .render import View, rasterize
from .texels import LipMask, Texels, make_texels, subset
from .uv import Atlas

OCCLUSION_VIEWS = 96
BROW_SEED, EYE_SEED = 31, 41


def ambient_occlusion(surface: Surface) -> np.ndarray:
    """Share of the sky each vertex sees, 0…1, from depth pictures of many directions."""
    normals = vertex_normals(surface.vertices, surface.faces)
    seen, total = np.zeros(len(normals)), np.full(len(normals), 1e-9)
    centre = tuple(surface.vertices.mean(axis=0))
    golden = np.pi * (3 - np.sqrt(5))
    for k in range(OCCLUSION_VIEWS):
        pitch = np.degrees(np.arcsin(1 - 2 * (k + 0.5) / OCCLUSION_VIEWS))
        view = View(
            size_hw=(420, 420),
            yaw_deg=np.degrees(k * golden) % 360,
            pitch_deg=pitch,
            centre=centre,
            px_per_m=1250,
            distance_m=50,
        )
        projected = view.project(surface.vertices)
        depth, _, _ = rasterize(projected, surface.faces.astype(np.int64), *view.size_hw)
        pixel = np.clip(projected[:, [1, 0]].astype(int), 0, 419)
        facing = np.maximum((normals @ view.rotation.T)[:, 2], 0)
        visible = projected[:, 2] > depth[pixel[:, 0], pixel[:, 1]] - 0.0035
        seen += facing * visible
        total += facing
    return seen / total


def landmarks_for_painting(anatomy: Anatomy, texels: Texels) -> dict:
    """Places that the skin's painters refer to."""
    regions, vertices = anatomy.regions, anatomy.surface.vertices
    ears = regions["left_ear"] | regions["right_ear"]
    return {
        "eyes": anatomy.eye_centres,
        "eye_radius": anatomy.eye_radius,
        "mouth": mouth_centre(vertices, regions),
        "nose": vertices[regions["nose"]][vertices[regions["nose"], 2].argmax()],
        "ear_mask": ears,
        "ear_texels": step(texels.of(ears.astype(float)), 0.2, 0.8),
        "ear_depth": vertices[ears, 2].mean(),
        "nape_height": vertices[ears, 1].min() - 0.018,
    }


def paint(anatomy: Anatomy, atlas: Atlas, lip_mask: LipMask, size: int = 1024) -> np.ndarray:
    """The atlas picture (size, size, 3), sRGB 0…1, islands bled outwards by nearest colour."""
    texels = make_texels(anatomy.surface, atlas, size)
    points = landmarks_for_painting(anatomy, texels)
    occlusion = texels.of(ambient_occlusion(anatomy.surface))
    brows = brow_texels(texels, anatomy.eye_centres, seed=BROW_SEED)
    colour = paint_skin(texels, points, occlusion=occlusion, lips=lip_mask.of(texels), brows=brows)
    for k, side in enumerate(("left", "right")):
        eyeball, socket = texels.part == f"{side}_eyeball", texels.part == f"{side}_socket"
        colour[eyeball] = paint_eyeball(subset(texels, eyeball), anatomy.eye_centres[k], EYE_SEED + 10 * k)
        colour[socket] = CORNER * 0.85
    mouth, tongue = texels.part == "mouth_interior", texels.part == "tongue"
    colour[mouth] = paint_mouth(subset(texels, mouth), points["mouth"])
    colour[tongue] = paint_tongue(subset(texels, tongue))
    for name, upwards in (("teeth_upper", True), ("teeth_lower", False)):
        teeth = texels.part == name
        colour[teeth] = paint_teeth(subset(texels, teeth), upwards)
    picture = np.zeros((size, size, 3))
    picture[texels.where] = np.clip(colour, 0, 1)
    empty = np.ones((size, size), bool)
    empty[texels.where] = False
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return picture[tuple(nearest)]


def mouth_centre(vertices: np.ndarray, regions: dict) -> np.ndarray:
    """Middle of the vermilion, at its foremost depth."""
    lips = vertices[regions["lips_tight"]]
    return np.array([0.0, lips[:, 1].mean(), np.percentile(lips[:, 2], 95)])
