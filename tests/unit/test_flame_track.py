"""The track file of FLAME heads that has VHAP's name: its keys, shapes and types, and what its readers make of it."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import flame_files
import numpy as np
import pyarrow as pa
import pytest
import torch
from synthetic_track import head, make_rig, make_track

from raytrack.fit.albedo import base_albedo
from raytrack.fit.config import TrackConfig
from raytrack.fit.flame_track import FLAME_TRACK_FILE, write_flame_track
from raytrack.fit.npz import read_npz
from raytrack.fit.track import Track, resized_albedo
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.head.texture_basis import TextureBasis
from raytrack.pipeline import stages_track

NUM_FRAMES = 3
FLOATS = {
    "rotation": (NUM_FRAMES, 3),
    "translation": (NUM_FRAMES, 3),
    "neck_pose": (NUM_FRAMES, 3),
    "jaw_pose": (NUM_FRAMES, 3),
    "eyes_pose": (NUM_FRAMES, 6),
    "shape": (300,),
    "expr": (NUM_FRAMES, 100),
    "tex_extra": (3, 2048, 2048),
    "lights": (9, 3),
}


def flame(*, components: bool = False) -> HeadModel:
    """A FLAME head; with 100 components of albedo if asked for."""
    model = flame_files.imported_head()
    if not components:
        return model
    waves = np.cos(np.arange(100)[:, None, None, None] * np.linspace(0, 1, 32)[None, :, None, None])
    return dataclasses.replace(
        model, texture_basis=TextureBasis.compact(0.02 * np.broadcast_to(waves, (100, 32, 32, 3)))
    )


def flame_track(model: HeadModel, *, offset: bool = True) -> Track:
    """A made-up track with a texture near the head's own."""
    random = torch.Generator().manual_seed(0)

    def noise(*shape: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=random)

    coefficients = noise(100, scale=0.3) if model.texture_basis else None
    return dataclasses.replace(
        make_track(NUM_FRAMES, untracked=(1,)),
        parameters=FrameParameters(
            rotation=noise(NUM_FRAMES, 3, scale=0.2),
            translation=noise(NUM_FRAMES, 3, scale=0.01),
            neck_pose=noise(NUM_FRAMES, 3, scale=0.05),
            jaw_pose=noise(NUM_FRAMES, 3, scale=0.05),
            eyes_pose=noise(NUM_FRAMES, 6, scale=0.05),
            expression=noise(NUM_FRAMES, 100, scale=0.02),
        ),
        shape=noise(300, scale=0.3),
        static_offset=noise(1, 5143, 3, scale=2e-4) if offset else None,
        texture=(base_albedo(model, coefficients, 64) + noise(64, 64, 3, scale=0.05)).clamp(0, 1),
        texture_coefficients=coefficients,
        head_name=model.name,
        head_sha256=model.asset_sha256,
    )


def written(folder: Path, track: Track, model: HeadModel) -> dict[str, np.ndarray]:
    write_flame_track(folder / FLAME_TRACK_FILE, track, model)
    return read_npz(folder / FLAME_TRACK_FILE)


@pytest.mark.parametrize(
    ("components", "offset", "calibrated"), [(False, True, False), (True, False, False), (False, False, True)]
)
def test_keys_shapes_and_types_are_vhaps(tmp_path, components, offset, calibrated):
    model = flame(components=components)
    track = flame_track(model, offset=offset)
    arrays = written(tmp_path, make_rig(track) if calibrated else track, model)
    expected = dict(FLOATS)
    expected |= {"tex": (100,)} if components else {}
    expected |= {"static_offset": (1, 5143, 3)} if offset else {}
    expected |= {} if calibrated else {"focal_length": (1,)}
    floats = {name: value for name, value in arrays.items() if value.dtype == np.float32}
    assert {name: value.shape for name, value in floats.items()} == expected
    others = {name: (value.dtype.kind, value.shape) for name, value in arrays.items() if name not in floats}
    assert others == {"timestep_id": ("U", (NUM_FRAMES,)), "image_size": ("i", (2,)), "n_processed_frames": ("i", ())}
    assert arrays["timestep_id"].tolist() == list(track.timestep_ids)
    assert arrays["image_size"].tolist() == [120, 96]
    assert arrays["n_processed_frames"] == NUM_FRAMES


def test_a_reader_finds_the_tracks_vertices(tmp_path):
    model = flame()
    track = flame_track(model)
    arrays = written(tmp_path, track, model)
    assert track.static_offset is not None
    offset = track.static_offset[0]
    expected = model.vertices(track.parameters, track.shape, offset)
    moving = ("rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose", "expr")
    for frame in range(NUM_FRAMES):
        values = arrays | {name: arrays[name][frame : frame + 1] for name in moving}
        # The two differ in whether expressions and offsets move joints.
        np.testing.assert_allclose(flame_files.posed(values), expected[frame].numpy(), atol=2e-4)


def test_a_reader_finds_the_tracks_texture(tmp_path):
    model = flame(components=True)
    track = flame_track(model)
    arrays = written(tmp_path, track, model)
    added = torch.from_numpy(arrays["tex_extra"]).permute(1, 2, 0)
    of_base = resized_albedo(base_albedo(model, torch.from_numpy(arrays["tex"]), 64), 2048)
    torch.testing.assert_close(of_base + added, resized_albedo(track.texture, 2048), atol=3e-5, rtol=0)


def test_equal_tracks_give_equal_bytes(tmp_path):
    model = flame()
    for name in ("a", "b"):
        write_flame_track(tmp_path / name, flame_track(model), model)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_heads_have_no_such_file(tmp_path):
    with pytest.raises(ValueError, match="no FLAME head"):
        write_flame_track(tmp_path / FLAME_TRACK_FILE, make_track(), head())


@pytest.mark.parametrize("is_flame", [False, True])
def test_the_track_stage_lists_it(tmp_path, monkeypatch, is_flame):
    """What is listed is committed, resumed and removed."""
    model = flame() if is_flame else head()
    track = flame_track(model) if is_flame else make_track(NUM_FRAMES)
    monkeypatch.setattr("raytrack.fit.tracker.track_sequence", lambda *_, **__: track)
    monkeypatch.setattr("raytrack.head.library.load_head", lambda _: model)
    observed = SimpleNamespace(views=(), events=())
    monkeypatch.setattr("raytrack.pipeline.observation.read_sequence", lambda _: observed)
    recording = pa.table({"capture_from_tracker": pa.array([None], pa.list_(pa.list_(pa.float32())))})
    context = SimpleNamespace(
        out=tmp_path,
        name="s",
        head="",
        config={"track": TrackConfig()},
        cpus=1,
        device="cpu",
        checkpoint_folder=tmp_path,
        parts={"track_segments": ()},
        sequence=SimpleNamespace(videos=()),
        identity=None,
        read=lambda _: recording,
    )
    made = stages_track.track(context)  # pyright: ignore[reportArgumentType]
    names = ["tracked_params.npz", *(["tracked_flame_params_30.npz"] if is_flame else [])]
    assert made.files == tuple(f"tracks/s/{name}" for name in names)
    assert sorted(path.name for path in (tmp_path / "tracks/s").iterdir()) == sorted(names)
