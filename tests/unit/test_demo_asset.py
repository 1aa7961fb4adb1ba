"""The demo clip and its ground truth fit each other, the head asset and what the README says."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from assets.demo.build_demo import head_asset
from assets.demo.build_demo.performance import perform
from assets.demo.build_demo.person import make_person
from raytrack.assets import asset_path
from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.head.asset_format import read_head
from raytrack.head.library import load_head
from raytrack.observe.landmarks import make_landmark_detector

NUM_FRAMES, SIZE_HW = 90, (448, 448)
MAX_CLIP_BYTES, MAX_TRUTH_BYTES = 2_000_000, 3_000_000


@pytest.fixture(scope="module")
def truth():
    with np.load(asset_path("demo/ground_truth.npz"), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def camera(truth):
    return Camera(
        intrinsics=torch.from_numpy(truth["intrinsics"]),
        cam_from_world=torch.from_numpy(truth["cam_from_world"]),
        size_hw=tuple(truth["size_hw"].tolist()),
    )


@pytest.fixture(scope="module")
def pictures():
    with av.open(str(asset_path("demo/demo.mp4"))) as container:
        assert container.streams.video[0].average_rate == Fraction(25)
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_files_are_small_and_match_their_checksums():
    assert asset_path("demo/demo.mp4").stat().st_size <= MAX_CLIP_BYTES
    assert asset_path("demo/ground_truth.npz").stat().st_size <= MAX_TRUTH_BYTES


def test_the_clip_decodes_to_the_stated_frames(pictures, truth):
    assert pictures.shape == (NUM_FRAMES, *SIZE_HW, 3)
    assert tuple(truth["size_hw"]) == SIZE_HW
    assert len(truth["vertices_q"]) == NUM_FRAMES


def test_the_camera_is_the_monocular_one(camera):
    expected = monocular_camera(camera.intrinsics[0, 0], SIZE_HW)
    torch.testing.assert_close(camera.intrinsics, expected.intrinsics)
    torch.testing.assert_close(camera.cam_from_world, expected.cam_from_world)


@pytest.mark.parametrize(("name", "count"), [("landmarks", 478), ("landmarks68", 68)])
def test_landmarks_project_into_the_picture(truth, camera, name, count):
    world, pixels = truth[f"{name}_world"], truth[f"{name}_px"]
    assert world.shape == (NUM_FRAMES, count, 3)
    assert np.abs(camera.project(torch.from_numpy(world).double()).numpy() - pixels).max() < 0.01
    assert pixels.min() > 0
    assert pixels.max() < SIZE_HW[0]


def test_it_was_rendered_from_the_shipped_head(truth):
    assert str(truth["head_sha256"]) == load_head().asset_sha256


def test_vertices_belong_to_the_head(truth):
    head = load_head()
    ids, faces = truth["vertex_ids"], truth["faces"]
    assert truth["vertices_q"].shape == (NUM_FRAMES, len(ids), 3)
    assert truth["vertex_quantum_m"] <= 4e-5
    assert np.isin(faces, ids).all()
    assert 1000 < len(ids) < head.num_vertices
    for region in ("left_ear", "right_ear", "left_eyeball", "right_eyeball", "teeth_upper", "tongue"):
        assert not head.region(region).numpy()[ids].any()


def test_landmarks_lie_on_the_true_surface(truth):
    head = load_head()
    embedding = head.landmarks["facemesh"]
    vertices = np.full((NUM_FRAMES, head.num_vertices, 3), np.nan)
    vertices[:, truth["vertex_ids"]] = truth["vertices_q"] * truth["vertex_quantum_m"]
    points = np.einsum("lk,tlkc->tlc", embedding.barycentric.numpy(), vertices[:, head.faces[embedding.faces].numpy()])
    known = np.isfinite(points).all(axis=(0, 2))
    assert known.mean() > 0.85
    assert np.abs(points - truth["landmarks_world"])[:, known].max() < 2e-5


def test_the_person_turns_blinks_talks_and_looks_around(truth):
    yaw = truth["turn_deg"][:, 0]
    assert yaw.min() < -33
    assert yaw.max() > 33
    starts = np.flatnonzero(np.diff(truth["eyes_closed"].astype(int)) == 1)
    assert 2 <= len(starts) <= 3
    lips = np.linalg.norm(truth["landmarks_world"][:, 13] - truth["landmarks_world"][:, 14], axis=1) * 1000
    assert lips.min() < 2
    assert lips.max() > 25
    gaze_in_head = np.einsum("trc,ter->tec", truth["head_from_rest"][:, :, :3], truth["gaze_world"])
    assert np.degrees(np.ptp(np.arctan2(gaze_in_head[..., 0], gaze_in_head[..., 2]), axis=0)).min() > 20


def test_the_build_script_makes_this_person(truth):
    """The truth is what the committed scripts and the shipped head say."""
    head = head_asset.load_head(asset_path("head/head.npz"))
    person, performance = make_person(head), perform(head)
    for frame in (0, 36, 55, 76):
        vertices, _ = person.posed(performance, frame)
        stored = truth["vertices_q"][frame] * truth["vertex_quantum_m"]
        assert np.abs(vertices[truth["vertex_ids"]] - stored).max() < 0.6 * truth["vertex_quantum_m"]


def test_the_shape_is_not_all_of_the_truth(truth):
    """The offsets outside the bases are there: the model alone leaves a millimetre."""
    head = read_head(asset_path("head/head.npz"))
    rest = head.template.numpy() + np.tensordot(truth["shape"], head.shape_basis.numpy(), 1)
    frame = int(np.abs(truth["expression"]).sum(axis=1).argmin())
    shaped = rest + np.tensordot(truth["expression"][frame], head.expression_basis.numpy(), 1)
    matrix = truth["head_from_rest"][frame]
    is_nose = head.region("nose").numpy()[truth["vertex_ids"]]
    true_nose = truth["vertices_q"][frame, is_nose] * truth["vertex_quantum_m"]
    nose = truth["vertex_ids"][is_nose]
    distance = np.linalg.norm(shaped[nose] @ matrix[:, :3].T + matrix[:, 3] - true_nose, axis=1)
    assert 0.3e-3 < distance.mean() < 5e-3


def test_the_person_stands_out_from_a_still_background(pictures, truth):
    covered = np.unpackbits(truth["alpha_bits"], axis=1)[:, : SIZE_HW[0] * SIZE_HW[1]].reshape(-1, *SIZE_HW)
    assert 0.25 < covered.mean() < 0.65
    never = covered.max(axis=0) == 0
    assert never.mean() > 0.15
    background = pictures[:, never].astype(float)
    assert background.std(axis=0).mean() < 6
    assert background.mean(axis=0).std() > 20
    assert background.std(axis=0).mean() > 0.5


def test_the_detector_sees_the_face_where_it_is(pictures, truth):
    """One face in frontal, turned, blinking and wide-open frames alike, with little bias."""
    detector = make_landmark_detector("facemesh")
    distances = []
    for frame in (0, 12, 24, 36, 56, 68, 86):
        (face,) = detector.observe(pictures[frame])
        assert face.score > 0.9
        distances.append(np.linalg.norm(face.landmarks - truth["landmarks_px"][frame], axis=1).mean())
    assert max(distances) < 3.0
    assert np.mean(distances) < 2.0
