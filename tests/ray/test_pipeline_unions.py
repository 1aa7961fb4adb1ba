"""Unions as the last step of a run: when there is one, when it is made anew, and what becomes of it."""

import dataclasses
import json
import re
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny_pipeline as tiny

from raytrack import cli
from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import ConfigError, InputError, OutputError
from raytrack.export import union as export_union
from raytrack.export.config import ExportConfig, UnionConfig
from raytrack.pipeline import disk
from raytrack.pipeline import report as pipeline_report
from raytrack.pipeline.choose import chosen
from raytrack.pipeline.run import plan_job
from raytrack.pipeline.screen import Screen
from raytrack.pipeline.stage import Stage, StageOutput
from raytrack.pipeline.unions import UNION, plan_unions
from raytrack.tables.store import read_table


def export(context) -> StageOutput:
    """A dataset of empty pictures, as many timesteps as the sequence's file orders."""
    tiny.misbehave(context)
    folder = context.out / "export" / context.name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "head_param").mkdir(parents=True)
    (folder / "images").mkdir()
    arrays = {"shape": np.zeros(3, np.float32), "static_offset": np.zeros((1, 2, 3), np.float32)}
    np.savez(folder / "canonical_head_param.npz", **arrays)
    frames = []
    for timestep in range(tiny.orders(context).get("timesteps", 2)):
        paths = {"file_path": f"images/{timestep:05d}_00.png", "head_param_path": f"head_param/{timestep:05d}.npz"}
        (folder / paths["file_path"]).touch()
        np.savez(folder / paths["head_param_path"], **arrays)
        view = {
            "fl_x": 9.0,
            "fl_y": 9.0,
            "cx": 4.0,
            "cy": 3.0,
            "w": 8,
            "h": 6,
            "camera_angle_x": 1,
            "camera_angle_y": 1,
        }
        pose = {"timestep_index": timestep, "camera_index": 0, "transform_matrix": np.eye(4).tolist()}
        frames.append({**paths, **view, **pose})
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    files = sorted(path.relative_to(context.out).as_posix() for path in folder.rglob("*") if path.is_file())
    return StageOutput(rows=pa.table({"kind": ["dataset"]}), files=tuple(files))


STAGES = (
    tiny.STAGES[0],
    Stage(
        name="export",
        version=1,
        function=export,
        table="exports",
        sources=("video",),
        after=("probe",),
        folders=("export/{sequence}",),
    ),
)


def job(folder: Path, subjects: dict[str, dict[str, dict]], **union) -> RunConfig:
    """A job of several subjects, whose sequences behave as told."""
    config = tiny.job(folder, {name: order for sequences in subjects.values() for name, order in sequences.items()})
    of = {name: subject for subject, sequences in subjects.items() for name in sequences}
    sequences = tuple(SequenceConfig(video=one.video, name=one.name, subject=of[one.name]) for one in config.sequences)
    return RunConfig(sequences=sequences, union=UnionConfig(**union) if union is not None else None)


def run(config, out, **options):
    return tiny.run(config, out, stages=STAGES, known=STAGES, **options)


def runs_of(out, stage: str) -> int:
    return read_table(out, "runs")["stage"].to_pylist().count(stage)


def frames_of(out, split: str) -> list[str]:
    document = json.loads((out / f"export/union_anna/transforms_{split}.json").read_text())
    return [frame["file_path"] for frame in document["frames"]]


ANNA = {"anna": {"a1": {}, "a2": {"timesteps": 3}, "a3": {}}}


def test_each_subject_of_several_sequences_gets_one(tmp_path, out, capsys):
    report = run(job(tmp_path / "in", {**ANNA, "ben": {"b1": {}}}, mode="last"), out)
    assert report.exit_code == 0
    printed = capsys.readouterr().out
    assert "4 sequences, 2 stages; 0 cached, 8 to run; 1 union; " in printed
    assert "union_anna: union done\n" in printed
    assert report.notes == ("union_ben: none is made of one sequence alone, for whole sequences are held out",)
    assert frames_of(out, "train") == [f"../a1/images/{i:05d}_00.png" for i in range(2)] + [
        f"../a2/images/{i:05d}_00.png" for i in range(3)
    ]
    assert frames_of(out, "test") == [f"../a3/images/{i:05d}_00.png" for i in range(2)]
    (row,) = read_table(out, "unions").to_pylist()
    assert (row["subject"], row["sequence"], row["members"]) == ("anna", "union_anna", ["a1", "a2", "a3"])
    assert (row["num_timesteps"], row["num_train"], row["num_val"], row["num_test"]) == (7, 5, 0, 2)
    assert not (out / "export/union_ben").exists()


def test_it_is_made_once_and_anew_when_a_member_or_an_option_changes(tmp_path, out):
    config = job(tmp_path / "in", ANNA, mode="last")
    run(config, out)
    before = tiny.contents(out)
    report = run(config, out)
    assert [union.plan.cached for union in report.unions] == [{"union"}]
    assert (runs_of(out, "union"), tiny.contents(out)) == (1, before)
    changed = job(tmp_path / "in", {"anna": {**ANNA["anna"], "a1": {"timesteps": 4}}}, mode="last")
    run(changed, out)
    assert (runs_of(out, "union"), len(frames_of(out, "train"))) == (2, 7)
    run(job(tmp_path / "in", {"anna": {**ANNA["anna"], "a1": {"timesteps": 4}}}, mode="random_single"), out)
    assert runs_of(out, "union") == 3
    (out / "export/union_anna/transforms_val.json").unlink()
    run(job(tmp_path / "in", {"anna": {**ANNA["anna"], "a1": {"timesteps": 4}}}, mode="random_single"), out)
    assert runs_of(out, "union") == 4, "a file was missing"
    assert runs_of(out, "export") == 4


@pytest.mark.parametrize("placement", ["link", "copy"])
def test_it_is_made_anew_however_its_datasets_lie(tmp_path, out, placement):
    run(job(tmp_path / "in", ANNA, mode="last", placement=placement), out)
    assert (out / "export/union_anna/a1").is_symlink() is (placement == "link")
    changed = {"anna": {**ANNA["anna"], "a1": {"timesteps": 4}}}
    assert run(job(tmp_path / "in", changed, mode="last", placement=placement), out).exit_code == 0
    assert len(frames_of(out, "train")) == 7
    kept = {name: digest for name, digest in tiny.contents(out).items() if name.startswith("export/a")}
    run(job(tmp_path / "in", {"anna": {**ANNA["anna"], "a1": {"export": "input"}}}, mode="last"), out)
    assert not (out / "export/union_anna").exists()
    left = tiny.contents(out)
    assert {name: left.get(name) for name in kept if "/a1/" not in name} == {
        name: digest for name, digest in kept.items() if "/a1/" not in name
    }, "the other datasets stay"


def test_a_run_of_some_sequences_leaves_the_union_of_all_alone(tmp_path, out):
    whole = job(tmp_path / "in", ANNA, mode="last")
    some = chosen(whole, sequences=["a1", "a3"])
    note = "union_anna: none is made, for the run is of 2 of the subject's 3 sequences alone"
    assert run(some, out, whole=whole).notes == (note,)
    assert not (out / "export/union_anna").exists()
    run(whole, out, whole=whole)
    before = tiny.contents(out)
    assert (len(frames_of(out, "train")), run(some, out, whole=whole).notes) == (5, (note,))
    assert tiny.contents(out) == before
    job(tmp_path / "in", {"anna": {**ANNA["anna"], "a1": {"timesteps": 4}}})
    run(some, out, whole=whole)
    assert not (out / "export/union_anna").exists(), "a member has changed"


@pytest.mark.parametrize(("placement", "copies"), [("refer", 0), ("link", 0), ("copy", 1)])
def test_copies_count_when_the_room_on_the_disk_is_checked(tmp_path, out, monkeypatch, placement, copies):
    monkeypatch.setattr(disk, "_extent", lambda config, plan: (50, (1000, 800), 2))
    formats = ExportConfig(formats=("nerf", "insta", "gaussian-avatars"))
    config = dataclasses.replace(job(tmp_path / "in", ANNA, placement=placement), export=formats)
    plans, _ = plan_job(config, out, STAGES)
    unions = plan_unions(config, out, plans).plans
    asked = []
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1.0))
    for some in ((), unions):
        with pytest.raises(OutputError) as error:
            disk.check_space(config, out, plans, some)
        asked.append(float(re.search(r"about ([\d.]+) GB", str(error.value))[1]))
    of_export = disk.expected_bytes(config, 50, (1000, 800), 2)["export"] / 1e9
    expected = copies * 3 * of_export * 2 / 3
    assert asked[1] - asked[0] == pytest.approx(expected, abs=0.11), "two of three formats have unions"
    assert expected == 0 or expected > 0.5


def test_a_failed_member_leaves_no_union_behind(tmp_path, out):
    run(job(tmp_path / "in", ANNA, mode="last"), out)
    broken = job(tmp_path / "in", {"anna": {**ANNA["anna"], "a2": {"export": "input"}}}, mode="last")
    report = run(broken, out)
    assert report.exit_code == 3
    assert report.notes == ("union_anna: none is made, for a2 is not finished",)
    assert not (out / "export/union_anna").exists(), "it would refer to a dataset that is no more"
    assert read_table(out, "unions") is None
    report = run(job(tmp_path / "in", ANNA, mode="last"), out)
    assert report.exit_code == 0
    assert len(frames_of(out, "train")) == 5


def test_a_member_that_cannot_be_read(tmp_path, out):
    config = job(tmp_path / "in", ANNA, mode="last")
    Path(config.sequences[1].video).unlink()
    report = run(config, out)
    assert report.exit_code == 3
    assert report.notes == ("union_anna: none is made, for a2 cannot be read",)


def test_faults_are_rows_and_told(tmp_path, out, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise InputError("the datasets do not go together")

    monkeypatch.setattr(export_union, "union_datasets", refuse)
    monkeypatch.setattr(pipeline_report, "all_stages", lambda config: STAGES)
    report = run(job(tmp_path / "in", {**ANNA, "ben": {"b1": {}}}, mode="last"), out)
    assert report.exit_code == 3
    assert "union_anna: union failed (input): the datasets do not go together" in capsys.readouterr().out
    (row,) = read_table(out, "failures").to_pylist()
    assert (row["sequence"], row["stage"], row["kind"], row["final"]) == ("union_anna", "union", "input", True)
    pipeline_report.write_status(out, Screen(sys.stdout))
    *_, head, failure, note = capsys.readouterr().out.splitlines()
    assert head == "union_anna (subject anna, dataset monocular): union to do"
    assert failure == "    union failed (input): the datasets do not go together"
    assert note.startswith("union_ben: none is made of one sequence alone")
    monkeypatch.undo()
    assert run(job(tmp_path / "in", ANNA, mode="last"), out).exit_code == 0


def test_a_run_without_unions_removes_one_whose_datasets_it_changes(tmp_path, out):
    run(job(tmp_path / "in", ANNA, mode="last"), out)
    same = tiny.job(tmp_path / "in", ANNA["anna"])
    of_anna = tuple(SequenceConfig(video=one.video, name=one.name, subject="anna") for one in same.sequences)
    run(RunConfig(sequences=of_anna[:1]), out)
    assert (out / "export/union_anna").is_dir(), "nothing has changed"
    tiny.job(tmp_path / "in", {"a1": {"timesteps": 9}})
    run(RunConfig(sequences=of_anna[:1]), out)
    assert not (out / "export/union_anna").exists()
    assert read_table(out, "unions") is None
    assert (out / "export/a2").is_dir()


def test_purge_takes_the_union_too(tmp_path, out):
    run(job(tmp_path / "in", {**ANNA, "ben": {"b1": {}, "b2": {}}}, mode="last"), out)
    assert cli.main(["purge", str(out), "--subject", "anna"]) == 0
    assert not list(out.rglob("*anna*"))
    assert (out / "export/union_ben/transforms_test.json").is_file()


def test_purge_takes_every_union_of_the_subject(tmp_path, out):
    run(job(tmp_path / "in", {"anna": {"a1": {}, "a2": {}}, "ben": {"b1": {}, "b2": {}}}, mode="last"), out)
    datasets = {name: out / "export" / name for name in ("a1", "a2", "b1", "b2", "chosen", "others")}
    for name, members in {"chosen": ("a1", "a2"), "others": ("b1", "b2")}.items():
        export_union.union_datasets([datasets[member] for member in members], datasets[name])
    shutil.copytree(out / "export/union_anna", out / "export-gaussian-avatars/whole")
    shutil.move(out / "export/union_anna", out / "export/.tmp-union_anna")
    shutil.copytree(datasets["a1"], out / "export/.tmp-more/a1")
    shutil.rmtree(next((out / "tables").glob("unions/*/subject=anna")))
    shutil.rmtree(next((out / "tables").glob("runs/*/subject=anna/sequence=union_anna")))
    (out / ".work/union_anna").mkdir()
    assert cli.main(["purge", str(out), "--subject", "anna"]) == 0
    assert not list(out.rglob("*anna*"))
    assert {path.name for path in out.glob("export*/*")} == {"b1", "b2", "others", "union_ben"}


def test_the_union_names_all_code_that_it_uses(repository):
    package, pending, used = repository / "raytrack", ["export/union.py"], set()
    while pending:
        name = pending.pop()
        used.add(name)
        modules = re.findall(r"^from raytrack\.((?:export|tables)\.\w+) import", (package / name).read_text(), re.M)
        paths = {module.replace(".", "/") + ".py" for module in modules} - {"export/config.py"}
        pending += sorted(paths - used)
    assert used <= set(UNION.code)


def test_names_that_would_clash_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'union_x' is what the union"):
        RunConfig(sequences=(SequenceConfig(video="a.mp4", name="union_x", subject="x"),))
    two = (
        SequenceConfig(video="a.mp4", subject="x", dataset="one"),
        SequenceConfig(video="b.mp4", subject="x", dataset="two"),
    )
    RunConfig(sequences=two)
    with pytest.raises(ConfigError, match="cannot both have a union 'union_x'"):
        RunConfig(sequences=two, union=UnionConfig())
    named = (SequenceConfig(video="a.mp4", name="union_x", subject="y"), SequenceConfig(video="b.mp4", subject="x"))
    with pytest.raises(ConfigError, match="'union_x' names a sequence and the union of subject 'x'"):
        RunConfig(sequences=named, union=UnionConfig())
