"""`raytrack doctor` lists the heads that the user imported."""

import hashlib

import pytest

from raytrack.pipeline.doctor import Check, examine


@pytest.fixture
def heads_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYTRACK_ASSETS", str(tmp_path))
    return tmp_path / "heads"


def finding() -> Check:
    """What the doctor says of heads."""
    (check,) = (check for check in examine() if check.name == "heads")
    return check


def test_without_heads_it_says_where_they_would_lie(heads_folder):
    check = finding()
    assert (check.verdict, str(heads_folder) in check.finding) == ("note", True)
    assert "import-flame" in check.advice


def test_each_head_is_named_with_the_beginning_of_its_digest(heads_folder):
    heads_folder.mkdir()
    contents = {"flame2023": b"one head", "flame2020": b"another"}
    for name, content in contents.items():
        (heads_folder / f"{name}.npz").write_bytes(content)
    check = finding()
    assert check.verdict == "ok"
    for name, content in contents.items():
        assert f"{name} {hashlib.sha256(content).hexdigest()[:12]}" in check.finding
    assert "default" not in check.finding, "shipped heads are looked at under `assets`"


def test_a_file_that_cannot_be_read_is_a_finding(heads_folder):
    heads_folder.mkdir()
    (heads_folder / "gone.npz").symlink_to(heads_folder / "nowhere.npz")
    assert finding().verdict == "bad"
