"""Recordings of calibrated cameras up to mattes and landmarks: pictures as the cameras saw them, corrected once."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import rendered_rig as rig
from tiny_pipeline import contents

from raytrack import cli
from raytrack.config import RunConfig
from raytrack.job import expanded, load_job
from raytrack.mapping import to_mapping
from raytrack.media.images import read_image, read_mask
from raytrack.media.resize import downsample
from raytrack.observe import matting
from raytrack.pipeline import disk, executor
from raytrack.pipeline.digests import Digests
from raytrack.pipeline.purge import purge_subject
from raytrack.pipeline.run import plan_job
from raytrack.pipeline.stages import all_stages
from raytrack.tables.store import read_table

KINDS = ("nersemble-v1", "nersemble-v2")
NAMES = tuple(f"{rig.SUBJECT}_{sequence}" for sequence in rig.SEQUENCES)
CAMERAS = tuple(rig.LENSES)
PLACES = {"222200041": 7, "222200037": 8, "222200038": 9, "222200047": 10}
SIZE_HW = (rig.FOOTAGE_HW[0] // 2, rig.FOOTAGE_HW[1] // 2)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    return {kind: rig.write_nersemble(root / kind, kind) for kind in KINDS}


def write_job(path: Path, kind: str, root: Path, **more) -> Path:
    entry = {"dataset": kind, "root": str(root), "subject": rig.SUBJECT}
    job = {"sequences": [entry], "capture": {"downsample": 2}, "pipeline": {"chunk_frames": 3}, **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(job))
    return path


def preprocess(out: Path, job: Path) -> int:
    return cli.main(["preprocess", str(job), "--out", str(out), "--sequential"])


@pytest.fixture(scope="module")
def outputs(datasets, tmp_path_factory):
    """What preprocessing left, by kind."""
    folders = {}
    for kind, root in datasets.items():
        folder = tmp_path_factory.mktemp("output")
        extract = {"downsample_scales": [2]}
        assert preprocess(folder / "out", write_job(folder / "job.json.yaml", kind, root, extract=extract)) == 0
        folders[kind] = folder / "out"
    return folders


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference of two pictures in levels of 255, away from the border that a lens may leave black."""
    return float(np.abs(a.astype(float) - b.astype(float))[12:-12, 12:-12].mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_corrected_once(outputs, kind):
    rows = read_table(outputs[kind], "frames").to_pylist()
    assert len(rows) == len(NAMES) * len(CAMERAS) * rig.NUM_FRAMES
    for row in rows:
        camera, sequence = row["camera_id"], row["sequence"].removeprefix(f"{rig.SUBJECT}_")
        assert row["camera"] == PLACES[camera]
        assert row["image"] == f"frames/{row['sequence']}/images/cam_{camera}/{row['frame']:06d}.png"
        ours = read_image(outputs[kind] / row["image"]).rgb
        assert ours.shape[:2] == SIZE_HW
        clean = rig.clean_picture(camera, sequence, row["frame"])
        raw = rig.raw_picture(camera, sequence, row["frame"], kind)
        assert difference(ours, downsample(clean, 2)) < 1.0
        # The test would notice if the colours were left as they are, or corrected twice.
        assert difference(ours, downsample(raw, 2)) > 3.0
        spoilt_back = rig.spoilt_colours(ours, camera, kind, check=False)
        assert difference(spoilt_back, downsample(clean, 2)) > 2.5
        if any(rig.LENSES[camera].distortion):
            assert difference(ours, downsample(rig.bent(clean, rig.LENSES[camera]), 2)) > 1.3


@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_tell_of_every_camera(outputs, kind):
    out = outputs[kind]
    for row in read_table(out, "sequences").to_pylist():
        assert (row["num_cameras"], row["num_frames"]) == (len(CAMERAS), rig.NUM_FRAMES)
        assert (row["height"], row["width"]) == SIZE_HW
        assert row["duration_s"] == pytest.approx(rig.NUM_FRAMES / 73, abs=2e-3)
        turn = np.array(row["capture_from_tracker"])
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    for row in read_table(out, "cameras").to_pylist():
        lens = rig.LENSES[row["camera_id"]]
        scale = np.diag([SIZE_HW[1] / rig.CALIBRATED_HW[1], SIZE_HW[0] / rig.CALIBRATED_HW[0], 1.0])
        np.testing.assert_allclose(np.array(row["intrinsics"]), scale @ rig.intrinsics(lens))
        pose = np.array(row["cam_from_world"])
        np.testing.assert_allclose(pose[:, :3] @ turn.T, rig.world_2_cam(lens)[:3, :3], atol=1e-12)
        np.testing.assert_allclose(pose[:, 3], rig.world_2_cam(lens)[:3, 3])
    for table in ("alphas", "landmarks", "downsampled"):
        rows = read_table(out, table).to_pylist()
        assert {(row["camera"], row["camera_id"]) for row in rows} == {(PLACES[name], name) for name in CAMERAS}
        assert {(row["sequence"], row["camera"], row["frame"]) for row in rows} == {
            (name, place, frame) for name in NAMES for place in PLACES.values() for frame in range(rig.NUM_FRAMES)
        }
    smaller = cv2.imread(str(out / f"frames/{NAMES[0]}/images_2/cam_{CAMERAS[0]}/000003.png"))
    assert smaller.shape[:2] == (SIZE_HW[0] // 2, SIZE_HW[1] // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_camera_is_cut_into_chunks_of_its_own(outputs, kind):
    folder = outputs[kind] / f"tables/frames/dataset={kind}/subject={rig.SUBJECT}/sequence={NAMES[0]}"
    parts = [read_table_part(path) for path in sorted(folder.glob("part-*.parquet"))]
    expected = [(PLACES[name], frames) for name in CAMERAS for frames in ([0, 1, 2], [3, 4])]
    assert [(set(part["camera"].to_pylist()), part["frame"].to_pylist()) for part in parts] == [
        ({place}, frames) for place, frames in expected
    ]


def read_table_part(path: Path):
    from raytrack.tables.store import read_part

    return read_part(path)


def test_mattes_come_from_the_clean_plates_where_there_are_some(outputs):
    methods = {kind: set(read_table(out, "alphas")["method"].to_pylist()) for kind, out in outputs.items()}
    assert methods == {"nersemble-v1": {"plate"}, "nersemble-v2": {"selfie"}}
    for camera in CAMERAS:
        matte = read_mask(outputs["nersemble-v1"] / f"frames/{NAMES[0]}/alpha_maps/cam_{camera}/000002.png")
        truth = downsample(rig.coverage(camera, rig.SEQUENCES[0], 2), 2)
        overlap = ((matte > 127) & (truth > 127)).sum() / ((matte > 127) | (truth > 127)).sum()
        # Plates that were not corrected as the frames are would find the whole room.
        assert overlap > 0.97, camera


def test_a_plate_that_is_wanted_and_not_there(datasets, tmp_path, out, capsys):
    root = shutil.copytree(datasets["nersemble-v1"], tmp_path / "data")
    (root / rig.SUBJECT / "BACKGROUND" / f"image_{CAMERAS[2]}.jpg").unlink()
    assert preprocess(out, write_job(tmp_path / "job.yaml", "nersemble-v1", root, matting="plate")) == 1
    assert f"camera {CAMERAS[2]} has none: add BACKGROUND/image_{CAMERAS[2]}.jpg" in capsys.readouterr().out


def test_one_damaged_video_costs_its_own_sequence_alone(datasets, tmp_path, out, capsys):
    root = shutil.copytree(datasets["nersemble-v2"], tmp_path / "data")
    (root / rig.SUBJECT / f"sequences/{rig.SEQUENCES[0]}/images/cam_{CAMERAS[1]}.mp4").write_text("no video")
    options = {"matting": "none", "extract": {"max_frames": 1}, "union": {}}
    assert preprocess(out, write_job(tmp_path / "job.yaml", "nersemble-v2", root, **options)) == 3
    (row,) = read_table(out, "failures").to_pylist()
    assert (row["sequence"], row["stage"], row["kind"], row["final"]) == (NAMES[0], "probe", "input", True)
    assert f"cam_{CAMERAS[1]}.mp4: not a video" in row["error"]
    assert set(read_table(out, "landmarks")["sequence"].to_pylist()) == {NAMES[1]}
    (root / rig.SUBJECT / "calibration/camera_params.json").unlink()
    assert preprocess(out, write_job(tmp_path / "job.yaml", "nersemble-v2", root, **options)) == 1
    assert "camera_params.json: cannot be read" in capsys.readouterr().out


class Remembering(matting.FrameMatter):
    """Says in each matte how many frames it has seen of which camera (told by the room's colour)."""

    name, warm_up_frames = "rvm", 2

    def track(self, frames):
        shown = []
        for _, image in frames:
            shown.append(image)
            corner = shown[0][:20, :20].astype(int).mean(axis=(0, 1))
            same = all(np.abs(one[:20, :20].mean(axis=(0, 1)) - corner).max() < 3 for one in shown)
            yield np.full(image.shape[:2], len(shown) if same else 255, np.uint8)


def test_a_method_with_a_memory_is_shown_frames_of_one_camera_alone(datasets, tmp_path, out, monkeypatch):
    monkeypatch.setattr(matting, "make_matter", lambda *args, **kwargs: Remembering())
    job = write_job(tmp_path / "job.yaml", "nersemble-v2", datasets["nersemble-v2"])
    assert preprocess(out, job) == 0
    for camera in CAMERAS:
        folder = out / f"frames/{NAMES[0]}/alpha_maps/cam_{camera}"
        seen = [int(read_mask(path).max()) for path in sorted(folder.iterdir())]
        assert seen == [1, 2, 3, 3, 4], "two frames before the second chunk, of the same camera"


def test_masks_are_given_camera_by_camera(datasets, tmp_path, out):
    for place, camera in enumerate(CAMERAS[:2]):
        folder = tmp_path / "masks" / f"cam_{camera}"
        folder.mkdir(parents=True)
        for frame in range(rig.NUM_FRAMES):
            cv2.imwrite(str(folder / f"{frame}.png"), np.full(SIZE_HW, 50 * place + frame, np.uint8))
    root = datasets["nersemble-v1"]
    entry = {"dataset": "nersemble-v1", "root": str(root), "sequence": "EMO-1", "masks": str(tmp_path / "masks")}
    capture = {"downsample": 2, "cameras": {"names": list(CAMERAS[:2])}}
    job = write_job(tmp_path / "job.yaml", "nersemble-v1", root, sequences=[entry], capture=capture)
    assert preprocess(out, job) == 0
    for place, camera in enumerate(CAMERAS[:2]):
        assert (read_mask(out / f"frames/{NAMES[0]}/alpha_maps/cam_{camera}/000003.png") == 50 * place + 3).all()
    assert not (out / f"frames/{NAMES[0]}/images/cam_{CAMERAS[2]}").exists()


class Interrupted(Exception):
    """Stands for the end of the process."""


def test_a_run_that_was_ended_goes_on_and_leaves_the_same_bytes(datasets, outputs, tmp_path, out, monkeypatch):
    job = write_job(tmp_path / "job.yaml", "nersemble-v1", datasets["nersemble-v1"], extract={"downsample_scales": [2]})
    carry_out, done = executor.run_item, []

    def end_after_some(item, **options):
        if len(done) == 9:
            raise Interrupted
        done.append(f"{item.stage.name}-{item.context.chunk and item.context.chunk.index}")
        return carry_out(item, **options)

    monkeypatch.setattr(executor, "run_item", end_after_some)
    with pytest.raises(Interrupted):
        preprocess(out, job)
    monkeypatch.setattr(
        executor, "run_item", lambda item, **options: (done.append(item), carry_out(item, **options))[1]
    )
    assert preprocess(out, job) == 0
    assert contents(out) == contents(outputs["nersemble-v1"])
    items = 2 * (1 + 4 * 8)
    assert len(done) == items, "nothing is done twice"


STAGES = ("probe", "frames", "downsample", "alphas", "landmarks")


@pytest.fixture(scope="module")
def two_subjects(tmp_path_factory):
    """Small v1 and v2 datasets of two subjects, whose pictures nobody looks at."""
    root = tmp_path_factory.mktemp("two")
    for kind in KINDS:
        for subject in (rig.SUBJECT, "075"):
            rig.write_nersemble(root / kind, kind, subject=subject, cameras=CAMERAS[:2])
    return root


def planned(out: Path, kind: str, root: Path, **more) -> dict[str, dict[str, str]]:
    """Fingerprints by sequence and stage."""
    out.mkdir(exist_ok=True)
    entry = {"dataset": kind, "root": str(root), "sequence": "EMO-1 EXP-2"}
    job = write_job(out / "job.yaml", kind, root, sequences=[entry], **more)
    config = expanded(load_job(job))
    plans, unreadable = plan_job(config, out, all_stages(config))
    assert not unreadable
    return {plan.name: plan.fingerprints for plan in plans}


def changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> set[tuple[str, str]]:
    """Subject and stage of what is to be done anew."""
    return {
        (name[:3], stage)
        for name, stages in before.items()
        for stage, made_by in stages.items()
        if after[name][stage] != made_by and stage in (*STAGES, "track")
    }


EVERYTHING = {(rig.SUBJECT, stage) for stage in (*STAGES, "track")}
PLATES = {(rig.SUBJECT, "alphas"), (rig.SUBJECT, "track")}
V1_CALIBRATION, V2_CALIBRATION = "camera_params/074/camera_params.json", "074/calibration/camera_params.json"
V1_COLOUR, V2_COLOUR = f"color_correction/074/{CAMERAS[1]}.npy", "074/calibration/color_calibration.json"
FOOTAGE = f"sequences/{rig.SEQUENCES[0]}/images/cam_{CAMERAS[0]}.mp4"


@pytest.mark.parametrize(
    ("kind", "file", "expected"),
    [
        ("nersemble-v1", V1_CALIBRATION, EVERYTHING),
        ("nersemble-v1", V1_COLOUR, EVERYTHING),
        ("nersemble-v1", f"074/{rig.SEQUENCES[1]}/images/cam_{CAMERAS[0]}_00002.jpg", EVERYTHING),
        ("nersemble-v1", f"074/BACKGROUND/image_{CAMERAS[1]}.jpg", PLATES),
        ("nersemble-v1", f"074/BACKGROUND/image_{CAMERAS[3]}.jpg", set()),
        ("nersemble-v1", f"color_correction/074/{CAMERAS[3]}.npy", set()),
        ("nersemble-v1", "074/notes.txt", set()),
        ("nersemble-v2", V2_CALIBRATION, EVERYTHING),
        ("nersemble-v2", V2_COLOUR, EVERYTHING),
        ("nersemble-v2", f"074/{FOOTAGE}", EVERYTHING),
        ("nersemble-v2", f"074/sequences/BACKGROUND/image_{CAMERAS[0]}.jpg", PLATES),
    ],
)
def test_a_file_counts_for_what_is_made_of_it(two_subjects, tmp_path, kind, file, expected):
    root = shutil.copytree(two_subjects / kind, tmp_path / "data")
    before = planned(tmp_path / "out", kind, root)
    path = root / file
    path.parent.mkdir(exist_ok=True)
    # JSON and pictures stay what they are, with a byte more.
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    assert changed(before, planned(tmp_path / "out", kind, root)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_only_files_that_are_used_count(two_subjects, tmp_path, kind):
    root = shutil.copytree(two_subjects / kind, tmp_path / "data")
    capture = {"downsample": 2, "color_correction": False, "cameras": {"names": [CAMERAS[0]]}}
    before = planned(tmp_path / "out", kind, root, capture=capture, matting="selfie")
    for file in (V1_COLOUR if kind == "nersemble-v1" else V2_COLOUR, FOOTAGE.replace(CAMERAS[0], CAMERAS[1])):
        path = root / (file if file != FOOTAGE.replace(CAMERAS[0], CAMERAS[1]) else f"074/{file}")
        if path.exists():
            path.write_bytes(path.read_bytes() + b"\n")
    assert changed(before, planned(tmp_path / "out", kind, root, capture=capture, matting="selfie")) == set()
    moved = root.rename(tmp_path / "elsewhere")
    assert changed(before, planned(tmp_path / "out", kind, moved, capture=capture, matting="selfie")) == set()


@pytest.mark.parametrize(
    "option",
    [{"downsample": 4}, {"color_correction": False}, {"undistort": False}, {"timesteps": {"every": 2}}, {"fps": 24.0}],
)
def test_how_a_rig_is_read_counts(two_subjects, tmp_path, option):
    root = two_subjects / "nersemble-v2"
    before = planned(tmp_path / "out", "nersemble-v2", root)
    after = planned(tmp_path / "out", "nersemble-v2", root, capture={"downsample": 2, **option})
    assert {stage for _, stage in changed(before, after)} == {*STAGES, "track"}


def test_how_rigs_are_read_does_not_count_for_a_single_camera(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    prints = []
    for capture in ({}, {"downsample": 4}):
        job = tmp_path / "job.yaml"
        job.write_text(json.dumps({"sequences": [{"video": "a.mp4"}], "capture": capture}))
        config = load_job(job)
        ((plan,), _) = plan_job(config, tmp_path, all_stages(config))
        prints.append(plan.fingerprints)
    assert prints[0] == prints[1]


def test_a_table_of_hidden_regions_counts_for_the_track_of_its_subject(two_subjects, tmp_path):
    root, table = two_subjects / "nersemble-v2", tmp_path / "hidden.yaml"
    table.write_text("'074': [neck_lower]")
    before = planned(tmp_path / "out", "nersemble-v2", root)
    after = planned(tmp_path / "out", "nersemble-v2", root, capture={"downsample": 2, "occlusions": str(table)})
    assert changed(before, after) == {(rig.SUBJECT, "track")}


def test_limits_and_room_are_reckoned_by_camera(outputs, datasets, tmp_path):
    job = write_job(tmp_path / "job.yaml", "nersemble-v1", datasets["nersemble-v1"], extract={"downsample_scales": [2]})
    config = expanded(load_job(job))
    stages = all_stages(config)
    plans, _ = plan_job(config, outputs["nersemble-v1"], stages)
    tracking = next(stage for stage in stages if stage.name == "track")
    frames = next(stage for stage in stages if stage.name == "frames")
    pictures = len(CAMERAS) * rig.NUM_FRAMES
    assert plans[0].limit_s(tracking, 0) == tracking.timeout_s + pictures * tracking.frame_timeout_s
    assert plans[0].limit_s(frames, 1) == frames.timeout_s + 2 * frames.frame_timeout_s
    one, four = (disk.expected_bytes(RunConfig(), 5, SIZE_HW, count) for count in (1, 4))
    assert four["frames"] == 4 * one["frames"]
    assert four["alphas"] == 4 * one["alphas"]
    assert four["track"] == one["track"]
    fresh, _ = plan_job(dataclasses.replace(config), tmp_path, stages)
    assert disk._extent(config, fresh[0]) == disk._extent(config, plans[0]) == (rig.NUM_FRAMES, SIZE_HW, 4)


def test_status_tells_of_a_rig_also_without_the_footage(datasets, tmp_path, out, capsys):
    root = shutil.copytree(datasets["nersemble-v1"], tmp_path / "data")
    job = write_job(tmp_path / "job.yaml", "nersemble-v1", root, matting="none", extract={"max_frames": 1})
    assert preprocess(out, job) == 0
    capsys.readouterr()
    shutil.rmtree(root)
    assert cli.main(["status", str(out)]) == 0
    printed = capsys.readouterr().out
    for name in NAMES:
        assert f"{name} (subject 074, dataset nersemble-v1): probe done, frames done, " in printed


def test_purge_forgets_a_rigs_files(datasets, tmp_path, out):
    root = shutil.copytree(datasets["nersemble-v1"], tmp_path / "data")
    job = write_job(tmp_path / "job.yaml", "nersemble-v1", root, matting="none", extract={"max_frames": 1})
    assert preprocess(out, job) == 0
    assert "cam_222200037" in (out / ".work/digests.json").read_text()
    assert cli.main(["purge", str(out), "--subject", rig.SUBJECT]) == 0
    left = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in left if "EMO-1" in str(path) or b"EMO-1" in path.read_bytes()]


@pytest.mark.parametrize("kind", KINDS)
def test_purge_remembers_the_files_of_others(datasets, tmp_path, kind):
    root, out = shutil.copytree(datasets[kind], tmp_path / "data"), tmp_path / "out"
    for folder in [path for path in root.rglob(rig.SUBJECT) if path.is_dir()]:
        shutil.copytree(folder, folder.with_name("075"))
    job = write_job(tmp_path / "job.yaml", kind, root, sequences=[{"dataset": kind, "root": str(root)}])
    config = expanded(load_job(job))
    (out / ".work").mkdir(parents=True)
    digests = Digests(out / ".work/digests.json")
    plans, _ = plan_job(config, out, all_stages(config), digests)
    digests.save()
    (out / "config.yaml").write_text(json.dumps(to_mapping(config)))
    purge_subject(out, rig.SUBJECT)
    shutil.rmtree(root)
    kept = load_job(out / "config.yaml")
    again, unreadable = plan_job(kept, out, all_stages(kept))
    assert not unreadable
    assert [plan.fingerprints for plan in again] == [
        plan.fingerprints for plan in plans if plan.key.subject != rig.SUBJECT
    ]
    assert f"/{rig.SUBJECT}/" not in (out / ".work/digests.json").read_text()
