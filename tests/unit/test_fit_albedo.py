"""The albedo map made of components and a residual."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import ConfigError
from raytrack.fit.albedo import AlbedoBasis, albedo_map, base_albedo, with_whole_texture
from raytrack.fit.checkpoint import Checkpoint, FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import COMPONENTS, SharedStage, default_schedule
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.vhap_config import VhapConfig
from raytrack.fit.vhap_schedule import vhap_schedule
from raytrack.fit.views import SequenceViews
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.texture_basis import TextureBasis
from raytrack.pipeline.stages import check_job


@pytest.fixture(scope="module")
def head() -> HeadModel:
    random = np.random.default_rng(0)
    return dataclasses.replace(
        load_head(), texture_basis=TextureBasis.compact(0.1 * random.normal(size=(3, 64, 64, 3)))
    )


def shared_of(head: HeadModel, basis: AlbedoBasis, size: int = 64) -> SharedParameters:
    shared = SharedParameters.start(head, torch.zeros(head.num_shapes), 200.0, size)
    return shared.with_values(texture_coefficients=torch.tensor([0.5, -1.0, 2.0]))


def test_the_map_is_base_and_components(head):
    basis = AlbedoBasis.create(head, TrackConfig(texture_model="pca"))
    assert basis is not None
    shared = shared_of(head, basis)
    found = albedo_map(shared.texture, shared.texture_coefficients, basis)
    torch.testing.assert_close(found - shared.texture, head.texture_basis.combined(shared.texture_coefficients))
    torch.testing.assert_close(
        base_albedo(head, shared.texture_coefficients, 64) - base_albedo(head, None, 64), found - shared.texture
    )
    whole = with_whole_texture(shared, basis)
    torch.testing.assert_close(albedo_map(whole.texture, whole.texture_coefficients, basis), found)


def test_the_gradient_of_a_coefficient_is_its_direction(head):
    basis = AlbedoBasis.create(head, TrackConfig(texture_model="pca"))
    coefficients = torch.zeros(3, requires_grad=True)
    weight = torch.randn(64, 64, 3, generator=torch.Generator().manual_seed(0))
    (basis.added(coefficients, 64) * weight).sum().backward()
    expected = torch.einsum("krcx,rcx->k", head.texture_basis.directions(64), weight)
    torch.testing.assert_close(coefficients.grad, expected)


def test_the_basis_moves_with_the_problem(head, monkeypatch):
    observation = SequenceObservation(
        size_hw=(480, 640),
        timestep_ids=("0",),
        timestamps_s=np.zeros(1),
        load_image=lambda _: np.zeros((480, 640, 3), np.uint8),
        load_alpha=None,
        landmarks_px=np.random.default_rng(1).uniform(200, 260, (1, 478, 2)).astype(np.float32),
        scores=np.ones(1, np.float32),
    )
    moved = []

    def to(basis, device):
        moved.append(device)
        return dataclasses.replace(basis, rows=basis.rows.clone())

    problem = StageRunner(SequenceViews.of(observation), head, TrackConfig()).adam.problem
    monkeypatch.setattr(AlbedoBasis, "to", to)
    there = problem.to(torch.device("cpu"))
    assert moved == [torch.device("cpu")]
    assert there.albedo_basis is not problem.albedo_basis


@pytest.mark.parametrize(("model", "takes"), [("auto", True), ("pca", True), ("painted", False)])
def test_the_configuration_decides(head, model, takes):
    assert (AlbedoBasis.create(head, TrackConfig(texture_model=model)) is not None) == takes
    assert AlbedoBasis.create(load_head(), TrackConfig(texture_model="auto")) is None


@pytest.mark.parametrize(("model", "takes"), [("auto", False), ("pca", True)])
def test_the_vhap_preset_paints_unless_told_otherwise(head, model, takes):
    assert (AlbedoBasis.create(head, TrackConfig(texture_model=model, preset="vhap")) is not None) == takes


def test_coefficients_of_a_head_without_components_are_refused():
    with pytest.raises(ValueError, match="has no texture components, got 2"):
        base_albedo(load_head(), torch.zeros(2), 64)


def test_components_go_first_and_rest_at_the_end():
    stages = default_schedule(TrackConfig(), 90, components=True)
    painted = default_schedule(TrackConfig(), 90)
    assert [stage.name for stage in stages] == ["components_init", *(stage.name for stage in painted)]
    first, second = stages[:2]
    assert isinstance(first, SharedStage)
    assert isinstance(second, SharedStage)
    assert set(first.optimise) == {COMPONENTS, "light"}
    assert set(second.optimise) == {COMPONENTS, "light", "texture"}
    assert all(COMPONENTS not in stage.optimise for stage in painted if isinstance(stage, SharedStage))


def test_vhaps_stages_move_components_with_the_texture():
    stages = vhap_schedule(VhapConfig(), static_offset=True, landmarks_only=False, components=True)
    for stage in stages:
        assert (COMPONENTS in stage.optimise) == ("texture" in stage.optimise)
    assert any(COMPONENTS in stage.optimise for stage in stages)


def test_checkpoints_keep_coefficients(head, tmp_path):
    basis = AlbedoBasis.create(head, TrackConfig())
    state = FitState(
        rows=torch.zeros(2, 18 + head.num_expressions),
        shared=shared_of(head, basis),
        stages_done=1,
        photo_error=0.1,
        rows_error=0.2,
        converged=False,
    )
    Checkpoint(tmp_path).save(state)
    loaded = Checkpoint(tmp_path).load()
    assert loaded is not None
    assert torch.equal(loaded.shared.texture_coefficients, state.shared.texture_coefficients)
    broken = state.shared.with_values(texture_coefficients=torch.full((3,), float("nan")))
    assert not dataclasses.replace(state, shared=broken).is_finite()


def test_components_that_are_not_there_are_missed_before_the_run():
    sequences = (SequenceConfig(video="a.mp4"),)
    with pytest.raises(ConfigError, match="pca needs a head with a texture space"):
        check_job(RunConfig(sequences=sequences, track=TrackConfig(texture_model="pca")))
    check_job(RunConfig(sequences=sequences, track=TrackConfig(texture_model="auto")))
