"""A tracked sequence as a NeRF / Gaussian-avatar dataset in VHAP's layout.

The head is moved so that its mean translation is the origin, and the camera with it. Frames without a face of their own
are left out: `timestep_index` counts exported frames from 0, `timestep_index_original` those of the input.
"""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.errors import InputError
from raytrack.export.cameras import intrinsics_record, world_from_camera_gl
from raytrack.export.config import BackgroundColor, ExportConfig
from raytrack.export.files import replaced_folder
from raytrack.export.head_files import (
    ObjWriter,
    canonical_parameters,
    centred_parameters,
    is_flame,
    parameter_arrays,
    parameter_kind,
    write_parameters,
)
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.fit.observation import ImageLoader
from raytrack.fit.track import Track
from raytrack.head.model import HeadModel
from raytrack.media.images import write_png

CAMERA_INDEX, CAMERA_ID = 0, "0"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What was written: one row of the `exports` table."""

    num_frames: int
    num_train: int
    num_test: int
    origin_m: tuple[float, float, float]
    """The point of the tracker's world that became the dataset's origin."""


def write_dataset(
    track: Track,
    head: HeadModel,
    folder: Path,
    config: ExportConfig,
    *,
    load_image: ImageLoader,
    load_alpha: ImageLoader | None,
    num_threads: int = 1,
) -> Dataset:
    """Write the dataset of one sequence, in place of what was in `folder`.

    Args:
        track: The track; frames where `tracked` is false are left out.
        head: The head it was tracked with.
        folder: The dataset's folder, such as `OUT/export/<sequence>`.
        config: Background, split and the like.
        load_image: Input frames, by their index in the track.
        load_alpha: Their mattes; None keeps everything above the neck line.
        num_threads: Timesteps written side by side; the files do not depend on it.

    Raises:
        InputError: No frame of the track has a face, or it was made with another head.
        OutputError: The folder cannot be written.
    """
    track.check_head(head)
    frames = torch.nonzero(track.tracked)[:, 0].tolist()
    if not frames:
        raise InputError("no frame of the sequence has a face: there is nothing to export")
    origin = track.parameters.translation[track.tracked].double().mean(dim=0).numpy()
    writer = _DatasetWriter(track, head, origin, config)

    with replaced_folder(folder) as temporary, ThreadPoolExecutor(num_threads) as pool:
        writer.prepare(temporary)

        def write(timestep: int, frame: int) -> dict[str, Any]:
            image = load_image(frame)
            matte = np.full(image.shape[:2], 255, np.uint8) if load_alpha is None else load_alpha(frame)
            return writer.write_timestep(temporary, timestep, frame, image, matte)

        # A fault cancels what has not begun.
        records = list(pool.map(write, range(len(frames)), frames))
        num_train = _write_transforms(temporary, track, frames, records, config)
    return Dataset(
        num_frames=len(frames),
        num_train=num_train,
        num_test=len(frames) - num_train,
        origin_m=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


class _DatasetWriter:
    """The parts of a dataset that all its timesteps share."""

    def __init__(self, track: Track, head: HeadModel, origin: Float[np.ndarray, "3"], config: ExportConfig) -> None:
        self._track, self._head, self._config = track, head, config
        self._kind = parameter_kind(head)
        self._parameters = centred_parameters(track, origin)
        self._neutral, self._joints = head.identity(track.shape)
        if track.static_offset is not None:
            self._neutral = self._neutral + track.static_offset[0]
        self._meshes = None if is_flame(head) else ObjWriter(head)
        self._neck_points = neck_line_points(head)
        self._origin = origin.astype(np.float32)
        self._view = {
            **intrinsics_record(track.camera),
            "transform_matrix": world_from_camera_gl(track.camera, origin).tolist(),
        }

    def prepare(self, folder: Path) -> None:
        """Make the folders and write what belongs to no timestep."""
        names = ["images", "fg_masks", self._kind, *([] if self._meshes is None else ["meshes", "expressions"])]
        for name in names:
            (folder / name).mkdir()
        canonical = canonical_parameters(self._head, self._config.canonical_jaw_rad)
        arrays = parameter_arrays(self._track, self._head, canonical)
        write_parameters(folder / f"canonical_{self._kind}.npz", arrays)
        if self._meshes is not None:
            vertices = self._head.pose(self._neutral, self._joints, canonical)[0].numpy()
            self._meshes.write(folder / "canonical.obj", vertices, uv=True)

    def write_timestep(
        self, folder: Path, timestep: int, frame: int, image: np.ndarray, matte: np.ndarray
    ) -> dict[str, Any]:
        """Write the files of one timestep; its record for `transforms.json`. Several threads may call this at once."""
        picture = f"{timestep:05d}_{CAMERA_INDEX:02d}.png"
        parameters = self._parameters.select([frame])
        vertices = self._head.pose(self._neutral, self._joints, parameters)[0].numpy()
        neck_mask = projected_neck_line_mask(
            vertices + self._origin, self._neck_points, self._track.camera, fade=self._config.neck_fade
        )
        alpha = np.round(matte * neck_mask).astype(np.uint8)
        shown = composited(image, alpha, self._config.background_color)
        compression = self._config.png_compression
        write_png(folder / "images" / picture, shown, compression=compression)
        write_png(folder / "fg_masks" / picture, alpha, compression=compression)
        arrays = parameter_arrays(self._track, self._head, parameters)
        write_parameters(folder / self._kind / f"{timestep:05d}.npz", arrays)
        paths = {
            "file_path": f"images/{picture}",
            "fg_mask_path": f"fg_masks/{picture}",
            f"{self._kind}_path": f"{self._kind}/{timestep:05d}.npz",
        }
        if self._meshes is not None:
            paths |= {"mesh_path": f"meshes/{timestep:05d}.obj", "exp_path": f"expressions/{timestep:05d}.txt"}
            self._meshes.write(folder / paths["mesh_path"], vertices, uv=False)
            coefficients = "".join(f"{value:.6f}\n" for value in parameters.expression[0].tolist())
            (folder / paths["exp_path"]).write_text(coefficients, encoding="ascii", newline="\n")
        return {
            "timestep_index": timestep,
            "timestep_index_original": frame,
            "timestep_id": self._track.timestep_ids[frame],
            "camera_index": CAMERA_INDEX,
            "camera_id": CAMERA_ID,
            **self._view,
            **paths,
        }


def composited(
    image: UInt8[np.ndarray, "height width 3"], alpha: UInt8[np.ndarray, "height width"], background: BackgroundColor
) -> UInt8[np.ndarray, "height width channels"]:
    """The image over white or black, or with its alpha as a fourth channel (colours not premultiplied)."""
    if background == "transparent":
        return np.concatenate([image, alpha[..., None]], axis=-1)
    weight = alpha[..., None].astype(np.float32) / 255
    level = 255.0 if background == "white" else 0.0
    return np.round(image * weight + level * (1 - weight)).astype(np.uint8)


def num_train_timesteps(num_timesteps: int, test_fraction: float) -> int:
    """How many of the first timesteps train; rounded up, so that one frame alone trains."""
    return math.ceil(round((1 - test_fraction) * num_timesteps, 6))


def _write_transforms(
    folder: Path, track: Track, frames: list[int], records: list[dict[str, Any]], config: ExportConfig
) -> int:
    """Write `transforms.json` and its splits; the number of training timesteps. One camera leaves `val` empty."""
    num_train = num_train_timesteps(len(frames), config.test_fraction)
    splits = {"": records, "_train": records[:num_train], "_val": [], "_test": records[num_train:]}
    for suffix, chosen in splits.items():
        document = {
            **intrinsics_record(track.camera),
            "timestep_indices": [record["timestep_index"] for record in chosen],
            "camera_indices": [CAMERA_INDEX] if chosen else [],
            "frames": chosen,
        }
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        (folder / f"transforms{suffix}.json").write_text(text, encoding="utf-8", newline="\n")
    return num_train
