"""A small, quick pipeline with the shape of the real one, for tests of the machinery around it."""

import ctypes
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pyarrow as pa

from raytrack.config import PipelineConfig, RunConfig, SequenceConfig
from raytrack.errors import InputError
from raytrack.pipeline.display import Display
from raytrack.pipeline.run import RunReport, run_job
from raytrack.pipeline.stage import Resources, Stage, StageOutput

NUM_FRAMES = 10
NUM_STEPS = 12


def orders(context) -> dict:
    """What the tests want to happen: the sequence's file holds JSON."""
    return json.loads(Path(context.sequence.video).read_text(encoding="utf-8"))


def misbehave(context) -> None:
    """Fail in the way that the sequence's file asks for."""
    fault = orders(context).get(context.stage)
    if fault == "input":
        raise InputError("there is no face in this clip")
    if fault == "bug":
        raise KeyError("missing")
    if fault == "exit":
        os._exit(1)
    if fault == "crash":
        ctypes.string_at(0)
    if fault == "hang":
        ctypes.PyDLL(None).sleep(100)
    if fault == "passing":
        marker = context.out / ".work" / f"{context.name}-{context.item}-failed-once"
        if not marker.exists():
            marker.touch()
            raise ConnectionError("the share is gone for a moment")


def probe(context) -> StageOutput:
    """One row that says how many frames there are."""
    misbehave(context)
    return StageOutput(rows=pa.table({"num_frames": pa.array([NUM_FRAMES], pa.int32())}))


def frames(context) -> StageOutput:
    """A file per frame."""
    misbehave(context)
    folder = context.out / "frames" / context.name / "images"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for frame in context.chunk.frames:
        time.sleep(orders(context).get("slow", 0))
        context.progress(frame - context.chunk.start, len(context.chunk.frames))
        (folder / f"{frame:06d}.png").write_bytes(
            hashlib.sha256(bytes([frame, orders(context).get("shade", 0)])).digest() * 100
        )
        names.append(f"frames/{context.name}/images/{frame:06d}.png")
    rows = pa.table({"frame": pa.array(context.chunk.frames, pa.int32()), "image": names})
    return StageOutput(rows=rows, files=tuple(names))


def track(context) -> StageOutput:
    """Steps that go on from a checkpoint and leave one file."""
    misbehave(context)
    images = context.read("frames")["image"].to_pylist()
    context.checkpoint_folder.mkdir(parents=True, exist_ok=True)
    if (ray := sys.modules.get("ray")) and ray.is_initialized():
        (context.work_folder / "node").write_text(ray.get_runtime_context().get_node_id())
    checkpoint = context.checkpoint_folder / "state.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.is_file() else {"step": 0, "value": ""}
    for step in range(state["step"], NUM_STEPS):
        time.sleep(orders(context).get("slow", 0))
        image = (context.out / images[step % len(images)]).read_bytes()
        value = hashlib.sha256(state["value"].encode() + image + bytes([context.config["seed"]])).hexdigest()
        state = {"step": step + 1, "value": value}
        temporary = checkpoint.with_suffix(".tmp")
        temporary.write_text(json.dumps(state))
        temporary.replace(checkpoint)
        context.progress(step, NUM_STEPS, f"step {step}")
    folder = context.out / "tracks" / context.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tracked_params.npz").write_text(state["value"])
    return StageOutput(
        rows=pa.table({"frame": pa.array(range(len(images)), pa.int32())}),
        files=(f"tracks/{context.name}/tracked_params.npz",),
        also={"track_static": pa.table({"value": [state["value"]]})},
    )


def render(context) -> StageOutput:
    """A file per frame, from the track."""
    misbehave(context)
    folder = context.out / "render" / context.name / "color"
    folder.mkdir(parents=True, exist_ok=True)
    value = (context.out / "tracks" / context.name / "tracked_params.npz").read_bytes()
    names = [f"render/{context.name}/color/{frame:06d}.png" for frame in context.chunk.frames]
    for name in names:
        time.sleep(orders(context).get("slow", 0))
        (context.out / name).write_bytes(value + name.encode())
    return StageOutput(rows=pa.table({"image": names}), files=tuple(names))


STAGES = (
    Stage(name="probe", version=1, function=probe, table="sequences", sources=("video",)),
    Stage(
        name="frames",
        version=1,
        function=frames,
        table="frames",
        after=("probe",),
        fan_out="probe",
        folders=("frames/{sequence}/images*",),
        timeout_s=8,
    ),
    Stage(
        name="track",
        version=1,
        function=track,
        table="track",
        reads=lambda config: {"seed": config.track.seed},
        after=("frames",),
        actor=True,
        resources=Resources(cpus=2),
        folders=("tracks/{sequence}",),
    ),
    Stage(
        name="render",
        version=1,
        function=render,
        table="exports",
        after=("track",),
        fan_out="probe",
        folders=("render/{sequence}/color",),
    ),
)


def job(folder: Path, sequences: dict[str, dict], **options) -> RunConfig:
    """A job whose sequences behave as told."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, order in sequences.items():
        (folder / f"{name}.json").write_text(json.dumps(order))
    return RunConfig(
        sequences=tuple(SequenceConfig(video=str(folder / f"{name}.json"), name=name) for name in sequences),
        pipeline=PipelineConfig(chunk_frames=4),
        **options,
    )


def run(config: RunConfig, out: Path, *, sequential=True, stages=STAGES, known=STAGES, whole=None) -> RunReport:
    """Run the small pipeline."""
    display = Display(sys.stdout, live=False)
    return run_job(config, out, stages, known_stages=known, whole=whole, sequential=sequential, display=display)


def contents(out: Path) -> dict[str, str]:
    """Digest of every file that must be the same however the run went."""
    apart = (".work", "tables/runs", "tables/failures", "config.yaml", "summary.json")
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not (name := path.relative_to(out).as_posix()).startswith(apart)
    }


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    report = run(job(Path(arguments["folder"]), arguments["sequences"]), Path(arguments["out"]), sequential=False)
    sys.exit(report.exit_code)
