"""A rendered head looks around and blinks; the tracker follows the eyes that are seen, not the irises as detected."""

import dataclasses

import numpy as np
import pytest
import torch

from raytrack.fit.checkpoint import FitState
from raytrack.fit.config import TrackConfig
from raytrack.fit.gaze import eye_openings
from raytrack.fit.landmark_sets import LANDMARK_SETS
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.schedule import RowStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.views import SequenceViews
from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import NUM_POSE, FrameParameters
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SIZE_HW = (224, 224)
FOCAL_PX = 500.0
GAZE_DEG = ((0, 0), (14, 3), (14, 3), (12, 4), (12, 4), (-16, -3))
"""Left and down in each frame."""
BLINK = 3
IRIS_BIAS_PX = 1.5


def true_rows(head):
    rows = torch.zeros(len(GAZE_DEG), NUM_POSE + head.num_expressions)
    rows[:, 5] = 0.35
    rows[:, 1] = torch.linspace(-0.2, 0.2, len(GAZE_DEG))
    gaze = torch.tensor(GAZE_DEG).deg2rad()
    rows[:, [13, 16]], rows[:, [12, 15]] = gaze[:, :1], gaze[:, 1:]
    for side in ("Left", "Right"):
        rows[BLINK, NUM_POSE + head.expression_names.index(f"eyeBlink{side}")] = 1.0
    return rows


@pytest.fixture(scope="module")
def fitted():
    """The head, rows as they are, and rows as fitted with everything else known."""
    head = load_head("default")
    truth, light = true_rows(head), white_light()
    light[3] = torch.tensor([0.4, 0.4, 0.4])
    vertices = head.vertices(FrameParameters.unpack(truth), torch.zeros(head.num_shapes))
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    shape = head.topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    renderer, clip = make_renderer("numba", topology, num_threads=2), camera.clip(vertices)
    room = torch.full((len(truth), *SIZE_HW, 3), 0.6)
    image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), head.albedo, light[None], room)
    image = renderer.antialias(image, clip, fragments).clamp(0, 1)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    images = ((image + 0.01 * noise).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    detected = camera.project(head.landmarks_world(vertices)).numpy()
    detected = detected + np.random.default_rng(0).normal(0, 0.3, detected.shape).astype(np.float32)
    detected[:, 468:, 1] += IRIS_BIAS_PX
    detected[BLINK, 468:, 1] += 6
    observation = SequenceObservation(
        size_hw=SIZE_HW,
        timestep_ids=tuple(f"{k:06d}" for k in range(len(truth))),
        timestamps_s=np.arange(len(truth)) / 25,
        load_image=lambda k: images[k],
        load_alpha=None,
        landmarks_px=detected,
        scores=np.ones(len(truth), np.float32),
    )
    runner = StageRunner(SequenceViews.of(observation), head, TrackConfig(tracking_size_px=224, texture_size=128))
    shared = SharedParameters(
        shape=torch.zeros(head.num_shapes),
        offset=torch.zeros(head.num_vertices, 3),
        texture=head.albedo,
        light=light[None],
        log_focal=torch.tensor([FOCAL_PX]).log(),
    )
    rows = truth.clone()
    rows[:, 12:] = 0
    state = FitState(rows=rows, shared=shared, stages_done=1, photo_error=0.0, rows_error=float("inf"), converged=False)
    for number, blur in enumerate(((6, 4, 2, 1, 0), (2, 1, 0, 0))):
        stage = RowStage(name="rows", blur_schedule_px=blur, round_index=number)
        state = dataclasses.replace(state, stages_done=1)
        while state.stages_done == 1:
            state = runner.run_unit(stage, state, 1)
    return head, truth, state.rows


def test_gaze_is_that_of_the_picture(fitted):
    _, truth, rows = fitted
    seen = torch.arange(len(truth)) != BLINK
    error = (rows[seen] - truth[seen])[:, [12, 13, 15, 16]].rad2deg().abs()
    assert float(error.mean()) < 1.5
    assert float(error.max()) < 4


def test_closed_eyes_keep_looking_where_they_looked(fitted):
    _, truth, rows = fitted
    error = (rows[BLINK] - truth[BLINK])[[12, 13, 15, 16]].rad2deg().abs()
    assert float(error.max()) < 6


def test_a_blink_of_one_frame_is_not_damped(fitted):
    head, _, rows = fitted
    vertices = head.vertices(FrameParameters.unpack(rows), torch.zeros(head.num_shapes))
    camera = monocular_camera(torch.tensor(FOCAL_PX), SIZE_HW)
    openings = eye_openings(camera.project(head.landmarks_world(vertices)).numpy(), LANDMARK_SETS["facemesh"])
    others = np.arange(len(openings)) != BLINK
    assert (openings[BLINK] < 0.03).all()
    assert (openings[others] > 0.2).all()
