import dataclasses

import pytest
import torch

from raytrack.head.parameters import BLOCK_NAMES, NUM_POSE, FrameParameters, block_slices


def test_pack_and_unpack_give_back_the_same_rows():
    packed = torch.randn(4, NUM_POSE + 7)
    assert torch.equal(FrameParameters.unpack(packed).pack(), packed)


def test_blocks_are_laid_out_as_declared():
    slices = block_slices(7)
    assert tuple(slices) == BLOCK_NAMES
    assert [part.start for part in slices.values()] == [0, 3, 6, 9, 12, 18]
    assert slices["expression"] == slice(18, 25)


def test_unpacked_blocks_are_the_named_columns():
    packed = torch.arange(2 * 25, dtype=torch.float32).reshape(2, 25)
    parameters = FrameParameters.unpack(packed)
    for name, columns in block_slices(7).items():
        assert torch.equal(getattr(parameters, name), packed[:, columns])


def test_rows_narrower_than_a_pose_are_refused():
    with pytest.raises(ValueError, match="at least 18"):
        FrameParameters.unpack(torch.zeros(1, NUM_POSE - 1))


def test_joint_rotations_come_in_tree_order():
    parameters = FrameParameters.unpack(torch.arange(20, dtype=torch.float32)[None])
    root, neck, jaw, left_eye, right_eye = parameters.joint_rotations()[0]
    assert root.tolist() == [0, 1, 2]
    assert neck.tolist() == [6, 7, 8]
    assert jaw.tolist() == [9, 10, 11]
    assert left_eye.tolist() == [12, 13, 14]
    assert right_eye.tolist() == [15, 16, 17]


def test_select_keeps_rows_in_the_order_asked_for():
    packed = torch.randn(5, NUM_POSE + 2)
    assert torch.equal(FrameParameters.unpack(packed).select([3, 0]).pack(), packed[[3, 0]])


def test_zeros_have_one_row_per_frame():
    parameters = FrameParameters.zeros(3, 11)
    assert parameters.num_frames == 3
    assert parameters.pack().shape == (3, NUM_POSE + 11)
    assert not parameters.pack().any()


def test_the_head_turns_with_its_neck_and_as_a_whole():
    """The neck nods a quarter (z to −y), then the head turns a quarter (x to −z)."""
    quarter = torch.pi / 2
    turned = dataclasses.replace(
        FrameParameters.zeros(1, 0),
        rotation=torch.tensor([[0, quarter, 0]]),
        neck_pose=torch.tensor([[quarter, 0, 0]]),
    )
    expected = torch.tensor([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    torch.testing.assert_close(turned.head_rotation()[0], expected, atol=1e-6, rtol=0)
