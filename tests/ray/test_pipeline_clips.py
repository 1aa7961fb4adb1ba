"""Clips that are not one face from the first frame to the last: what is tracked of them, and what the report says."""

import json
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
import yaml

from raytrack import assets, cli
from raytrack.fit.track import Track
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.media.encode import write_video
from raytrack.media.source import probe, read_pictures
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SIZE = 224
FIT = {
    "rounds": 1,
    "num_key_frames": 4,
    "texture_size": 64,
    "final_texture_size": 64,
    "tracking_size_px": 112,
    "texture_image_size_px": 112,
}
MOST_ERROR = 0.02
"""Mean distance from the true landmarks in face sizes (the larger side of the true landmarks' box)."""


@dataclass(frozen=True)
class Tracked:
    """What a run made of a clip."""

    track: Track
    landmarks_px: np.ndarray
    events: list[str]
    printed: str

    def errors(self, frames, truth) -> np.ndarray:
        """Mean distance from the true landmarks in face sizes, of each of some frames."""
        size = np.ptp(truth, axis=1).max(axis=1)
        return np.linalg.norm(self.landmarks_px[frames] - truth, axis=-1).mean(axis=1) / size


@pytest.fixture(scope="module")
def demo() -> np.ndarray:
    """The demo clip at half its size (90, 224, 224, 3)."""
    pictures = read_pictures(probe(assets.asset_path("demo/demo.mp4")))
    return np.stack([cv2.resize(one.rgb, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for one in pictures])


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """True landmarks in those pictures (90, 478, 2)."""
    with np.load(assets.asset_path("demo/ground_truth.npz")) as archive:
        return archive["landmarks_px"] / 2


@pytest.fixture(scope="module")
def somebody_else() -> tuple[np.ndarray, np.ndarray]:
    """Pictures of another head that turns (20, 224, 224, 3), and where it is in them (20, 224, 224)."""
    head, count = load_head("default"), 20
    zeros, turn = torch.zeros, torch.linspace(-0.3, 0.3, count)
    sway = torch.stack([0.02 * torch.sin(6 * turn), zeros(count), zeros(count)], dim=1)
    parameters = FrameParameters(
        rotation=torch.stack([zeros(count), turn, zeros(count)], dim=1),
        translation=sway,
        neck_pose=zeros(count, 3),
        jaw_pose=zeros(count, 3),
        eyes_pose=zeros(count, 6),
        expression=zeros(count, head.num_expressions),
    )
    # Caricatured: Face Mesh makes rendered faces alike.
    shape = 2 * torch.randn(head.num_shapes, generator=torch.Generator().manual_seed(8))
    vertices = head.vertices(parameters, shape)
    mesh = head.topology()
    topology = Topology(faces=mesh.faces, uv=mesh.uv, uv_faces=mesh.uv_faces, num_vertices=mesh.num_vertices)
    renderer = make_renderer("numba", topology, num_threads=1)
    clip = monocular_camera(torch.tensor(1.9 * SIZE), (SIZE, SIZE)).clip(vertices)
    albedo = (head.albedo * torch.tensor([0.75, 0.62, 0.5])).contiguous()
    wall = torch.linspace(0.35, 0.6, SIZE)[None, None, :, None].expand(count, SIZE, SIZE, 3).contiguous()
    with torch.no_grad():
        image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), albedo, white_light()[None], wall)
        image = renderer.antialias(image, clip, fragments)
    return (image.clamp(0, 1) * 255).round().byte().numpy(), fragments.coverage.numpy() > 0


def run(tmp_path, capsys, frames) -> Tracked:
    """Track a clip on this machine's processes alone."""
    write_video(tmp_path / "clip.mp4", list(frames), 25)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"sequences": [{"video": "clip.mp4"}], "track": FIT}))
    out = tmp_path / "out"
    assert cli.main(["run", str(tmp_path / "job.yaml"), "--out", str(out), "--sequential"]) == 0
    head, track = load_head("default"), Track.load(out / "tracks/clip/tracked_params.npz")
    assert track.static_offset is not None
    vertices = head.vertices(track.parameters, track.shape, track.static_offset[0])
    landmarks = track.frame_cameras().project(head.landmarks_world(vertices)).numpy()
    summary = json.loads((out / "summary.json").read_text())
    return Tracked(track, landmarks, summary["sequences"]["clip"].get("events", []), capsys.readouterr().out)


def test_a_late_face_that_is_lost_for_twenty_frames(tmp_path, capsys, demo, truth):
    room = np.full((SIZE, SIZE, 3), 128, np.uint8)
    defocused = [cv2.GaussianBlur(frame, (0, 0), SIZE / 6) for frame in demo[20:40]]
    done = run(tmp_path, capsys, [*[room] * 6, *demo[6:20], *defocused, *demo[40:54]])
    seen = np.r_[6:20, 40:54]
    assert np.flatnonzero(done.track.tracked.numpy()).tolist() == seen.tolist()
    assert done.errors(seen, truth[seen]).max() < MOST_ERROR
    assert np.isfinite(done.landmarks_px).all()
    row = done.track.parameters.pack()
    assert torch.equal(row[0], row[6]), "the first pose is kept before it"
    torch.testing.assert_close(row[29], (row[19] * 11 + row[40] * 10) / 21, atol=1e-4, rtol=0)
    assert done.track.group is None, "a stretch without a face has no light and no focal length of its own"
    assert done.events == [
        "no face in frames 0–5: not tracked",
        "cut at frame 6",
        "cut at frame 20",
        "no face in frames 20–39: interpolated",
        "cut at frame 40",
    ]
    assert "no face in frames 20–39: interpolated" in done.printed


def test_a_cut_to_a_closer_and_darker_view(tmp_path, capsys, demo, truth):
    edge = round(SIZE * 0.1)
    closer = [cv2.resize(frame[edge:-edge, edge:-edge], (SIZE, SIZE)) for frame in (0.6 * demo[50:66]).astype(np.uint8)]
    done = run(tmp_path, capsys, [*demo[:16], *closer])
    zoom = SIZE / (SIZE - 2 * edge)
    expected = np.concatenate([truth[:16], (truth[50:66] - edge) * zoom])
    assert done.errors(np.arange(32), expected).max() < MOST_ERROR
    assert done.track.tracked.all()
    assert done.events == ["cut at frame 16"]
    group, light = done.track.group, done.track.lights_per_frame
    assert group is not None
    assert light is not None
    assert group.tolist() == [0] * 16 + [1] * 16
    assert float(light[20, 0].mean() / light[0, 0].mean()) < 0.95, "the light is each view's own"


def test_the_larger_of_two_people_is_tracked_and_the_other_one_said(tmp_path, capsys, demo, truth, somebody_else):
    pictures, covers = somebody_else
    frames = [np.concatenate([frame, np.repeat(frame[:, -1:], SIZE, axis=1)], axis=1) for frame in demo[:24]]
    small = 190
    for frame, picture, cover in zip(frames[12:], pictures, covers, strict=False):
        corner = frame[-small:, -small:]
        seen = cv2.resize(cover.astype(np.uint8), (small, small)) > 0
        corner[seen] = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)[seen]
    alone = [np.concatenate([np.repeat(picture[:, :1], SIZE, axis=1), picture], axis=1) for picture in pictures[12:18]]
    done = run(tmp_path, capsys, [*frames, *alone])
    assert done.track.tracked.tolist() == [True] * 24 + [False] * 6
    assert done.errors(np.arange(24), truth[:24]).max() < MOST_ERROR
    assert np.isfinite(done.landmarks_px).all()
    assert done.events == [
        "2 faces in frames 12–23: kept the one seen largest and longest in the clip",
        "cut at frame 24",
        "somebody else in frames 24–29: not tracked",
    ]
