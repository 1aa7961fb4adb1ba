"""Digests of footage: of what is read and nothing else, and not reckoned twice."""

import os
import time

import pytest

from raytrack.errors import InputError
from raytrack.pipeline import digests as digests_module
from raytrack.pipeline.digests import Digests
from raytrack.pipeline.sources import content_sha256


def age(path, seconds=60):
    """Let a file look as if it had been there for a while."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def write(path, data: bytes):
    path.write_bytes(data)
    age(path)


@pytest.fixture
def read_files(monkeypatch):
    """Names of the files that are read to reckon their digests."""
    names = []
    whole = digests_module.sha256_of

    def counting(path):
        names.append(path.name)
        return whole(path)

    monkeypatch.setattr(digests_module, "sha256_of", counting)
    return names


def test_only_the_images_of_a_folder_count(tmp_path):
    for name in ("1.png", "2.png"):
        write(tmp_path / name, name.encode())
    before = content_sha256(str(tmp_path))
    (tmp_path / "out" / "frames").mkdir(parents=True)
    write(tmp_path / "out" / "frames" / "000000.png", b"a result")
    write(tmp_path / "notes.txt", b"x")
    write(tmp_path / ".hidden.png", b"x")
    assert content_sha256(str(tmp_path)) == before
    write(tmp_path / "2.png", b"changed")
    changed = content_sha256(str(tmp_path))
    assert changed != before
    (tmp_path / "2.png").rename(tmp_path / "3.png")
    assert content_sha256(str(tmp_path)) != changed


def test_what_is_known_is_not_read_again(tmp_path, read_files):
    write(tmp_path / "a.mp4", b"clip")
    for _ in range(2):
        digests = Digests(tmp_path / "digests.json")
        first = content_sha256(str(tmp_path / "a.mp4"), digests)
        digests.save()
    assert read_files == ["a.mp4"]
    write(tmp_path / "a.mp4", b"CLIP")
    age(tmp_path / "a.mp4", 120)
    assert content_sha256(str(tmp_path / "a.mp4"), Digests(tmp_path / "digests.json")) != first


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path, read_files):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"clip")
    status = path.stat()
    digests = Digests(tmp_path / "digests.json")
    first = content_sha256(str(path), digests)
    path.write_bytes(b"CLIP")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_sha256(str(path), digests) != first
    assert read_files == ["a.mp4"] * 2


def test_what_is_gone_counts_as_it_was_where_that_is_wanted(tmp_path):
    folder, clip = tmp_path / "images", tmp_path / "a.mp4"
    folder.mkdir()
    write(folder / "1.png", b"x")
    write(clip, b"clip")
    digests = Digests(tmp_path / "digests.json")
    known = [content_sha256(str(path), digests) for path in (folder, clip)]
    digests.save()
    (folder / "1.png").unlink()
    folder.rmdir()
    clip.unlink()
    trusting = Digests(tmp_path / "digests.json", trust_missing=True)
    assert [content_sha256(str(path), trusting) for path in (folder, clip)] == known
    with pytest.raises(InputError, match="no such file"):
        content_sha256(str(clip), Digests(tmp_path / "digests.json"))


def test_a_damaged_memory_is_an_empty_one(tmp_path):
    (tmp_path / "digests.json").write_text("[1, 2")
    write(tmp_path / "a.mp4", b"clip")
    assert content_sha256(str(tmp_path / "a.mp4"), Digests(tmp_path / "digests.json"))
