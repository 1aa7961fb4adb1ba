"""Where the cameras of the suite stand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from assets.demo.build_demo.scene import View

FACE_M = np.array([0.0, 0.012, 0.03])
"""What cameras look at, about."""
_REACH = 0.41
"""Height of what a camera sees at the face, metres: head, collar and a little room."""
_RIG = (
    ("a", -52, 4), ("b", -33, -9), ("c", -16, 12), ("d", 0, -3), ("e", 14, -14), ("f", 30, 10), ("g", 46, -5),
    ("h", 62, 6),
)  # fmt: skip
"""Name, azimuth and elevation (degrees) of the rig's cameras."""
_RIG_DISTANCE_M, _RIG_FOCAL_RATIO = 1.0, 2.4


@dataclass(frozen=True, kw_only=True)
class FilmCamera:
    """A pinhole camera with square pixels and a centred principal point."""

    id: str
    view: View
    focal_ratio: float
    """Focal length over the picture's side."""
    focus_m: float

    def intrinsics(self, size_px: int) -> Float[np.ndarray, "3 3"]:
        """Pixels; (0, 0) is the top-left corner."""
        focal = self.focal_ratio * size_px
        return np.array([[focal, 0, size_px / 2], [0, focal, size_px / 2], [0, 0, 1.0]])

    @property
    def cam_from_world(self) -> Float[np.ndarray, "3 4"]:
        """OpenCV axes."""
        rotation = np.diag([1.0, -1.0, -1.0]) @ self.view.rotation.T
        return np.column_stack([rotation, -rotation @ self.view.origin])


def mono_camera(focal_ratio: float) -> FilmCamera:
    """Before the face, looking down −z; the longer the lens, the further away."""
    distance = _REACH * focal_ratio
    return FilmCamera(
        id="0", view=View(origin=FACE_M + np.array([0.0, 0.0, distance])), focal_ratio=focal_ratio, focus_m=distance
    )


def rig_cameras() -> tuple[FilmCamera, ...]:
    """Eight cameras around the face, none like another."""
    cameras = []
    for number, (name, azimuth, elevation) in enumerate(_RIG):
        yaw, pitch = np.radians([azimuth, elevation])
        back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        right = np.cross([0.0, 1.0, 0.0], back)
        right /= np.linalg.norm(right)
        distance = _RIG_DISTANCE_M * (1 + 0.04 * np.sin(1.7 * number))
        view = View(
            origin=FACE_M + np.array([0.0, -0.005, -0.02]) + distance * back,
            rotation=np.column_stack([right, np.cross(back, right), back]),
        )
        focal_ratio = _RIG_FOCAL_RATIO * (1 + 0.03 * np.cos(2.3 * number))
        cameras.append(FilmCamera(id=name, view=view, focal_ratio=focal_ratio, focus_m=distance))
    return tuple(cameras)
