"""The views that the `vhap` preset fits: pictures, landmarks and camera of each."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from raytrack.fit.observation import SequenceObservation
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_images import TargetImages
from raytrack.fit.vhap_terms import ndc_from_px
from raytrack.geometry.camera import Camera, monocular_camera


@dataclass(frozen=True, kw_only=True)
class VhapView:
    """One camera. Frames are numbered among those with a face in any view."""

    images: TargetImages
    detected_ndc: Float[Tensor, "frames 68 2"]
    """0 where the view found no face."""
    confidence: Float[Tensor, " frames"]
    """1 where it found one, else 0."""
    scale: float
    """Tracking pixels per input pixel."""
    calibrated: Camera | None
    """Of the pictures at tracking size; None where the focal length is to be found."""

    @classmethod
    def create(
        cls,
        observation: SequenceObservation,
        numbers: Int[np.ndarray, " tracked"],
        picks: Int[np.ndarray, " points"],
        config: VhapConfig,
        device: torch.device,
        num_views: int,
    ) -> "VhapView":
        """Of an observation.

        Args:
            observation: One view.
            numbers: Frames with a face in any view.
            picks: Which of the detected points are the 68.
            config: Size of pictures, and room for them.
            device: Where the fit runs.
            num_views: Views that share the room.
        """
        (height, width), longer_side_px = observation.size_hw, max(observation.size_hw)
        scale = min(1.0, (config.image_size_px or longer_side_px) / longer_side_px)
        size_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        seen = observation.detected[numbers]
        points = np.where(seen[:, None, None], observation.landmarks_px[numbers][:, picks], 0).astype(np.float32)
        room = config.image_memory_gib * 2**30 / num_views
        calibrated = None
        if observation.calibrated is not None:
            calibrated = observation.calibrated.camera.scaled(size_hw).to(device)
        return cls(
            images=TargetImages(observation.load_image, numbers, size_hw, memory_bytes=room, device=device),
            detected_ndc=ndc_from_px(torch.from_numpy(points), observation.size_hw).to(device),
            confidence=torch.from_numpy(seen.astype(np.float32)).to(device),
            scale=scale,
            calibrated=calibrated,
        )

    def camera(self, focal_px: Float[Tensor, ""]) -> Camera:
        """The camera of the pictures at tracking size.

        Args:
            focal_px: Of the input pictures; says nothing where the camera is calibrated. Differentiable.
        """
        if self.calibrated is None:
            return monocular_camera(focal_px * self.scale, self.images.size_hw)
        return self.calibrated


def stacked(cameras: list[Camera], repeats: int) -> Camera:
    """Cameras of one size as one batch, each of them for so many frames in a row; a single one stays as it is."""
    if len(cameras) == 1:
        return cameras[0]
    return Camera(
        intrinsics=torch.stack([camera.intrinsics for camera in cameras]).repeat_interleave(repeats, dim=0),
        cam_from_world=torch.stack([camera.cam_from_world for camera in cameras]).repeat_interleave(repeats, dim=0),
        size_hw=cameras[0].size_hw,
    )


def groups_of_one_size(views: tuple[VhapView, ...]) -> tuple[tuple[VhapView, ...], ...]:
    """Views whose pictures can be drawn together, in order of their first one."""
    by_size: dict[tuple[int, int], list[VhapView]] = {}
    for view in views:
        by_size.setdefault(view.images.size_hw, []).append(view)
    return tuple(tuple(group) for group in by_size.values())
