"""Parquet parts: atomic, checked, reproducible."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from raytrack.errors import ConfigError, OutputError, RaytrackError
from raytrack.tables.keys import SequenceKey, safe_name
from raytrack.tables.store import part_path, read_footer, read_number, read_part, read_parts, read_table, write_part

KEY = SequenceKey(dataset="nersemble", subject="074", sequence="EMO-1")


def rows(count=1000):
    values = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    points = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 3)
    return pa.table({"frame": pa.array(range(count), pa.int32()), "points": points})


def test_a_part_lies_in_its_hive_partition_and_reads_back(out):
    path = part_path(out, "frames", KEY, "frames-00000")
    assert path == out / "tables/frames/dataset=nersemble/subject=074/sequence=EMO-1/part-frames-00000.parquet"
    write_part(path, rows(), fingerprint="abc", files=("frames/a.png",), config='{"a":1}')
    footer = read_footer(path)
    assert (footer.fingerprint, footer.files, footer.config) == ("abc", ("frames/a.png",), '{"a":1}')
    assert read_part(path).equals(rows())


def test_names_stay_strings(out):
    for subject in ("074", "1e3"):
        key = SequenceKey(dataset="d", subject=subject, sequence="2024")
        write_part(part_path(out, "frames", key, "x-0"), rows(2), fingerprint="f")
    table = read_table(out, "frames")
    assert set(table["subject"].to_pylist()) == {"074", "1e3"}
    assert set(table["sequence"].to_pylist()) == {"2024"}


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in "ab":
        write_part(tmp_path / name, rows(), fingerprint="f", files=("x",))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_flipped_bit_is_noticed(out):
    path = part_path(out, "frames", KEY, "x-0")
    write_part(path, rows(), fingerprint="f")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(RaytrackError, match="delete this file and run again"):
        read_part(path)
    with pytest.raises(RaytrackError, match="damaged"):
        read_table(out, "frames")


def test_what_is_not_a_whole_part_has_no_footer(out):
    path = part_path(out, "frames", KEY, "x-0")
    assert read_footer(path) is None
    write_part(path, rows(), fingerprint="f")
    path.write_bytes(path.read_bytes()[:-20])
    assert read_footer(path) is None
    path.write_bytes(b"")
    assert read_footer(path) is None


def test_readers_pass_over_temporary_files(out):
    path = part_path(out, "frames", KEY, "x-0")
    write_part(path, rows(5), fingerprint="f")
    (path.parent / ".tmp-dead.parquet").write_bytes(b"half a file")
    assert read_table(out, "frames").num_rows == 5


def test_a_failed_write_leaves_the_old_part(out, monkeypatch):
    path = part_path(out, "frames", KEY, "x-0")
    write_part(path, rows(5), fingerprint="old")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space"):
        write_part(path, rows(6), fingerprint="new")
    assert read_footer(path).fingerprint == "old"
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_killed_writer_leaves_whole_parts_only(out):
    path = part_path(out, "frames", KEY, "x-0")
    code = (
        "import itertools, pyarrow as pa; from pathlib import Path; from raytrack.tables.store import write_part\n"
        f"path = Path({str(path)!r})\n"
        "for i in itertools.count():\n"
        "    write_part(path, pa.table({'i': [i] * 200_000}), fingerprint=str(i))\n"
    )
    for wait_s in (0.05, 0.11, 0.17):
        writer = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait_s)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        footer = read_footer(path)
        assert read_part(path)["i"].unique().to_pylist() == [int(footer.fingerprint)]


def test_parts_are_read_in_the_order_given(out):
    paths = [part_path(out, "frames", KEY, f"x-{i}") for i in range(3)]
    for i, path in enumerate(paths):
        write_part(path, pa.table({"i": [i]}), fingerprint=str(i))
    assert read_parts(reversed(paths))["i"].to_pylist() == [2, 1, 0]
    with pytest.raises(ValueError, match="no parts"):
        read_parts([])


def test_a_table_nobody_wrote_is_none(out):
    assert read_table(out, "frames") is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a=b", ".hidden", "a b", "ü", "x" * 129, "a\n"])
def test_names_that_would_leave_their_folder_are_refused(name):
    with pytest.raises(ConfigError, match="sequence name"):
        SequenceKey(dataset="d", subject="s", sequence=name)


@pytest.mark.parametrize(
    ("text", "name"), [("My take 1", "My_take_1"), ("../x", "x"), ("ü", "sequence"), ("", "sequence"), ("074", "074")]
)
def test_safe_names(text, name):
    assert safe_name(text) == name
    SequenceKey(dataset="d", subject="s", sequence=safe_name(text))


def test_a_number_is_told_by_the_footer(out):
    path = part_path(out, "sequences", KEY, "probe-00000")
    write_part(path, pa.table({"kind": ["video"], "num_frames": pa.array([90], pa.int32())}), fingerprint="f")
    assert read_number(path, "num_frames") == 90
    for column in ("nothing", "num"):
        with pytest.raises(ValueError, match="does not hold one number"):
            read_number(path, column)
    write_part(path, pa.table({"num_frames": [90, 91]}), fingerprint="f")
    with pytest.raises(ValueError, match="does not hold one number"):
        read_number(path, "num_frames")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RaytrackError, match="delete this file"):
        read_number(path, "num_frames")
