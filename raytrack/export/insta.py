"""A tracked sequence as INSTA reads it, which is built on instant-ngp.

Beside what `raytrack.export.nerf` writes, every frame has the mesh's depth (16 bits, millimetres, 0 where there is
none) and labels of what each pixel shows, numbered as in CelebAMask-HQ. Images always carry their alpha; whatever
background is wanted, the reader puts behind them.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8, UInt16

from raytrack.export.cameras import intrinsics_record
from raytrack.export.config import ExportConfig
from raytrack.export.layout import Dataset, write_layout
from raytrack.export.nerf import NerfLayout
from raytrack.export.scene import Scene, ScenePicture, SceneView, Timestep
from raytrack.fit.head_renderer import make_head_renderer
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.media.files import replaced_file
from raytrack.media.images import write_png
from raytrack.render.protocol import Renderer

DEPTH_STEP_M = 1 / 1000
SCALE, OFFSET, AABB_SCALE = 2.0, (0.5, 0.5, 0.5), 2
"""instant-ngp's cube: ``scale * metres + offset``, from 0 to 1 and `aabb_scale` times as large: half a metre about the
origin."""
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
"""Label of each region of a head, the later ones over the earlier. CelebAMask-HQ tells both lips apart, we do not."""


def write_insta(
    track: Track,
    head: HeadModel,
    folder: Path,
    config: ExportConfig,
    *,
    views: Sequence[SequenceObservation],
    num_threads: int = 1,
) -> Dataset:
    """Write the dataset of one sequence, in place of what was in `folder`; see `raytrack.export.nerf.write_dataset`.

    Raises:
        InputError: What `write_dataset` raises.
        OutputError: The folder cannot be written.
        ValueError: The views are not those of the track's cameras.
    """
    scene = Scene(track, head, config, views, head_centric=bool(config.head_centric))
    return write_layout(scene, InstaLayout(scene), folder, num_threads=num_threads)


class InstaLayout:
    """`images/` with alpha, `depth/`, `seg_mask/`, meshes and expressions, and parameters as in other datasets."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._files = scene, NerfLayout(scene, with_meshes=True)
        self._label_of_face = label_of_face(scene.head)
        self._own = threading.local()

    @property
    def top_level(self) -> Mapping[str, Any]:
        """Depth's unit, instant-ngp's cube, and fields of view in degrees where there is but one camera."""
        shared = {
            "integer_depth_scale": DEPTH_STEP_M,
            "aabb_scale": AABB_SCALE,
            "scale": SCALE,
            "offset": list(OFFSET),
        }
        first, *others = self._scene.views
        if others:
            return shared
        angles = intrinsics_record(first.camera)
        fields_of_view = {f"{axis}_fov": math.degrees(angles[f"camera_angle_{axis}"]) for axis in "xy"}
        return {**fields_of_view, **shared}

    def prepare(self, folder: Path) -> None:
        """Make the folders and write the canonical head."""
        self._files.prepare(folder)
        for name in ("depth", "seg_mask"):
            (folder / name).mkdir()

    def write_timestep(self, folder: Path, step: Timestep) -> dict[str, str]:
        """Write parameters, mesh and expression."""
        return self._files.write_timestep(folder, step)

    def write_picture(self, folder: Path, view: SceneView, step: Timestep, picture: ScenePicture) -> dict[str, str]:
        """Write image, mask, depth and labels."""
        paths = self._files.write_picture(folder, view, step, picture, background="transparent")
        name, compression = view.picture_name(step.index), self._scene.config.png_compression
        paths |= {"depth_path": f"depth/{name}", "seg_mask_path": f"seg_mask/{name}"}
        depth_m, face_index = self._drawn(view, step)
        shown = picture.alpha > 0
        write_depth(folder / paths["depth_path"], np.where(shown, depth_m, 0), compression=compression)
        # Index −1 picks the last entry, which stands for "nothing".
        labels = np.where(shown, self._label_of_face[face_index], 0).astype(np.uint8)
        write_png(folder / paths["seg_mask_path"], labels, compression=compression)
        return paths

    @torch.no_grad()
    def _drawn(
        self, view: SceneView, step: Timestep
    ) -> tuple[Float[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
        """Depth along the camera's axis in metres (0: nothing), and the face at each pixel (−1: nothing)."""
        if not hasattr(self._own, "renderer"):
            # A renderer serves one thread.
            self._own.renderer = make_head_renderer(self._scene.head)
        renderer: Renderer = self._own.renderer
        vertices = torch.from_numpy(step.vertices_world)[None]
        fragments = renderer.rasterize(view.camera.clip(vertices), view.camera.size_hw)
        depth = renderer.interpolate(view.camera.cam_points(vertices)[..., 2:], fragments)
        return depth[0, ..., 0].numpy(), fragments.face_index[0].numpy()


def write_depth(path: Path, depth_m: Float[np.ndarray, "height width"], *, compression: int) -> None:
    """Write depths as 16-bit PNG in steps of `DEPTH_STEP_M`.

    Raises:
        OutputError: The file cannot be written.
    """
    steps: UInt16[np.ndarray, "height width"] = np.clip(np.round(depth_m / DEPTH_STEP_M), 0, 65535).astype(np.uint16)
    _, encoded = cv2.imencode(".png", steps, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    with replaced_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def label_of_face(head: HeadModel) -> UInt8[np.ndarray, " faces_and_nothing"]:
    """Label of each face, skin where no region is known, with 0 appended for pixels without a face."""
    labels = np.ones(len(head.faces) + 1, np.uint8)
    labels[-1] = 0
    for name, label in LABELS.items():
        if name in head.regions:
            labels[:-1][head.face_region(name).numpy()] = label
    return labels
