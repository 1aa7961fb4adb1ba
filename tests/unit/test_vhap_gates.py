"""Regions of the vhap preset, and that its two gates stop gradients exactly where they should."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from raytrack.errors import AssetError, ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.fit.vhap_config import VhapConfig, VhapWeights
from raytrack.fit.vhap_objective import VhapObjective
from raytrack.fit.vhap_regions import Gates, VhapRegions, texels_of_faces, with_ibug_points
from raytrack.fit.vhap_stages import VhapFit
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.parameters import FrameParameters
from tests.vhap_clip import clip, head

NUMBERS = VhapConfig(texture_size=64, batch_size=2, image_size_px=64)


@functools.cache
def fit(**options) -> VhapFit:
    config = TrackConfig(preset="vhap", renderer="numba", num_threads=1, vhap=NUMBERS, **options)
    return VhapFit(clip().observation, head(), config)


def objective(name: str, **options) -> VhapObjective:
    prepared = fit(**options)
    stage = {stage.name: stage for stage in prepared.schedule}[name]
    return VhapObjective(prepared.problem, stage, prepared.gates[name])


def rendered(stage: VhapObjective):
    """Vertices that require a gradient, the shaded image, clip positions and fragments, in white light."""
    vertices = head().vertices(FrameParameters.zeros(1, head().num_expressions), torch.zeros(head().num_shapes))
    vertices.requires_grad_()
    size_hw = stage.problem.views[0].images.size_hw
    camera = monocular_camera(torch.tensor(2.4 * max(size_hw)), size_hw)
    shared = dataclasses.replace(fit().first_shared, light=white_light()[None])
    image, positions, fragments = stage.render(vertices, camera, shared, torch.rand(1, *size_hw, 3))
    return vertices, image, positions, fragments


@pytest.mark.parametrize("region", ["hair", "neck"])
def test_gated_textures_move_nothing(region):
    for name, gated in (("rgb_init_all", True), ("rgb_global_tracking", False)):
        vertices, image, _, fragments = rendered(objective(name))
        chosen = head().face_region(region)[fragments.face_index.clamp_min(0).long()] & fragments.coverage
        assert int(chosen.sum()) > 50
        (gradient,) = torch.autograd.grad(image[chosen].square().sum(), vertices)
        assert bool((gradient == 0).all()) == gated


def test_textures_elsewhere_still_move_vertices():
    vertices, image, _, fragments = rendered(objective("rgb_init_all"))
    chosen = head().face_region("face")[fragments.face_index.clamp_min(0).long()] & fragments.coverage
    (gradient,) = torch.autograd.grad(image[chosen].square().sum(), vertices)
    assert float(gradient[0, head().region("face")].abs().max()) > 0


@pytest.mark.parametrize(
    ("name", "held", "free"),
    [
        ("rgb_init_texture", ("hair", "boundary"), ("left_ear",)),
        ("rgb_init_all", ("hair", "bottomline"), ("left_ear", "boundary")),
        ("rgb_init_offset", ("bottomline",), ("hair", "left_ear", "boundary")),
        ("rgb_sequential_tracking", ("bottomline",), ("hair", "left_ear", "boundary")),
    ],
)
def test_gated_silhouettes_move_nothing(name, held, free):
    stage = objective(name)
    vertices, image, positions, fragments = rendered(stage)
    blended = stage.antialias(image.detach(), positions, fragments)
    (gradient,) = torch.autograd.grad((blended * torch.rand(blended.shape)).sum(), vertices)
    for region in held:
        assert torch.equal(gradient[0, head().region(region)], torch.zeros(int(head().region(region).sum()), 3))
    excepted = torch.stack([head().region(region) for region in held]).any(dim=0)
    for region in free:
        assert float(gradient[0, head().region(region) & ~excepted].abs().max()) > 0


def test_hair_is_occluded_without_static_offsets():
    for static_offset in (True, False):
        gates = fit(static_offset=static_offset).gates["rgb_global_tracking"]
        assert bool(gates.held_vertices[head().region("hair")].all()) != static_offset
        assert bool(gates.untextured_faces[head().face_region("hair")].all()) != static_offset


def test_occluded_regions_leave_both_alignments_in_every_stage():
    prepared = fit(occluded=("neck_lower",))
    for gates in prepared.gates.values():
        assert bool(gates.held_vertices[head().region("neck_lower")].all())
        assert bool(gates.untextured_faces[head().face_region("neck_lower")].all())


def test_unknown_regions_are_named():
    config = TrackConfig(preset="vhap", occluded=("collar",))
    with pytest.raises(ConfigError, match="collar"):
        Gates.of_stage(fit().schedule[0], head(), config)


def test_a_tooth_is_held_by_its_own_offset():
    regions = VhapRegions.create(head(), VhapWeights(), 64)
    offset = torch.zeros(head().num_vertices, 3)
    tooth = int(torch.nonzero(head().region("teeth"))[0])
    offset[tooth] = torch.tensor([0.001, 0.0, 0.0])
    assert torch.equal(torch.sparse.mm(regions.laplacian, offset), offset)


def test_hair_and_ears_are_held_more_loosely():
    weight = VhapRegions.create(head(), VhapWeights(), 64).laplacian_weight
    loose = head().region("hair") | head().region("ears")
    assert torch.equal(weight, torch.where(loose, 0.1, 1.0))


def test_plain_texels_are_a_small_part_of_the_map():
    mask = VhapRegions.create(head(), VhapWeights(), 256).plain_texels
    assert 0.005 < float(mask.float().mean()) < 0.2
    every = texels_of_faces(head(), np.ones(len(head().faces), bool), 256)
    assert every.mean() > 2 * float(mask.float().mean())


def test_landmarks_are_those_that_face_mesh_sees():
    picked, picks = with_ibug_points(head())
    of_mesh = head().landmarks_world(head().template)[torch.from_numpy(picks)]
    assert torch.equal(picked.landmarks_world(picked.template, "ibug"), of_mesh)
    tip = of_mesh[30]
    assert float(tip[2]) == float(of_mesh[:, 2].max())


def test_a_head_without_that_mapping_is_refused():
    with pytest.raises(AssetError, match="iBUG"):
        with_ibug_points(dataclasses.replace(head(), ibug_of_facemesh=None))
