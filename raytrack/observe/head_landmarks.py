"""Find the Face Mesh landmarks of a head by looking at a picture of it."""

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.geometry.closest import SurfacePoints
from raytrack.geometry.harmonics import white_light
from raytrack.head.landmarks import SeenLandmarks
from raytrack.head.model import HeadModel
from raytrack.observe.facemesh import FaceMesh
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

PICTURE_PX = 640
_FACE_PX = 300
_DISTANCE_M = 1.0
_BACKGROUND = 0.75


def landmarks_seen(head: HeadModel, plain: bool) -> SeenLandmarks | None:
    """Face Mesh landmarks of the resting head, seen from the front.

    Args:
        head: Its region `face` says where to look.
        plain: Draw it in grey, whatever its albedo.

    Returns:
        None where no face is found in the picture.
    """
    camera = frontal_camera(head)
    picture, face_index, barycentric = portrait(head, camera, plain=plain)
    faces = FaceMesh(max_faces=1).observe(picture)
    if not faces:
        return None
    landmarks = faces[0].landmarks
    columns, rows = np.clip(np.floor(landmarks).astype(int), 0, PICTURE_PX - 1).T
    index = face_index[rows, columns]
    first_two = barycentric[rows, columns]
    weights = np.concatenate([first_two, 1 - first_two.sum(axis=1, keepdims=True)], axis=1)
    points = SurfacePoints(faces=np.maximum(index, 0), barycentric=weights)
    return SeenLandmarks(points=points, found=index >= 0)


def frontal_camera(head: HeadModel) -> Camera:
    """A camera at 1 m in front of the face, which it shows `_FACE_PX` high."""
    face = head.template[head.region("face")]
    low, high = face.min(dim=0).values, face.max(dim=0).values
    centre = (low + high) / 2
    camera = monocular_camera(_FACE_PX * _DISTANCE_M / (high - low)[1], (PICTURE_PX, PICTURE_PX))
    away = camera.cam_from_world[:, :3] @ torch.stack([centre[0], centre[1], high[2]])
    shift = torch.tensor([0.0, 0.0, _DISTANCE_M]) - away
    pose = torch.cat([camera.cam_from_world[:, :3], shift[:, None]], dim=1)
    return Camera(intrinsics=camera.intrinsics, cam_from_world=pose, size_hw=camera.size_hw)


@torch.no_grad()
def portrait(
    head: HeadModel, camera: Camera, *, plain: bool = False
) -> tuple[UInt8[np.ndarray, "height width 3"], np.ndarray, Float[np.ndarray, "height width 2"]]:
    """The resting head under a light from above: picture (RGB), face of each pixel (−1: none), and barycentrics."""
    shape = head.topology()
    renderer = make_renderer(
        "numba",
        Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices),
        num_threads=1,
    )
    light = white_light()
    light[0] *= 0.75
    light[2] = 0.35
    light[3] = 0.45
    vertices = head.template[None]
    albedo = torch.full((16, 16, 3), 0.62) if plain else head.albedo
    clip = camera.clip(vertices)
    background = torch.full((1, *camera.size_hw, 3), _BACKGROUND)
    shaded, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), albedo, light[None], background)
    color = renderer.antialias(shaded, clip, fragments)[0]
    picture = (color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return picture, fragments.face_index[0].numpy(), fragments.barycentric[0].numpy()
