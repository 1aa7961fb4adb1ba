from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raytrack.assets import asset_path, asset_sha256
from raytrack.errors import AssetError
from raytrack.head.asset_format import read_head
from raytrack.head.asset_writer import write_head
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.shoulders import SHOULDER_RANGE_M, with_shoulders

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(asset_path("head/head.npz"), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def written(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


def test_default_head_has_the_promised_size():
    head = load_head()
    assert (head.num_vertices, len(head.faces)) == (5657, 11108)
    assert (head.num_shapes, head.num_expressions) == (150, 76)
    assert len(head.landmarks["facemesh"].faces) == 478
    assert len(head.landmarks["ibug"].faces) == 68
    assert head.albedo.shape == (1024, 1024, 3)
    assert 0 <= float(head.albedo.min()) < float(head.albedo.max()) <= 1


def test_shoulders_move_the_bust_and_not_the_head():
    head = load_head()
    side = head.expression_basis[head.expression_names.index("shouldersSide")]
    assert side[head.region("face")].norm(dim=1).mean() < 0.05 * SHOULDER_RANGE_M
    bust = head.skin_weights[:, 0] > 0.99
    assert bust.any()
    assert torch.allclose(side[bust], torch.tensor([SHOULDER_RANGE_M, 0.0, 0.0]), atol=0.011 * SHOULDER_RANGE_M)


def test_heads_with_principal_components_get_no_shoulders():
    head = load_head()
    numbered = replace(head, expression_names=tuple(f"expression_{index}" for index in range(head.num_expressions)))
    assert with_shoulders(numbered) is numbered


def test_default_head_is_read_once_and_knows_its_digest():
    assert load_head() is load_head()
    assert load_head().asset_sha256 == asset_sha256("head/head.npz")


def test_default_head_is_small_and_holds_no_pickles():
    path = asset_path("head/head.npz")
    assert path.stat().st_size < 5 * MEBIBYTE
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[key].dtype.kind != "O" for key in archive.files)


def test_skin_weights_are_shares():
    weights = load_head().skin_weights
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))


def test_uv_triangles_all_turn_the_same_way():
    head = load_head()
    corner = head.uv[head.uv_faces].double()
    first, second = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    assert bool((area < 0).all()), "counter-clockwise with v up is clockwise with v down"


def test_missing_file_is_an_asset_error(tmp_path):
    with pytest.raises(AssetError, match="no such head file"):
        load_head(str(tmp_path / "nobody.npz"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text"])
def test_damaged_file_is_an_asset_error(tmp_path, damage):
    content = bytearray(asset_path("head/head.npz").read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        for position in range(1000, len(content), 5000):
            content[position] ^= 0xFF
    else:
        content = bytearray(b"not a head")
    path = tmp_path / "head.npz"
    path.write_bytes(content)
    with pytest.raises(AssetError, match=r"head\.npz"):
        read_head(path)


def test_pickled_arrays_are_refused(tmp_path, arrays):
    path = tmp_path / "head.npz"
    np.savez(path, **{**arrays, "point_names": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(AssetError, match="not a raytrack head"):
        read_head(path)


def test_shipped_head_with_other_bytes_is_refused(tmp_path, monkeypatch):
    from raytrack import assets

    folder = tmp_path / "assets"
    (folder / "head").mkdir(parents=True)
    (folder / "SHA256SUMS").write_text(f"{asset_sha256('head/head.npz')}  head/head.npz\n")
    (folder / "head/head.npz").write_bytes(asset_path("head/head.npz").read_bytes()[:-1] + b"x")
    monkeypatch.setattr(assets, "assets_folder", lambda: folder)
    asset_path.cache_clear()
    try:
        with pytest.raises(AssetError, match="damaged"):
            asset_path("head/head.npz")
    finally:
        asset_path.cache_clear()


@pytest.mark.parametrize(
    ("key", "spoil"),
    [
        ("v_template", lambda a: a[:-1]),
        ("lbs_weights", lambda a: a[:, :4]),
        ("expression_basis", lambda a: a[:, :-1]),
        ("faces", lambda a: np.where(a == 7, 60000, a)),
        ("uv_faces", lambda a: a[:-1]),
        ("joints", lambda a: a * np.nan),
        ("albedo_png", lambda a: a[:100]),
        ("format_version", lambda a: a + 1),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, key, spoil):
    with pytest.raises(AssetError, match="not a raytrack head"):
        read_head(written(tmp_path / "head.npz", {**arrays, key: spoil(arrays[key])}))


def test_least_expressions_of_another_number_are_refused(tmp_path, arrays):
    fitting = {**arrays, "expression_least": np.zeros(len(arrays["expression_basis"]), np.float32)}
    assert read_head(written(tmp_path / "fitting.npz", fitting)).expression_least is not None
    with pytest.raises(AssetError, match="expression_least"):
        read_head(written(tmp_path / "head.npz", {**arrays, "expression_least": np.zeros(3, np.float32)}))


def test_a_missing_array_is_named(tmp_path, arrays):
    incomplete = {key: value for key, value in arrays.items() if key != "joint_parents"}
    with pytest.raises(AssetError, match="joint_parents"):
        read_head(written(tmp_path / "head.npz", incomplete))


def assert_same_head(head: HeadModel, other: HeadModel) -> None:
    for field in fields(HeadModel):
        if field.name in ("name", "asset_sha256", "landmarks", "contour", "regions"):
            continue
        ours, theirs = getattr(head, field.name), getattr(other, field.name)
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(theirs, ours, atol=1e-7, rtol=0, msg=field.name)
        else:
            assert theirs == pytest.approx(ours) if isinstance(ours, float) else theirs == ours, field.name
    for name, mask in head.regions.items():
        assert torch.equal(other.regions[name], mask), name
    for name, embedding in head.landmarks.items():
        assert torch.equal(other.landmarks[name].faces, embedding.faces)
        assert torch.equal(other.landmarks[name].barycentric, embedding.barycentric)
    assert head.contour is not None
    assert other.contour is not None
    assert torch.equal(other.contour.barycentric, head.contour.barycentric)


def test_write_then_read_gives_the_same_head(tmp_path):
    head = load_head()
    path = tmp_path / "mine.npz"
    write_head(path, head)
    again = read_head(path)
    assert with_shoulders(again) is again
    assert again.name == "mine"
    assert_same_head(head, again)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.npz"]


def test_writing_twice_gives_the_same_bytes(tmp_path):
    small = load_head().landmark_subset("facemesh")
    small = replace(small, albedo=small.albedo[:16, :16])
    write_head(tmp_path / "a.npz", small)
    write_head(tmp_path / "b.npz", small)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
