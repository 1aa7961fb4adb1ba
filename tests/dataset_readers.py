"""Readers of datasets, written after what the readers in the field are known to do, without any of raytrack.

Each knows only what its contract names, and reads the rest the way the real one would: a dataset that says something
true which its reader ignores must still come out right.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SUBPIXEL_BITS, FINER = 4, 5


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """A camera as a reader understands it: pixels from the top-left corner, OpenGL axes."""

    fl_x: float
    fl_y: float
    cx: float
    cy: float
    width: int
    height: int
    world_from_camera: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points in pixels."""
        x, y, z = self.in_camera(points).T
        return np.stack([self.cx + self.fl_x * x / -z, self.cy - self.fl_y * y / -z], axis=1)

    def in_camera(self, points: np.ndarray) -> np.ndarray:
        """World points in camera axes: x right, y up, looking down −z."""
        return (points - self.world_from_camera[:3, 3]) @ self.world_from_camera[:3, :3]

    def covered(self, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Pixels that the front faces of a mesh cover, drawn by OpenCV."""
        pixels = self.project(points)
        # OpenCV also fills the pixels that an outline touches: finer pixels make that half a pixel of no account.
        fine = np.zeros((self.height * FINER, self.width * FINER), np.uint8)
        triangles = pixels[faces] * FINER - 0.5
        first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
        # Counter-clockwise with y up is clockwise with y down.
        front = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
        for triangle in np.round(triangles[front] * 2**SUBPIXEL_BITS).astype(np.int32):
            cv2.fillConvexPoly(fine, triangle, 1, shift=SUBPIXEL_BITS)
        return fine[FINER // 2 :: FINER, FINER // 2 :: FINER] > 0


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / (one | other).sum())


def read_image(path: Path) -> np.ndarray:
    """An image as it is in the file: grey, RGB or RGBA."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(path)
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a mesh."""
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = [[float(value) for value in line[1:4]] for line in lines if line[0] == "v"]
    faces = [[int(corner.split("/")[0]) - 1 for corner in line[1:]] for line in lines if line[0] == "f"]
    return np.array(vertices), np.array(faces)


class NerfstudioReader:
    """Reads `transforms.json` as nerfstudio's data parser does."""

    def __init__(self, path: Path) -> None:
        self.folder, document = path.parent, json.loads(path.read_text())
        self.frames: list[dict[str, Any]] = document["frames"]
        self.cameras = [self._camera(document, frame) for frame in self.frames]
        named = [frame["mask_path"] for frame in self.frames if "mask_path" in frame]
        if named and len(named) != len(self.frames):
            raise ValueError("some frames have a mask, others none")
        splits = [name for name in ("train", "val", "test") if f"{name}_filenames" in document]
        if splits and len(splits) != 3:
            raise ValueError("some splits are listed, others not")
        self.has_masks = bool(named)

    @staticmethod
    def _camera(document: dict[str, Any], frame: dict[str, Any]) -> Pinhole:
        def value(name: str) -> Any:
            # What stands above overrides the frame's own.
            return document[name] if name in document else frame[name]

        return Pinhole(
            fl_x=float(value("fl_x")),
            fl_y=float(value("fl_y")),
            cx=float(value("cx")),
            cy=float(value("cy")),
            width=int(value("w")),
            height=int(value("h")),
            world_from_camera=np.array(frame["transform_matrix"]),
        )

    def image(self, index: int) -> np.ndarray:
        """A frame's image, which must have the camera's size."""
        image = read_image(self.folder / self.frames[index]["file_path"])
        if image.shape[:2] != (self.cameras[index].height, self.cameras[index].width):
            raise ValueError("the image has not the size that the frame states")
        return image

    def keep(self, index: int) -> np.ndarray:
        """Pixels that are looked at."""
        image = self.image(index)
        if not self.has_masks:
            return np.ones(image.shape[:2], bool)
        mask = read_image(self.folder / self.frames[index]["mask_path"])
        if mask.ndim != 2 or mask.shape != image.shape[:2]:
            raise ValueError("a mask has one channel and the image's size")
        return mask > 0


class InstantNgpReader:
    """Reads a `transforms.json` as instant-ngp does: the top level gives defaults, frames override them."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.document = json.loads(path.read_text())
        self.frames: list[dict[str, Any]] = self.document["frames"]
        self.scale = float(self.document.get("scale", 0.33))
        self.offset = np.array(self.document.get("offset", (0.5, 0.5, 0.5)))
        self.aabb_scale = int(self.document.get("aabb_scale", 1))
        if self.aabb_scale & (self.aabb_scale - 1):
            raise ValueError("aabb_scale is a power of two")

    def camera(self, index: int) -> Pinhole:
        """The camera of a frame, whose size is that of its image."""
        frame = self.frames[index]
        height, width = self.image(index).shape[:2]
        values = {**self.document, **frame}
        return Pinhole(
            fl_x=_focal(values, "x", width),
            fl_y=_focal(values, "y", height),
            cx=values.get("cx", width / 2),
            cy=values.get("cy", height / 2),
            width=width,
            height=height,
            world_from_camera=np.array(frame["transform_matrix"]),
        )

    def image(self, index: int) -> np.ndarray:
        """A frame's image, with its alpha."""
        image = read_image(self.folder / self.frames[index]["file_path"])
        if image.shape[2] != 4:
            raise ValueError("images are to have an alpha channel")
        return image

    def in_cube(self, points: np.ndarray) -> np.ndarray:
        """Points where instant-ngp's unit cube has them (its axes are turned in a circle)."""
        return (points * self.scale + self.offset)[:, [1, 2, 0]]


def _focal(values: dict[str, Any], axis: str, size: int) -> float:
    """Degrees of view, a focal length, or radians of view: whichever comes first."""
    if f"{axis}_fov" in values:
        return size / (2 * math.tan(math.radians(values[f"{axis}_fov"]) / 2))
    if f"fl_{axis}" in values:
        return values[f"fl_{axis}"]
    return size / (2 * math.tan(values[f"camera_angle_{axis}"] / 2))


class InstaReader(InstantNgpReader):
    """Reads what INSTA takes beside that."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.canonical = read_obj(self.folder / "canonical.obj")
        self.depth_scale = float(self.document["integer_depth_scale"])

    def mesh(self, index: int) -> np.ndarray:
        """A frame's vertices, with the faces of the canonical mesh."""
        vertices, faces = read_obj(self.folder / self.frames[index]["mesh_path"])
        if not np.array_equal(faces, self.canonical[1]):
            raise ValueError("a frame's mesh has other faces than the canonical one")
        return vertices

    def depth_m(self, index: int) -> np.ndarray:
        """Depths, 0 where there is none."""
        values = read_image(self.folder / self.frames[index]["depth_path"])
        if values.dtype != np.uint16 or values.ndim != 2:
            raise ValueError("depths are 16-bit and grey")
        return values * self.depth_scale

    def expression(self, index: int) -> np.ndarray:
        """A frame's expression coefficients."""
        return np.loadtxt(self.folder / self.frames[index]["exp_path"])

    def labels(self, index: int) -> np.ndarray:
        """What each pixel shows."""
        return read_image(self.folder / self.frames[index]["seg_mask_path"])


PARAMETER_SHAPES = {
    "translation": (1, 3),
    "rotation": (1, 3),
    "neck_pose": (1, 3),
    "jaw_pose": (1, 3),
    "eyes_pose": (1, 6),
    "shape": (300,),
    "expr": (1, 100),
    "static_offset": (1, 5143, 3),
}


class GaussianAvatarsReader:
    """Reads a dataset as programs of the GaussianAvatars family do."""

    SPLITS = ("train", "val", "test")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canonical = self._parameters("canonical_flame_param.npz")
        self.frames = {
            split: json.loads((folder / f"transforms_{split}.json").read_text())["frames"] for split in self.SPLITS
        }
        everything = [frame for split in self.SPLITS for frame in self.frames[split]]
        self.parameters = {frame["timestep_index"]: self._parameters(frame["flame_param_path"]) for frame in everything}
        self.num_timesteps = max(self.parameters) + 1
        if 0 not in self.parameters:
            raise ValueError("timestep 0 gives shape and offset")
        for frame in everything:
            if not frame["file_path"].endswith(".png"):
                raise ValueError("images are PNG")
            if not {"camera_index", "camera_id"} <= frame.keys():
                raise ValueError("a frame names its camera")

    def _parameters(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / name, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        shapes = {key: array.shape for key, array in arrays.items()}
        if shapes != PARAMETER_SHAPES or any(array.dtype != np.float32 for array in arrays.values()):
            raise ValueError(f"{name}: parameters are {shapes}")
        return arrays

    @staticmethod
    def camera(frame: dict[str, Any]) -> Pinhole:
        """Square pixels and a centred principal point, from `camera_angle_x` alone."""
        focal = frame["w"] / (2 * math.tan(frame["camera_angle_x"] / 2))
        return Pinhole(
            fl_x=focal,
            fl_y=focal,
            cx=frame["w"] / 2,
            cy=frame["h"] / 2,
            width=frame["w"],
            height=frame["h"],
            world_from_camera=np.array(frame["transform_matrix"]),
        )

    def image(self, frame: dict[str, Any], background: float) -> np.ndarray:
        """A frame over a background (0 … 1), composited by its own alpha."""
        image = read_image(self.folder / frame["file_path"]) / 255
        if image.shape[:2] != (frame["h"], frame["w"]):
            raise ValueError("the image has not the size that the frame states")
        alpha = image[..., 3:] if image.shape[2] == 4 else np.ones((*image.shape[:2], 1))
        return image[..., :3] * alpha + background * (1 - alpha)

    def extent(self) -> float:
        """How far training cameras are from their middle: the optimiser's step for positions is a share of it."""
        centres = np.array([np.array(frame["transform_matrix"])[:3, 3] for frame in self.frames["train"]])
        return float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max() * 1.1)


class ImavatarReader:
    """Reads `flame_params.json` as IMavatar and SplattingAvatar do."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        document = json.loads(path.read_text())
        self.intrinsics = np.array(document["intrinsics"])
        self.shape = np.array(document["shape_params"])
        self.frames: list[dict[str, Any]] = document["frames"]
        if self.shape.shape != (100,) or self.intrinsics.shape != (4,):
            raise ValueError("100 shape coefficients, and fx, fy, cx, cy")

    def picture(self, index: int, kind: str) -> np.ndarray:
        """`image`, `mask` or `semantic` of a frame."""
        return read_image(self.folder / f"{self.frames[index]['file_path'].replace('image', kind)}.png")

    def parameters(self, index: int) -> dict[str, np.ndarray]:
        """FLAME's parameters, those that are not given 0."""
        frame, values = self.frames[index], {}
        pose, expression = np.array(frame["pose"]), np.array(frame["expression"])
        if pose.shape != (15,) or expression.shape != (50,):
            raise ValueError("15 numbers of pose and 50 of expression")
        for name, columns in (("rotation", slice(0, 3)), ("neck_pose", slice(3, 6)), ("jaw_pose", slice(6, 9))):
            values[name] = pose[None, columns]
        values |= {"eyes_pose": pose[None, 9:], "translation": np.zeros((1, 3)), "static_offset": np.zeros((1, 1, 3))}
        return {**values, "shape": np.pad(self.shape, (0, 200)), "expr": np.pad(expression, (0, 50))[None]}

    def covered(self, index: int, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Pixels that FLAME covers, made four times as large."""
        world_mat = np.array(self.frames[index]["world_mat"])
        in_camera = 4 * vertices @ world_mat[:, :3].T + world_mat[:, 3]
        shares = in_camera[:, :2] / in_camera[:, 2:] * self.intrinsics[:2] + self.intrinsics[2:]
        height, width = self.picture(index, "mask").shape
        # As a camera whose image plane the vertices already lie in.
        flat = np.concatenate([shares * [width, -height] + [0, height], np.full((len(shares), 1), -1.0)], axis=1)
        plane = Pinhole(fl_x=1, fl_y=1, cx=0, cy=height, width=width, height=height, world_from_camera=np.eye(4))
        return plane.covered(flat, faces)
