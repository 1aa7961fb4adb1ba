"""Formats by name: where they lie, how they are asked for, and which heads they refuse."""

import dataclasses
from pathlib import Path

import flame_files
import pytest
from synthetic_track import head

from raytrack.cli import job_config, main
from raytrack.config import RunConfig
from raytrack.errors import ConfigError
from raytrack.export.config import ExportConfig, dataset_path
from raytrack.export.formats import FORMATS
from raytrack.export.head_files import is_flame, parameter_kind
from raytrack.mapping import from_mapping
from raytrack.pipeline.stages_track import EXPORT


def test_flame_is_told_by_its_family_not_by_its_name():
    flame = flame_files.imported_head()
    assert is_flame(flame)
    assert not is_flame(head())
    assert not is_flame(dataclasses.replace(head(), name="flame2023"))
    assert is_flame(dataclasses.replace(flame, name="default"))
    assert (parameter_kind(flame), parameter_kind(head())) == ("flame_param", "head_param")


def test_where_each_format_lies():
    assert [dataset_path(name, "EMO-1") for name in FORMATS] == [
        "export/EMO-1",
        "export-gaussian-avatars/EMO-1",
        "export-insta/EMO-1",
        "export-imavatar/EMO-1",
    ]
    owned = {pattern.format(sequence="EMO-1") for pattern in EXPORT.folders}
    assert owned >= {dataset_path(name, "EMO-1") for name in FORMATS}
    assert owned >= {dataset_path(name, ".tmp-EMO-1") for name in FORMATS}


def test_formats_are_read_from_a_job():
    config = from_mapping(RunConfig, {"export": {"formats": ["nerf", "insta"], "head_centric": True}}, where="job")
    assert config.export.formats == ("nerf", "insta")
    assert config.export.head_centric is True
    assert ExportConfig().formats == ("nerf",)
    for formats, message in (([], "one or more"), (["nerf", "nerf"], "different"), (["ply"], "one of nerf, gaussian")):
        with pytest.raises(ConfigError, match=message):
            from_mapping(RunConfig, {"export": {"formats": formats}}, where="job")


def test_formats_are_read_from_the_command_line(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("raytrack.cli._run", lambda options, arguments: seen.append(job_config(options)) or 0)
    video = tmp_path / "me.mp4"
    for given, expected in (([], ("nerf",)), (["--formats", "insta", "nerf"], ("insta", "nerf"))):
        assert main(["export", str(video), "--out", str(tmp_path / "out"), *given]) == 0
        assert seen[-1].export.formats == expected


def test_a_run_whose_head_a_format_refuses_never_begins(tmp_path, capsys):
    out = tmp_path / "out"
    video = tmp_path / "me.mp4"
    Path(video).write_bytes(b"")
    assert main(["export", str(video), "--out", str(out), "--formats", "gaussian-avatars"]) == 2
    shown = capsys.readouterr().err
    assert "'default' is no FLAME head" in shown
    assert "import-flame" in shown
    assert not out.exists()
