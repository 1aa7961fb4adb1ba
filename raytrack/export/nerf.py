"""A tracked sequence as a NeRF / Gaussian-avatar dataset in VHAP's layout, which nerfstudio reads as it is.

Frames without a face of their own are left out: `timestep_index` counts exported timesteps from 0,
`timestep_index_original` the frames of the recording, whether they were taken or not. Pictures are called
`<timestep>_<camera>.png`, where the camera is counted by its place in the rig.
"""

from collections.abc import Mapping
from pathlib import Path

from raytrack.export.config import BackgroundColor
from raytrack.export.documents import Frames, write_all_transforms
from raytrack.export.head_files import (
    ObjWriter,
    canonical_parameters,
    is_flame,
    parameter_arrays,
    parameter_kind,
    write_expression,
    write_parameters,
)
from raytrack.export.scene import Scene, ScenePicture, SceneView, Timestep
from raytrack.media.images import write_png


class NerfLayout:
    """`images/`, `fg_masks/`, and a parameter file per timestep; for heads that are not FLAME's also meshes."""

    def __init__(self, scene: Scene, *, with_meshes: bool | None = None) -> None:
        """Prepare what all timesteps share.

        Args:
            scene: What to write.
            with_meshes: Whether to write meshes; by default only those that no reader can pose by itself.
        """
        self._scene, self._config, self._head = scene, scene.config, scene.head
        self._kind = parameter_kind(scene.head)
        with_meshes = not is_flame(scene.head) if with_meshes is None else with_meshes
        self._meshes = ObjWriter(scene.head) if with_meshes else None

    def prepare(self, folder: Path) -> None:
        """Make the folders and write the canonical head."""
        names = ["images", "fg_masks", self._kind, *([] if self._meshes is None else ["meshes", "expressions"])]
        for name in names:
            (folder / name).mkdir()
        canonical = canonical_parameters(self._head, self._config.canonical_jaw_rad)
        arrays = parameter_arrays(self._scene.track, self._head, canonical)
        write_parameters(folder / f"canonical_{self._kind}.npz", arrays)
        if self._meshes is not None:
            self._meshes.write(folder / "canonical.obj", self._scene.canonical_vertices(canonical), uv=True)

    def write_timestep(self, folder: Path, step: Timestep) -> dict[str, str]:
        """Write parameters, mesh and expression."""
        paths = {f"{self._kind}_path": f"{self._kind}/{step.index:05d}.npz"}
        arrays = parameter_arrays(self._scene.track, self._head, step.parameters)
        write_parameters(folder / paths[f"{self._kind}_path"], arrays)
        if self._meshes is not None:
            paths |= {"mesh_path": f"meshes/{step.index:05d}.obj", "exp_path": f"expressions/{step.index:05d}.txt"}
            self._meshes.write(folder / paths["mesh_path"], step.vertices, uv=False)
            write_expression(folder / paths["exp_path"], step.parameters)
        return paths

    def write_picture(
        self,
        folder: Path,
        view: SceneView,
        step: Timestep,
        picture: ScenePicture,
        *,
        background: BackgroundColor | None = None,
    ) -> dict[str, str]:
        """Write the image over a background (by default the configuration's), and its mask."""
        name, compression = view.picture_name(step.index), self._config.png_compression
        paths = {"file_path": f"images/{name}", "fg_mask_path": f"fg_masks/{name}"}
        shown = picture.over(background or self._config.background_color)
        write_png(folder / paths["file_path"], shown, compression=compression)
        write_png(folder / paths["fg_mask_path"], picture.alpha, compression=compression)
        return {**paths, "mask_path": paths["fg_mask_path"]} if self._config.mask_path else paths

    def finish(self, folder: Path, frames: Frames, splits: Mapping[str, Frames]) -> None:
        """Write `transforms.json` and its splits."""
        write_all_transforms(folder, frames, splits)
