import numpy as np
import pytest
import torch

from raytrack.geometry.mesh import vertex_normals
from raytrack.head.landmarks import ContourEmbedding
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel

RIGHT_OUTER_CORNER, LEFT_OUTER_CORNER, NOSE_TIP, CHIN = 33, 263, 1, 152
UPPER_LIP, LOWER_LIP = 13, 14
RIGHT_IRIS, LEFT_IRIS = 468, 473


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def points(head) -> torch.Tensor:
    return head.landmarks_world(head.template)


@pytest.mark.parametrize("name", ["facemesh", "ibug"])
def test_landmarks_lie_inside_their_faces(head, name):
    embedding = head.landmarks[name]
    assert float(embedding.barycentric.min()) >= 0
    torch.testing.assert_close(embedding.barycentric.sum(dim=1), torch.ones(len(embedding.faces)))


def test_contour_points_lie_inside_their_faces(head):
    assert float(head.contour.barycentric.min()) >= 0
    sums = head.contour.barycentric.sum(dim=2)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=2e-3, rtol=0)


def test_landmarks_face_the_viewer(head, points):
    """The surface under all points but those on the lips' contact line and the temples looks forwards."""
    normals = vertex_normals(head.template, head.faces)
    under = head.landmarks_world(normals)
    assert float((under[:, 2] > 0).float().mean()) > 0.95


def test_landmarks_are_on_the_right_side_and_height(points):
    assert points[RIGHT_OUTER_CORNER, 0] < -0.03 < 0.03 < points[LEFT_OUTER_CORNER, 0], "the subject's left is +x"
    assert points[NOSE_TIP, 2] == points[:468, 2].max()
    assert points[CHIN, 1] < points[LOWER_LIP, 1] <= points[UPPER_LIP, 1] < points[NOSE_TIP, 1]
    assert float(points[[NOSE_TIP, CHIN, UPPER_LIP, LOWER_LIP], 0].abs().max()) < 0.001


def test_landmarks_are_symmetric(points):
    from raytrack.assets import asset_path

    with np.load(asset_path("head/head.npz"), allow_pickle=False) as archive:
        mirror = torch.from_numpy(archive["landmark_mirror"].astype(np.int64))
    off = (points[mirror] * torch.tensor([-1.0, 1.0, 1.0]) - points).norm(dim=1)
    assert float(off.median()) < 5e-4
    assert float(off.max()) < 4e-3


def test_irises_lie_where_the_eyes_look(head, points):
    for first, joint in ((RIGHT_IRIS, 4), (LEFT_IRIS, 3)):
        offset = points[first : first + 5] - head.joints[joint]
        centre, limbus = offset[0], offset[1:]
        assert float(centre[2] / centre.norm()) > 0.9999, "the iris centre lies on the resting optical axis"
        torch.testing.assert_close(limbus.norm(dim=1), centre.norm().expand(4), atol=1e-6, rtol=0)
        angle = torch.rad2deg(torch.acos(limbus[:, 2] / limbus.norm(dim=1)))
        torch.testing.assert_close(angle, torch.full((4,), 23.5), atol=0.1, rtol=0)


def test_ibug_inner_points_are_the_face_mesh_ones(head, points):
    ibug = head.landmarks_world(head.template, "ibug")
    torch.testing.assert_close(ibug[17:], points[head.ibug_of_facemesh][17:])


def test_jawline_runs_from_the_right_temple_to_the_left(head):
    jaw = head.landmarks_world(head.template, "ibug")[:17]
    assert bool((jaw[1:, 0] > jaw[:-1, 0] - 0.0005).all())
    assert jaw[0, 0] < -0.06 < 0.06 < jaw[16, 0]
    assert int(jaw[:, 1].argmin()) == 8
    step = (jaw[1:] - jaw[:-1]).norm(dim=1)
    assert float(step.max() / step.min()) < 1.5, "evenly spaced"


def test_frontal_contour_is_the_jawline(head):
    frontal = head.contour_world(head.template[None], torch.zeros(1))[0]
    jaw = head.landmarks_world(head.template, "ibug")[:17]
    assert float((frontal - jaw).norm(dim=1).max()) < 0.012


def test_contour_slides_forwards_on_the_far_side(head):
    """Turned to the subject's left, the right cheek is in view and the left jawline slides to the face's outline."""
    turned = head.contour_world(head.template[None], torch.tensor([35.0]))[0]
    frontal = head.contour_world(head.template[None], torch.zeros(1))[0]
    moved = turned[:, 2] - frontal[:, 2]
    assert float(moved[-6:].mean()) > 0.015
    assert float(moved[:6].abs().mean()) < 0.003


def test_contour_rows_are_the_nearest_yaws():
    contour = ContourEmbedding(
        yaw_deg=torch.tensor([-10.0, 0.0, 10.0]),
        faces=torch.zeros(3, 17, dtype=torch.int64),
        barycentric=torch.ones(3, 17, 3) / 3,
    )
    assert contour.rows(torch.tensor([-80.0, -4.0, 6.0, 90.0])).tolist() == [0, 1, 2, 2]


def test_landmarks_of_a_batch_are_those_of_each_frame(head):
    batch = head.template + torch.randn(3, 1, 3)
    together = head.landmarks_world(batch)
    for frame in range(3):
        torch.testing.assert_close(together[frame], head.landmarks_world(batch[frame]))
