"""What the tracker and the exports are given of a sequence, read from the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raytrack.errors import NoFaceError
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.rig import RigCamera
from raytrack.geometry.camera import Camera
from raytrack.media.images import read_image, read_mask
from raytrack.media.resize import THUMBNAIL_PX
from raytrack.observe.cuts import find_cuts, shots
from raytrack.observe.events import ClipEvent, clip_events
from raytrack.observe.faces import FaceObservation
from raytrack.observe.identity import select_face
from raytrack.observe.rig_identity import agreed_faces
from raytrack.pipeline.stage import StageContext
from raytrack.tables.schemas import from_vectors, vector_shape

_FacesByFrame = list[list[FaceObservation]]


@dataclass(frozen=True, kw_only=True)
class ObservedSequence:
    """A sequence, and what should be said about its footage."""

    views: tuple[SequenceObservation, ...]
    """One for each camera that is taken, by place in the rig, all of the same frames; of monocular footage one without
    calibration."""
    events: tuple[ClipEvent, ...]


def read_views(context: StageContext) -> tuple[SequenceObservation, ...]:
    """The views of `read_sequence`."""
    return read_sequence(context).views


def read_sequence(context: StageContext) -> ObservedSequence:
    """The sequence as its cameras saw it: pictures, mattes, and the landmarks of one and the same person.

    Args:
        context: Of a stage after `probe`, `frames`, `alphas` and `landmarks`.

    Raises:
        NoFaceError: No frame of any camera has a face.
        RaytrackError: A table is damaged.
    """
    (recording,) = context.read("probe").to_pylist()
    frames, alphas, landmarks = (context.read(stage) for stage in ("frames", "alphas", "landmarks"))
    rig = rig_cameras(context.read("probe", table="cameras")) if context.sequence.is_rig else ()
    places = [camera.index for camera in rig] or [0]
    calibrated = bool(rig) and context.sequence.is_calibrated
    found = [_faces_by_frame(_of_camera(landmarks, place), recording["num_frames"]) for place in places]
    thumbnails = [_thumbnails(_of_camera(frames, place)) for place in places]
    cuts = _cuts(thumbnails, found)
    chosen = [select_face(faces, cuts.tolist()) for faces in found]
    if calibrated:
        chosen = _agreed(found, chosen, rig)
    if not any((of_camera >= 0).any() for of_camera in chosen):
        raise NoFaceError
    group = shots(thumbnails[0], cuts, _largest_faces(found[0]))
    views = []
    for view, place in enumerate(places):
        ours = _of_camera(frames, place)
        views.append(
            SequenceObservation(
                size_hw=rig[view].camera.size_hw if rig else (recording["height"], recording["width"]),
                timestep_ids=tuple(ours["timestep_id"].to_pylist()),
                timestamps_s=ours["timestamp_s"].to_numpy(),
                source_index=ours["source_frame"].to_numpy(),
                group=group,
                calibrated=rig[view] if calibrated else None,
                camera_id=rig[view].id if rig else "",
                landmark_set=landmarks["landmark_set"][0].as_py(),
                **_loaders(context.out, ours, _of_camera(alphas, place)),
                **_person(landmarks.schema, found[view], chosen[view]),
            )
        )
    num_faces = np.max([[len(faces) for faces in of_camera] for of_camera in found], axis=0)
    seen = np.any([of_camera >= 0 for of_camera in chosen], axis=0)
    return ObservedSequence(views=tuple(views), events=clip_events(num_faces, seen, group, cuts))


def _thumbnails(frames: pa.Table) -> np.ndarray:
    pixels = np.frombuffer(b"".join(frames["thumbnail"].to_pylist()), np.uint8)
    return pixels.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX, 3)


def _cuts(thumbnails: Sequence[np.ndarray], found: Sequence[_FacesByFrame]) -> np.ndarray:
    """Frames that begin a shot: of a rig those at which most of its cameras see one."""
    votes = np.zeros(len(thumbnails[0]), np.int64)
    for pictures, faces in zip(thumbnails, found, strict=True):
        votes[find_cuts(pictures, _largest_faces(faces))] += 1
    return np.flatnonzero(2 * votes > len(thumbnails))


def _largest_faces(by_frame: _FacesByFrame) -> np.ndarray:
    """Landmarks of the largest face in each frame, not a number where there is none."""
    num_points = max((len(face.landmarks) for faces in by_frame for face in faces), default=1)
    points = np.full((len(by_frame), num_points, 2), np.nan, np.float32)
    for frame, faces in enumerate(by_frame):
        if faces:
            points[frame] = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2]))).landmarks
    return points


def rig_cameras(rows: pa.Table) -> tuple[RigCamera, ...]:
    """The cameras of a rig from the table `cameras`."""
    return tuple(
        RigCamera(
            index=row["camera"],
            id=row["camera_id"],
            camera=Camera(
                intrinsics=torch.tensor(row["intrinsics"], dtype=torch.float32),
                cam_from_world=torch.tensor(row["cam_from_world"], dtype=torch.float32),
                size_hw=(row["height"], row["width"]),
            ),
        )
        for row in rows.to_pylist()
    )


def _of_camera(rows: pa.Table, place: int) -> pa.Table:
    return rows.filter(pa.array(rows["camera"].to_numpy() == place))


def _loaders(out: Path, frames: pa.Table, alphas: pa.Table) -> dict[str, Any]:
    """What reads a camera's pictures and mattes."""
    images = [out / path for path in frames["image"].to_pylist()]
    masks = [out / path for path in alphas["alpha"].to_pylist() if path]
    has_mattes = len(masks) == len(images)
    return {
        "load_image": lambda frame: read_image(images[frame]).rgb,
        "load_alpha": (lambda frame: read_mask(masks[frame])) if has_mattes else None,
    }


def _faces_by_frame(faces: pa.Table, num_frames: int) -> _FacesByFrame:
    """All faces in each of a camera's frames."""
    by_frame: _FacesByFrame = [[] for _ in range(num_frames)]
    arrays = {field.name: _array(faces, field) for field in faces.schema if vector_shape(field.type)}
    seen = zip(faces["frame"].to_pylist(), faces["face"].to_pylist(), faces["score"].to_pylist(), strict=True)
    for row, (frame, face, score) in enumerate(seen):
        if face >= 0:
            by_frame[frame].append(_face({name: values[row] for name, values in arrays.items()}, score))
    return by_frame


def _agreed(found: Sequence[_FacesByFrame], chosen: Sequence[np.ndarray], rig: Sequence[RigCamera]) -> list[np.ndarray]:
    """The person's face in each frame of each camera, after the cameras have come to terms about who that is."""
    projections = np.stack(
        [(one.camera.intrinsics.double() @ one.camera.cam_from_world.double()).numpy() for one in rig]
    )
    frames = [
        agreed_faces(list(faces), np.array(person), projections)
        for faces, person in zip(zip(*found, strict=True), zip(*chosen, strict=True), strict=True)
    ]
    return list(np.stack(frames, axis=1))


def _person(schema: pa.Schema, by_frame: _FacesByFrame, chosen: np.ndarray) -> dict[str, Any]:
    """Landmarks (frames, points, 2), scores (frames,) and expression scores of the person in one camera.

    Frames in which the person is not seen have score 0 and landmarks 0.
    """
    shapes = {field.name: vector_shape(field.type) for field in schema}
    points = np.zeros((len(by_frame), *shapes["landmarks"]), np.float32)
    scores = np.zeros(len(by_frame), np.float32)
    with_expressions = "expression_scores" in shapes
    expressions = np.zeros((len(by_frame), *shapes.get("expression_scores", (0,))), np.float32)
    for frame, index in enumerate(chosen.tolist()):
        if index < 0:
            continue
        person = by_frame[frame][index]
        points[frame], scores[frame] = person.landmarks, person.score
        if person.expression_scores is not None:
            expressions[frame] = person.expression_scores
    return {
        "landmarks_px": points,
        "scores": scores,
        "expression_scores": expressions if with_expressions else None,
    }


def _array(faces: pa.Table, field: Any) -> np.ndarray:
    return from_vectors(faces[field.name], vector_shape(field.type))


def _face(arrays: dict[str, np.ndarray], score: float) -> FaceObservation:
    return FaceObservation(
        landmarks=arrays["landmarks"],
        depth=arrays.get("depth"),
        score=score,
        expression_scores=arrays.get("expression_scores"),
        box=arrays["box"],
    )
