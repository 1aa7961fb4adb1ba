"""One identity of several sequences, with small stages: whose it is, when it is found, and what becomes of it."""

import dataclasses
import io

import pyarrow as pa
import pytest
import tiny_pipeline as tiny
import yaml

from raytrack import cli
from raytrack.config import PipelineConfig, RunConfig, SequenceConfig
from raytrack.errors import ConfigError
from raytrack.mapping import to_mapping
from raytrack.pipeline import report as pipeline_report
from raytrack.pipeline import run as pipeline_run
from raytrack.pipeline import subjects
from raytrack.pipeline.choose import chosen
from raytrack.pipeline.display import Display
from raytrack.pipeline.driver import Driver
from raytrack.pipeline.item_progress import write_progress
from raytrack.pipeline.report import write_report
from raytrack.pipeline.run import MEMBERS_FILE, plan_job, run_job
from raytrack.pipeline.screen import Screen
from raytrack.pipeline.stage import Resources, Stage, StageOutput
from raytrack.tables.schemas import IDENTITIES
from raytrack.tables.store import read_table


def rows_of_frames(context) -> StageOutput:
    tiny.misbehave(context)
    return StageOutput(rows=pa.table({"frame": pa.array(context.chunk.frames, pa.int32())}))


def identity(context) -> StageOutput:
    """Says who took part."""
    for member in context.config["members"]:
        subjects._observed(context, member)
    names = [member["sequence"].key.sequence for member in context.config["members"]]
    path = subjects.identity_path(context.name)
    (context.out / path).parent.mkdir(parents=True, exist_ok=True)
    (context.out / path).write_text(" ".join(names))
    if (context.out / "fail").exists():
        raise KeyError("missing")
    return StageOutput(rows=pa.Table.from_pylist([{"path": path, "members": names}], schema=IDENTITIES), files=(path,))


def track(context) -> StageOutput:
    """Says whose identity it has."""
    tiny.misbehave(context)
    folder = context.out / "tracks" / context.name
    folder.mkdir(parents=True, exist_ok=True)
    found = (context.out / context.identity).read_text() if context.identity else "own"
    (folder / "tracked_params.npz").write_text(found)
    return StageOutput(rows=pa.table({"frame": [0]}), files=(f"tracks/{context.name}/tracked_params.npz",))


PROBE, FRAMES = tiny.STAGES[:2]
STAGES = (
    PROBE,
    FRAMES,
    *(
        Stage(name=name, version=1, function=rows_of_frames, table=name, after=("frames",), fan_out="probe")
        for name in ("alphas", "landmarks")
    ),
    Stage(
        name="track",
        version=1,
        function=track,
        table="track",
        after=("frames", "alphas", "landmarks"),
        uses_identity=True,
        actor=True,
        resources=Resources(cpus=3, gpus=0.25),
        folders=("tracks/{sequence}",),
    ),
)


@pytest.fixture(autouse=True)
def _small_fit(monkeypatch) -> None:
    small = dataclasses.replace(
        subjects.IDENTITY, function=identity, reads=lambda _: {}, assets=lambda _: (), code=(), compiles=False
    )
    monkeypatch.setattr(subjects, "IDENTITY", small)
    monkeypatch.setattr(pipeline_run, "IDENTITY", small)


def job(folder, names="abc", **orders) -> RunConfig:
    config = tiny.job(folder, {name: orders.get(name, {}) for name in names})
    return dataclasses.replace(
        config, sequences=tuple(dataclasses.replace(one, subject="anna") for one in config.sequences)
    )


def job_of(folder, names) -> RunConfig:
    """The same of files that are there, or not."""
    sequences = tuple(SequenceConfig(video=str(folder / f"{name}.json"), name=name, subject="anna") for name in names)
    return RunConfig(sequences=sequences, pipeline=PipelineConfig(chunk_frames=4))


def run(config, out, whole=None, stages=STAGES, display=None):
    return run_job(config, out, stages, known_stages=STAGES, whole=whole, sequential=True, display=display)


def identity_of(out, name) -> str:
    return (out / f"tracks/{name}/tracked_params.npz").read_text()


def said(report) -> str:
    stream = io.StringIO()
    write_report(report, Screen(stream), retry="again")
    return stream.getvalue()


def test_a_chosen_sequence_has_the_identity_of_all(tmp_path, out):
    whole = job(tmp_path / "job")
    report = run(chosen(whole, sequences=["b"]), out, whole)
    assert report.exit_code == 0
    assert len(report.outcomes) == 1
    assert identity_of(out, "b") == "a b c"
    assert not (out / "tracks/a").exists()
    # Only what is missing is done when the whole job is run.
    run(whole, out)
    runs = read_table(out, "runs").to_pylist()
    assert len([row for row in runs if row["stage"] == "identity"]) == 1
    assert len([row for row in runs if row["stage"] == "probe"]) == 3
    assert {identity_of(out, name) for name in "abc"} == {"a b c"}
    undisturbed = tmp_path / "undisturbed"
    run(whole, undisturbed)
    assert tiny.contents(out) == tiny.contents(undisturbed)
    # A repair of one leaves the others as they are.
    (out / "tracks/c/tracked_params.npz").unlink()
    run(chosen(whole, sequences=["c"]), out, whole)
    assert tiny.contents(out) == tiny.contents(undisturbed)


@pytest.mark.parametrize("stage", ["frames", "landmarks"])
def test_a_member_that_failed_for_a_moment_takes_part(tmp_path, out, stage, monkeypatch):
    monkeypatch.setattr("raytrack.pipeline.driver._FIRST_PAUSE_S", 0.01)
    once = tuple(dataclasses.replace(one, retries=0) for one in STAGES)
    config = job(tmp_path / "job", b={stage: "passing"})
    first = run(config, out, stages=once)
    assert first.exit_code == 1
    assert not (out / "tracks").exists(), "tracked without a member that may yet be observed"
    assert "identity_anna: not found, for b is not observed" in said(first)
    assert run(config, out, stages=once).exit_code == 0
    undisturbed = tmp_path / "undisturbed"
    assert run(job(tmp_path / "job"), undisturbed).exit_code == 0
    assert {identity_of(out, name) for name in "abc"} == {"a b c"}


def test_footage_that_is_no_good_is_passed_over(tmp_path, out):
    config = job(tmp_path / "job", b={"landmarks": "input"})
    report = run(config, out)
    assert report.exit_code == 3
    assert {identity_of(out, name) for name in "ac"} == {"a c"}
    (row,) = read_table(out, "identities").to_pylist()
    assert row["members"] == ["a", "c"]
    failures = read_table(out, "failures").num_rows
    assert failures == 3, "one for each chunk"
    before = tiny.contents(out)
    runs = read_table(out, "runs").num_rows
    assert run(config, out).exit_code == 3
    assert tiny.contents(out) == before
    assert read_table(out, "runs").num_rows == runs


def test_a_member_that_can_be_observed_after_all_takes_part(tmp_path, out, monkeypatch):
    def refuse(context):
        raise tiny.InputError("unreadable")

    config = job(tmp_path / "job")
    broken = tiny.misbehave
    monkeypatch.setattr(
        tiny, "misbehave", lambda context: refuse(context) if context.item == "landmarks-00001" and context.name == "b"
        else broken(context)
    )  # fmt: skip
    assert run(config, out).exit_code == 3
    assert identity_of(out, "a") == "a c"
    monkeypatch.setattr(tiny, "misbehave", broken)
    assert run(config, out).exit_code == 0
    assert {identity_of(out, name) for name in "abc"} == {"a b c"}
    run(config, tmp_path / "undisturbed")
    assert tiny.contents(out) == tiny.contents(tmp_path / "undisturbed")


def test_the_last_member_holds_the_place_of_the_others(tmp_path, out):
    folder = tmp_path / "job"
    assert run(job(folder, "ab", a={"landmarks": "input"}), out).exit_code == 3
    assert identity_of(out, "b") == "b"
    assert not (out / "tracks/a").exists()
    (folder / "c.json").write_text("{}")
    kept = (folder / "b.json").rename(tmp_path / "b.json")
    assert run(job_of(folder, "abc"), out).exit_code == 3
    assert identity_of(out, "c") == "c", "neither one whose footage is no good nor one whose footage is not there"
    kept.rename(folder / "b.json")
    assert run(job_of(folder, "abc"), out).exit_code == 3
    assert {identity_of(out, name) for name in "bc"} == {"b c"}


def test_an_identity_that_fails_is_said_of_its_sequences(tmp_path, out):
    out.mkdir()
    (out / "fail").touch()
    report = run(job(tmp_path / "job"), out)
    assert report.exit_code == 1
    assert "a: identity failed (bug): KeyError: 'missing'" in said(report)
    (out / "fail").unlink()
    assert run(job(tmp_path / "job"), out).exit_code == 0


def test_it_is_fitted_with_what_a_track_is_given(tmp_path, out):
    plans, _ = plan_job(job(tmp_path / "job"), out, STAGES)
    (found,) = {plan.identity_from.stages[0].resources for plan in plans}
    assert found == Resources(cpus=3, gpus=0.25)


def test_tracks_go_before_identities_and_those_before_observations(tmp_path, out):
    plans, _ = plan_job(job(tmp_path / "job"), out, STAGES)
    driver = Driver([plans[0].identity_from, *plans], run_id="", time_limit_factor=1, watcher=Display.silent())
    assert [stage.name for stage in driver._stages] == [
        *("probe", "frames", "alphas", "landmarks", "identity", "track")
    ]


def test_the_display_shows_it(tmp_path, out):
    stream = io.StringIO()
    display = Display(stream, live=False)
    shown = []
    display.tick = lambda: shown.extend(display._lines())
    started = display.started
    display.started = lambda plan, stage, index: (started(plan, stage, index), display.tick())
    whole = job(tmp_path / "job")
    run(chosen(whole, sequences=["b"]), out, whole, display=display)
    assert "1 identity; " in stream.getvalue()
    assert any(line.startswith("identity_anna ") for line in shown)
    assert any(line.startswith("a ") for line in shown), "what is observed for its sake"


def status(out, monkeypatch) -> str:
    monkeypatch.setattr(pipeline_report, "all_stages", lambda _: STAGES)
    stream = io.StringIO()
    pipeline_report.write_status(out, Screen(stream))
    return stream.getvalue()


def test_status_says_how_far_it_is(tmp_path, out, monkeypatch):
    whole = job(tmp_path / "job")
    run(chosen(whole, sequences=["b"]), out, whole)
    text = status(out, monkeypatch)
    assert "identity_anna (subject anna, dataset monocular): identity done" in text
    assert (
        "b (subject anna, dataset monocular): probe done, frames done, alphas done, landmarks done, track done" in text
    )
    (out / "tracks/identity_anna/identity.npz").unlink()
    (out / "fail").touch()
    run(whole, out)
    assert "    identity failed (bug): KeyError: 'missing'" in status(out, monkeypatch)
    write_progress(out / ".work/identity_anna/progress-identity-00000.json", 3, 10, "")
    assert "identity_anna (subject anna, dataset monocular): identity 30%" in status(out, monkeypatch)


def test_it_goes_when_no_sequence_needs_it(tmp_path, out):
    config = job(tmp_path / "job")
    run(config, out)
    assert (out / "tracks/identity_anna/identity.npz").is_file()
    run(dataclasses.replace(config, identity="own"), out, stages=STAGES[:4])
    assert (out / "tracks/identity_anna/identity.npz").is_file(), "no track was asked for"
    run(dataclasses.replace(config, identity="own"), out)
    assert identity_of(out, "a") == "own"
    assert not (out / "tracks/identity_anna").exists()
    assert not (out / "tables/identities").exists() or not list((out / "tables/identities").rglob("*.parquet"))


def test_an_identity_that_is_given_stays(tmp_path, out):
    config = job(tmp_path / "job")
    run(config, out)
    given = dataclasses.replace(config.track, identity=str(out / "tracks/identity_anna/identity.npz"))
    run(dataclasses.replace(config, track=given), out)
    assert (out / "tracks/identity_anna/identity.npz").is_file()


def held(out, word) -> list[str]:
    found = [path for path in out.rglob("*") if path.name != "lock"]
    return [str(path) for path in found if word in path.name or (path.is_file() and word.encode() in path.read_bytes())]


def test_purge_takes_it_too(tmp_path, out, capsys):
    whole = job(tmp_path / "job")
    run(chosen(whole, sequences=["b"]), out, whole)
    assert [one.key.sequence for one in cli_job(out / MEMBERS_FILE)] == ["a", "b", "c"]
    assert cli.main(["purge", str(out), "--subject", "anna"]) == 0
    assert "removed a, b, c of subject anna" in capsys.readouterr().out
    assert held(out, "anna") == []


def cli_job(path):
    from raytrack.job import load_job

    return load_job(path).sequences


def test_purge_takes_what_an_interrupted_fit_left(tmp_path, out):
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump(to_mapping(job(tmp_path / "job"))))
    for folder in (".work/identity_anna/identity-00000-abc", "tracks/identity_anna"):
        (out / folder).mkdir(parents=True)
        (out / folder / "identity.npz").write_text("a face")
    assert cli.main(["purge", str(out), "--subject", "anna"]) == 0
    assert held(out, "anna") == []


def test_names_that_identities_cannot_have(tmp_path, out):
    config = job(tmp_path / "job", "ab")
    first, second = config.sequences
    other = [dataclasses.replace(one, name=f"{one.name}2", dataset="other") for one in config.sequences]
    both = dataclasses.replace(config, sequences=(first, second, *other))
    with pytest.raises(ConfigError, match="'anna' of monocular and 'anna' of other cannot both have an identity"):
        run(both, out)
    capital = [dataclasses.replace(one, name=f"{one.name}2", subject="Anna") for one in config.sequences]
    with pytest.raises(ConfigError, match="cannot both have an identity 'identity_Anna'"):
        run(dataclasses.replace(config, sequences=(first, second, *capital)), out)
    namesake = dataclasses.replace(first, name="Identity_anna", subject="ben")
    with pytest.raises(ConfigError, match="'identity_anna' names a sequence and the identity of subject 'anna'"):
        run(dataclasses.replace(config, sequences=(first, second, namesake)), out)
    run(dataclasses.replace(both, identity="own"), out)
    summary_names = {path.name for path in (out / "tracks").iterdir()}
    assert summary_names == {"a", "b", "a2", "b2"}


def test_a_rig_does_not_take_the_identity_from_the_others(tmp_path):
    config = job(tmp_path / "job", "ab")
    rig = dataclasses.replace(config.sequences[0], video="", videos=("l.mp4", "r.mp4"), name="rig")
    config = dataclasses.replace(config, sequences=(*config.sequences, rig))
    ((key, members),) = config.identity_members().items()
    assert key.sequence == "identity_anna"
    assert [one.name for one in members] == ["a", "b"]
    with pytest.raises(ConfigError, match="'rig' is of several"):
        dataclasses.replace(config, identity="joint").check_identity()
