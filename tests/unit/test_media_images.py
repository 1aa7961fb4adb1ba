"""Still images, folders of them, and smaller copies."""

import struct

import cv2
import numpy as np
import pytest
from media_files import read_frames

from raytrack.errors import InputError, OutputError
from raytrack.media.config import ExtractConfig
from raytrack.media.images import list_images, read_image, read_mask, to_uint8, write_png
from raytrack.media.resize import downsample
from raytrack.media.source import probe, read_pictures


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3)).astype(np.uint8)


def save(path, values) -> None:
    """Write samples in OpenCV's channel order."""
    assert cv2.imwrite(str(path), values)


def test_png_round_trip(tmp_path, rgb):
    alpha = rgb[..., 0].copy()
    for name, image in (("rgb", rgb), ("grey", alpha), ("rgba", np.dstack([rgb, alpha]))):
        write_png(tmp_path / "new" / f"{name}.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "new/rgb.png").rgb, rgb)
    assert read_image(tmp_path / "new/rgb.png").alpha is None
    np.testing.assert_array_equal(read_image(tmp_path / "new/grey.png").rgb, np.dstack([alpha] * 3))
    picture = read_image(tmp_path / "new/rgba.png")
    np.testing.assert_array_equal(picture.rgb, rgb)
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["grey.png", "rgb.png", "rgba.png"]


def test_writing_where_one_cannot(tmp_path, rgb):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_png(tmp_path / "file" / "a.png", rgb)


def test_16_bit_samples_are_rounded_to_8(tmp_path, rgb):
    wide = rgb.astype(np.uint16) * 257
    save(tmp_path / "a.png", wide[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").rgb, rgb)
    save(tmp_path / "grey.tiff", wide[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.tiff").rgb[..., 1], rgb[..., 0])
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(to_uint8(every), np.round(every / 257.0).astype(np.uint8))


def test_16_bit_alpha_is_offered(tmp_path, rgb):
    save(tmp_path / "a.png", np.dstack([rgb, rgb[..., :1]]).astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").alpha, rgb[..., 0])


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".tif", ".webp", ".PNG"])
def test_common_kinds(tmp_path, suffix):
    smooth = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[:, None, None], (1, 24, 3))
    smooth[..., 2] //= 2
    save(tmp_path / f"a{suffix}", smooth[..., ::-1])
    read = read_image(tmp_path / f"a{suffix}").rgb.astype(int)
    assert np.abs(read - smooth).max() <= 12
    assert (read[20:, :, 2] < read[20:, :, 0] * 0.7).all()


def test_unreadable_images_say_so(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="not a readable image"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    with pytest.raises(InputError, match="not a readable image"):
        read_image(tmp_path / "b.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path / "c.png")


def test_mask_from_alpha_or_brightness(tmp_path, rgb):
    alpha = rgb[..., 0].copy()
    write_png(tmp_path / "rgba.png", np.dstack([rgb, alpha]))
    np.testing.assert_array_equal(read_mask(tmp_path / "rgba.png"), alpha)
    write_png(tmp_path / "opaque.png", np.dstack([np.dstack([alpha] * 3), np.full_like(alpha, 255)]))
    np.testing.assert_array_equal(read_mask(tmp_path / "opaque.png"), alpha)
    write_png(tmp_path / "grey.png", alpha)
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), alpha)


def test_folder_is_read_in_natural_order_with_its_own_ids_and_times(tmp_path):
    for number in (10, 9, 8, 2, 12):
        save(tmp_path / f"frame_{number}.png", np.full((6, 8, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".frame_1.png").write_bytes(b"hidden")
    info = probe(tmp_path, image_fps=10.0)
    assert info.frame_ids == ("frame_2", "frame_8", "frame_9", "frame_10", "frame_12")
    np.testing.assert_allclose(info.timestamps_s, [0.0, 0.6, 0.7, 0.8, 1.0])
    assert [int(frame[0, 0, 0]) for frame in read_frames(info)] == [2, 8, 9, 10, 12]
    assert [int(frame[0, 0, 0]) for frame in read_frames(info, 1, 3)] == [8, 9]
    assert info.size_hw == (6, 8)


@pytest.mark.parametrize(
    "names", [("b", "a", "c"), ("20240101093000", "20240101093900", "20240101100000"), ("a1", "b2", "c3")]
)
def test_names_without_frame_numbers_are_a_constant_rate(tmp_path, names):
    for name in names:
        save(tmp_path / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
    np.testing.assert_allclose(probe(tmp_path).timestamps_s, [0.0, 0.04, 0.08])


def test_a_single_image_is_a_clip_of_one_frame(tmp_path, rgb):
    write_png(tmp_path / "me.png", rgb)
    info = probe(tmp_path / "me.png")
    assert (info.num_frames, info.frame_ids) == (1, ("me",))
    np.testing.assert_array_equal(next(read_frames(info)), rgb)


def test_alpha_of_a_folder(tmp_path, rgb):
    write_png(tmp_path / "0.png", np.dstack([rgb, rgb[..., 0]]))
    write_png(tmp_path / "1.png", rgb)
    info = probe(tmp_path)
    first, second = read_pictures(info)
    assert info.has_alpha
    np.testing.assert_array_equal(first.alpha, rgb[..., 0])
    assert (second.alpha == 255).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_alpha_counts_as_none(tmp_path, rgb, value):
    for name in ("0.png", "1.png"):
        write_png(tmp_path / name, np.dstack([rgb, np.full_like(rgb[..., 0], value)]))
    info = probe(tmp_path)
    assert not info.has_alpha
    assert [picture.alpha for picture in read_pictures(info)] == [None, None]
    np.testing.assert_array_equal(next(read_frames(info)), rgb)


def test_bad_folders(tmp_path, rgb):
    with pytest.raises(InputError, match="no image in this folder"):
        list_images(tmp_path)
    write_png(tmp_path / "0.png", rgb)
    write_png(tmp_path / "1.png", rgb[:5])
    info = probe(tmp_path)
    with pytest.raises(InputError, match=r"1\.png: 17×5 pixels.*17×13; bring all to one size"):
        list(read_frames(info))
    with pytest.raises(ValueError, match="not within the 2"):
        list(read_frames(info, 0, 3))
    save(tmp_path / "1.bmp", rgb)
    with pytest.raises(InputError, match="would be the same frame"):
        probe(tmp_path)


def test_downsampling_averages():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, :2] = [[(0, 4, 8), (2, 4, 8)], [(2, 4, 8), (4, 4, 8)]]
    small = downsample(image, 2)
    assert small.shape == (2, 3, 3)
    assert small[0, 0].tolist() == [2, 4, 8]
    assert downsample(image, 1) is image
    assert downsample(image[..., 0], 8).shape == (1, 1)
    with pytest.raises(ValueError, match="at least 1"):
        downsample(image, 0)


@pytest.mark.parametrize(
    "values",
    [
        {"target_fps": 0.0},
        {"image_fps": -1.0},
        {"every": 0},
        {"max_frames": 0},
        {"downsample_scales": (1,)},
        {"downsample_scales": (2, 2)},
    ],
)
def test_extract_config_refuses_what_makes_no_sense(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ExtractConfig(**values)


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 24:] = 255
    save(tmp_path / "a.jpg", image)
    data = (tmp_path / "a.jpg").read_bytes()
    # One TIFF entry: tag 0x0112 (orientation), a short, value 6: shown after a quarter turn clockwise.
    tiff = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(tiff)) + b"Exif\0\0" + tiff
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    shown = read_image(tmp_path / "a.jpg").rgb
    assert shown.shape == (48, 32, 3)
    assert shown[:20].max() < 30
    assert shown[28:].min() > 225
