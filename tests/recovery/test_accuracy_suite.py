"""The accuracy suite's builder, on a clip of two tiny frames."""

import dataclasses

import numpy as np
import pytest

from assets.demo.build_demo import skin
from benchmarks.accuracy import filming, suite
from benchmarks.accuracy.cast import CAST, LIGHTS
from benchmarks.accuracy.observing import read_video
from raytrack.head.library import load_head


@pytest.fixture(scope="module")
def spec():
    (ada,) = (member for member in CAST if member.name == "ada")
    member = dataclasses.replace(ada, hair=dataclasses.replace(ada.hair, num_hairs=3000), prop="glasses")
    return suite.ClipSpec(member=member, kind="mono", frames=(0, 12), size_px=64, grid=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def clip(spec, cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skin, "MAP_HW", (140, 230))  # painted coarsely, in a hundredth of the time
        return suite.make_clip(spec, cache)


def test_the_picture_shows_what_the_truth_says(clip):
    frames, _ = read_video(clip.videos[0])
    assert len(frames) == clip.num_frames == 2
    assert frames[0].shape == (64, 64, 3)
    shown = np.bincount(clip.labels.ravel(), minlength=len(suite.LABELS)) / clip.labels.size
    assert shown[suite.LABELS.index("room")] > 0.2
    assert shown[suite.LABELS.index("hair")] > 0.03
    assert shown[suite.LABELS.index("clothes")] > 0.1
    assert shown[suite.LABELS.index("prop")] > 0
    nose = clip.landmarks_px[0, :, 4].astype(int)
    labels = [clip.labels[0, frame, y, x] for frame, (x, y) in enumerate(nose)]
    assert labels == [suite.LABELS.index("face")] * 2
    hair, room = (np.mean([frame[clip.labels[0, i] == suite.LABELS.index(name)].mean(axis=0) for i, frame in
                           enumerate(frames)], axis=0) for name in ("hair", "room"))  # fmt: skip
    assert hair[0] > 1.5 * hair[2]  # red
    assert np.abs(hair - room).max() > 20


def test_the_truth_is_the_heads_own_and_outside_its_basis(clip):
    head = load_head("default")
    assert clip.head_sha256 == head.asset_sha256
    assert clip.vertices.shape == (2, head.num_vertices, 3)
    assert np.linalg.norm(clip.gaze, axis=-1) == pytest.approx(1)
    assert {"face", "skull", "neck"} == set(clip.parts)
    assert not (clip.parts["face"] & clip.parts["skull"]).any()
    assert not (clip.parts["neck"] & clip.parts["skull"]).any()
    assert clip.parts["skull"].sum() > 300


def test_a_clip_that_is_there_is_not_rendered_again(spec, cache, clip, monkeypatch):
    monkeypatch.setattr(filming, "film_clip", lambda *_args, **_options: pytest.fail("rendered again"))
    again = suite.make_clip(dataclasses.replace(spec), cache)
    assert np.array_equal(again.vertices, clip.vertices)
    assert dataclasses.replace(spec, frames=(0, 13)).digest != spec.digest
    other = dataclasses.replace(spec.member, palette=spec.member.palette._replace(hair=np.ones(3)))
    assert dataclasses.replace(spec, member=other).digest != spec.digest


def test_the_suite_has_what_it_promises():
    specs = suite.suite_specs()
    assert len({spec.digest for spec in specs}) == len(specs) == 2 * len(CAST)
    assert len(CAST) >= 8
    assert {member.light for member in CAST} == set(LIGHTS)
    assert len({member.focal_ratio for member in CAST}) >= 4
    assert {"glasses", "microphone"} <= {member.prop for member in CAST}
    assert any(member.hair.num_hairs == 0 for member in CAST)
    assert any(member.hair.hanging_m for member in CAST)
    assert len(filming.rig_cameras()) == 8


def test_the_rigs_cameras_look_at_the_face():
    for camera in filming.rig_cameras():
        point = camera.cam_from_world @ [0.0, 0.0, 0.03, 1.0]
        assert 0.8 < point[2] < 1.2
        pixel = camera.intrinsics(256) @ point
        assert np.abs(pixel[:2] / pixel[2] - 128).max() < 15
        rotation = camera.cam_from_world[:, :3]
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
