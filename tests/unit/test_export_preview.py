import numpy as np
import pytest

from raytrack.export.preview import CAPTIONS, DETECTED_COLOR, MODEL_COLOR, PanelLayout, preview_picture
from raytrack.fit.painting import PAINTED_REGIONS, Painted

SIZE_HW = (90, 80)
IMAGE = np.full((*SIZE_HW, 3), 120, np.uint8)


def painted(error: int = 0) -> Painted:
    mask = np.zeros(SIZE_HW, bool)
    mask[20:70, 20:60] = True
    color = IMAGE.copy()
    color[45:70, 20:60] += np.uint8(error)
    normals = np.zeros((*SIZE_HW, 3), np.float32)
    normals[mask] = (0, 0, 1)
    return Painted(
        color=color,
        mask=mask,
        normals=normals,
        region_index=np.where(mask, PAINTED_REGIONS.index("skin"), -1).astype(np.int8),
        face_index=np.where(mask, 0, -1),
        landmarks_px=np.tile(np.array([[40.5, 40.5]], np.float32), (478, 1)),
        vertices=np.zeros((4, 3), np.float32),
    )


def panels(picture: np.ndarray, layout: PanelLayout) -> dict[str, np.ndarray]:
    (height, width), top = layout.panel_hw, layout.caption_px
    starts = {
        caption: index * (picture.shape[1] - width) // (len(CAPTIONS) - 1) for index, caption in enumerate(CAPTIONS)
    }
    return {caption: picture[top : top + height, start : start + width] for caption, start in starts.items()}


def draw(result: Painted | None, detected_px: np.ndarray | None = None) -> dict[str, np.ndarray]:
    layout = PanelLayout(panel_hw=SIZE_HW, caption_px=20)
    return panels(preview_picture(IMAGE, result, detected_px, layout, "000007"), layout)


@pytest.mark.parametrize("size_hw", [(512, 512), (1080, 1920), (1920, 1080), (33, 51), (1, 1), (361, 288)])
@pytest.mark.parametrize("max_width_px", [320, 2000])
def test_layout_is_even_and_within_the_width(size_hw, max_width_px):
    layout = PanelLayout.fit(size_hw, max_width_px)
    height, width = layout.size_hw
    assert height % 2 == width % 2 == 0
    assert width <= max(max_width_px, 96)
    assert layout.panel_hw[1] <= max(16, size_hw[1])
    picture = preview_picture(np.zeros((*size_hw, 3), np.uint8), None, None, layout, "0")
    assert picture.shape == (height, width, 3)


def test_every_panel_shows_what_its_caption_says():
    result = painted(error=100)
    shown = draw(result)
    np.testing.assert_array_equal(shown["input"], IMAGE)
    np.testing.assert_array_equal(shown["render"], result.color)
    good, bad = shown["error"][30, 40].astype(int), shown["error"][60, 40].astype(int)
    assert good.sum() < 30
    assert bad.sum() > 500
    assert np.abs(shown["normals"][40, 40].astype(int) - (128, 128, 255)).max() <= 1
    assert (shown["normals"][5, 5] < 80).all()


def test_half_the_full_scale_is_half_hot():
    levels = [draw(painted(error=error))["error"][60, 40].astype(int).sum() for error in (0, 15, 31, 63, 100)]
    assert levels == sorted(levels)
    assert len(set(levels)) >= 4


def test_overlay_draws_outline_model_and_detections():
    detected = np.tile(np.array([[30.5, 30.5]], np.float32), (478, 1))
    overlay = draw(painted(), detected)["overlay"]

    def centre(color: tuple[int, int, int]) -> list[float]:
        rows, columns = np.nonzero(np.abs(overlay.astype(int) - color).sum(axis=-1) < 60)
        return [rows.mean(), columns.mean()]

    np.testing.assert_allclose(centre(MODEL_COLOR), [40, 40], atol=0.4)
    np.testing.assert_allclose(centre(DETECTED_COLOR), [30, 30], atol=0.4)
    assert overlay[20, 45].min() > 200
    without = draw(painted())["overlay"]
    assert np.abs(without[30, 30].astype(int) - overlay[30, 30]).sum() > 100


def test_a_frame_without_a_face_says_so():
    picture = preview_picture(IMAGE, None, None, PanelLayout(panel_hw=SIZE_HW, caption_px=20), "000007")
    shown = panels(picture, PanelLayout(panel_hw=SIZE_HW, caption_px=20))
    np.testing.assert_array_equal(shown["render"], IMAGE)
    assert (shown["overlay"] < 80).all()
    assert (
        picture[:20]
        != preview_picture(IMAGE, painted(), None, PanelLayout(panel_hw=SIZE_HW, caption_px=20), "000007")[:20]
    ).any()
