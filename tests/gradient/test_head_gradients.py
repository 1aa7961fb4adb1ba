import torch

from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE, FrameParameters


def small_head():
    """A few vertices from every part, in double precision."""
    head = load_head()
    chosen = torch.cat(
        [
            mask.nonzero()[:: max(int(mask.sum()) // 2, 1), 0][:2]
            for name, mask in head.regions.items()
            if name in ("lips", "neck_lower", "left_iris", "right_sclera", "teeth_lower", "tongue", "scalp", "bust")
        ]
    ).unique()
    return head.subset(chosen).to(torch.float64)


def test_vertices_differentiate_in_all_parameters():
    head = small_head()
    packed = (0.3 * torch.randn(2, NUM_POSE + head.num_expressions, dtype=torch.float64)).requires_grad_()
    shape = torch.randn(12, dtype=torch.float64, requires_grad=True)
    offset = (0.01 * torch.randn(head.num_vertices, 3, dtype=torch.float64)).requires_grad_()

    def vertices(packed, shape, offset):
        return head.vertices(FrameParameters.unpack(packed), shape, offset)

    assert torch.autograd.gradcheck(vertices, (packed, shape, offset), eps=1e-6, atol=1e-8)


def test_vertices_differentiate_at_rest():
    head = small_head()
    packed = torch.zeros(1, NUM_POSE + head.num_expressions, dtype=torch.float64, requires_grad=True)
    shape = torch.zeros(3, dtype=torch.float64)

    def vertices(packed):
        return head.vertices(FrameParameters.unpack(packed), shape)

    assert torch.autograd.gradcheck(vertices, (packed,), eps=1e-6, atol=1e-8)


def test_landmarks_and_contour_differentiate_in_the_vertices():
    head = load_head().landmark_subset("ibug", "contour").to(torch.float64)
    vertices = head.template[None].clone().requires_grad_()
    yaw = torch.tensor([17.0], dtype=torch.float64)
    weight = torch.randn(85, 3, dtype=torch.float64)

    def score(vertices):
        points = torch.cat([head.landmarks_world(vertices, "ibug"), head.contour_world(vertices, yaw)], dim=1)
        return (points * weight).sum()

    (gradient,) = torch.autograd.grad(score(vertices), vertices)
    direction = torch.randn_like(vertices)
    step = 1e-4
    slope = (score(vertices + step * direction) - score(vertices - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-8, atol=1e-10)
