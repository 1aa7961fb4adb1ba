"""The pictures of a sequence as the photometric stages use them: at tracking size, with their mattes."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8, UInt8
from torch import Tensor

from raytrack.fit.framing import CHIN_MARGIN, Framing, framing_of_detections
from raytrack.fit.landmark_sets import LandmarkSet, landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.occlusion import shown
from raytrack.fit.rig import unpacked
from raytrack.geometry.camera import Camera, monocular_camera

logger = logging.getLogger(__name__)
MATTE_FLOOR = 0.3
"""Mattes below this count as background: (α − floor) / (1 − floor), clipped."""
_TRANSPARENT, _OPAQUE = 0.3, 0.8
"""Cleaned mattes between which trust in a pixel's colour rises from none to full."""
_INNER_STEPS = 250
_RIM, _LEAST_RIM_PX = 0.015, 2
"""Width of the matte's rim in faces, and at least in pixels."""
REACH_OF_HAIR = 0.12
"""Faces: where the matte goes on for longer than this, its outline is not that of the head."""
DISTANCE_LIMIT_PX = 7.0
_DISTANCE_STEPS = 16
_MATTE_ON_FACE = 0.5
_MATTE_AT_MOST = 0.98
"""A matte that misses more than this share of the face's box, or fills the picture, says nothing."""
_IN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class TrackingFrames:
    """Frames of one sequence, cropped to where the head is and resampled."""

    images: UInt8[np.ndarray, "frames height width 3"]
    """Black where the head is not."""
    size_hw: tuple[int, int]
    full_size_hw: tuple[int, int]
    crop_xyxy: tuple[int, int, int, int]
    """The part of the input that the pictures show: left, top, right, bottom in input pixels."""
    matte_steps: UInt8[np.ndarray, "frames height width"] | None
    """Cleaned matte, 255 = foreground."""
    distance_steps: Int8[np.ndarray, "frames height width"] | None
    """Distance to the matte's outline in sixteenths of a pixel."""
    matte_valid: Bool[np.ndarray, " frames"]
    """Frames whose matte can be the person's: it covers the face and does not fill the picture."""
    present: Bool[np.ndarray, " frames"]
    """Frames that show the head."""
    chin_line: Float[np.ndarray, "frames 3"]
    """(a, b, c): where a x + b y + c > 0 the foreground is head; elsewhere clothes and shoulders reach beyond the mesh.
    """
    mouth_open: Bool[np.ndarray, " frames"]
    """Whether the mouth's inside may be visible."""
    landmarks_px: Float[np.ndarray, "frames landmarks 2"]
    """Detections in these pictures' pixels; anything where there is none."""
    face_size_px: float
    """Larger side of the face in these pictures' pixels: the unit of what is scale-free."""
    landmarks: LandmarkSet
    """Which points they are."""
    calibrated: Camera | None = None
    """Of the whole input pictures; None where the focal length is to be found."""
    place: int = 0
    """Of the camera in its rig."""
    hidden: Mapping[int, UInt8[np.ndarray, "grid grid"]] = field(default_factory=dict)
    """What stands before the head, in the frames where anything does (`raytrack.fit.occlusion`)."""

    @classmethod
    def load(
        cls,
        observation: SequenceObservation,
        longer_side_px: int,
        numbers: Int[np.ndarray, " chosen"] | None = None,
        framing: Framing | None = None,
        num_views: int = 1,
        use_mattes: bool | None = None,
    ) -> "TrackingFrames":
        """Read frames once and keep them at no more than `longer_side_px`.

        Args:
            observation: Where the pictures come from.
            longer_side_px: Larger crops are averaged down to it.
            numbers: Frames to read, all by default; the result numbers them from 0.
            framing: Where the head is; by default where the detections are.
            num_views: Of so many whose pictures are kept at a time: it decides what goes into files.
            use_mattes: Whether the view's mattes can be believed; None: decided by these frames, with a warning.

        Raises:
            ValueError: A picture is not of the observation's size.
        """
        framing = framing_of_detections(observation) if framing is None else framing
        left, top, right, bottom = crop = framing.crop_xyxy
        scale = min(1.0, longer_side_px / max(bottom - top, right - left))
        size_hw = (max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale)))
        frames = list(range(observation.num_frames)) if numbers is None else numbers.tolist()
        images = large_array((len(frames), *size_hw, 3), np.uint8, num_views)
        for index, number in enumerate(frames):
            if not framing.present[number]:
                continue
            picture = observation.load_image(number)
            if picture.shape[:2] != observation.size_hw:
                raise ValueError(f"frame {number} is {picture.shape[:2]} (h, w), expected {observation.size_hw}")
            images[index] = resized(picture[top:bottom, left:right], size_hw)
        factor = np.array([size_hw[1] / (right - left), size_hw[0] / (bottom - top)], np.float32)

        def scaled(points: np.ndarray) -> np.ndarray:
            return (points - np.array([left, top])).astype(np.float32) * factor

        face_size, up = framing.face_size_px * float(factor.mean()), framing.up_xy[frames]
        chin = scaled(framing.chin_px[frames]) - np.float32(CHIN_MARGIN * face_size) * up
        face = scaled(framing.face_px[frames])
        matte, distance, valid = _load_mattes(observation, framing, frames, size_hw, face, num_views, use_mattes)
        detected = observation.detected[frames]
        detections = np.where(detected[:, None, None], observation.landmarks_px[frames], 0)
        return cls(
            images=images,
            size_hw=size_hw,
            full_size_hw=observation.size_hw,
            crop_xyxy=crop,
            matte_steps=matte,
            distance_steps=distance,
            matte_valid=valid,
            present=framing.present[frames],
            chin_line=np.concatenate([up, -(up * chin).sum(axis=1, keepdims=True)], axis=1),
            mouth_open=framing.mouth_open[frames],
            landmarks_px=scaled(detections),
            landmarks=landmark_set(observation.landmark_set),
            face_size_px=face_size,
            calibrated=None if observation.calibrated is None else observation.calibrated.camera,
            place=0 if observation.calibrated is None else observation.calibrated.index,
        )

    def camera(self, focal_px: Float[Tensor, "*batch"], cameras: Float[Tensor, "cameras 3 7"] | None = None) -> Camera:
        """The camera of these pictures, on the device of the focal length. Differentiable.

        Args:
            focal_px: Focal length in pixels of the input, one or one per picture; says nothing where the camera is
                calibrated.
            cameras: Those of the rig as they have been found by now, in place of the one that the frames came with.
        """
        left, top, right, bottom = self.crop_xyxy
        whole = monocular_camera(focal_px, self.full_size_hw) if self.calibrated is None else self.calibrated
        if cameras is not None and len(cameras):
            whole = unpacked(cameras[self.place], self.full_size_hw)
        shift = torch.tensor([[0.0, 0, left], [0, 0, top], [0, 0, 0]]).to(focal_px)
        cropped = Camera(
            intrinsics=whole.intrinsics.to(focal_px) - shift,
            cam_from_world=whole.cam_from_world.to(focal_px),
            size_hw=(bottom - top, right - left),
        )
        return cropped.scaled(self.size_hw)

    @property
    def has_matte(self) -> bool:
        """Whether there are mattes."""
        return self.matte_steps is not None

    def matte(self, frames: np.ndarray | list[int]) -> Float[np.ndarray, "batch height width"]:
        """Cleaned mattes in [0, 1].

        Raises:
            ValueError: There are none.
        """
        if self.matte_steps is None:
            raise ValueError("the sequence has no mattes")
        return self.matte_steps[frames].astype(np.float32) / 255

    def signed_distance(self, frame: int) -> Float[np.ndarray, "height width"] | None:
        """Distance to the matte's outline in pixels, positive inside, cut at `DISTANCE_LIMIT_PX`; None without."""
        if self.distance_steps is None or not self.matte_valid[frame]:
            return None
        return self.distance_steps[frame].astype(np.float32) / _DISTANCE_STEPS

    def above_chin(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Where the matte's outline is the head's own. Elsewhere it only says where the head is not."""
        height, width = self.size_hw
        across, down, offset = self.chin_line[frame]
        x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32)[:, None] + 0.5
        return across * x + (down * y + offset) > 0

    def pixel_weights(self, frame: int) -> Float[np.ndarray, "height width"] | None:
        """Trust in each pixel's colour; None without mattes where nothing is hidden.

        It is 0 where background shines through the matte's outline, and where something stands before the head. Pixels
        that are nearly opaque count fully, for edges carry much of what can be learnt of geometry.
        """
        unhidden = self.unhidden(frame)
        if self.matte_steps is None:
            return unhidden
        inside = np.ones(self.size_hw, np.float32)
        if self.matte_valid[frame]:
            matte = self.matte_steps[frame].astype(np.float32) / 255
            inside = np.clip((matte - _TRANSPARENT) / (_OPAQUE - _TRANSPARENT), 0, 1)
        return inside if unhidden is None else inside * unhidden

    def reachable(self, frame: int) -> Float[np.ndarray, "height width"]:
        """Trust from 1 to 0 that the matte ends nearby, so that the head should be there: long hair is not the head.

        Where foreground reaches far beyond a head that is drawn, the head cannot and should not follow.
        """
        if self.matte_steps is None:
            return np.ones(self.size_hw, np.float32)
        inside = (self.matte_steps[frame] > 127).astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) / (REACH_OF_HAIR * self.face_size_px)
        return 1 / (1 + np.square(np.square(depth)))

    def inner(self, frame: int) -> Float[np.ndarray, "height width"]:
        """1 inside the matte, 0 along its outline, where the background may shine through."""
        if self.matte_steps is None or not self.matte_valid[frame]:
            return np.ones(self.size_hw, np.float32)
        side = 2 * max(_LEAST_RIM_PX, round(_RIM * self.face_size_px)) + 1
        eroded = cv2.erode(self.matte_steps[frame], np.ones((side, side), np.uint8))
        return (eroded >= _INNER_STEPS).astype(np.float32)

    def unhidden(self, frame: int) -> Float[np.ndarray, "height width"] | None:
        """Trust in each pixel: 0 where something stands before the head; None where nothing does."""
        return shown(self.hidden[frame], self.size_hw) if frame in self.hidden else None

    def targets(self, frames: np.ndarray | list[int]) -> Float[Tensor, "batch height width 3"]:
        """Colours in [0, 1]."""
        return torch.from_numpy(self.images[frames]).float().div_(255)


def resized(picture: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Area-averaged copy; the picture itself if it has that size."""
    if picture.shape[:2] == size_hw:
        return picture
    return cv2.resize(picture, size_hw[::-1], interpolation=cv2.INTER_AREA)


def clean_matte(alpha: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Matte in [0, 1] with its faint fringe removed."""
    return np.clip((alpha.astype(np.float32) / 255 - MATTE_FLOOR) / (1 - MATTE_FLOOR), 0, 1)


def signed_distance(matte: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Distance to the matte's outline in pixels, positive inside, cut at `DISTANCE_LIMIT_PX`; 0 without an outline."""
    inside = (matte > 0.5).astype(np.uint8)
    if inside.all() or not inside.any():
        return np.zeros(matte.shape, np.float32)
    outwards = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    inwards = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    # OpenCV measures to the nearest pixel of the other side; the outline runs half a pixel before it.
    distance = np.where(inside, outwards - 0.5, 0.5 - inwards)
    return np.clip(distance, -DISTANCE_LIMIT_PX, DISTANCE_LIMIT_PX)


def _load_mattes(
    observation: SequenceObservation,
    framing: Framing,
    frames: list[int],
    size_hw: tuple[int, int],
    face: Float[np.ndarray, "frames landmarks 2"],
    num_views: int,
    use_mattes: bool | None,
) -> tuple[np.ndarray | None, np.ndarray | None, Bool[np.ndarray, " frames"]]:
    """Mattes, distances to their outlines, and which of them can be believed; none at all if most cannot."""
    valid = np.zeros(len(frames), bool)
    if observation.load_alpha is None or use_mattes is False:
        return None, None, valid
    left, top, right, bottom = framing.crop_xyxy
    shape = (len(frames), *size_hw)
    matte, distance = large_array(shape, np.uint8, num_views), large_array(shape, np.int8, num_views)
    for index, number in enumerate(frames):
        if not framing.present[number]:
            continue
        cleaned = clean_matte(resized(observation.load_alpha(number)[top:bottom, left:right], size_hw))
        matte[index] = np.round(cleaned * 255)
        distance[index] = np.round(signed_distance(cleaned) * _DISTANCE_STEPS)
        x0, y0 = np.maximum(face[index].min(axis=0), 0).astype(int)
        x1, y1 = np.maximum(face[index].max(axis=0), 0).astype(int) + 1
        box = cleaned[y0:y1, x0:x1]
        valid[index] = box.size > 0 and box.mean() > _MATTE_ON_FACE and cleaned.mean() < _MATTE_AT_MOST
    shown = framing.present[frames]
    if use_mattes is None and shown.any() and valid[shown].mean() < 0.5:
        logger.warning("most mattes miss the face or fill the picture: the fit goes on without mattes")
        return None, None, np.zeros(len(frames), bool)
    return matte, distance, valid


def large_array(shape: tuple[int, ...], dtype: type, count: int = 1) -> np.ndarray:
    """Array of zeros; backed by a temporary file when `count` such arrays may not fit into memory.

    What is never written takes up no room, in memory or in the file.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size * count <= _IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        # The mapping keeps the file alive after it is closed; it has no name, so nothing is left behind.
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
