"""Mattes: the guided filter, masks from a folder, the registry, and what the network makes of a drawn person."""

import cv2
import numpy as np
import pytest

from raytrack.errors import ConfigError, InputError
from raytrack.media.images import write_png
from raytrack.observe.guided_filter import guided_filter
from raytrack.observe.matting import make_matter, resolve_matting_method


def drawn_person(height: int = 240, width: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """Head and shoulders in front of a plain wall, and where they are."""
    y, x = np.mgrid[:height, :width]
    y, x = (y + 0.5) / height, (x + 0.5 - width / 2) / height
    head = (x / 0.17) ** 2 + ((y - 0.36) / 0.24) ** 2 < 1
    body = (x / 0.45) ** 2 + ((y - 1.05) / 0.42) ** 2 < 1
    hair = head & (y < 0.22)
    eyes = ((abs(x) - 0.065) / 0.028) ** 2 + ((y - 0.35) / 0.014) ** 2 < 1
    mouth = (x / 0.06) ** 2 + ((y - 0.49) / 0.016) ** 2 < 1
    neck = (abs(x) < 0.085) & (y > 0.5) & (y < 0.75)
    image = np.full((height, width, 3), (190, 200, 205), np.uint8)
    for where, colour in (
        (body, (40, 60, 120)),
        (neck, (190, 140, 115)),
        (head, (210, 160, 135)),
        (hair, (50, 35, 30)),
        (eyes, (30, 30, 35)),
        (mouth, (150, 60, 60)),
    ):
        image[where] = colour
    return cv2.GaussianBlur(image, (0, 0), 1.2), head | body | neck


def test_guided_filter_moves_a_coarse_edge_onto_the_pictures():
    truth = np.zeros((128, 128), np.float32)
    cv2.circle(truth, (64, 64), 41, 1.0, -1)
    image = np.where(truth[..., None] > 0, (180, 90, 60), (40, 80, 120)).astype(np.uint8)
    coarse = cv2.resize(np.roll(truth, 2, axis=1), (64, 64), interpolation=cv2.INTER_AREA)
    naive = cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_LINEAR)
    refined = guided_filter(image, coarse, radius=4)
    assert refined.dtype == np.float32
    assert refined.shape == (128, 128)
    # Two pixels off by 2: right after refinement, but for a thin rim.
    assert ((refined > 0.5) != (truth > 0.5)).mean() < 0.4 * ((naive > 0.5) != (truth > 0.5)).mean()


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_guided_filter_keeps_a_constant_matte(level):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    matte = np.full((32, 32), level, np.float32)
    np.testing.assert_allclose(guided_filter(image, matte, radius=3), level, atol=1e-6)


def test_guided_filter_reproduces_a_matte_that_is_linear_in_colour():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    matte = (image @ np.array([0.2, 0.5, 0.1]) / 255 + 0.1).astype(np.float32)
    np.testing.assert_allclose(guided_filter(image, matte, radius=3, smoothness=1e-9), matte, atol=1e-4)


def test_guided_filter_leaves_the_matte_where_the_picture_is_flat():
    image = np.full((64, 64, 3), 128, np.uint8)
    matte = np.zeros((64, 64), np.float32)
    matte[:, 32:] = 1.0
    refined = guided_filter(image, matte, radius=2)
    assert refined[:, :26].max() == 0.0
    assert refined[:, 38:].min() == 1.0
    assert (np.diff(refined, axis=1) >= -1e-6).all()


@pytest.mark.parametrize(("height", "width"), [(240, 320), (241, 319), (97, 90), (512, 384)])
def test_selfie_finds_a_drawn_person(height, width):
    image, truth = drawn_person(height, width)
    matter = make_matter("selfie")
    alpha = matter.alpha(image)
    assert (alpha.dtype, alpha.shape) == (np.uint8, (height, width))
    covered = alpha > 127
    assert (covered & truth).sum() / (covered | truth).sum() > 0.9
    np.testing.assert_array_equal(matter.alpha(image, "000007"), alpha)


def test_selfie_on_an_empty_wall_finds_nobody():
    wall = np.full((120, 160, 3), (190, 200, 205), np.uint8)
    assert make_matter("selfie").alpha(wall).mean() < 60


def test_given_masks_by_name_and_by_number(tmp_path):
    image = np.zeros((8, 12, 3), np.uint8)
    masks = {name: np.full((8, 12), value, np.uint8) for name, value in (("000000", 10), ("7", 20), ("me_3", 30))}
    for name, mask in masks.items():
        write_png(tmp_path / f"{name}.png", mask)
    matter = make_matter("given", masks=tmp_path)
    assert [int(matter.alpha(image, frame)[0, 0]) for frame in ("000000", "000007", "me_3")] == [10, 20, 30]
    with pytest.raises(InputError, match=r"no mask for frame '000001'; add 000001\.png"):
        matter.alpha(image, "000001")


def test_given_masks_of_another_size(tmp_path):
    mask = np.zeros((16, 24), np.uint8)
    mask[:, 12:] = 255
    write_png(tmp_path / "0.png", mask)
    write_png(tmp_path / "1.png", np.zeros((24, 16), np.uint8))
    matter = make_matter("auto", masks=tmp_path)
    alpha = matter.alpha(np.zeros((8, 12, 3), np.uint8), "000000")
    assert alpha[:, :6].max() == 0
    assert alpha[:, 6:].min() == 255
    with pytest.raises(InputError, match=r"16×24, its frame 12×8"):
        matter.alpha(np.zeros((8, 12, 3), np.uint8), "000001")


def test_none_takes_everything():
    assert (make_matter("none").alpha(np.zeros((4, 6, 3), np.uint8)) == 255).all()


def test_registry(tmp_path):
    assert resolve_matting_method("auto", has_masks=True) == "given"
    assert resolve_matting_method("auto", has_masks=False) == "selfie"
    assert resolve_matting_method("none", has_masks=True) == "none"
    with pytest.raises(ConfigError, match="unknown matting method 'magic'; known: auto, selfie, rvm, bgmv2, plate, "):
        make_matter("magic")
    with pytest.raises(ConfigError, match="needs masks"):
        make_matter("given")
    with pytest.raises(InputError, match="no image"):
        make_matter("given", masks=tmp_path)
