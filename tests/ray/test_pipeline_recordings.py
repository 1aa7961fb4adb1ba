"""From raw recordings to datasets and their union by one job file: monocular videos, NeRSemble v1 and v2.

A head whose shape and motion are known was filmed; what was tracked is compared with it in millimetres.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rendered_rig as rig
import torch
import yaml
from synthetic_track import read_png
from tiny_pipeline import contents

from raytrack.fit.track import Track
from raytrack.media.resize import downsample
from raytrack.tables.store import read_table

FAST = {
    "rounds": 1,
    "num_key_frames": 3,
    "texture_size": 64,
    "final_texture_size": 64,
    "tracking_size_px": 128,
    "texture_image_size_px": 128,
}
NAMES = tuple(f"{rig.SUBJECT}_{sequence}" for sequence in rig.SEQUENCES)
PLACES = {"222200041": 7, "222200037": 8, "222200038": 9, "222200047": 10}
FRONTAL = 8
KINDS = ("nersemble-v1", "nersemble-v2")


def raytrack(*arguments: object, script: tuple[object, ...] = ("-m", "raytrack"), expected: int = 0) -> str:
    """Run the command line in a process of its own, without shape checks."""
    command = [sys.executable, *map(str, (*script, *arguments))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def write_job(path: Path, **job) -> Path:
    path.write_text(yaml.safe_dump({"track": FAST, "union": {"mode": "last"}, **job}))
    return path


def rig_job(folder: Path, kind: str, **more) -> Path:
    """A job for the dataset in `folder/data`."""
    sequences = [{"dataset": kind, "root": "data", "subject": rig.SUBJECT}]
    return write_job(folder / "job.yaml", **{"sequences": sequences, "capture": {"downsample": 2}, **more})


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Output folders of the runs, by kind; each is made when it is first asked for."""
    made: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            rig.write_nersemble(folder / "data", kind)
            # One of them on Ray, as a user would.
            how = () if kind == "nersemble-v2" else ("--sequential",)
            said = raytrack("run", rig_job(folder, kind), "--out", folder / "out", *how)
            assert f"{NAMES[0]}: " in said
            assert "4 cameras, worst 2222000" in said
            assert f"union_{rig.SUBJECT}: 2 sequences, 10 timesteps, tested by {NAMES[1]}; dataset " in said
            made[kind] = folder / "out"
        return made[kind]

    return run


def found_vertices(track: Track) -> torch.Tensor:
    offset = None if track.static_offset is None else track.static_offset[0]
    return rig.head().vertices(track.parameters, track.shape, offset).double()


def face() -> torch.Tensor:
    return rig.head().region("face") & ~rig.head().region("mouth_interior")


@pytest.mark.parametrize("kind", KINDS)
def test_a_rig_finds_the_face_where_it_is(outputs, kind):
    for name, sequence in zip(NAMES, rig.SEQUENCES, strict=True):
        track = Track.load(outputs(kind) / f"tracks/{name}/tracked_params.npz")
        assert [(camera.index, camera.id) for camera in track.cameras] == [
            (place, camera) for camera, place in PLACES.items()
        ]
        assert track.focal_px is None
        assert bool(track.tracked.all())
        # In metres of the dataset's own world, with nothing aligned.
        found = found_vertices(track) @ track.capture_from_world.double().T
        truth = rig.truth(sequence).double() @ torch.from_numpy(rig.CAPTURE_FROM_HEAD).T
        error_mm = 1000 * (found - truth)[:, face()].norm(dim=-1).mean()
        assert error_mm < 2.5
        assert 1000 * (found - truth)[:, face()].mean(dim=(0, 1)).norm() < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_camera_has_scores(outputs, kind):
    summary = json.loads((outputs(kind) / "summary.json").read_text())
    assert list(summary["sequences"]) == list(NAMES)
    for entry in summary["sequences"].values():
        assert entry["frames"] == rig.NUM_FRAMES
        assert list(entry["cameras"]) == list(PLACES)
        for scores in entry["cameras"].values():
            assert scores["psnr_db"] > 27
            assert scores["landmark_error_px"] < 2
            assert scores["coverage"] > 0.85
    union = summary["unions"]["union_074"]
    assert (union["members"], union["test_sequences"]) == (list(NAMES), [NAMES[1]])


def transforms(folder: Path, split: str = "") -> list[dict]:
    return json.loads((folder / f"transforms{split}.json").read_text())["frames"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rigs_dataset_has_every_camera_at_every_timestep(outputs, kind):
    for name, sequence in zip(NAMES, rig.SEQUENCES, strict=True):
        folder = outputs(kind) / "export" / name
        pictures = {f"{t:05d}_{place:02d}.png" for t in range(rig.NUM_FRAMES) for place in PLACES.values()}
        for pair in ("images", "fg_masks"):
            assert {path.name for path in (folder / pair).iterdir()} == pictures
        assert len(list((folder / "head_param").iterdir())) == rig.NUM_FRAMES
        splits = {split: len(transforms(folder, f"_{split}")) for split in ("train", "val", "test")}
        assert splits == {"train": 4 * 3, "val": 4, "test": 4}
        assert {frame["camera_index"] for frame in transforms(folder, "_val")} == {FRONTAL}
        check_cameras(outputs(kind), name, transforms(folder))
        for frame in transforms(folder):
            check_picture(folder, sequence, frame)


def check_cameras(out: Path, name: str, frames: list[dict]) -> None:
    """Intrinsics and poses are the calibration's, in the tracker's world about the dataset's origin."""
    exports = read_table(out, "exports").to_pylist()
    (origin,) = (row["origin_m"] for row in exports if row["kind"] == "dataset" and row["sequence"] == name)
    (turn,) = (r["capture_from_tracker"] for r in read_table(out, "sequences").to_pylist() if r["sequence"] == name)
    for frame in frames:
        lens = rig.LENSES[frame["camera_id"]]
        assert frame["camera_index"] == PLACES[frame["camera_id"]]
        matrix = rig.intrinsics(lens) / 4
        given = [frame[key] for key in ("fl_x", "fl_y", "cx", "cy")]
        np.testing.assert_allclose(given, [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]], rtol=1e-5)
        capture_from_cam = np.linalg.inv(rig.world_2_cam(lens))
        world_from_gl = np.array(frame["transform_matrix"])
        expected = np.array(turn).T @ capture_from_cam[:3, :3] @ np.diag([1.0, -1.0, -1.0])
        np.testing.assert_allclose(world_from_gl[:3, :3], expected, atol=1e-5)
        place = np.array(turn).T @ capture_from_cam[:3, 3] - origin
        np.testing.assert_allclose(world_from_gl[:3, 3], place, atol=1e-5)


def check_picture(folder: Path, sequence: str, frame: dict) -> None:
    """The person looks as without lens and colour faults: each was undone once, and the picture made smaller once."""
    shown = read_png(folder / frame["file_path"]).astype(float)
    clean = downsample(rig.clean_picture(frame["camera_id"], sequence, frame["timestep_index_original"]), 2)
    inside = read_png(folder / frame["fg_mask_path"]) == 255
    assert shown.shape == clean.shape == (*inside.shape, 3)
    assert inside.mean() > 0.05
    assert np.abs(shown - clean)[inside].mean() < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_union_holds_a_whole_sequence_out(outputs, kind):
    folder = outputs(kind) / "export/union_074"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("canonical.obj", "canonical_head_param.npz", "sequences_test.txt", "sequences_trainval.txt"),
        *(f"transforms_{split}.json" for split in ("test", "train", "val")),
    ]
    splits = {split: transforms(folder, f"_{split}") for split in ("train", "val", "test")}
    assert {split: len(frames) for split, frames in splits.items()} == {"train": 15, "val": 5, "test": 20}
    for split, name in (("train", NAMES[0]), ("val", NAMES[0]), ("test", NAMES[1])):
        own = {frame["file_path"]: frame for frame in transforms(folder.parent / name)}
        for frame in splits[split]:
            source = own[frame["file_path"].removeprefix(f"../{name}/")]
            assert frame["sequence"] == name
            assert frame["transform_matrix"] == source["transform_matrix"]
            assert frame["timestep_index"] == source["timestep_index"] + (rig.NUM_FRAMES if split == "test" else 0)
            assert (folder / frame["head_param_path"]).is_file()


def test_videos_of_one_person_become_datasets_and_a_union(tmp_path):
    videos = rig.write_videos(tmp_path / "videos")
    sequences = [{"video": str(path), "subject": "anna"} for path in videos]
    job = write_job(tmp_path / "job.yaml", sequences=sequences, extract={"target_fps": 25, "downsample_scales": [2]})
    said = raytrack("run", job, "--out", tmp_path / "out", "--sequential")
    assert "union_anna: 2 sequences, 10 timesteps, tested by exp; dataset " in said
    for path, sequence in zip(videos, rig.SEQUENCES, strict=True):
        folder = tmp_path / "out/export" / path.stem
        assert {picture.name for picture in (folder / "images").iterdir()} == {
            f"{timestep:05d}_00.png" for timestep in range(rig.NUM_FRAMES)
        }
        found = found_vertices(Track.load(tmp_path / f"out/tracks/{path.stem}/tracked_params.npz"))[:, face()]
        errors = [aligned_error_mm(a, b) for a, b in zip(found, rig.truth(sequence)[:, face()].double(), strict=True)]
        assert np.mean(errors) < 4
    union = tmp_path / "out/export/union_anna"
    assert [len(transforms(union, f"_{split}")) for split in ("train", "val", "test")] == [5, 0, 5]
    assert transforms(union, "_test")[0]["file_path"] == "../exp/images/00000_00.png"
    entry = json.loads((tmp_path / "out/summary.json").read_text())["sequences"]["emo"]
    assert "cameras" not in entry, "one camera alone needs no scores of its own"
    assert read_table(tmp_path / "out", "cameras") is None
    assert read_table(tmp_path / "out", "frames")["image"][0].as_py() == "frames/emo/images/000000.png"


def aligned_error_mm(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean distance after the best similarity transform: one camera alone tells neither size nor place."""
    a, b = found - found.mean(dim=0), truth - truth.mean(dim=0)
    u, s, vt = torch.linalg.svd(b.T @ a)
    sign = torch.tensor([1.0, 1.0, float(torch.sign(torch.linalg.det(u @ vt)))], dtype=torch.float64)
    scale = (s * sign).sum() / a.square().sum()
    return 1000 * float((scale * a @ (u @ torch.diag(sign) @ vt).T - b).norm(dim=1).mean())


@dataclasses.dataclass(frozen=True)
class Death:
    """When a run ends: the how-manieth time a stage tells how far it is."""

    stage: str
    number: int


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A job of few pictures, and what an undisturbed run of it leaves."""
    folder = tmp_path_factory.mktemp("small")
    rig.write_nersemble(folder / "data", "nersemble-v1", cameras=tuple(PLACES)[1:3])
    sequences = [{"dataset": "nersemble-v1", "root": "data", "sequence": "EXP-2"}]
    job = rig_job(
        folder,
        "nersemble-v1",
        sequences=sequences,
        extract={"max_frames": 2},
        track={**FAST, "tracking_size_px": 64, "num_key_frames": 2},
    )
    raytrack("run", job, "--out", folder / "out", "--sequential")
    return job, contents(folder / "out")


@pytest.mark.parametrize("death", [Death("track", 3), Death("render", 2)], ids=str)
def test_a_run_that_died_goes_on_and_leaves_the_same_bytes(small, out, death):
    job, expected = small
    early = (Path(__file__).with_name("end_early.py"), death.stage, death.number)
    raytrack("run", job, "--out", out, "--sequential", script=early, expected=9)
    begun = read_table(out, "runs").num_rows
    raytrack("run", job, "--out", out, "--sequential")
    assert contents(out) == expected
    items = 1 + 4 * 2 + 3
    assert begun < read_table(out, "runs").num_rows == items, "nothing that was done is done again"
