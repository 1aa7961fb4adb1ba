"""The result of tracking one sequence, and the file that holds it.

`tracked_params.npz` uses the names and shapes that readers of VHAP's `tracked_flame_params` expect, whatever the head
model; what those do not hold stands under names of our own:

==================  ==================  ======================================================================
rotation            (T, 3)              axis-angle about the root joint, radians
translation         (T, 3)              metres
neck_pose jaw_pose  (T, 3)              axis-angle, radians
eyes_pose           (T, 6)              left then right eye
expr                (T, E)              expression coefficients
shape               (K,)                identity coefficients
static_offset       (1, V, 3)           metres; absent when the track uses none
tex                 (K,)                coefficients of the head's principal components of albedo; absent without them
tex_extra           (3, S, S)           texture less the head's own albedo at that size, and less what `tex` adds to it
lights              (9, 3)              spherical harmonics, see `raytrack.geometry.harmonics`
focal_length        (1,)                focal length in px / max(h, w); absent for a rig
timestep_id         (T,) str
image_size          (2,) int            h, w; of a rig's first camera
n_processed_frames  () int              T
group               (T,) int            ours: stretches between cuts; absent where there is one, as the next two
lights_per_frame    (T, 9, 3)           ours: `lights` is that of the longest stretch
focal_px_per_frame  (T,)                ours: pixels; `focal_length` is that of the longest stretch; absent for rigs
tracked             (T,) bool           ours: frames with a face of their own; the others are interpolated
texture             (S, S, 3) uint16    ours: the albedo, 65535 = 1, so that the file needs no head to be read
head_name           () str              ours
head_sha256         () str              ours: of the head's file
format_version      () int              ours
held_out            (T,) bool           ours: frames that what is shared has not seen; absent where there are none
held_out_cameras    (H,) str            ours: cameras that nothing was fitted to; absent where there are none
camera_id           (C,) str            ours, rigs only, as all below
camera_index        (C,) int            place in the rig
camera_size         (C, 2) int          h, w
intrinsics          (C, 3, 3)           pixels, (0, 0) the top-left corner
cam_from_world      (C, 3, 4)           metres, OpenCV axes
camera_gains        (C, 3)              factors on the light by channel; only where the cameras were found, not given
capture_from_world  (3, 3)              from the tracker's world to the calibration's; absent where that is not known
==================  ==================  ======================================================================
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.errors import InputError
from raytrack.fit.npz import read_npz, write_npz
from raytrack.fit.rig import MONOCULAR_ID, MONOCULAR_INDEX, RigCamera
from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

FORMAT_VERSION = 1
TEXTURE_STEPS = 65535


@dataclass(frozen=True, kw_only=True)
class Track:
    """A tracked sequence of T frames seen by one camera or a rig: float32 tensors on the CPU.

    A track that was saved and loaded is the one to draw from: saving rounds the texture to 1/65535 and the focal length
    to float32, so a resumed run and an undisturbed one agree only on what the file holds.
    """

    parameters: FrameParameters
    """Pose, joints and expression of every frame (T rows), interpolated where `tracked` is false."""
    shape: Float[Tensor, " shapes"]
    static_offset: Float[Tensor, "1 vertices 3"] | None
    """Metres, added to the template; None when the track uses none."""
    texture: Float[Tensor, "size size 3"]
    """The sequence's one albedo map, 0 to 1, row 0 at v = 0."""
    lights: Float[Tensor, "9 3"]
    """The sequence's one light; where it has cuts, that of the longest stretch between them."""
    focal_px: float | None
    """Focal length in pixels of an image of `size_hw`, likewise of the longest stretch; None for a rig."""
    size_hw: tuple[int, int]
    """Height and width of the input frames in pixels, of a rig's first camera."""
    timestep_ids: tuple[str, ...]
    tracked: Bool[Tensor, " frames"]
    """Whether the frame has a face of its own, in any camera."""
    head_name: str
    head_sha256: str = ""
    """Of the head's file (`HeadModel.asset_sha256`): with another head of that name the numbers mean something else.
    Empty: not known, and not checked."""
    texture_coefficients: Float[Tensor, " components"] | None = None
    """Of the head's principal components of albedo, whose share of `texture` is in it; None where it has none."""
    rig: tuple[RigCamera, ...] = ()
    """The cameras of a rig, calibrated or found; empty where there is one camera, whose focal length says all."""
    gains: Float[Tensor, "cameras 3"] | None = None
    """Factors on the light, by camera and channel: how the cameras of an uncalibrated rig differ in exposure and white
    balance. None for others."""
    group: Int[Tensor, " frames"] | None = None
    """Which stretch between cuts each frame belongs to; None where there are no cuts."""
    lights_per_frame: Float[Tensor, "frames 9 3"] | None = None
    """Each frame's light; None where all have the same."""
    focal_px_per_frame: Float[Tensor, " frames"] | None = None
    """Each frame's focal length; None where all have the same, and for a rig."""
    capture_from_world: Float[Tensor, "3 3"] | None = None
    """The rotation from the tracker's world to that of the rig's calibration, which has the same origin; None where
    that is not known."""
    held_out: Bool[Tensor, " frames"] | None = None
    """Frames that shape, offsets, texture, light and focal length were fitted without; None: there are none."""
    held_out_cameras: tuple[str, ...] = ()
    """Ids of the rig's cameras that nothing was fitted to."""

    def __post_init__(self) -> None:
        """Check that the fields agree.

        Raises:
            ValueError: They differ in their number of frames or of cameras, no frame is there, or there are both a
                focal length and a rig, or neither.
        """
        if (self.focal_px is None) != bool(self.rig):
            raise ValueError("a track has either a focal length or the cameras of a rig")
        counts = {
            "rotation": len(self.parameters.rotation),
            "expression": len(self.parameters.expression),
            "timestep_ids": len(self.timestep_ids),
            "tracked": len(self.tracked),
        }
        for name in ("group", "lights_per_frame", "focal_px_per_frame", "held_out"):
            if (values := getattr(self, name)) is not None:
                counts[name] = len(values)
        if len(set(counts.values())) != 1 or not self.timestep_ids:
            raise ValueError(f"the fields of a track must have the same number of frames, one or more; got {counts}")
        if self.gains is not None and len(self.gains) != len(self.rig):
            raise ValueError(f"a track needs gains for each of its {len(self.rig)} cameras, got {len(self.gains)}")

    @property
    def num_frames(self) -> int:
        """T, frames without a face included."""
        return len(self.timestep_ids)

    @property
    def cameras(self) -> tuple[RigCamera, ...]:
        """All cameras, at their inputs' sizes (no batch dimension); one for a single view."""
        if self.focal_px is None:
            return self.rig
        camera = monocular_camera(torch.tensor(self.focal_px, dtype=torch.float32), self.size_hw)
        return (RigCamera(index=MONOCULAR_INDEX, id=MONOCULAR_ID, camera=camera),)

    @property
    def camera(self) -> Camera:
        """The first camera at its input's size (no batch dimension); a single view's of the longest stretch."""
        return self.cameras[0].camera

    def camera_at(self, frame: int, view: int = 0) -> Camera:
        """What a frame was taken with."""
        if self.focal_px_per_frame is None:
            return self.cameras[view].camera
        return monocular_camera(self.focal_px_per_frame[frame], self.size_hw)

    def frame_cameras(self, view: int = 0) -> Camera:
        """What the frames were taken with, a batch of T cameras; no batch where all are the same."""
        if self.focal_px_per_frame is None:
            return self.cameras[view].camera
        return monocular_camera(self.focal_px_per_frame, self.size_hw)

    def light_at(self, frame: int, view: int = 0) -> Float[Tensor, "9 3"]:
        """A frame's light as one of the cameras records it."""
        light = self.lights if self.lights_per_frame is None else self.lights_per_frame[frame]
        return light if self.gains is None else light * self.gains[view]

    def check_head(self, head: HeadModel) -> None:
        """Refuse a head that the track was not made with.

        Raises:
            InputError: The head's file or its number of expressions differs.
        """
        if self.head_sha256 and self.head_sha256 != head.asset_sha256:
            raise InputError(
                f"the sequence was tracked with another version of the head {self.head_name!r} than the present "
                f"{head.name!r}: track it again"
            )
        if (given := self.parameters.expression.shape[1]) != head.num_expressions:
            raise InputError(
                f"the track has {given} expression coefficients, the head {head.name!r} {head.num_expressions}: "
                "use the head it was tracked with, or track again"
            )

    def save(self, path: Path | str, *, base_albedo: Float[Tensor, "base base 3"]) -> None:
        """Write the track as `tracked_params.npz`; equal tracks give equal bytes.

        Args:
            path: The file; its folder must exist.
            base_albedo: What `tex_extra` is relative to: the head's own albedo, or `raytrack.fit.albedo.base_albedo`
                where there are coefficients.
        """
        arrays = self.vhap_arrays(base_albedo) | {
            "tracked": self.tracked.numpy().astype(bool),
            "texture": self._texture_steps().numpy().astype(np.uint16),
            "head_name": np.array(self.head_name),
            "head_sha256": np.array(self.head_sha256),
            "format_version": np.array(FORMAT_VERSION, np.int64),
        }
        if self.rig:
            arrays |= _rig_arrays(self.rig)
        if self.capture_from_world is not None:
            arrays["capture_from_world"] = _floats(self.capture_from_world)
        if self.gains is not None:
            arrays["camera_gains"] = _floats(self.gains)
        if self.group is not None:
            arrays["group"] = self.group.numpy().astype(np.int64)
        if self.lights_per_frame is not None:
            arrays["lights_per_frame"] = _floats(self.lights_per_frame)
        if self.focal_px_per_frame is not None:
            arrays["focal_px_per_frame"] = _floats(self.focal_px_per_frame)
        if self.held_out is not None:
            arrays["held_out"] = self.held_out.numpy().astype(bool)
        if self.held_out_cameras:
            arrays["held_out_cameras"] = np.array(self.held_out_cameras, dtype=np.str_)
        write_npz(path, arrays)

    def vhap_arrays(self, base_albedo: Float[Tensor, "base base 3"]) -> dict[str, np.ndarray]:
        """The arrays that VHAP's file has as well: those that the table above does not call ours.

        Args:
            base_albedo: See `save`.
        """
        parameters = self.parameters
        own = resized_albedo(base_albedo, len(self.texture))
        arrays = {
            "rotation": _floats(parameters.rotation),
            "translation": _floats(parameters.translation),
            "neck_pose": _floats(parameters.neck_pose),
            "jaw_pose": _floats(parameters.jaw_pose),
            "eyes_pose": _floats(parameters.eyes_pose),
            "shape": _floats(self.shape),
            "expr": _floats(parameters.expression),
            "tex_extra": _floats((self._texture_steps() / TEXTURE_STEPS - own).permute(2, 0, 1)),
            "lights": _floats(self.lights),
            "timestep_id": np.array(self.timestep_ids, dtype=np.str_),
            "image_size": np.array(self.size_hw, np.int64),
            "n_processed_frames": np.array(self.num_frames, np.int64),
        }
        if self.texture_coefficients is not None:
            arrays["tex"] = _floats(self.texture_coefficients)
        if self.static_offset is not None:
            arrays["static_offset"] = _floats(self.static_offset)
        if self.focal_px is not None:
            arrays["focal_length"] = np.array([self.focal_px / max(self.size_hw)], np.float32)
        return arrays

    def _texture_steps(self) -> Float[Tensor, "size size 3"]:
        """The texture in whole steps of 1 / 65535."""
        return (self.texture.clamp(0, 1) * TEXTURE_STEPS).round()

    @classmethod
    def load(cls, path: Path | str) -> "Track":
        """Read what `save` wrote.

        Raises:
            InputError: The file is missing, damaged, or of another format version.
        """
        arrays = read_npz(path)
        if int(arrays.get("format_version", -1)) != FORMAT_VERSION:
            raise InputError(f"{path}: not a raytrack track of format {FORMAT_VERSION}; track the sequence again")
        tensors = {
            name: torch.from_numpy(value.astype(np.float32))
            for name, value in arrays.items()
            if value.dtype.kind == "f"
        }
        height, width = (int(side) for side in arrays["image_size"])
        return cls(
            parameters=FrameParameters(
                rotation=tensors["rotation"],
                translation=tensors["translation"],
                neck_pose=tensors["neck_pose"],
                jaw_pose=tensors["jaw_pose"],
                eyes_pose=tensors["eyes_pose"],
                expression=tensors["expr"],
            ),
            shape=tensors["shape"],
            static_offset=tensors.get("static_offset"),
            texture=torch.from_numpy(arrays["texture"].astype(np.float32) / np.float32(TEXTURE_STEPS)),
            texture_coefficients=tensors.get("tex"),
            lights=tensors["lights"],
            focal_px=float(arrays["focal_length"][0]) * max(height, width) if "focal_length" in arrays else None,
            size_hw=(height, width),
            timestep_ids=tuple(str(item) for item in arrays["timestep_id"]),
            tracked=torch.from_numpy(arrays["tracked"].astype(bool)),
            head_name=str(arrays["head_name"]),
            head_sha256=str(arrays["head_sha256"]),
            rig=_rig_from_arrays(arrays) if "camera_id" in arrays else (),
            capture_from_world=tensors.get("capture_from_world"),
            gains=tensors.get("camera_gains"),
            group=torch.from_numpy(arrays["group"].astype(np.int64)) if "group" in arrays else None,
            lights_per_frame=tensors.get("lights_per_frame"),
            focal_px_per_frame=tensors.get("focal_px_per_frame"),
            held_out=torch.from_numpy(arrays["held_out"].astype(bool)) if "held_out" in arrays else None,
            held_out_cameras=tuple(str(item) for item in arrays.get("held_out_cameras", ())),
        )


def _rig_arrays(rig: tuple[RigCamera, ...]) -> dict[str, np.ndarray]:
    return {
        "camera_id": np.array([view.id for view in rig], dtype=np.str_),
        "camera_index": np.array([view.index for view in rig], np.int64),
        "camera_size": np.array([view.camera.size_hw for view in rig], np.int64),
        "intrinsics": np.stack([_floats(view.camera.intrinsics) for view in rig]),
        "cam_from_world": np.stack([_floats(view.camera.cam_from_world) for view in rig]),
    }


def _rig_from_arrays(arrays: dict[str, np.ndarray]) -> tuple[RigCamera, ...]:
    rig = []
    for position, (index, name) in enumerate(zip(arrays["camera_index"], arrays["camera_id"], strict=True)):
        height, width = (int(side) for side in arrays["camera_size"][position])
        camera = Camera(
            intrinsics=torch.from_numpy(arrays["intrinsics"][position]),
            cam_from_world=torch.from_numpy(arrays["cam_from_world"][position]),
            size_hw=(height, width),
        )
        rig.append(RigCamera(index=int(index), id=str(name), camera=camera))
    return tuple(rig)


def resized_albedo(albedo: Float[Tensor, "base base 3"], size: int) -> Float[Tensor, "size size 3"]:
    """A square texture at another size, bilinear, low-pass filtered when it shrinks. Differentiable."""
    if albedo.shape[0] == size:
        return albedo
    planes = albedo.permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        planes, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0].permute(1, 2, 0)


def _floats(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float32)
