"""What the tracker and the exports are given of a sequence, read from the tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raytrack.errors import NoFaceError
from raytrack.fit.observation import SequenceObservation
from raytrack.media.images import read_image, read_mask
from raytrack.observe.faces import FaceObservation
from raytrack.observe.identity import select_face
from raytrack.pipeline.stage import StageContext
from raytrack.tables.schemas import from_vectors, vector_shape


def read_observation(context: StageContext) -> SequenceObservation:
    """The sequence as one camera saw it: pictures, mattes, and the landmarks of one and the same person.

    Args:
        context: Of a stage after `probe`, `frames`, `alphas` and `landmarks`.

    Raises:
        NoFaceError: No frame has a face.
        RaytrackError: A table is damaged.
    """
    (clip,) = context.read("probe").to_pylist()
    frames, alphas = context.read("frames"), context.read("alphas")
    images = [context.out / path for path in frames["image"].to_pylist()]
    masks = [context.out / path if path else None for path in alphas["alpha"].to_pylist()]
    landmarks_px, scores, expression_scores = person_landmarks(context.read("landmarks"), frames.num_rows)
    return SequenceObservation(
        size_hw=(clip["height"], clip["width"]),
        timestep_ids=tuple(frames["timestep_id"].to_pylist()),
        timestamps_s=frames["timestamp_s"].to_numpy(),
        load_image=lambda frame: read_image(images[frame]).rgb,
        load_alpha=None if None in masks else lambda frame: read_mask(_present(masks[frame])),
        landmarks_px=landmarks_px,
        scores=scores,
        expression_scores=expression_scores,
    )


def _present(path: Path | None) -> Path:
    if path is None:
        raise ValueError("the frame has no matte")
    return path


def person_landmarks(faces: pa.Table, num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Landmarks (frames, points, 2), scores (frames,) and expression scores of the clip's person.

    Frames in which the person is not seen have score 0 and landmarks 0.

    Args:
        faces: The table `landmarks` of the whole sequence.
        num_frames: Frames of the sequence.

    Raises:
        NoFaceError: No frame has a face.
    """
    by_frame: list[list[FaceObservation]] = [[] for _ in range(num_frames)]
    arrays = {field.name: _array(faces, field) for field in faces.schema if vector_shape(field.type)}
    seen = zip(faces["frame"].to_pylist(), faces["face"].to_pylist(), faces["score"].to_pylist(), strict=True)
    for row, (frame, face, score) in enumerate(seen):
        if face >= 0:
            by_frame[frame].append(_face({name: values[row] for name, values in arrays.items()}, score))
    chosen = select_face(by_frame)
    if not (chosen >= 0).any():
        raise NoFaceError
    points = np.zeros((num_frames, *arrays["landmarks"].shape[1:]), np.float32)
    scores = np.zeros(num_frames, np.float32)
    with_expressions = "expression_scores" in arrays
    expressions = np.zeros((num_frames, arrays["expression_scores"].shape[1] if with_expressions else 0), np.float32)
    for frame, index in enumerate(chosen.tolist()):
        if index < 0:
            continue
        person = by_frame[frame][index]
        points[frame], scores[frame] = person.landmarks, person.score
        if person.expression_scores is not None:
            expressions[frame] = person.expression_scores
    return points, scores, expressions if with_expressions else None


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
