"""The whole way with a stand-in on FLAME's public topology, which is not part of the project."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from raytrack.fit.config import TrackConfig
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.track import Track
from raytrack.fit.tracker import track_sequence
from raytrack.fit.vhap_config import VhapConfig
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.asset_format import read_head
from raytrack.head.asset_writer import write_head
from raytrack.head.flame.counterpart import find_counterpart
from raytrack.head.flame.importer import FlameFiles, import_flame
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters
from raytrack.observe.head_landmarks import landmarks_seen
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

NUM_FRAMES, SIZE_HW, FOCAL_PX = 4, (128, 128), 1.8 * 128
JAWLINE, NOSE, EYES, MOUTH = slice(0, 17), slice(27, 36), slice(36, 48), slice(48, 68)


@pytest.fixture(scope="module")
def folder(shared_folder, tmp_path_factory) -> Path:
    script, topology = shared_folder / "tools" / "make_flame_standin.py", shared_folder / "flame_topology"
    if not (script.is_file() and topology.is_dir()):
        pytest.skip("the tool that makes a stand-in for FLAME is not there")
    spec = importlib.util.spec_from_file_location("make_flame_standin", script)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    path = tmp_path_factory.mktemp("standin")
    tool.main(path)
    return path


def imported(folder: Path, **others) -> HeadModel:
    files = FlameFiles(model=folder / "flame2023.pkl", masks=folder / "FLAME_masks.pkl", **others)
    return import_flame(files, name="flame2023", shipped=load_head(), find_landmarks=landmarks_seen)


@pytest.fixture(scope="module")
def head(folder) -> HeadModel:
    write_head(folder / "flame2023.npz", imported(folder))
    return read_head(folder / "flame2023.npz")


@pytest.fixture(scope="module")
def published(folder, shared_folder) -> HeadModel:
    topology = shared_folder / "flame_topology"
    return imported(
        folder, template=topology / "head_template_mesh.obj", landmarks=(topology / "landmark_embedding.npz",)
    )


def test_taken_over_landmarks_are_near_the_published_ones(head, published):
    ours, theirs = (model.landmarks_world(model.template, "ibug") for model in (head, published))
    distance_mm = 1000 * (ours - theirs).norm(dim=1)
    assert float(distance_mm[EYES].mean()) < 2.5
    assert float(distance_mm[NOSE].mean()) < 3.5
    assert float(distance_mm[MOUTH].mean()) < 5.5


def test_jawlines_by_yaw_turn_the_same_way(head, published):
    yaw = torch.arange(-39.0, 40.0)
    lines = [model.contour_world(model.template[None].repeat(79, 1, 1), yaw) for model in (head, published)]
    same, opposite = (1000 * (lines[0] - line).norm(dim=-1).mean() for line in (lines[1], lines[1].flip(0)))
    assert float(same) < 15 < float(opposite)


def test_parts_lie_on_their_counterparts(head):
    shipped = load_head()
    counterpart = find_counterpart(head, shipped, landmarks_seen, plain=True)
    template = shipped.template.double().numpy()
    for name, share in (("left_ear", 0.8), ("right_ear", 0.8), ("nose", 0.6), ("lips", 0.6)):
        own = counterpart.vertices[head.region(name).numpy()]
        distance = np.linalg.norm(own[:, None] - template[None], axis=2)
        assert shipped.region(name).numpy()[distance.argmin(axis=1)].mean() > share, name


def test_texture_of_the_templates_layout_looks_the_same(head, published):
    """The albedo at the same points of the surface, in either layout."""
    colours = []
    for model in (head, published):
        face = model.face_region("face").numpy() & ~model.face_region("eye_region").numpy()
        centre = model.uv[model.uv_faces].mean(dim=1).numpy()[face]
        row, column = np.clip((centre * 1024).astype(int), 0, 1023)[:, ::-1].T
        colours.append(model.albedo.numpy()[row, column])
    assert np.abs(colours[0] - colours[1]).mean() < 0.03


@pytest.fixture(scope="module")
def scene(head) -> tuple[torch.Tensor, SequenceObservation]:
    """A turning head with its mouth opening, drawn from the model."""
    phase = torch.linspace(0, 1, NUM_FRAMES)
    none = torch.zeros(NUM_FRAMES)
    parameters = dataclasses.replace(
        FrameParameters.zeros(NUM_FRAMES, 100),
        rotation=torch.stack([none, 0.5 * (phase - 0.5), none], dim=1),
        jaw_pose=torch.stack([0.2 * phase, none, none], dim=1),
        translation=torch.tensor([[0.0, 0.02, 0.25]]).repeat(NUM_FRAMES, 1),
    )
    shape = torch.zeros(300)
    shape[:6] = torch.tensor([0.8, -0.6, 0.5, 0.7, -0.4, 0.3])
    vertices = head.vertices(parameters, shape)
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    topology = head.topology()
    renderer = make_renderer(
        "numba",
        Topology(faces=topology.faces, uv=topology.uv, uv_faces=topology.uv_faces, num_vertices=topology.num_vertices),
        num_threads=1,
    )
    clip, room = camera.clip(vertices), torch.full((NUM_FRAMES, *SIZE_HW, 3), 0.2)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), head.albedo, white_light()[None], room)
    images = (renderer.antialias(image, clip, fragments).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    alphas = fragments.coverage.numpy().astype(np.uint8) * 255
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{index:06d}" for index in range(NUM_FRAMES)),
        timestamps_s=np.arange(NUM_FRAMES) / 25,
        load_image=lambda index: images[index],
        load_alpha=lambda index: alphas[index],
        landmarks_px=camera.project(head.landmarks_world(vertices)).numpy(),
        scores=np.ones(NUM_FRAMES, np.float32),
    )
    return vertices, observation


def landmark_error_px(head: HeadModel, track: Track, observation: SequenceObservation) -> float:
    offset = None if track.static_offset is None else track.static_offset[0]
    points = head.landmarks_world(head.vertices(track.parameters, track.shape, offset))
    return float(np.linalg.norm(track.camera.project(points).numpy() - observation.landmarks_px, axis=-1).mean())


SMALL = TrackConfig(tracking_size_px=128, texture_image_size_px=128, texture_size=128, final_texture_size=128, rounds=1)
TINY = VhapConfig(texture_size=32, batch_size=2, init_steps=2, sequential_steps=1, global_epochs=1, image_size_px=32)


@pytest.mark.parametrize(
    ("config", "limit_px"),
    [(SMALL, 0.8), (TrackConfig(preset="vhap", vhap=TINY), 40.0)],
    ids=["default", "vhap"],
)
def test_a_short_track_works(head, scene, tmp_path, config, limit_px):
    track = track_sequence(scene[1], head, config)
    assert landmark_error_px(head, track, scene[1]) < limit_px
    track.save(tmp_path / "t.npz", base_albedo=head.albedo)
    saved = Track.load(tmp_path / "t.npz")
    assert saved.static_offset is not None
    assert (saved.shape.shape, saved.static_offset.shape) == ((300,), (1, 5143, 3))
    saved.check_head(head)
