"""The stages of the vhap preset, and the steps they come to."""

import numpy as np
import pytest

from raytrack.fit.vhap_config import VhapConfig, VhapRates, VhapRigConfig
from raytrack.fit.vhap_schedule import FrameOrder, row_rates, shared_rates, units, vhap_schedule

POSE = {"rotation", "translation"}
FACE = {"rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose", "expression"}
APPEARANCE = {"log_focal", "shape", "texture", "light"}
FIRST, SEQUENTIAL, SHUFFLED = FrameOrder.FIRST_BATCH, FrameOrder.SEQUENTIAL, FrameOrder.SHUFFLED
LOOSE = {"hair", "boundary", "neck"}

TABLE = [
    # name, frames, repeats, optimised, texture gate, silhouette gate
    ("lmk_init_rigid", FIRST, 500, {"log_focal"} | POSE, set(), set()),
    ("lmk_init_all", FIRST, 500, {"log_focal", "shape"} | FACE, set(), set()),
    ("rgb_init_texture", FIRST, 500, APPEARANCE, LOOSE, {"hair", "boundary"}),
    ("rgb_init_all", FIRST, 500, APPEARANCE | FACE, LOOSE, {"hair", "bottomline"}),
    ("rgb_init_offset", FIRST, 500, APPEARANCE | FACE | {"offset"}, LOOSE, {"bottomline"}),
    ("rgb_sequential_tracking", SEQUENTIAL, 50, FACE | {"texture"}, set(), {"bottomline"}),
    ("rgb_global_tracking", SHUFFLED, 30, APPEARANCE | FACE | {"offset"}, set(), {"bottomline"}),
]


def described(stages):
    return [
        (
            stage.name,
            stage.order,
            stage.repeats,
            set(stage.optimise),
            set(stage.texture_except),
            set(stage.boundary_except),
        )
        for stage in stages
    ]


def test_the_stages_are_vhaps():
    stages = vhap_schedule(VhapConfig(), static_offset=True, landmarks_only=False)
    assert described(stages) == TABLE
    assert [stage.photometric for stage in stages] == [False] * 2 + [True] * 5
    assert [stage.smooth for stage in stages] == [False] * 5 + [True] * 2


def test_without_static_offsets():
    stages = vhap_schedule(VhapConfig(), static_offset=False, landmarks_only=False)
    assert [stage.name for stage in stages] == [row[0] for row in TABLE if row[0] != "rgb_init_offset"]
    assert not any("offset" in stage.optimise for stage in stages)


def test_landmarks_only():
    stages = vhap_schedule(VhapConfig(), static_offset=True, landmarks_only=True)
    assert described(stages) == [
        *TABLE[:2],
        ("lmk_sequential_tracking", SEQUENTIAL, 50, FACE, set(), set()),
        ("lmk_global_tracking", SHUFFLED, 30, {"log_focal", "shape"} | FACE, set(), set()),
    ]
    assert not any(stage.photometric for stage in stages)


def stage_units(name, num_frames, batch_size=16, seed=(0, 1)):
    stages = vhap_schedule(VhapConfig(), static_offset=True, landmarks_only=False)
    return units({stage.name: stage for stage in stages}[name], num_frames, batch_size, seed)


def test_initialisation_takes_the_first_batch():
    plan = stage_units("rgb_init_all", 40)
    batches = [batch for unit in plan for batch in unit.batches]
    assert len(batches) == 500
    assert all(np.array_equal(batch, np.arange(16)) for batch in batches)
    assert [unit.new_optimiser for unit in plan] == [True] + [False] * (len(plan) - 1)
    assert len(stage_units("rgb_init_all", 3)[0].batches[0]) == 3


def test_sequential_batches_start_from_the_last_tracked_frame():
    plan = stage_units("rgb_sequential_tracking", 35)
    assert [unit.batches[0].tolist() for unit in plan] == [
        list(range(16)), list(range(16, 32)), [32, 33, 34],
    ]  # fmt: skip
    assert [unit.start_from for unit in plan] == [None, 15, 31]
    assert all(len(unit.batches) == 50 and unit.new_optimiser and unit.rate_scale == 1 for unit in plan)


def test_global_epochs_see_every_frame_once_in_another_order():
    plan = stage_units("rgb_global_tracking", 35)
    assert len(plan) == 30
    orders = [np.concatenate(unit.batches) for unit in plan]
    assert all(np.array_equal(np.sort(order), np.arange(35)) for order in orders)
    assert not np.array_equal(orders[0], orders[1])
    assert [unit.rate_scale for unit in plan] == pytest.approx([0.1 * 0.9**epoch for epoch in range(30)])
    assert [unit.new_optimiser for unit in plan] == [True] + [False] * 29


def test_the_seed_decides_the_order():
    first, same, other = (
        np.concatenate(stage_units("rgb_global_tracking", 35, seed=seed)[0].batches)
        for seed in [(3, 6), (3, 6), (4, 6)]
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_rates_are_vhaps():
    base = dict.fromkeys(("rotation", "neck_pose", "jaw_pose", "eyes_pose"), 5e-3)
    assert row_rates(VhapRates()) == {**base, "translation": 1e-3, "expression": 5e-2}
    base = dict.fromkeys(("shape", "texture", "texture_coefficients", "light", "log_focal"), 5e-3)
    assert shared_rates(VhapRates()) == {**base, "offset": 5e-4}


def test_a_rigs_stages():
    stages = vhap_schedule(VhapConfig(), static_offset=True, landmarks_only=False, calibrated=True)
    tracking = [
        ("rgb_sequential_tracking", SEQUENTIAL, 50, FACE, {"boundary"}, {"boundary"}),
        ("rgb_global_tracking", SHUFFLED, 30, APPEARANCE | FACE | {"offset"}, {"boundary"}, {"boundary"}),
    ]
    expected = [*TABLE[:5], *tracking]
    assert described(stages) == [(*row[:3], row[3] - {"log_focal"}, *row[4:]) for row in expected]
    assert [stage.jawline for stage in stages] == [True] * 3 + [False] * 4
    assert all(stage.jawline for stage in vhap_schedule(VhapConfig(), static_offset=True, landmarks_only=False))


def test_a_rigs_numbers():
    own = VhapConfig(texture_size=64)
    rig = own.for_rig()
    assert (rig.weights.landmark, rig.weights.expression, rig.weights.smooth_expression) == (3, 0.01, 0)
    assert (rig.weights.texture_variation, rig.perturb_background, rig.batch_size) == (1e5, 0.6, 1)
    assert (rig.weights.photo, rig.perturb_foreground, rig.texture_size) == (30, 0.5, 64)
    with pytest.raises(ValueError, match=r"rig\.perturb_background"):
        VhapRigConfig(perturb_background=1.5)
