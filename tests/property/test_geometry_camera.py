import torch
from hypothesis import given
from hypothesis import strategies as st

from raytrack.geometry.camera import FAR_M, GL_FROM_CV, NEAR_M, Camera, monocular_camera
from raytrack.geometry.rotation import matrix_from_axis_angle

SIZES = st.tuples(st.integers(8, 2000), st.integers(8, 2000))
FOCALS = st.floats(50, 5000)
SEEDS = st.integers(0, 10_000)


def random_camera(seed: int, focal: float, size_hw: tuple[int, int]) -> Camera:
    generator = torch.Generator().manual_seed(seed)
    height, width = size_hw
    intrinsics = torch.tensor([[focal, 0.0, 0.4 * width], [0.0, 1.1 * focal, 0.6 * height], [0.0, 0.0, 1.0]]).double()
    rotation = matrix_from_axis_angle(torch.randn(3, generator=generator, dtype=torch.float64))
    translation = torch.randn(3, 1, generator=generator, dtype=torch.float64)
    return Camera(intrinsics=intrinsics, cam_from_world=torch.cat([rotation, translation], dim=1), size_hw=size_hw)


def points_in_front(camera: Camera, seed: int) -> torch.Tensor:
    """World points with depths from 0.3 to 3 m."""
    generator = torch.Generator().manual_seed(seed + 1)
    cam = torch.rand(20, 3, generator=generator, dtype=torch.float64) * 2 - 1
    cam[:, 2] = 0.3 + 2.7 * torch.rand(20, generator=generator, dtype=torch.float64)
    rotation, translation = camera.cam_from_world.split((3, 1), dim=1)
    return (cam - translation.T) @ rotation


@given(SEEDS, FOCALS, SIZES)
def test_project_and_unproject_give_back_the_point(seed, focal, size_hw):
    camera = random_camera(seed, focal, size_hw)
    world = points_in_front(camera, seed)
    px = camera.project(world)
    depth = camera.cam_points(world)[:, 2:]
    rays = torch.cat([px, torch.ones_like(depth)], dim=1) @ torch.linalg.inv(camera.intrinsics).T
    rotation, translation = camera.cam_from_world.split((3, 1), dim=1)
    torch.testing.assert_close((rays * depth - translation.T) @ rotation, world, atol=1e-9, rtol=0)


@given(SEEDS, FOCALS, SIZES)
def test_clip_and_project_agree(seed, focal, size_hw):
    camera = random_camera(seed, focal, size_hw)
    world = points_in_front(camera, seed)
    clip, px = camera.clip(world), camera.project(world)
    size = torch.tensor([size_hw[1], size_hw[0]], dtype=torch.float64)
    torch.testing.assert_close((clip[:, :2] / clip[:, 3:] + 1) / 2 * size, px, atol=1e-8, rtol=1e-9)
    torch.testing.assert_close(clip[:, 3], camera.cam_points(world)[:, 2])


@given(SEEDS, FOCALS, SIZES, SIZES)
def test_scaling_there_and_back_gives_the_same_camera(seed, focal, size_hw, other_hw):
    camera = random_camera(seed, focal, size_hw)
    scaled = camera.scaled(other_hw)
    world = points_in_front(camera, seed)
    factor = torch.tensor([other_hw[1] / size_hw[1], other_hw[0] / size_hw[0]], dtype=torch.float64)
    torch.testing.assert_close(scaled.project(world), camera.project(world) * factor, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(scaled.scaled(size_hw).intrinsics, camera.intrinsics, rtol=1e-6, atol=1e-9)


@given(FOCALS, SIZES)
def test_monocular_camera_sees_the_origin_in_the_middle(focal, size_hw):
    camera = monocular_camera(torch.tensor(focal, dtype=torch.float64), size_hw)
    px = camera.project(torch.zeros(1, 3, dtype=torch.float64))[0]
    assert px.tolist() == [size_hw[1] / 2, size_hw[0] / 2]


@given(FOCALS, SIZES)
def test_monocular_camera_has_x_to_the_right_and_y_up(focal, size_hw):
    camera = monocular_camera(torch.tensor(focal, dtype=torch.float64), size_hw)
    world = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.5]], dtype=torch.float64)
    right, up, near = camera.project(world) - camera.project(torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(right, torch.tensor([0.1 * focal, 0.0], dtype=torch.float64))
    torch.testing.assert_close(up, torch.tensor([0.0, -0.1 * focal], dtype=torch.float64))
    assert near.abs().max() == 0
    assert camera.cam_points(world)[2, 2] == 0.5


def test_depth_in_clip_space_runs_from_minus_one_to_one():
    camera = Camera(intrinsics=torch.eye(3), cam_from_world=torch.eye(3, 4), size_hw=(2, 2))
    clip = camera.clip(torch.tensor([[0.0, 0.0, NEAR_M], [0.0, 0.0, FAR_M], [0.0, 0.0, 1.0]]))
    ndc = clip[:, 2] / clip[:, 3]
    torch.testing.assert_close(ndc[:2], torch.tensor([-1.0, 1.0]))
    assert -1 < float(ndc[2]) < 1


def test_axis_flip_is_its_own_inverse():
    assert torch.equal(GL_FROM_CV @ GL_FROM_CV, torch.eye(3))
    assert torch.linalg.det(GL_FROM_CV) == 1


def test_camera_batches_broadcast_over_points():
    focal = torch.tensor([500.0, 900.0])
    cameras = monocular_camera(focal, (100, 200))
    world = torch.randn(5, 3) * 0.1
    together = cameras.project(world.expand(2, 5, 3))
    for index in range(2):
        alone = monocular_camera(focal[index], (100, 200)).project(world)
        torch.testing.assert_close(together[index], alone)


@given(SEEDS, FOCALS, SIZES)
def test_a_camera_is_where_its_own_origin_is(seed, focal, size_hw):
    camera = random_camera(seed, focal, size_hw)
    torch.testing.assert_close(camera.cam_points(camera.position[None]), torch.zeros(1, 3).double(), atol=1e-9, rtol=0)
