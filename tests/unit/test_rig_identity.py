"""Who is who in several cameras: the faces that are one head in space."""

import cv2
import numpy as np
import pytest

from raytrack.observe.faces import FaceObservation
from raytrack.observe.rig_identity import agreed_faces

ANNA, BEN = np.array([0.0, 0.0, 0.0]), np.array([0.35, 0.05, 0.3])
FACE_M = 0.16


def projections(*yaws_deg: float) -> np.ndarray:
    """Cameras on a circle of 1 m around the origin."""
    matrix = np.array([[500.0, 0, 250], [0, 500, 250], [0, 0, 1]])
    views = []
    for yaw in yaws_deg:
        turn = cv2.Rodrigues(np.array([0.0, np.deg2rad(yaw), 0.0]))[0]
        views.append(matrix @ np.column_stack([turn, [0, 0, 1.0]]))
    return np.array(views)


def face(projection: np.ndarray, place: np.ndarray, off_px=(0.0, 0.0)) -> FaceObservation:
    across, down, depth = projection @ [*place, 1.0]
    middle = np.array([across, down]) / depth + off_px
    half = 500 * FACE_M / depth / 2
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * half + middle
    box = np.array([*(middle - half), *(middle + half)], np.float32)
    return FaceObservation(landmarks=corners.astype(np.float32), depth=None, score=1.0, expression_scores=None, box=box)


VIEWS = projections(-40, -10, 20, 45)


def test_what_all_cameras_agree_on_stays():
    faces = [[face(view, BEN), face(view, ANNA, (4, -3))] for view in VIEWS]
    chosen = np.array([1, 1, -1, 1])
    assert agreed_faces(faces, chosen, VIEWS) is chosen


def test_a_camera_that_took_another_for_the_person_is_corrected():
    faces = [[face(view, ANNA), face(view, BEN)] for view in VIEWS]
    faces[2].reverse()
    assert agreed_faces(faces, np.array([0, 0, 0, 0]), VIEWS).tolist() == [0, 0, 1, 0]


def test_a_camera_that_does_not_see_the_person_sees_nobody():
    faces = [[face(view, ANNA)] for view in VIEWS]
    faces[3] = [face(VIEWS[3], BEN)]
    assert agreed_faces(faces, np.array([0, 0, 0, 0]), VIEWS).tolist() == [0, 0, 0, -1]


def test_faces_that_were_not_chosen_are_found_where_the_person_is():
    faces = [[face(view, ANNA), face(view, BEN)] for view in VIEWS]
    assert agreed_faces(faces, np.array([0, 1, 0, -1]), VIEWS).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("chosen", [[-1, -1, -1, -1], [-1, 0, -1, -1]])
def test_one_camera_alone_is_believed(chosen):
    faces = [[face(view, ANNA)] if index >= 0 else [] for view, index in zip(VIEWS, chosen, strict=True)]
    assert agreed_faces(faces, np.array(chosen), VIEWS).tolist() == chosen


def test_a_point_behind_a_camera_is_seen_by_no_face_of_it():
    views = np.concatenate([VIEWS[:3], projections(0) @ np.diag([1, 1, 1, -0.5])])
    behind = np.array([0.0, 0.0, 0.0])
    faces = [[face(view, ANNA)] for view in views[:3]]
    flipped = views[3] @ [*behind, 1.0]
    assert flipped[2] < 0, "the camera looks away from the head"
    faces.append([face(VIEWS[1], ANNA)])
    assert agreed_faces(faces, np.array([0, 0, 0, 0]), views).tolist() == [0, 0, 0, -1]
