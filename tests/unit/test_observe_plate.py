"""Mattes from a clean plate: exposure, shadows, noise, holes, refinement, and the choice of the method."""

import cv2
import numpy as np
import pytest

from raytrack.errors import AssetError, ConfigError, InputError
from raytrack.media.images import write_png
from raytrack.observe.matting import make_matter, resolve_matting_method
from raytrack.observe.plate import exposure_gain

HEIGHT, WIDTH = 240, 320


def room() -> np.ndarray:
    """A wall with a gradient, shelves and a lamp."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wall = np.stack([150 + 40 * x / WIDTH, 140 + 30 * y / HEIGHT, 125 - 30 * x / WIDTH], axis=-1)
    wall[40:60, 20:120] = (90, 60, 40)
    wall[150:170, 200:300] = (60, 80, 110)
    cv2.circle(wall, (270, 50), 18, (235, 225, 190), -1)
    return wall.astype(np.float32)


def person() -> tuple[np.ndarray, np.ndarray]:
    """Colours and coverage of someone in front of it."""
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(mask, (160, 95), (38, 52), 0, 0, 360, 1.0, -1)
    cv2.ellipse(mask, (160, 245), (90, 95), 0, 0, 360, 1.0, -1)
    colour = np.full((HEIGHT, WIDTH, 3), (40, 60, 130), np.float32)
    cv2.ellipse(colour, (160, 95), (38, 52), 0, 0, 360, (205, 150, 125), -1)
    colour[:70] *= 0.3
    return colour, cv2.GaussianBlur(mask, (0, 0), 0.8)


def photograph(*, gain=(1.0, 1.0, 1.0), noise: float = 2.0, shadow: float = 0.0, empty: bool = False) -> np.ndarray:
    colour, mask = person()
    background = room()
    if shadow:
        fall = np.zeros((HEIGHT, WIDTH), np.float32)
        cv2.ellipse(fall, (215, 120), (45, 60), 0, 0, 360, 1.0, -1)
        background *= 1 - shadow * cv2.GaussianBlur(fall, (0, 0), 6)[..., None]
    scene = background if empty else background + (colour - background) * mask[..., None]
    scene = scene * np.array(gain) + np.random.default_rng(5).normal(0, noise, scene.shape)
    return np.round(np.clip(scene, 0, 255)).astype(np.uint8)


@pytest.fixture
def plate(tmp_path):
    clean = room() + np.random.default_rng(8).normal(0, 2, (HEIGHT, WIDTH, 3))
    write_png(tmp_path / "plate.png", np.round(np.clip(clean, 0, 255)).astype(np.uint8))
    return tmp_path / "plate.png"


def mean_error(alpha: np.ndarray) -> float:
    return float(np.abs(alpha / 255.0 - person()[1]).mean())


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"gain": (0.8, 0.8, 0.8)},
        {"gain": (1.15, 1.1, 1.05)},
        {"gain": (0.85, 0.95, 1.05)},
        {"noise": 6.0},
        {"shadow": 0.1},
    ],
    ids=str,
)
def test_person_is_told_from_the_plate(plate, conditions):
    matter = make_matter("plate", plate=plate)
    alpha = matter.alpha(photograph(**conditions))
    assert (alpha.dtype, alpha.shape) == (np.uint8, (HEIGHT, WIDTH))
    assert mean_error(alpha) < 0.012
    assert (matter.alpha(photograph(**conditions), "000003") == alpha).all()


def test_drift_would_show_without_the_gain(plate, monkeypatch):
    monkeypatch.setattr("raytrack.observe.plate.exposure_gain", lambda image, plate: np.ones(3, np.float32))
    assert mean_error(make_matter("plate", plate=plate).alpha(photograph(gain=(0.8, 0.8, 0.8)))) > 0.1


def test_gain_is_that_of_the_background():
    image, clean = photograph(gain=(0.8, 0.9, 1.1)) / np.float32(255), room() / np.float32(255)
    np.testing.assert_allclose(exposure_gain(image.astype(np.float32), clean), (0.8, 0.9, 1.1), atol=0.03)


def test_an_empty_room_has_nobody(plate):
    assert make_matter("plate", plate=plate).alpha(photograph(empty=True, gain=(0.9, 0.9, 0.9))).mean() < 2


def test_clothes_of_the_walls_colour_leave_no_hole(plate):
    image = photograph()
    image[200:208, 150:158] = room()[200:208, 150:158]
    alpha = make_matter("plate", plate=plate).alpha(image)
    assert alpha[198:210, 148:160].min() == 255


def test_plates_of_another_size_and_shape(tmp_path):
    write_png(tmp_path / "large.png", cv2.resize(room().astype(np.uint8), (2 * WIDTH, 2 * HEIGHT)))
    assert mean_error(make_matter("plate", plate=tmp_path / "large.png").alpha(photograph())) < 0.015
    write_png(tmp_path / "tall.png", room().astype(np.uint8).transpose(1, 0, 2).copy())
    with pytest.raises(InputError, match="240×320, its frames 320×240"):
        make_matter("plate", plate=tmp_path / "tall.png").alpha(photograph())


def test_closed_form_refinement(plate):
    pytest.importorskip("pymatting")
    alpha = make_matter("plate", plate=plate, refinement="pymatting").alpha(photograph())
    assert mean_error(alpha) < 0.012


def test_closed_form_refinement_names_the_missing_package(plate, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymatting", None)
    with pytest.raises(AssetError, match=r"raytrack\[pymatting\]"):
        make_matter("plate", plate=plate, refinement="pymatting")


def test_auto_takes_the_plate_where_there_is_one(plate):
    assert resolve_matting_method("auto", has_masks=False, has_plate=True) == "plate"
    assert resolve_matting_method("auto", has_masks=True, has_plate=True) == "given"
    assert make_matter("auto", plate=plate).name == "plate"
    with pytest.raises(ConfigError, match="'plate' needs a picture of the empty scene"):
        make_matter("plate")
