"""A tracked sequence as a NeRF / Gaussian-avatar dataset in VHAP's layout, which nerfstudio reads as it is.

Frames without a face of their own are left out: `timestep_index` counts exported timesteps from 0,
`timestep_index_original` the frames of the recording, whether they were taken or not. Pictures are called
`<timestep>_<camera>.png`, where the camera is counted by its place in the rig.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from raytrack.export.config import BackgroundColor, ExportConfig
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
from raytrack.export.layout import Dataset, write_layout
from raytrack.export.scene import Scene, ScenePicture, SceneView, Timestep
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.media.images import write_png


def write_dataset(
    track: Track,
    head: HeadModel,
    folder: Path,
    config: ExportConfig,
    *,
    views: Sequence[SequenceObservation],
    num_threads: int = 1,
) -> Dataset:
    """Write the dataset of one sequence, in place of what was in `folder`.

    Args:
        track: The track; frames where `tracked` is false are left out.
        head: The head it was tracked with.
        folder: The dataset's folder, such as `OUT/export/<sequence>`.
        config: Background, split and the like.
        views: Pictures and mattes as each of the track's cameras saw them, in the track's order. Without mattes
            everything above the neck line is kept.
        num_threads: Timesteps written side by side; the files do not depend on it.

    Raises:
        InputError: No frame of the track has a face, it was made with another head, or does not know the world that is
            asked for.
        OutputError: The folder cannot be written.
        ValueError: The views are not those of the track's cameras.
    """
    scene = Scene(track, head, config, views, head_centric=bool(config.head_centric))
    return write_layout(scene, NerfLayout(scene), folder, num_threads=num_threads)


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
