"""The pipeline with other detectors and mattes than the shipped ones, from footage to scores."""

import numpy as np
import torch

from raytrack.config import RunConfig
from raytrack.geometry.camera import monocular_camera
from raytrack.head.library import load_head
from raytrack.mapping import from_mapping
from raytrack.media.images import read_mask, write_png
from raytrack.media.source import probe, read_pictures
from raytrack.pipeline.run import run_job
from raytrack.pipeline.sources import source_path
from raytrack.pipeline.stage import select
from raytrack.pipeline.stages import all_stages
from raytrack.tables.store import read_table

NUM_FRAMES = 3


class MeanFace(torch.nn.Module):
    """In STAR's place: the resting head's 68 points, wherever a face is."""

    def __init__(self) -> None:
        super().__init__()
        head = load_head("default")
        camera = monocular_camera(torch.tensor(400.0), (200, 200))
        points = camera.project(head.landmarks_world(head.template, "ibug"))
        low, high = points.amin(dim=0), points.amax(dim=0)
        self.register_buffer("points", (points - (low + high) / 2) / (high - low).max() * 1.3)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.points[None].expand(crops.shape[0], -1, -1)


def test_68_points_and_a_clean_plate_from_footage_to_scores(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYTRACK_ASSETS", str(tmp_path / "assets"))
    (tmp_path / "assets" / "star").mkdir(parents=True)
    torch.jit.trace(MeanFace(), torch.zeros(1, 3, 256, 256)).save(
        str(tmp_path / "assets" / "star" / "mean.torchscript")
    )
    frame = next(read_pictures(probe(source_path("assets:demo/demo.mp4")))).rgb
    # No plate of the demo's room is there: one that differs from the frame in the middle only.
    plate = frame.copy()
    height, width = frame.shape[:2]
    middle = np.s_[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    plate[middle] = 255 - plate[middle]
    write_png(tmp_path / "plate.png", plate)
    data = {
        "sequences": [{"video": "assets:demo/demo.mp4", "name": "demo", "plate": str(tmp_path / "plate.png")}],
        "extract": {"max_frames": NUM_FRAMES},
        "track": {"landmarks_only": True, "texture_size": 32, "final_texture_size": 32, "num_key_frames": 2},
    }
    config = from_mapping(RunConfig, data, where="job")
    out = tmp_path / "out"
    report = run_job(config, out, select(all_stages(config), ("render",)), sequential=True)
    assert report.exit_code == 0
    faces = read_table(out, "landmarks")
    assert set(faces["detector"].to_pylist()) == {"star"}
    assert set(faces["landmark_set"].to_pylist()) == {"ibug"}
    assert set(read_table(out, "alphas")["method"].to_pylist()) == {"plate"}
    alpha = read_mask(out / "frames" / "demo" / "alpha_maps" / "000000.png")
    assert alpha[height // 2, width // 2] == 255
    assert alpha[:20].max() == 0
    (error_px,) = read_table(out, "scores")["landmark_error_px"].to_pylist()
    assert 0 < error_px < 8
