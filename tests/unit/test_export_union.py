"""The union of a subject's sequences: splits, numbering, references, and what it refuses."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic_track import head, make_track, make_views

from raytrack.cli import main
from raytrack.errors import ConfigError, InputError, OutputError
from raytrack.export.config import ExportConfig, UnionConfig
from raytrack.export.formats import write_dataset
from raytrack.export.splits import validation_camera
from raytrack.export.union import held_out, union_datasets

SPLITS = ("train", "val", "test")


def make_dataset(
    folder: Path,
    *,
    num_timesteps: int = 3,
    cameras: tuple[int, ...] = (0,),
    focal: float = 500.0,
    shape: float = 0.0,
    kind: str = "flame_param",
    write_files: bool = True,
) -> Path:
    """A dataset as the export writes it, of empty pictures."""
    (folder / kind).mkdir(parents=True)
    frames = []
    for timestep in range(num_timesteps):
        for camera in cameras:
            picture = f"{timestep:05d}_{camera:02d}.png"
            frames.append(
                {
                    "timestep_index": timestep,
                    "timestep_index_original": timestep + 7,
                    "timestep_id": f"{timestep + 7:06d}",
                    "camera_index": camera,
                    "camera_id": f"2222{camera:02d}",
                    "fl_x": focal + camera,
                    "fl_y": focal + camera,
                    "cx": 275.0,
                    "cy": 401.0,
                    "w": 550,
                    "h": 802,
                    "camera_angle_x": 1.1,
                    "camera_angle_y": 1.4,
                    "transform_matrix": (np.eye(4) + camera).tolist(),
                    "file_path": f"images/{picture}",
                    "fg_mask_path": f"fg_masks/{picture}",
                    f"{kind}_path": f"{kind}/{timestep:05d}.npz",
                }
            )
    values = {"shape": np.full(300, shape, np.float32), "static_offset": np.zeros((1, 4, 3), np.float32)}
    np.savez(folder / f"canonical_{kind}.npz", **values)
    np.savez(folder / kind / "00000.npz", **values)
    if write_files:
        for name in ("images", "fg_masks"):
            (folder / name).mkdir()
        for frame in frames:
            for key in ("file_path", "fg_mask_path", f"{kind}_path"):
                (folder / frame[key]).touch()
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    return folder


def make_datasets(parent: Path, *names: str, **options) -> list[Path]:
    return [make_dataset(parent / name, **options) for name in names]


def read(folder: Path, split: str) -> dict:
    return json.loads((folder / f"transforms_{split}.json").read_text(encoding="utf-8"))


def frames_of(folder: Path, split: str) -> list[dict]:
    return read(folder, split)["frames"]


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_exported_sequences_become_one_dataset(tmp_path):
    for name, num_frames in (("EMO-1", 3), ("EMO-2", 2)):
        track = make_track(num_frames=num_frames)
        write_dataset(track, head(), tmp_path / name, ExportConfig(), views=make_views(track))
    folders = [tmp_path / "EMO-1", tmp_path / "EMO-2"]
    result = union_datasets(folders, tmp_path / "UNION", UnionConfig(mode="last"))
    assert (result.train_sequences, result.test_sequences) == (("EMO-1",), ("EMO-2",))
    assert (result.num_frames, result.num_timesteps) == ({"train": 3, "val": 0, "test": 2}, 5)
    assert sorted(path.name for path in (tmp_path / "UNION").iterdir()) == [
        "canonical.obj",
        "canonical_head_param.npz",
        "sequences_test.txt",
        "sequences_trainval.txt",
        *(f"transforms_{split}.json" for split in ("test", "train", "val")),
    ]
    frame = frames_of(tmp_path / "UNION", "test")[1]
    source = json.loads((tmp_path / "EMO-2" / "transforms.json").read_text())["frames"][1]
    moved = {"timestep_index", "sequence"} | {key for key in source if key.endswith("_path")}
    assert {key: value for key, value in frame.items() if key not in moved} == {
        key: value for key, value in source.items() if key not in moved
    }
    assert frame["timestep_index"] == 4
    assert frame["file_path"] == "../EMO-2/images/00001_00.png"
    for key in [key for key in frame if key.endswith("_path")]:
        assert (tmp_path / "UNION" / frame[key]).is_file(), key
    assert (tmp_path / "UNION" / "sequences_trainval.txt").read_text() == "EMO-1\n"
    assert (tmp_path / "UNION" / "sequences_test.txt").read_text() == "EMO-2\n"


def test_timesteps_are_numbered_training_first_whatever_the_order(tmp_path):
    folders = [make_dataset(tmp_path / f"S{i}", num_timesteps=i + 2, cameras=(0, 1)) for i in range(4)]
    result = union_datasets(folders, tmp_path / "U", UnionConfig(mode="random_single"), subject="1")
    (tested,) = result.test_sequences
    assert tested != "S3", "the test sequence stands before others, or numbering is not tested"
    train = {frame["timestep_index"] for frame in frames_of(tmp_path / "U", "train")}
    test = {frame["timestep_index"] for frame in frames_of(tmp_path / "U", "test")}
    num_test = int(tested[1]) + 2
    assert train == set(range(14 - num_test))
    assert test == set(range(14 - num_test, 14))
    assert {frame["timestep_index"] for frame in frames_of(tmp_path / "U", "val")} == train
    assert read(tmp_path / "U", "train")["timestep_indices"] == sorted(train)
    starts = {}
    for frame in frames_of(tmp_path / "U", "train"):
        starts.setdefault(frame["sequence"], frame["timestep_index"])
        original = frame["timestep_index"] - starts[frame["sequence"]]
        assert frame["timestep_index_original"] == original + 7
        assert frame["file_path"] == f"../{frame['sequence']}/images/{original:05d}_{frame['camera_index']:02d}.png"
    assert list(starts) == [name for name in ("S0", "S1", "S2", "S3") if name != tested]


def test_the_frontal_camera_validates_and_tests(tmp_path):
    folders = make_datasets(tmp_path, "A", "B", cameras=tuple(range(16)))
    union_datasets(folders, tmp_path / "U", UnionConfig(mode="last"))
    assert {frame["camera_index"] for frame in frames_of(tmp_path / "U", "val")} == {8}
    assert read(tmp_path / "U", "train")["camera_indices"] == [i for i in range(16) if i != 8]
    assert read(tmp_path / "U", "test")["camera_indices"] == list(range(16))
    assert [len(frames_of(tmp_path / "U", split)) for split in SPLITS] == [45, 3, 48]


@pytest.mark.parametrize(("cameras", "expected"), [((0,), None), ((8,), None), ((0, 3), 3), ((7, 8, 9), 8)])
def test_which_camera_validates(cameras, expected):
    assert validation_camera(cameras) == expected


def test_sequences_keep_cameras_and_shapes_of_their_own(tmp_path):
    folders = [
        make_dataset(tmp_path / "A", cameras=(0, 1), focal=500, shape=0.5),
        make_dataset(tmp_path / "B", cameras=(2,), focal=800, shape=-0.5),
        make_dataset(tmp_path / "C", cameras=(0, 1), focal=500, shape=0.5),
    ]
    result = union_datasets(folders, tmp_path / "U", UnionConfig(mode="last"))
    assert not result.same_identity
    frames = {(frame["sequence"], frame["camera_index"]): frame for frame in frames_of(tmp_path / "U", "train")}
    assert set(frames) == {("A", 0), ("B", 2)}
    assert (frames["A", 0]["fl_x"], frames["B", 2]["fl_x"]) == (500, 802)
    for (name, _), frame in frames.items():
        first = frame["flame_param_path"].replace("00002", "00000")
        shape = np.load(tmp_path / "U" / first)["shape"]
        assert shape[0] == {"A": 0.5, "B": -0.5}[name]
    assert "fl_x" not in read(tmp_path / "U", "train"), "it would override the frames'"
    assert read(tmp_path / "U", "val")["fl_x"] == 501
    same = union_datasets([folders[0], folders[2]], tmp_path / "V", UnionConfig(mode="last"))
    assert same.same_identity


def test_what_all_sequences_state_at_the_top_stays(tmp_path):
    folders = make_datasets(tmp_path, "A", "B")
    for folder, scale in zip(folders, (1.0, 2.0), strict=True):
        document = json.loads((folder / "transforms.json").read_text())
        text = json.dumps({"integer_depth_scale": 0.001, "scale": scale, **document})
        (folder / "transforms.json").write_text(text)
    union_datasets(folders, tmp_path / "U", UnionConfig(mode="last"))
    for split in SPLITS:
        assert read(tmp_path / "U", split)["integer_depth_scale"] == 0.001
        assert "scale" not in read(tmp_path / "U", split)


def test_top_level_intrinsics_are_given_to_each_frame(tmp_path):
    folders = make_datasets(tmp_path, "A", "B")
    path = folders[0] / "transforms.json"
    document = json.loads(path.read_text())
    document["fl_x"] = 123.0
    for frame in document["frames"]:
        del frame["fl_x"]
    path.write_text(json.dumps(document))
    union_datasets(folders, tmp_path / "U", UnionConfig(mode="last"))
    assert {frame["fl_x"] for frame in frames_of(tmp_path / "U", "train")} == {123.0}
    assert {frame["fl_x"] for frame in frames_of(tmp_path / "U", "test")} == {500.0}


def test_one_in_ten_is_held_out_by_the_subject():
    names = [f"EMO-{i}" for i in range(1, 31)]
    tested = held_out(names, "random_group", "074")
    assert [len(tested & set(names[start : start + 10])) for start in (0, 10, 20)] == [1, 1, 1]
    assert held_out(names, "random_group", "074") == tested
    choices = {held_out(names, "random_group", f"{subject:03d}") for subject in range(20)}
    assert len(choices) > 15
    assert held_out(names[:10], "random_group", "074") == tested & set(names[:10])
    assert len(held_out(names, "random_single", "074")) == 1
    assert len({held_out(names, "random_single", str(subject)) for subject in range(40)}) > 10
    assert held_out(names, "last", "074") == {"EMO-30"}
    assert [len(held_out(names[:count], "random_group", "1")) for count in (2, 9, 14, 16, 27)] == [1, 1, 1, 2, 3]


def test_the_choice_is_the_same_on_every_machine():
    # Written down once: another answer would silently change everybody's splits.
    names = [f"EMO-{i}" for i in range(1, 11)]
    assert {subject: held_out(names, "random_group", subject) for subject in ("074", "104")} == {
        "074": {"EMO-3"},
        "104": {"EMO-2"},
    }


def test_the_subject_is_the_one_in_the_tables(tmp_path):
    names = [f"S{i}" for i in range(10)]
    folders = make_datasets(tmp_path / "export", *names)
    results = set()
    for subject in ("074", "104", "218", "220"):
        shutil.rmtree(tmp_path / "tables", ignore_errors=True)
        for name in names:
            (tmp_path / f"tables/exports/dataset=nersemble-v1/subject={subject}/sequence={name}").mkdir(parents=True)
        result = union_datasets(folders, tmp_path / "export" / "U")
        assert frozenset(result.test_sequences) == held_out(names, "random_group", subject)
        results.add(result.test_sequences)
    assert len(results) > 1
    (tmp_path / "tables/exports/dataset=nersemble-v1/subject=999/sequence=S3").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"one subject, got S. \(subject 220\), S3 \(subject 999\)"):
        union_datasets(folders, tmp_path / "export" / "U")
    union_datasets(folders, tmp_path / "export" / "U", subject="both")


def test_elsewhere_only_by_copy_or_link(tmp_path):
    folders = [make_dataset(tmp_path / "one" / "A"), make_dataset(tmp_path / "two" / "B")]
    with pytest.raises(ConfigError, match=r"B does not lie beside the union .*--copy.*--link"):
        union_datasets(folders, tmp_path / "one" / "U")
    assert not (tmp_path / "one" / "U").exists()
    union_datasets(folders, tmp_path / "U_link", UnionConfig(mode="last", placement="link"))
    assert (tmp_path / "U_link" / "B").is_symlink()
    union_datasets(folders, tmp_path / "U_copy", UnionConfig(mode="last", placement="copy"))
    shutil.move(tmp_path, tmp_path.parent / "moved")
    moved = tmp_path.parent / "moved"
    frame = frames_of(moved / "U_link", "test")[0]
    assert frame["file_path"] == "B/images/00000_00.png"
    assert (moved / "U_link" / frame["file_path"]).is_file(), "links go on working when all is moved together"
    shutil.rmtree(moved / "one")
    shutil.rmtree(moved / "two")
    assert (moved / "U_copy" / frame["file_path"]).is_file()
    assert not (moved / "U_link" / frame["file_path"]).is_file()
    shutil.move(moved, tmp_path)


def test_equal_bytes_and_an_earlier_union_is_replaced(tmp_path):
    folders = make_datasets(tmp_path, "A", "B", "C", cameras=(0, 1))
    union_datasets(folders[:2], tmp_path / "U", UnionConfig(mode="last"))
    union_datasets(folders, tmp_path / "U", subject="1")
    first = content(tmp_path / "U")
    union_datasets(folders, tmp_path / "V", subject="1")
    assert content(tmp_path / "V") == first
    shutil.copytree(tmp_path, tmp_path.parent / "elsewhere", symlinks=True)
    again = [tmp_path.parent / "elsewhere" / folder.name for folder in folders]
    union_datasets(again, tmp_path.parent / "elsewhere" / "U", subject="1")
    assert content(tmp_path.parent / "elsewhere" / "U") == first
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_link_union_is_replaced_without_touching_what_it_links_to(tmp_path):
    folders = make_datasets(tmp_path / "x", "A", "B")
    before = content(tmp_path / "x")
    for _ in range(2):
        union_datasets(folders, tmp_path / "U", UnionConfig(mode="last", placement="link"))
    union_datasets(folders, tmp_path / "U", UnionConfig(mode="last", placement="copy"))
    assert content(tmp_path / "x") == before


def test_what_is_no_union_is_not_replaced(tmp_path):
    folders = make_datasets(tmp_path, "A", "B", "C")
    for target in (tmp_path / "C", tmp_path / "precious"):
        target.mkdir(exist_ok=True)
        (target / "mine.txt").write_text("mine")
        with pytest.raises(OutputError, match="is no union"):
            union_datasets(folders[:2], target)
        assert (target / "mine.txt").read_text() == "mine"
    for target in (folders[0], tmp_path, folders[0] / "U"):
        with pytest.raises(ConfigError, match="lie in each other"):
            union_datasets(folders, target, UnionConfig(placement="copy"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d, f: f[1].pop("camera_angle_x"), r"frame 1 has no camera_angle_x"),
        (lambda d, f: f[1].update(timestep_index=5), "without gaps"),
        (lambda d, f: f[1].update(timestep_index="1"), "must be a whole number"),
        (lambda d, f: f[1].update(timestep_index=0), "two frames of one timestep"),
        (lambda d, f: f[1].update(file_path="../C/a.png"), "leaves the dataset"),
        (lambda d, f: f[1].update(file_path="/etc/a.png"), "leaves the dataset"),
        (lambda d, f: f[1].update(fl_x=float("nan")), "not finite"),
        (lambda d, f: f.clear(), "has no frames"),
        (lambda d, f: (d / "canonical_flame_param.npz").unlink(), "expected one of canonical_flame_param.npz"),
        (lambda d, f: (d / "flame_param" / "00000.npz").write_bytes(b""), "cannot be read"),
    ],
)
def test_datasets_that_cannot_be_used(tmp_path, damage, message):
    folders = make_datasets(tmp_path, "A", "B")
    path = folders[1] / "transforms.json"
    document = json.loads(path.read_text())
    damage(folders[1], document["frames"])
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        union_datasets(folders, tmp_path / "U")
    assert not (tmp_path / "U").exists()


@pytest.mark.parametrize("lost", ["images/00001_00.png", "fg_masks/00002_00.png", "flame_param/00002.npz"])
def test_a_file_that_is_referred_to_but_missing_is_found(tmp_path, lost):
    folders = make_datasets(tmp_path, "A", "B")
    (folders[0] / lost).unlink()
    with pytest.raises(OutputError, match=rf"\.\./A/{lost} of the union does not exist"):
        union_datasets(folders, tmp_path / "U")
    assert not (tmp_path / "U").exists()


def test_datasets_that_do_not_go_together(tmp_path):
    folders = make_datasets(tmp_path, "A", "B")
    with pytest.raises(ConfigError, match="two or more"):
        union_datasets(folders[:1], tmp_path / "U")
    with pytest.raises(ConfigError, match="two datasets are called 'A'"):
        union_datasets([*folders, folders[0]], tmp_path / "U")
    other = make_dataset(tmp_path / "H", kind="head_param")
    with pytest.raises(ConfigError, match="one head model"):
        union_datasets([folders[0], other], tmp_path / "U")
    with pytest.raises(InputError, match="raytrack export"):
        union_datasets([folders[0], tmp_path / "none"], tmp_path / "U")


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "A", shape=1.0)
    make_dataset(tmp_path / "B")
    assert main(["union", "A", "B", "--out", "U", "--mode", "last"]) == 0
    shown = capsys.readouterr().out
    assert "6 timesteps; frames: 3 train, 0 val, 3 test" in shown
    assert "trained: A; tested: B" in shown
    assert "shape of its own" in shown
    assert main(["union", "A", "B", "--out", "x/U"]) == 2
    assert "--link" in capsys.readouterr().err
    assert main(["union", "A", "B", "--out", "x/U", "--link"]) == 0
    assert (tmp_path / "x/U/A").is_symlink()
    assert main(["union", "A", "B", "--out", "y/U", "--copy"]) == 0
    assert not (tmp_path / "y/U/A").is_symlink()
    assert main(["union", "A", "B", "--out", "z/U", "--copy", "--link"]) == 2
    assert main(["union", "A", "nowhere", "--out", "U"]) == 1


@pytest.mark.benchmark
def test_ten_sequences_of_sixteen_cameras_take_seconds(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for timestep in range(300):
        for camera in range(16):
            (pictures / f"{timestep:05d}_{camera:02d}.png").touch()
        (pictures / f"{timestep:05d}.npz").touch()
    folders = [tmp_path / f"EMO-{i}" for i in range(10)]
    for folder in folders:
        make_dataset(folder, num_timesteps=300, cameras=tuple(range(16)), write_files=False)
        (pictures / "00000.npz").write_bytes((folder / "flame_param" / "00000.npz").read_bytes())
        shutil.rmtree(folder / "flame_param")
        for name in ("images", "fg_masks", "flame_param"):
            (folder / name).symlink_to(pictures, target_is_directory=True)
    started = time.process_time()
    result = union_datasets(folders, tmp_path / "U")
    assert time.process_time() - started < 5.0  # of this process, whatever else the machine does
    assert sum(result.num_frames.values()) == 48_000
    assert result.num_frames == {"train": 9 * 300 * 15, "val": 9 * 300, "test": 300 * 16}
