"""A tracked sequence as INSTA reads it, which is built on instant-ngp.

Beside what `raytrack.export.nerf` writes, every frame has the mesh's depth (16 bits, millimetres, 0 where there is
none) and labels of what each pixel shows (`raytrack.export.labels`). Images always carry their alpha; whatever
background is wanted, the reader puts behind them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt16

from raytrack.export.cameras import intrinsics_record
from raytrack.export.documents import Frames, write_all_transforms
from raytrack.export.labels import HeadPictures
from raytrack.export.nerf import NerfLayout
from raytrack.export.scene import Scene, ScenePicture, SceneView, Timestep
from raytrack.media.files import replaced_file
from raytrack.media.images import write_png

DEPTH_STEP_M = 1 / 1000
SCALE, OFFSET, AABB_SCALE = 2.0, (0.5, 0.5, 0.5), 2
"""instant-ngp's cube: ``scale * metres + offset``, from 0 to 1 and `aabb_scale` times as large: half a metre about the
origin."""


class InstaLayout:
    """`images/` with alpha, `depth/`, `seg_mask/`, meshes and expressions, and parameters as in other datasets."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._files = scene, NerfLayout(scene, with_meshes=True)
        self._pictures = HeadPictures(scene)

    def top_level(self) -> dict[str, Any]:
        """Depth's unit, instant-ngp's cube, and fields of view in degrees where there is but one camera and lens."""
        shared = {
            "integer_depth_scale": DEPTH_STEP_M,
            "aabb_scale": AABB_SCALE,
            "scale": SCALE,
            "offset": list(OFFSET),
        }
        first, *others = self._scene.views
        if others or len(first.cameras) > 1:
            return shared
        angles = intrinsics_record(first.camera(0))
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
        depth_m, labels = self._pictures.draw(view, step)
        shown = picture.alpha > 0
        write_depth(folder / paths["depth_path"], depth_m * shown, compression=compression)
        write_png(folder / paths["seg_mask_path"], labels * shown, compression=compression)
        return paths

    def finish(self, folder: Path, frames: Frames, splits: Mapping[str, Frames]) -> None:
        """Write `transforms.json` and its splits."""
        write_all_transforms(folder, frames, splits, self.top_level())


def write_depth(path: Path, depth_m: Float[np.ndarray, "height width"], *, compression: int) -> None:
    """Write depths as 16-bit PNG in steps of `DEPTH_STEP_M`.

    Raises:
        OutputError: The file cannot be written.
    """
    steps: UInt16[np.ndarray, "height width"] = np.clip(np.round(depth_m / DEPTH_STEP_M), 0, 65535).astype(np.uint16)
    _, encoded = cv2.imencode(".png", steps, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    with replaced_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
