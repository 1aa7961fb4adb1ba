"""A tracked sequence as a dataset shows it: its pictures, cameras and head, timestep by timestep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.errors import InputError
from raytrack.export.cameras import intrinsics_record, world_from_camera_gl
from raytrack.export.centring import Centring
from raytrack.export.config import BackgroundColor, ExportConfig
from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.worlds import DatasetWorld, Placement, dataset_world
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig import RigCamera
from raytrack.fit.track import Track
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneView:
    """One camera of a dataset."""

    seen_by: RigCamera
    observation: SequenceObservation
    centrings: tuple[Centring, ...] | None
    """How the pictures of each frame, or those of all, are changed; None leaves them alone."""
    cameras: tuple[Camera, ...]
    """Of each frame's picture, or of all of them, as it was taken."""

    @classmethod
    def create(cls, track: Track, place: int, observation: SequenceObservation, *, centred: bool) -> "SceneView":
        """One of a track's cameras.

        Args:
            track: The track.
            place: Of the camera among the track's.
            observation: What it saw.
            centred: Whether its pictures are resampled until pixels are square and principal points in the middle.
        """
        of_all = track.focal_px_per_frame is None
        cameras = tuple(track.camera_at(frame, place) for frame in range(1 if of_all else track.num_frames))
        return cls(
            seen_by=track.cameras[place],
            observation=observation,
            centrings=tuple(Centring.of(camera) for camera in cameras) if centred else None,
            cameras=cameras,
        )

    def centring(self, frame: int) -> Centring | None:
        """How the picture of a frame of the track is changed."""
        return None if self.centrings is None else self.centrings[frame if len(self.centrings) > 1 else 0]

    def camera(self, frame: int) -> Camera:
        """Of the dataset's picture of a frame of the track, in the tracker's world."""
        centring = self.centring(frame)
        return centring.camera if centring else self.cameras[frame if len(self.cameras) > 1 else 0]

    def picture_name(self, timestep: int) -> str:
        """`<timestep>_<camera>.png`."""
        return f"{timestep:05d}_{self.seen_by.index:02d}.png"


@dataclass(frozen=True, kw_only=True, eq=False)
class Timestep:
    """The head at one timestep of a dataset."""

    index: int
    """In the dataset, which has only frames with a face."""
    frame: int
    """In the track."""
    source_frame: int
    """In the recording, of which not every frame need be tracked."""
    parameters: FrameParameters
    """One row, in the dataset's world."""
    placement: Placement
    vertices_world: Float[np.ndarray, "vertices 3"]
    """In the tracker's world, metres."""

    @property
    def vertices(self) -> Float[np.ndarray, "vertices 3"]:
        """In the dataset's world, metres."""
        return self.placement(self.vertices_world)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScenePicture:
    """What a camera shows at a timestep."""

    image: UInt8[np.ndarray, "height width 3"]
    """Background and all."""
    alpha: UInt8[np.ndarray, "height width"]
    """The matte, faded to 0 below the neck line."""

    def over(self, background: BackgroundColor) -> UInt8[np.ndarray, "height width channels"]:
        """The picture over white or black, or with its alpha as a fourth channel (colours not premultiplied)."""
        if background == "transparent":
            return np.concatenate([self.image, self.alpha[..., None]], axis=-1)
        weight = self.alpha[..., None].astype(np.float32) / 255
        level = 255.0 if background == "white" else 0.0
        return np.round(self.image * weight + level * (1 - weight)).astype(np.uint8)


class Scene:
    """What all formats of a sequence's dataset have in common. Several threads may ask at once."""

    def __init__(
        self,
        track: Track,
        head: HeadModel,
        config: ExportConfig,
        views: Sequence[SequenceObservation],
        *,
        centred: bool = False,
        head_centric: bool = False,
    ) -> None:
        """Prepare what all timesteps share.

        Args:
            track: The track; frames where `tracked` is false are left out.
            head: The head it was tracked with.
            config: Background, world and the like.
            views: Pictures and mattes as each of the track's cameras saw them, in the track's order.
            centred: Resample pictures so that pixels are square and principal points in the middle.
            head_centric: Whether the cameras move around a head that keeps still.

        Raises:
            InputError: No frame of the track has a face, it was made with another head, or does not know the world
                that is asked for.
            ValueError: There is not one view for every camera.
        """
        track.check_head(head)
        if len(views) != len(track.cameras):
            raise ValueError(f"the track has {len(track.cameras)} cameras, but {len(views)} views were given")
        self.track, self.head, self.config = track, head, config
        self.frames: tuple[int, ...] = tuple(torch.nonzero(track.tracked)[:, 0].tolist())
        if not self.frames:
            raise InputError("no frame of the sequence has a face: there is nothing to export")
        self.views = tuple(SceneView.create(track, place, view, centred=centred) for place, view in enumerate(views))
        self.world: DatasetWorld = dataset_world(track, head, config.world, head_centric=head_centric)
        self._source_index = views[0].source_index
        self._neutral, self._joints = head.identity(track.shape)
        if track.static_offset is not None:
            self._neutral = self._neutral + track.static_offset[0]
        self._neck_points = neck_line_points(head)

    def canonical_vertices(self, parameters: FrameParameters) -> Float[np.ndarray, "vertices 3"]:
        """The sequence's person in a pose of one's own (one row), metres."""
        return self.head.pose(self._neutral, self._joints, parameters)[0].numpy()

    def timestep(self, index: int) -> Timestep:
        """The head at a timestep of the dataset."""
        frame = self.frames[index]
        return Timestep(
            index=index,
            frame=frame,
            source_frame=frame if self._source_index is None else int(self._source_index[frame]),
            parameters=self.world.parameters.select([frame]),
            placement=self.world.placements[frame],
            vertices_world=self.canonical_vertices(self.track.parameters.select([frame])),
        )

    def picture(self, view: SceneView, step: Timestep) -> ScenePicture:
        """What a camera shows at a timestep.

        Raises:
            ValueError: The picture has not the camera's size.
        """
        image, load_alpha = view.observation.load_image(step.frame), view.observation.load_alpha
        if image.shape[:2] != view.seen_by.camera.size_hw:
            size_hw = view.seen_by.camera.size_hw
            raise ValueError(f"frame {step.frame} of camera {view.seen_by.id} is {image.shape[:2]}, expected {size_hw}")
        matte = np.full(image.shape[:2], 255, np.uint8) if load_alpha is None else load_alpha(step.frame)
        if centring := view.centring(step.frame):
            image, matte = centring.image(image), centring.matte(matte)
        neck_mask = projected_neck_line_mask(
            step.vertices_world, self._neck_points, view.camera(step.frame), fade=self.config.neck_fade
        )
        return ScenePicture(image=image, alpha=np.round(matte * neck_mask).astype(np.uint8))

    def record(self, view: SceneView, step: Timestep) -> dict[str, Any]:
        """What `transforms.json` says of a camera at a timestep, without the files."""
        camera = view.camera(step.frame)
        return {
            "timestep_index": step.index,
            "timestep_index_original": step.source_frame,
            "timestep_id": self.track.timestep_ids[step.frame],
            "camera_index": view.seen_by.index,
            "camera_id": view.seen_by.id,
            **intrinsics_record(camera),
            "transform_matrix": world_from_camera_gl(camera, step.placement).tolist(),
        }
