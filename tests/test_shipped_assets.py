"""Every shipped asset is listed, whole, and accounted for."""

import subprocess
from pathlib import Path

import pytest

from raytrack import assets
from raytrack.errors import AssetError

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "assets"
DIGESTS = {
    name: digest
    for digest, name in (line.split(maxsplit=1) for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
}


def tracked_assets() -> set[str]:
    """Names of the files under assets/ that git tracks."""
    listing = subprocess.run(["git", "ls-files", "-z", "."], cwd=FOLDER, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return {name for name in listing.stdout.split("\0") if name}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_listed_file_is_whole(name):
    assert assets.sha256_of(FOLDER / name) == DIGESTS[name]


def test_every_data_file_is_listed():
    data = {name for name in tracked_assets() if not name.endswith((".py", ".md", "NOTICE", "SHA256SUMS"))}
    assert data
    assert data <= set(DIGESTS)


def test_list_is_sorted_without_repeats():
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(DIGESTS)
    assert list(DIGESTS) == sorted(DIGESTS)


def test_every_folder_has_a_notice_and_a_place_in_the_index():
    index = (FOLDER / "NOTICE").read_text()
    folders = {name.split("/")[0] for name in tracked_assets() if "/" in name}
    assert folders
    for folder in folders:
        assert (FOLDER / folder / "NOTICE").is_file(), f"assets/{folder}/NOTICE is missing"
        assert f"\n{folder}/" in index, f"assets/NOTICE does not mention {folder}/"


def test_damage_is_found(tmp_path, monkeypatch):
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  part.npz\n")
    (tmp_path / "part.npz").write_bytes(b"damaged")
    monkeypatch.setattr(assets, "assets_folder", lambda: tmp_path)
    with pytest.raises(AssetError, match="damaged"):
        assets.asset_path("part.npz")
    with pytest.raises(AssetError, match="not a shipped asset"):
        assets.asset_path("other.npz")
