"""Writing a dataset of any format: its timesteps side by side, then the lists of its frames."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from raytrack.export.documents import Frames
from raytrack.export.files import replaced_folder
from raytrack.export.scene import Scene, ScenePicture, SceneView, Timestep
from raytrack.export.splits import num_train_timesteps, split_frames


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What was written: one row of the `exports` table."""

    num_frames: int
    """Pictures, of all cameras."""
    num_train: int
    num_val: int
    num_test: int
    num_timesteps: int
    origin_m: tuple[float, float, float] | None
    """The point of the tracker's world that became the dataset's origin; None where the origin moves with the head."""


@runtime_checkable
class DatasetLayout(Protocol):
    """The files of a format. Several threads write at once."""

    def prepare(self, folder: Path) -> None:
        """Make the folders and write what belongs to no timestep."""
        ...

    def write_timestep(self, folder: Path, step: Timestep) -> dict[str, str]:
        """Write what all cameras of a timestep share; the files by key of a frame."""
        ...

    def write_picture(self, folder: Path, view: SceneView, step: Timestep, picture: ScenePicture) -> dict[str, str]:
        """Write what one camera shows at a timestep; the files by key of a frame."""
        ...

    def finish(self, folder: Path, frames: Frames, splits: Mapping[str, Frames]) -> None:
        """Write what lists the frames: all, and those of `train`, `val` and `test`."""
        ...


def write_layout(scene: Scene, layout: DatasetLayout, folder: Path, *, num_threads: int) -> Dataset:
    """Write a sequence's dataset in place of what was in `folder`. The files do not depend on the number of threads.

    Raises:
        OutputError: The folder cannot be written.
    """
    with replaced_folder(folder) as temporary, ThreadPoolExecutor(num_threads) as pool:
        layout.prepare(temporary)

        def write(index: int) -> list[dict[str, Any]]:
            step = scene.timestep(index)
            shared = layout.write_timestep(temporary, step)
            records = []
            for view in scene.views:
                own = layout.write_picture(temporary, view, step, scene.picture(view, step))
                records.append({**scene.record(view, step), **own, **shared})
            return records

        # A fault cancels what has not begun.
        frames = [record for records in pool.map(write, range(len(scene.frames))) for record in records]
        num_train = num_train_timesteps(len(scene.frames), scene.config.test_fraction)
        splits = split_frames(frames, num_train)
        layout.finish(temporary, frames, splits)
    return Dataset(
        num_frames=len(frames),
        num_train=len(splits["train"]),
        num_val=len(splits["val"]),
        num_test=len(splits["test"]),
        num_timesteps=len(scene.frames),
        origin_m=scene.world.origin_m,
    )
