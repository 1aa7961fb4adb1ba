"""The shape annotations are checked while tests run."""

import os

import jaxtyping
import pytest
import torch

from raytrack.geometry.camera import Camera

pytestmark = pytest.mark.skipif(os.environ.get("RAYTRACK_SHAPE_CHECKS") == "0", reason="shape checks are switched off")


def camera(intrinsics):
    return Camera(intrinsics=intrinsics, cam_from_world=torch.eye(4)[:3], size_hw=(4, 6))


def test_fields_with_a_wrong_shape_are_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="intrinsics"):
        camera(torch.zeros(2, 3))


def test_arguments_with_a_wrong_shape_are_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="points_world"):
        camera(torch.eye(3)).project(torch.zeros(5, 2))
