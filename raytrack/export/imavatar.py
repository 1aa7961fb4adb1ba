"""A tracked sequence of a FLAME head as IMavatar, PointAvatar and SplattingAvatar read it.

These know one camera, with intrinsics in shares of the picture and a negative first focal length, for they look along
−z. They pose FLAME without translation and four times as large; where the head is, is the camera's to say. Of FLAME
they take the first 100 shape and the first 50 expression coefficients and no offsets: what a track explains by the
others is lost.

`image/<n>.png`, `mask/<n>.png` and `semantic/<n>.png` (`raytrack.export.labels`) count from 1; `flame_params.json`
lists all frames, `flame_params_train.json` and `flame_params_test.json` those that train and test.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raytrack.export.documents import Frames
from raytrack.export.labels import HeadPictures
from raytrack.export.scene import Scene, ScenePicture, SceneView, Timestep
from raytrack.media.images import write_png

NUM_SHAPES, NUM_EXPRESSIONS = 100, 50
SCALE = 4.0
ONE_CAMERA = "its readers know one camera, and this is a rig; leave out this format"
ONE_LENS = "its readers know one focal length, and this recording has cuts between several; leave out this format"


class ImavatarLayout:
    """`image/`, `mask/`, `semantic/` and `flame_params.json`."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._pictures = HeadPictures(scene)

    def prepare(self, folder: Path) -> None:
        """Make the folders."""
        for name in ("image", "mask", "semantic"):
            (folder / name).mkdir()

    def write_timestep(self, folder: Path, step: Timestep) -> dict[str, str]:  # noqa: ARG002
        """Nothing: parameters stand in `flame_params.json`."""
        return {}

    def write_picture(self, folder: Path, view: SceneView, step: Timestep, picture: ScenePicture) -> dict[str, str]:
        """Write image, mask and labels."""
        name, config = f"{step.index + 1}.png", self._scene.config
        _, labels = self._pictures.draw(view, step)
        shown = {
            "image": picture.over(config.background_color),
            "mask": picture.alpha,
            "semantic": labels * (picture.alpha > 0),
        }
        for kind, values in shown.items():
            write_png(folder / kind / name, values, compression=config.png_compression)
        return {"file_path": f"./image/{step.index + 1}"}

    def finish(self, folder: Path, frames: Frames, splits: Mapping[str, Frames]) -> None:
        """Write `flame_params.json` and its splits; one camera leaves none to validate."""
        shape = self._scene.track.shape[:NUM_SHAPES].tolist()
        for suffix, chosen in (("", frames), ("_train", splits["train"]), ("_test", splits["test"])):
            document = {
                "intrinsics": normalised_intrinsics(frames[0]),
                "shape_params": shape,
                "frames": [self._entry(frame) for frame in chosen],
            }
            text = json.dumps(document, allow_nan=False) + "\n"
            (folder / f"flame_params{suffix}.json").write_text(text, encoding="utf-8", newline="\n")

    def _entry(self, frame: Mapping[str, Any]) -> dict[str, Any]:
        parameters = self._scene.world.parameters.select([self._scene.frames[frame["timestep_index"]]])
        camera_from_world = np.linalg.inv(np.array(frame["transform_matrix"]))[:3]
        rotation, translation = camera_from_world[:, :3], camera_from_world[:, 3]
        moved = translation + rotation @ parameters.translation[0].double().numpy()
        pose = (parameters.rotation, parameters.neck_pose, parameters.jaw_pose, parameters.eyes_pose)
        return {
            "file_path": frame["file_path"],
            "world_mat": np.concatenate([rotation, SCALE * moved[:, None]], axis=1).tolist(),
            "expression": parameters.expression[0, :NUM_EXPRESSIONS].tolist(),
            "pose": torch.cat(pose, dim=1)[0].tolist(),
        }


def normalised_intrinsics(frame: Mapping[str, Any]) -> list[float]:
    """Focal lengths and principal point in shares of the picture's width and height, the first one negative."""
    width, height = frame["w"], frame["h"]
    return [-frame["fl_x"] / width, frame["fl_y"] / height, frame["cx"] / width, frame["cy"] / height]
