import pytest
import torch

from raytrack.head.expressions import parameters_from_scores
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel

RIGHT_LIDS, LEFT_LIDS = (159, 145), (386, 374)
"""Face Mesh points in the middle of the upper and lower lid."""


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


def vertices_of(head: HeadModel, shape: torch.Tensor | None = None, **scores: float) -> torch.Tensor:
    parameters = parameters_from_scores(head, tuple(scores), torch.tensor([list(scores.values())]))
    return head.vertices(parameters, torch.zeros(0) if shape is None else shape)[0]


def lid_gap(head: HeadModel, vertices: torch.Tensor, lids: tuple[int, int]) -> float:
    upper, lower = head.landmarks_world(vertices)[list(lids)]
    return float(upper[1] - lower[1])


@pytest.mark.parametrize(
    ("name", "blinking", "open_"),
    [("eyeBlinkLeft", LEFT_LIDS, RIGHT_LIDS), ("eyeBlinkRight", RIGHT_LIDS, LEFT_LIDS)],
)
def test_a_blink_closes_its_own_eye_for_any_identity(head, name, blinking, open_):
    for shape in torch.randn(10, head.num_shapes):
        rest, blink = vertices_of(head, shape, jawOpen=0.0), vertices_of(head, shape, **{name: 1.0})
        assert lid_gap(head, rest, blinking) > 0.004
        assert lid_gap(head, blink, blinking) < 0.0005
        assert lid_gap(head, blink, open_) == pytest.approx(lid_gap(head, rest, open_), abs=1e-4)


def test_jaw_scores_drive_the_jaw_joint(head):
    parameters = parameters_from_scores(head, ("jawOpen", "jawLeft", "jawRight"), torch.tensor([[0.5, 0.0, 1.0]]))
    assert parameters.jaw_pose[0].tolist() == pytest.approx(
        [0.5 * head.jaw_open_full_rad, -head.jaw_side_full_rad, 0.0], abs=1e-6
    )
    chin = vertices_of(head, jawLeft=1.0)[head.region("teeth_lower"), 0].mean()
    assert float(chin) > 0.004, "jawLeft moves the chin to the subject's left, +x"


@pytest.mark.parametrize(
    ("scores", "axis", "sign"),
    [
        ({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, 0, 1),
        ({"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}, 0, -1),
        ({"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}, 1, 1),
        ({"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0}, 1, -1),
    ],
)
def test_gaze_scores_turn_both_eyes(head, scores, axis, sign):
    moved = vertices_of(head, **scores) - head.template
    for side in ("left", "right"):
        assert sign * float(moved[head.region(f"{side}_iris"), axis].mean()) > 0.003


def test_named_scores_become_coefficients_and_unknown_ones_nothing(head):
    names = ("_neutral", "mouthSmileLeft", "browInnerUp")
    parameters = parameters_from_scores(head, names, torch.tensor([[0.9, 0.4, 0.2]]))
    values = dict(zip(head.expression_names, parameters.expression[0].tolist(), strict=True))
    assert values["mouthSmileLeft"] == pytest.approx(0.4)
    assert values["browInnerUp"] == pytest.approx(0.2)
    assert sum(values.values()) == pytest.approx(0.6)


def test_expressions_that_are_off_stay_off(head):
    parameters = parameters_from_scores(head, ("tongueOut",), torch.ones(1, 1))
    assert not parameters.expression.any()


def test_smile_moves_the_mouth_corner_of_its_side_up_and_out(head):
    corner = 291
    rest, smile = (
        head.landmarks_world(head.template)[corner],
        head.landmarks_world(vertices_of(head, mouthSmileLeft=1.0))[corner],
    )
    assert float(smile[0] - rest[0]) > 0.002
    assert float(smile[1] - rest[1]) > 0.002


def test_names_must_match_the_columns(head):
    with pytest.raises(ValueError, match="2 score names"):
        parameters_from_scores(head, ("jawOpen", "jawLeft"), torch.zeros(1, 3))
