"""What the tracker is given of a clip: pictures, faces and mattes as the product finds them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from assets.demo.build_demo.performance import FRAMES_PER_SECOND
from benchmarks.accuracy.suite import Clip
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig import RigCamera
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel
from raytrack.media.source import probe, read_pictures
from raytrack.observe.faces import FaceObservation
from raytrack.observe.identity import select_face
from raytrack.observe.landmarks import make_landmark_detector
from raytrack.observe.matting import make_matter
from raytrack.observe.rig_identity import agreed_faces

Views = tuple[SequenceObservation, ...]


def observe_clip(clip: Clip) -> Views:
    """Read and look at every camera's video; of a rig, the cameras agree on who is meant, and calibration is given."""
    recordings = [read_video(path) for path in clip.videos]
    found = [find_faces(frames) for frames, _ in recordings]
    chosen = [select_face(faces) for faces in found]
    if clip.is_rig:
        projections = clip.intrinsics @ clip.cam_from_world
        frames = [
            agreed_faces([faces[t] for faces in found], np.array([person[t] for person in chosen]), projections)
            for t in range(clip.num_frames)
        ]
        chosen = list(np.stack(frames, axis=1))
    times_s = np.array(clip.frames) / FRAMES_PER_SECOND
    return tuple(
        _view(frames, times_s, found[number], chosen[number], _calibration(clip, number), 1 / FRAMES_PER_SECOND)
        for number, (frames, _) in enumerate(recordings)
    )


def observe_video(path: Path) -> SequenceObservation:
    """A single camera's video of somebody."""
    frames, times_s = read_video(path)
    found = find_faces(frames)
    return _view(frames, times_s, found, select_face(found), None)


def read_video(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures and their times in seconds."""
    source = probe(path)
    return [picture.rgb for picture in read_pictures(source)], source.timestamps_s


def find_faces(frames: Sequence[np.ndarray]) -> list[tuple[FaceObservation, ...]]:
    """All faces of every frame."""
    return list(make_landmark_detector("facemesh").track(frames))


def _calibration(clip: Clip, number: int) -> RigCamera | None:
    if not clip.is_rig:
        return None
    camera = Camera(
        intrinsics=torch.from_numpy(clip.intrinsics[number]).float(),
        cam_from_world=torch.from_numpy(clip.cam_from_world[number]).float(),
        size_hw=clip.size_hw,
    )
    return RigCamera(index=number, id=clip.camera_ids[number], camera=camera)


def _view(
    frames: list[np.ndarray], times_s: np.ndarray, found: Sequence[Sequence[FaceObservation]], chosen: np.ndarray,
    calibrated: RigCamera | None, usual_step_s: float | None = None,
) -> SequenceObservation:  # fmt: skip
    ids = tuple(f"{frame:06d}" for frame in range(len(frames)))
    mattes = list(make_matter("selfie").track(zip(ids, frames, strict=True)))
    faces = [observed[index] if index >= 0 else None for observed, index in zip(found, chosen.tolist(), strict=True)]
    num_scores = len(make_landmark_detector("facemesh").expression_names)
    return SequenceObservation(
        size_hw=(frames[0].shape[0], frames[0].shape[1]),
        timestep_ids=ids,
        timestamps_s=times_s,
        usual_step_s=usual_step_s,
        load_image=lambda frame: frames[frame],
        load_alpha=lambda frame: mattes[frame],
        landmarks_px=_stacked([face and face.landmarks for face in faces], (478, 2)),
        scores=np.array([face.score if face else 0.0 for face in faces], np.float32),
        expression_scores=_stacked([face and face.expression_scores for face in faces], (num_scores,)),
        calibrated=calibrated,
    )


def _stacked(values: Sequence[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack([np.zeros(shape, np.float32) if value is None else value for value in values]).astype(np.float32)


def without_mattes(views: Views) -> Views:
    """The same without knowing the person's outline."""
    return tuple(dataclasses.replace(view, load_alpha=None) for view in views)


def sparse_landmarks(views: Views, head: HeadModel) -> Views:
    """The same with 68 of the 478 points.

    Raises:
        ValueError: The head does not say which points stand for the 68.
    """
    if head.ibug_of_facemesh is None:
        raise ValueError(f"{head.name} does not say which Face Mesh points stand for iBUG's")
    kept = head.ibug_of_facemesh.numpy()
    return tuple(
        dataclasses.replace(view, landmarks_px=view.landmarks_px[:, kept], landmark_set="ibug-3d") for view in views
    )
