"""One person in several calibrated cameras: the faces chosen camera by camera must be of one head in space.

Frame by frame the head's place is found from the faces' middles: of all pairs of faces in different cameras, the point
between their lines of sight that most cameras agree with wins, those faces counting more that were chosen already. In
each camera the nearest face to that point is the person's; where none is near, the camera does not see the person.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from raytrack.observe.faces import FaceObservation

SAME_HEAD = 0.5
"""Distance in face sizes up to which a face may be the head at a point: an expression moves its middle by less."""
_CHOSEN_WEIGHT, _OTHER_WEIGHT = 1.0, 0.4
"""How much a face speaks for a point: two that were not chosen do not outweigh one that was."""


def agreed_faces(
    faces: Sequence[Sequence[FaceObservation]],
    chosen: Int[np.ndarray, " cameras"],
    projections: Float[np.ndarray, "cameras 3 4"],
) -> Int[np.ndarray, " cameras"]:
    """The faces of one timestep that are of one head in space.

    Args:
        faces: All faces in each camera.
        chosen: Index of the face that was chosen for each camera by itself; −1 where none was.
        projections: From the world to each camera's pixels.

    Returns:
        Index of the person's face for each camera, −1 where it is not seen. What was chosen, where all agree or only
        one camera sees a face.
    """
    seen = [camera for camera, face in enumerate(chosen.tolist()) if face >= 0]
    if len(seen) < 2:
        return chosen
    middles = [np.array([_middle(face) for face in found]).reshape(-1, 2) for found in faces]
    sizes = [np.array([_size(face) for face in found]) for found in faces]
    point = _triangulated(projections[seen], np.stack([middles[camera][chosen[camera]] for camera in seen]))
    if all(_nearest(point, projections[c], middles[c][[chosen[c]]], sizes[c][[chosen[c]]]) == 0 for c in seen):
        return chosen
    best, best_votes = chosen, 1.0
    every = [(camera, face) for camera, found in enumerate(faces) for face in range(len(found))]
    for (first, a), (second, b) in itertools.combinations(every, 2):
        if first == second:
            continue
        pair = [first, second]
        point = _triangulated(projections[pair], np.stack([middles[first][a], middles[second][b]]))
        near = [_nearest(point, *views) for views in zip(projections, middles, sizes, strict=True)]
        votes = sum(
            _CHOSEN_WEIGHT if face == mine else _OTHER_WEIGHT
            for face, mine in zip(near, chosen.tolist(), strict=True)
            if face >= 0
        )
        if votes > best_votes + 1e-9:
            best, best_votes = np.array(near, dtype=chosen.dtype), votes
    return best


def _middle(face: FaceObservation) -> Float[np.ndarray, "2"]:
    return face.landmarks.mean(axis=0, dtype=np.float64)


def _size(face: FaceObservation) -> float:
    return max(float(np.sqrt((face.box[2:] - face.box[:2]).astype(np.float64).prod())), 1e-6)


def _triangulated(
    projections: Float[np.ndarray, "views 3 4"], points_px: Float[np.ndarray, "views 2"]
) -> Float[np.ndarray, "4"]:
    """The homogeneous point nearest to several lines of sight (the linear method of Hartley & Zisserman, 12.2)."""
    rows = points_px[:, :, None] * projections[:, 2:] - projections[:, :2]
    scaled = rows.reshape(-1, 4)
    return np.linalg.svd(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))[2][-1]


def _nearest(
    point: Float[np.ndarray, "4"],
    projection: Float[np.ndarray, "3 4"],
    middles_px: Float[np.ndarray, "faces 2"],
    sizes_px: Float[np.ndarray, " faces"],
) -> int:
    """The face that is the head at a point; −1 where none is, or the point lies behind the camera."""
    across, down, depth = projection @ (point * np.sign(point[3]))
    if not len(middles_px) or depth <= 0:
        return -1
    distance = np.linalg.norm(middles_px - np.array([across, down]) / depth, axis=1) / sizes_px
    return int(distance.argmin()) if distance.min() <= SAME_HEAD else -1
