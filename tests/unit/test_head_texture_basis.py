"""Principal components of a head's albedo: from a texture space into a head file and out again."""

import re
import zipfile
from dataclasses import replace

import flame_files
import numpy as np
import pytest
import torch

from raytrack.errors import AssetError
from raytrack.head.asset_format import read_head
from raytrack.head.asset_writer import write_head
from raytrack.head.flame.importer import FlameFiles, import_flame
from raytrack.head.flame.model_file import NUM_FACES
from raytrack.head.flame.texture_file import read_texture
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.texture_basis import SCALE_KEY, STEPS_KEY, TextureBasis

SIDE, NUM_GIVEN = 64, 120


def smooth_directions(count: int, side: int, *, seed: int = 0) -> np.ndarray:
    """Random pictures of a few waves, the first ones strongest, in levels of 0 … 1."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    pictures = []
    for index in range(count):
        waves = sum(
            random.normal(size=3) * np.cos(2 * np.pi * (a * rows + b * columns) + random.uniform(0, 6.3))[..., None]
            for a, b in random.integers(-3, 4, (4, 2))
        )
        pictures.append(0.04 / (1 + index) ** 0.5 * np.asarray(waves))
    return np.stack(pictures)


def write_space(path, mean: np.ndarray, directions: np.ndarray) -> None:
    """A texture space as FLAME's authors keep theirs: 0 … 255, blue first, components last."""
    last = np.moveaxis(directions[..., ::-1], 0, -1)
    np.savez(path, mean=255 * mean[..., ::-1], tex_dir=(255 * last).astype(np.float32))


def write_template(path) -> None:
    """An OBJ of FLAME's mesh seen from the front."""
    vertices, faces, *_ = flame_files.mesh()
    low, high = vertices[:, :2].min(axis=0), vertices[:, :2].max(axis=0)
    uv = (vertices[:, :2] - low) / (high - low) * [0.9, 0.8] + [0.05, 0.1]
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"vt {u} {v}" for u, v in uv]
    lines += ["f " + " ".join(f"{corner}/{corner}" for corner in face) for face in faces + 1]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def directions() -> np.ndarray:
    return smooth_directions(NUM_GIVEN, SIDE)


@pytest.fixture(scope="module")
def imported(tmp_path_factory, directions) -> HeadModel:
    folder = tmp_path_factory.mktemp("flame")
    model, masks = flame_files.write_files(folder)
    write_template(folder / "t.obj")
    write_space(folder / "FLAME_texture.npz", np.full((SIDE, SIDE, 3), (0.8, 0.5, 0.3)), directions)
    files = FlameFiles(model=model, masks=masks, template=folder / "t.obj", texture=folder / "FLAME_texture.npz")
    return import_flame(files, name="flame", shipped=load_head(), find_landmarks=None)


def test_import_keeps_the_first_hundred_components(imported, directions):
    basis = imported.texture_basis
    assert basis is not None
    assert (basis.num_components, basis.size) == (100, SIDE)
    kept = basis.directions(SIDE).numpy()
    below = SIDE // 4  # The teeth's strip is at the top.
    step = np.abs(directions[:100]).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(kept - directions[:100])[:, below:] <= 0.51 * step).all()
    torch.testing.assert_close(imported.albedo[below, 5], torch.tensor([0.8, 0.5, 0.3]), atol=1e-6, rtol=0)


def test_components_leave_the_teeth_alone(imported):
    corners = imported.uv[imported.uv_faces[NUM_FACES:]].mean(dim=(0, 1)) * SIDE
    column, row = (int(value) for value in corners)
    assert not imported.texture_basis.directions(SIDE)[:, row, column].any()


def test_a_head_file_holds_the_basis_until_it_is_used(imported, tmp_path):
    write_head(tmp_path / "h.npz", imported)
    read = read_head(tmp_path / "h.npz")
    again = read.texture_basis.combined(torch.ones(3))
    torch.testing.assert_close(again, imported.texture_basis.combined(torch.ones(3)), atol=0, rtol=0)
    write_head(tmp_path / "h2.npz", read)
    assert (tmp_path / "h.npz").read_bytes() == (tmp_path / "h2.npz").read_bytes()
    lazy = read_head(tmp_path / "h.npz")
    (tmp_path / "h.npz").unlink()
    assert lazy.texture_basis.num_components == 100
    with pytest.raises(AssetError, match=r"h\.npz: its texture basis cannot be read .*import the head again"):
        _ = lazy.texture_basis.steps


def test_heads_without_a_basis_are_what_they_were(imported, tmp_path):
    write_head(tmp_path / "old.npz", replace(imported, texture_basis=None))
    with np.load(tmp_path / "old.npz") as archive:
        assert int(archive["format_version"]) == 3
        assert not {STEPS_KEY, SCALE_KEY} & set(archive.files)
    assert read_head(tmp_path / "old.npz").texture_basis is None
    assert load_head().texture_basis is None


def test_a_version_that_is_not_known_is_refused(imported, tmp_path):
    write_head(tmp_path / "h.npz", imported)
    with np.load(tmp_path / "h.npz") as archive:
        arrays = dict(archive)
    arrays["format_version"] = np.array(5, np.int32)
    np.savez(tmp_path / "new.npz", **arrays)
    with pytest.raises(AssetError, match="format version 5, expected 3 or 4"):
        read_head(tmp_path / "new.npz")


def test_compact_keeps_small_and_empty_directions():
    directions = smooth_directions(5, 16) * np.array([1, 1e-3, 0, 1, 1])[:, None, None, None]
    basis = TextureBasis.compact(directions.astype(np.float32))
    largest = np.abs(directions).max(axis=(1, 2, 3))
    error = np.abs(basis.directions(16).numpy() - directions).max(axis=(1, 2, 3))
    assert (error <= 0.51 * largest / 127 + 1e-12).all()
    smaller = basis.directions(8)
    assert smaller.shape == (5, 8, 8, 3)
    torch.testing.assert_close(smaller.mean(dim=(1, 2)), basis.directions(16).mean(dim=(1, 2)), atol=1e-6, rtol=0)
    assert basis.directions(512).shape == (5, 16, 16, 3), "never enlarged"


def test_combined_is_the_weighted_sum():
    basis = TextureBasis.compact(smooth_directions(4, 16))
    coefficients = torch.tensor([0.5, -2.0, 1.0])
    expected = torch.einsum("k,krcx->rcx", coefficients, basis.directions(16)[:3])
    torch.testing.assert_close(basis.combined(coefficients), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="4 components, got 5"):
        basis.combined(torch.zeros(5))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((SIDE, SIDE, 3)), np.zeros((32, 32, 3, 7)), np.zeros((SIDE, SIDE, 3, 2), int), np.zeros(())],
)
def test_a_basis_of_the_wrong_shape_is_a_clear_error(tmp_path, wrong):
    np.savez(tmp_path / "space.npz", mean=np.full((SIDE, SIDE, 3), 100.0), tex_dir=wrong)
    with pytest.raises(
        AssetError, match=rf"space\.npz: tex_dir is {wrong.dtype} {re.escape(str(wrong.shape))}, expect"
    ):
        read_texture(tmp_path / "space.npz")


def test_a_basis_with_numbers_that_are_none_is_refused(tmp_path):
    np.savez(tmp_path / "s.npz", mean=np.full((16, 16, 3), 100.0), tex_dir=np.full((16, 16, 3, 2), np.nan))
    with pytest.raises(AssetError, match="tex_dir holds numbers that are not finite"):
        read_texture(tmp_path / "s.npz")


def test_a_basis_from_the_basel_face_model_is_read(tmp_path):
    given = smooth_directions(3, 32)
    rows = np.moveaxis(given[..., ::-1], 0, -1).reshape(-1, 3)
    np.savez(tmp_path / "bfm.npz", MU=np.full((1, 32 * 32 * 3), 0.5), PC=rows)
    texture = read_texture(tmp_path / "bfm.npz")
    np.testing.assert_allclose(texture.directions, given, atol=1e-6)


def test_a_damaged_basis_in_a_head_file_is_a_clear_error(imported, tmp_path):
    write_head(tmp_path / "h.npz", imported)
    with np.load(tmp_path / "h.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays[STEPS_KEY] = arrays[STEPS_KEY][:5]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(AssetError, match=r"bad\.npz: its texture basis is int8"):
        _ = read_head(tmp_path / "bad.npz").texture_basis.steps
    del arrays[STEPS_KEY]
    np.savez(tmp_path / "lacking.npz", **arrays)
    assert zipfile.is_zipfile(tmp_path / "lacking.npz")
    with pytest.raises(AssetError, match="cannot be read"):
        _ = read_head(tmp_path / "lacking.npz").texture_basis.steps
