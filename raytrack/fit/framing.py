"""Where the head is in each view's pictures: what to crop, where the chin is, how large the face.

A single camera's pictures are framed by the detections. A rig's are framed by the head that was fitted to the landmarks
of all views, so that views which never see the face from the front, from the side or from behind, take part as well.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.fit.landmark_sets import LandmarkSet, landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import NEAR_M, Camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters

logger = logging.getLogger(__name__)
CHIN_MARGIN = 0.05
"""The matte's outline is the head's own down to this share of the face below the chin: further down, clothes and
shoulders belong to the foreground but not to the head's mesh."""
_CROP_MARGINS = (1.0, 0.9, 1.0, 1.4)
"""Room around all landmarks of the sequence to the left, above, to the right and below, in faces."""
_HEAD_MARGIN = 0.3
"""Room around the projected head of a rig, in faces: hair, and what the landmarks alone left wrong."""
_SMALLEST_CROP_PX = 32
_IN_PICTURE = 0.25
"""A view takes part in a timestep when it shows at least this share of the head's vertices."""
_NAPE_M = 0.12
"""The nape lies about so far behind the chin."""


@dataclass(frozen=True, kw_only=True)
class Framing:
    """The head in one view, in pixels of the input."""

    crop_xyxy: tuple[int, int, int, int]
    """The part of the pictures that the head ever comes near: left, top, right, bottom."""
    face_size_px: float
    """The face's larger side, about, as it would be seen from the front: the unit of what is scale-free."""
    present: Bool[np.ndarray, " frames"]
    """Frames that show the head."""
    face_px: Float[np.ndarray, "frames landmarks 2"]
    """Where the face's landmarks are, seen or hidden."""
    chin_px: Float[np.ndarray, "frames 2"]
    """A line through it, across `up_xy`, has the head above it and what else may be foreground below."""
    up_xy: Float[np.ndarray, "frames 2"]
    """Unit direction in the picture from the chin to the top of the head."""
    mouth_open: Bool[np.ndarray, " frames"]
    """Whether the mouth's inside may be visible."""


def framing_of_detections(observation: SequenceObservation) -> Framing:
    """Of a single view with a face in at least one frame."""
    points = observation.landmarks_px.astype(np.float32)
    names = landmark_set(observation.landmark_set)
    up = np.zeros((len(points), 2), np.float32)
    up[:, 1] = -1
    return Framing(
        crop_xyxy=_detections_crop(observation),
        face_size_px=median_face_size_px(observation),
        present=observation.detected,
        face_px=points,
        chin_px=points[:, names.chin],
        up_xy=up,
        mouth_open=_mouth_opening(points, names) > names.open_mouth,
    )


@torch.no_grad()
def framings_of_head(
    views: SequenceViews, head: HeadModel, rows: Float[Tensor, "frames columns"], shape: Float[Tensor, " shapes"]
) -> tuple[Framing | None, ...]:
    """Of every view of a rig; None for a camera that the head never comes before.

    Args:
        views: The rig.
        head: The head model.
        rows: Pose and expression of every timestep, fitted to the landmarks.
        shape: Identity, fitted to the landmarks.
    """
    parameters = FrameParameters.unpack(rows)
    vertices = head.vertices(parameters, shape)
    names = landmark_set(views.first.landmark_set)
    landmarks = head.landmarks_world(vertices, names.embedding)
    turned = parameters.head_rotation()
    rest = head.landmarks_world(head.identity(shape)[0], names.embedding)
    face_m = float((rest.amax(dim=0) - rest.amin(dim=0)).max())
    mouth_open = _mouth_open(views, names)
    return tuple(
        _head_framing(views, view, camera.camera, vertices, landmarks, turned, face_m, mouth_open)
        for view, camera in enumerate(views.rig)
    )


def _head_framing(
    views: SequenceViews, view: int, camera: Camera, vertices: Tensor, landmarks: Tensor, turned: Tensor, face_m: float,
    mouth_open: np.ndarray,
) -> Framing | None:  # fmt: skip
    height, width = camera.size_hw
    depth = camera.cam_points(vertices)[..., 2]
    before = (depth > NEAR_M).all(dim=1).numpy()
    pixels = camera.project(vertices).numpy()
    inside = ((pixels > 0) & (pixels < [width, height])).all(axis=-1).mean(axis=1) > _IN_PICTURE
    present = views.detected & before & inside
    if not present.any():
        logger.warning("%s never shows the head: it is left out of the fit", views.name(view))
        return None
    focal_px = float(camera.intrinsics[0, 0] * camera.intrinsics[1, 1]) ** 0.5
    face_size = max(face_m * focal_px / float(np.median(depth.mean(dim=1).numpy()[present])), 1.0)
    low, high = pixels[present].min(axis=(0, 1)), pixels[present].max(axis=(0, 1))
    margin = _HEAD_MARGIN * face_size
    x, y = (_clipped_range(float(low[axis]) - margin, float(high[axis]) + margin, (width, height)[axis])
            for axis in (0, 1))  # fmt: skip
    chin, up = chin_lines(camera, landmarks[:, landmark_set(views.first.landmark_set).chin], turned)
    return Framing(
        crop_xyxy=(x[0], y[0], x[1], y[1]),
        face_size_px=face_size,
        present=present,
        face_px=np.nan_to_num(camera.project(landmarks).numpy()).astype(np.float32),
        chin_px=chin,
        up_xy=up,
        mouth_open=mouth_open,
    )


def chin_lines(
    camera: Camera, chin: Float[Tensor, "frames 3"], turned: Float[Tensor, "frames 3 3"]
) -> tuple[Float[np.ndarray, "frames 2"], Float[np.ndarray, "frames 2"]]:
    """Where the head begins: a pixel position per frame and the unit direction upwards.

    Args:
        camera: Of one view, at any size.
        chin: World positions, metres.
        turned: World from head.

    A camera that looks down sees the shoulders behind the chin higher up in its picture: the line then runs through the
    nape at the chin's height.
    """
    nape = chin - _NAPE_M * turned[:, :, 2]
    above = chin + _NAPE_M * turned[:, :, 1]
    chin_px, nape_px, above_px = camera.project(torch.stack([chin, nape, above])).numpy().astype(np.float32)
    up = above_px - chin_px
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-6)
    higher = ((nape_px - chin_px) * up).sum(axis=1) > 0
    return np.nan_to_num(np.where(higher[:, None], nape_px, chin_px)), np.nan_to_num(up)


def _mouth_open(views: SequenceViews, names: LandmarkSet) -> np.ndarray:
    """By the majority of the views that see the face."""
    votes = np.stack([_mouth_opening(views.landmarks_px(view), names) for view in range(views.num_views)])
    seen = np.maximum(views.detected_by_view.sum(axis=0), 1)
    return ((votes > names.open_mouth) & views.detected_by_view).sum(axis=0) >= 0.5 * seen


def _mouth_opening(points: np.ndarray, names: LandmarkSet) -> np.ndarray:
    """Distance of the inner lips over the larger side of the face."""
    upper_lip, lower_lip = names.inner_lips
    extent = np.maximum(np.ptp(points, axis=1).max(axis=1), 1)
    return np.linalg.norm(points[:, lower_lip] - points[:, upper_lip], axis=1) / extent


def _detections_crop(observation: SequenceObservation) -> tuple[int, int, int, int]:
    height, width = observation.size_hw
    points = observation.landmarks_px[observation.detected]
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    left, above, right, below = (share * median_face_size_px(observation) for share in _CROP_MARGINS)
    x = _clipped_range(float(low[0]) - left, float(high[0]) + right, width)
    y = _clipped_range(float(low[1]) - above, float(high[1]) + below, height)
    return x[0], y[0], x[1], y[1]


def median_face_size_px(observation: SequenceObservation) -> float:
    """Median larger side of the landmarks' box over the frames with a face, input pixels."""
    points = observation.landmarks_px[observation.detected]
    return max(float(np.median(np.ptp(points, axis=1).max(axis=1))), 1.0)


def _clipped_range(first: float, last: float, size: int) -> tuple[int, int]:
    start, stop = max(0, int(np.floor(first))), min(size, int(np.ceil(last)))
    if stop - start < min(_SMALLEST_CROP_PX, size):
        return 0, size
    return start, stop
