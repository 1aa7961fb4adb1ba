"""`raytrack validate`: what is missing or damaged in an output folder, and how good what it holds is."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from synthetic_track import head, make_track, make_views

from raytrack import cli
from raytrack.export.config import ExportConfig
from raytrack.export.dataset_check import dataset_problems
from raytrack.export.formats import write_dataset
from raytrack.fit.npz import read_npz, write_npz
from raytrack.pipeline.track_rows import scores_row, static_row, track_rows
from raytrack.tables.keys import SequenceKey
from raytrack.tables.schemas import EXPORTS, IDENTITIES, SCORE_NAMES
from raytrack.tables.store import part_path, write_part

NUM_FRAMES = 4
KEY = SequenceKey(dataset="d", subject="s", sequence="s")
TRACK = "tracks/s/tracked_params.npz"


@pytest.fixture
def out(tmp_path) -> Path:
    """What a run leaves of one sequence, as far as it is looked at."""
    track = make_track(num_frames=NUM_FRAMES)
    (tmp_path / "tracks/s").mkdir(parents=True)
    track.save(tmp_path / TRACK, base_albedo=head().albedo)
    folder = tmp_path / "export/s"
    folder.parent.mkdir()
    write_dataset(track, head(), folder, ExportConfig(), views=make_views(track), num_threads=1)
    scores = dict.fromkeys(SCORE_NAMES, 0.5) | {"held_out_frames": 2, "frames": NUM_FRAMES, "psnr_db": 27.5}
    written = [file.relative_to(tmp_path).as_posix() for file in folder.rglob("*") if file.is_file()]
    export = {"kind": "dataset", "path": "export/s", "num_frames": NUM_FRAMES}
    commit(tmp_path, "track", "track", track_rows(track), [TRACK])
    commit(tmp_path, "track_static", "track", static_row(track, TRACK))
    commit(tmp_path, "scores", "render", scores_row(scores, None))
    commit(tmp_path, "exports", "export", pa.Table.from_pylist([export], schema=EXPORTS), written)
    return tmp_path


def commit(out: Path, table: str, stage: str, rows: pa.Table, files: list[str] | None = None) -> None:
    write_part(part_path(out, table, KEY, f"{stage}-00000"), rows, fingerprint="f", files=files or [])


def said(out: Path, capsys, *options: str) -> tuple[int, str]:
    code = cli.main(["validate", str(out), *options])
    return code, capsys.readouterr().out


def test_a_whole_folder_and_what_its_scores_mean(out, capsys):
    code, text = said(out, capsys)
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "s"
    assert lines[1].split(maxsplit=5) == [
        *("psnr_db", "27.500", ">=", "24"),
        *("colours,", "over the pixels that the render covers"),
    ]
    (coverage,) = (line for line in lines if "coverage_above_chin_share" in line)
    assert coverage.startswith("! "), "0.5 is worth a look"
    assert lines[-1] == f"{out}: tables, tracks and datasets are whole"


def test_as_json(out, capsys):
    code, text = said(out, capsys, "--json")
    found = json.loads(text)
    assert code == 0
    assert found["problems"] == []
    assert found["sequences"]["s"]["scores"]["psnr_db"] == 27.5
    assert "coverage_above_chin_share" in found["sequences"]["s"]["worth_a_look"]
    assert "psnr_db" not in found["sequences"]["s"]["worth_a_look"]
    assert found["usual"]["psnr_db"] == ">= 24"


def test_a_missing_picture_is_told_once_as_file_and_once_as_frame(out, capsys):
    (out / "export/s/images/00002_00.png").unlink()
    code, text = said(out, capsys)
    assert code == 1
    problems = [line for line in text.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 2
    assert "export/s/images/00002_00.png missing; run again" in problems[0]
    assert "file_path images/00002_00.png is missing" in problems[1]


def test_a_damaged_table_is_told(out, capsys):
    path = part_path(out, "scores", KEY, "render-00000")
    data = bytearray(path.read_bytes())
    data[20] ^= 255
    path.write_bytes(bytes(data))
    code, text = said(out, capsys)
    assert code == 1
    assert "damaged table" in text


def test_a_track_with_numbers_that_are_none(out, capsys):
    arrays = read_npz(out / TRACK)
    arrays["translation"][1] = np.nan
    write_npz(out / TRACK, arrays)
    code, text = said(out, capsys)
    assert code == 1
    assert f"s: {TRACK}: translation holds numbers that are not finite" in text


def test_one_thing_missing_hides_nothing_else(out, capsys):
    (out / TRACK).unlink()
    (out / "export/s/images/00002_00.png").unlink()
    code, text = said(out, capsys)
    assert code == 1
    assert "psnr_db" in text, "scores are shown all the same"
    assert f"s: {TRACK} missing; run again" in text
    assert "file_path images/00002_00.png is missing" in text


def test_a_damaged_track(out, capsys):
    arrays = read_npz(out / TRACK)
    del arrays["timestep_id"]
    write_npz(out / TRACK, arrays)
    assert f"s: {TRACK} has no timestep_id" in said(out, capsys)[1]
    (out / TRACK).write_bytes(b"PK")
    assert "not a readable .npz archive" in said(out, capsys)[1]


def test_an_identity_and_a_union_that_are_damaged(out, capsys):
    identity = SequenceKey(dataset="d", subject="s", sequence="identity_s")
    path = "tracks/identity_s/identity.npz"
    (out / path).parent.mkdir()
    write_npz(out / path, {"shape": np.zeros(3, np.float32)})
    part = part_path(out, "identities", identity, "identity-00000")
    write_part(part, pa.Table.from_pylist([{"path": path, "members": ["s"]}], schema=IDENTITIES), fingerprint="f",
               files=[path])  # fmt: skip
    assert said(out, capsys)[0] == 0
    write_npz(out / path, {"shape": np.full(3, np.nan, np.float32)})
    assert f"identity_s: {path}: shape holds numbers that are not finite" in said(out, capsys)[1]
    (out / path).unlink()
    assert f"identity_s: {path} missing" in said(out, capsys)[1]
    part.write_bytes(b"PAR1")
    union = part_path(out, "unions", SequenceKey(dataset="d", subject="s", sequence="union_s"), "union-00000")
    union.parent.mkdir(parents=True)
    union.write_bytes(b"PAR1")
    code, text = said(out, capsys)
    assert code == 1
    assert text.count("missing or damaged table") == 2
    assert "psnr_db" in text


def test_a_folder_without_a_run(tmp_path, capsys):
    assert cli.main(["validate", str(tmp_path)]) == 2
    assert "not a folder that raytrack wrote" in capsys.readouterr().err


def edited(folder: Path, change) -> None:
    path = folder / "transforms.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document["frames"])
    path.write_text(json.dumps(document), encoding="utf-8")


def mirrored(frames):
    frames[1]["transform_matrix"][0] = [-value for value in frames[1]["transform_matrix"][0]]


def shrunk(frames):
    for frame in frames:
        frame["w"] -= 1


def blind(frames):
    del frames[0]["fl_x"]


def doubled(frames):
    frames.append(frames[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (mirrored, "frame 1: transform_matrix is no rotation and shift"),
        (shrunk, "is (120, 96) (h, w), not (120, 95)"),
        (blind, "frame 0 has no fl_x"),
        (doubled, "its camera has two frames of one timestep"),
        (doubled, "5 frames where 4 were written"),
        (lambda frames: frames.pop(), "3 frames, but the splits have 4"),
        (lambda frames: frames.__setitem__(1, 7), "frame 1 is no object"),
        (lambda frames: frames[1]["transform_matrix"][0].pop(), "frame 1: transform_matrix is not 4 × 4"),
        (lambda frames: frames[1].update(transform_matrix="no"), "frame 1: transform_matrix is not 4 × 4"),
        (lambda frames: frames[1].update(fl_x="wide"), "frame 1 has no number as fl_x"),
        (lambda frames: frames[1].update(file_path=3), "frame 1 has no path as file_path"),
        (lambda frames: [one.update(timestep_index=[0]) for one in frames], "two frames of one timestep"),
    ],
)
def test_what_readers_would_stumble_over(out, change, told):
    assert dataset_problems(out / "export/s", NUM_FRAMES) == []
    edited(out / "export/s", change)
    assert any(told in problem for problem in dataset_problems(out / "export/s", NUM_FRAMES))


def test_many_missing_pictures_are_one_line(out):
    for picture in (out / "export/s/images").iterdir():
        picture.unlink()
    (problem,) = dataset_problems(out / "export/s")
    assert problem.endswith("frame 0: file_path images/00000_00.png is missing, and 3 more")


def test_documents_that_cannot_be_read(out):
    folder = out / "export/s"
    (folder / "transforms_val.json").unlink()
    (folder / "transforms_test.json").write_text("{", encoding="utf-8")
    problems = dataset_problems(folder)
    assert any("transforms_val.json: cannot be read" in problem for problem in problems)
    assert any("transforms_test.json: not valid JSON" in problem for problem in problems)
