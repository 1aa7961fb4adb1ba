import math

import pytest
import torch

from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import NUM_POSE, FrameParameters


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def random_parameters(head: HeadModel, num_frames: int) -> FrameParameters:
    return FrameParameters.unpack(0.2 * torch.randn(num_frames, NUM_POSE + head.num_expressions))


def posed(head: HeadModel, expressions: dict[str, float] | None = None, **blocks: list[float]) -> torch.Tensor:
    """Vertices of one frame of the mean head."""
    zeros = FrameParameters.zeros(1, head.num_expressions)
    expression = zeros.expression.clone()
    for name, value in (expressions or {}).items():
        expression[0, head.expression_names.index(name)] = value
    values = {name: getattr(zeros, name) for name in ("rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose")}
    values |= {name: torch.tensor([value]) for name, value in blocks.items()}
    return head.vertices(FrameParameters(expression=expression, **values), torch.zeros(0))[0]


def centre(vertices: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return vertices[mask].mean(dim=0)


def test_resting_parameters_give_the_template(head):
    torch.testing.assert_close(posed(head), head.template)


def test_translation_moves_every_vertex_alike(head):
    moved = posed(head, translation=[0.1, -0.2, 0.3])
    torch.testing.assert_close(moved - head.template, torch.tensor([0.1, -0.2, 0.3]).expand_as(moved))


def test_root_rotation_turns_everything_about_the_root_joint(head):
    turn = [0.3, -0.5, 0.2]
    rotation = matrix_from_axis_angle(torch.tensor(turn))
    expected = (head.template - head.joints[0]) @ rotation.T + head.joints[0]
    torch.testing.assert_close(posed(head, rotation=turn), expected, atol=1e-6, rtol=0)


def test_neck_turns_the_face_and_leaves_the_bottom_edge(head):
    moved = (posed(head, neck_pose=[0.0, 0.6, 0.0]) - head.template).norm(dim=1)
    assert moved[head.region("bottomline")].max() < 1e-4
    assert moved[head.region("nose")].min() > 0.02


def test_positive_jaw_pose_opens_the_mouth(head):
    opened = posed(head, jaw_pose=[head.jaw_open_full_rad, 0.0, 0.0])
    lips = [head.landmarks_world(vertices)[[13, 14], 1] for vertices in (head.template, opened)]
    gaps = [float(upper - lower) for upper, lower in lips]
    assert gaps[0] < 0.002
    assert gaps[1] > 0.025
    drop = centre(opened, head.region("teeth_lower")) - centre(head.template, head.region("teeth_lower"))
    assert drop[1] < -0.015
    assert (opened - head.template)[head.region("teeth_upper")].norm(dim=1).max() < 1e-6


def test_eyes_turn_about_their_centres_and_keep_their_radius(head):
    turned = posed(head, eyes_pose=[0.0, 0.4, 0.0, 0.2, 0.0, 0.0])
    for side, joint in (("left", 3), ("right", 4)):
        eyeball = head.region(f"{side}_eyeball")
        radius = (turned[eyeball] - head.joints[joint]).norm(dim=1)
        assert float(radius.max() - radius.min()) < 1e-6
    still = ~head.region("eyeballs")
    torch.testing.assert_close(turned[still], head.template[still])
    left_gaze = centre(turned, head.region("left_iris")) - head.joints[3]
    right_gaze = centre(turned, head.region("right_iris")) - head.joints[4]
    assert math.atan2(left_gaze[0], left_gaze[2]) == pytest.approx(0.4, abs=0.01), "positive y looks to the left (+x)"
    assert math.atan2(-right_gaze[1], right_gaze[2]) == pytest.approx(0.2, abs=0.01), "positive x looks down"


def test_eyeballs_stay_spheres_about_the_eye_joints_for_any_identity(head):
    neutral, joints = head.identity(torch.randn(3, head.num_shapes))
    for side, joint in (("left", 3), ("right", 4)):
        radius = (neutral[:, head.region(f"{side}_eyeball")] - joints[:, joint, None]).norm(dim=2)
        assert float((radius.amax(dim=1) - radius.amin(dim=1)).max()) < 2e-6


def test_eyeballs_do_not_move_with_expressions(head):
    assert not head.expression_basis[:, head.region("eyeballs")].any()


def test_a_short_shape_vector_means_zeros_after_it(head):
    shape = torch.randn(20)
    padded = torch.cat([shape, torch.zeros(head.num_shapes - 20)])
    parameters = random_parameters(head, 2)
    torch.testing.assert_close(head.vertices(parameters, shape), head.vertices(parameters, padded))


def test_shape_may_differ_per_frame(head):
    parameters, shapes = random_parameters(head, 2), torch.randn(2, 10)
    together = head.vertices(parameters, shapes)
    for frame in range(2):
        alone = head.vertices(parameters.select([frame]), shapes[frame])
        torch.testing.assert_close(together[frame], alone[0], atol=1e-6, rtol=0)


def test_offset_is_added_before_skinning(head):
    parameters = FrameParameters.zeros(1, head.num_expressions)
    turned = FrameParameters(**{**vars(parameters), "rotation": torch.tensor([[0.0, math.pi / 2, 0.0]])})
    offset = torch.zeros_like(head.template)
    offset[:, 0] = 0.01
    shift = head.vertices(turned, torch.zeros(0), offset) - head.vertices(turned, torch.zeros(0))
    torch.testing.assert_close(shift[0], torch.tensor([0.0, 0.0, -0.01]).expand_as(offset), atol=1e-6, rtol=0)
    per_frame = head.vertices(turned, torch.zeros(0), offset[None])
    torch.testing.assert_close(per_frame, head.vertices(turned, torch.zeros(0), offset))


def test_joints_world_follow_the_rig(head):
    parameters, shape = random_parameters(head, 3), torch.randn(head.num_shapes)
    joints = head.joints_world(parameters, shape)
    vertices = head.vertices(parameters, shape)
    for side, joint in (("left", 3), ("right", 4)):
        radius = (vertices[:, head.region(f"{side}_eyeball")] - joints[:, joint, None]).norm(dim=2)
        assert float((radius.amax(dim=1) - radius.amin(dim=1)).max()) < 3e-6
    torch.testing.assert_close(joints[:, 0], head.identity(shape)[1][0] + parameters.translation)


def test_wrong_numbers_of_coefficients_are_refused(head):
    parameters = FrameParameters.zeros(1, head.num_expressions + 1)
    with pytest.raises(ValueError, match="expression coefficients"):
        head.vertices(parameters, torch.zeros(3))
    with pytest.raises(ValueError, match="shape coefficients"):
        head.identity(torch.zeros(head.num_shapes + 1))


def test_unknown_names_are_refused_with_the_known_ones(head):
    with pytest.raises(ValueError, match="lips_tight"):
        head.region("moustache")
    with pytest.raises(ValueError, match="facemesh"):
        head.landmarks_world(head.template, "star")


def test_subset_gives_the_same_positions(head):
    chosen = torch.randperm(head.num_vertices)[:700]
    parameters, shape = random_parameters(head, 2), torch.randn(head.num_shapes)
    part = head.subset(chosen)
    full = head.vertices(parameters, shape)[:, chosen]
    torch.testing.assert_close(part.vertices(parameters, shape), full, atol=1e-6, rtol=0)
    assert torch.equal(part.region("face"), head.region("face")[chosen])


def test_subset_renumbers_faces(head):
    chosen = head.faces[100:140].flatten().unique()
    part = head.subset(chosen)
    assert len(part.faces) >= 40
    kept = {tuple(face) for face in chosen[part.faces].tolist()}
    assert {tuple(face) for face in head.faces[100:140].tolist()} <= kept
    assert part.uv_faces.shape == part.faces.shape


def test_subset_refuses_a_vertex_twice(head):
    with pytest.raises(ValueError, match="once"):
        head.subset(torch.tensor([5, 5]))


def test_landmark_subset_carries_its_landmarks_on_fewer_vertices(head):
    part = head.landmark_subset("facemesh", "contour")
    assert part.num_vertices < head.num_vertices / 3
    parameters, shape = random_parameters(head, 2), torch.randn(head.num_shapes)
    small, large = part.vertices(parameters, shape), head.vertices(parameters, shape)
    torch.testing.assert_close(part.landmarks_world(small), head.landmarks_world(large), atol=1e-6, rtol=0)
    yaw = torch.tensor([-30.0, 12.0])
    torch.testing.assert_close(part.contour_world(small, yaw), head.contour_world(large, yaw), atol=1e-6, rtol=0)


def test_subset_drops_landmarks_that_lost_their_faces(head):
    part = head.subset(torch.arange(50))
    assert part.landmarks == {}
    assert part.contour is None
    with pytest.raises(ValueError, match="jawline"):
        part.contour_world(torch.zeros(1, 50, 3), torch.zeros(1))


def test_to_double_keeps_indices_and_masks(head):
    double = head.to(torch.float64)
    assert double.template.dtype == torch.float64
    assert double.faces.dtype == torch.int64
    assert double.region("face").dtype == torch.bool
    assert double.landmarks["facemesh"].barycentric.dtype == torch.float64


def test_topology_has_v_growing_downwards(head):
    topology = head.topology()
    corner_v = topology.uv[topology.uv_faces][..., 1]
    forehead, mouth = (corner_v[head.face_region(name).numpy()].mean() for name in ("forehead", "lips"))
    assert forehead < mouth, "the forehead lies above the mouth in the picture"
    assert topology.uv.min() >= 0
    assert topology.uv.max() <= 1


def test_default_head_switches_off_what_fits_misuse(head):
    off = {name for name, on in zip(head.expression_names, head.expression_enabled, strict=True) if not on}
    assert off == {"tongueOut", "mh_neck_platysma"}
