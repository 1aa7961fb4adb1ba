import io

import flame_files
import numpy as np
import pytest

from raytrack.errors import AssetError
from raytrack.head.flame.landmark_files import read_landmark_files

RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    found = RANDOM.random((*shape, 3))
    return found / found.sum(axis=-1, keepdims=True)


STATIC = {"static_lmk_faces_idx": np.arange(100, 151), "static_lmk_bary_coords": weights(51)}
DYNAMIC = {
    "dynamic_lmk_faces_idx": np.arange(79)[:, None] * 17 + np.arange(17)[None],
    "dynamic_lmk_bary_coords": weights(79, 17),
}
FULL = {"full_lmk_faces_idx": np.arange(500, 570)[None], "full_lmk_bary_coords": weights(1, 70)}


def write_npy(path, values):
    """A dictionary in an npy file, as Python 2 wrote it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(buffer.getvalue() + flame_files.pickled(np.array(values, dtype=object), python2=True))
    return path


def test_all_68_points_and_the_jawlines_are_read(tmp_path):
    given = read_landmark_files((write_npy(tmp_path / "landmark_embedding.npy", {**STATIC, **DYNAMIC, **FULL}),))
    assert given.ibug is not None
    assert given.contour is not None
    assert given.facemesh is None
    np.testing.assert_array_equal(given.ibug.faces, np.arange(500, 568))
    np.testing.assert_allclose(given.ibug.barycentric, FULL["full_lmk_bary_coords"][0, :68], atol=1e-6)


def test_jawlines_are_put_in_order_of_yaw(tmp_path):
    np.savez(tmp_path / "a.npz", **STATIC, **DYNAMIC)
    contour = read_landmark_files((tmp_path / "a.npz",)).contour
    assert contour is not None
    first = {float(yaw): int(row[0]) // 17 for yaw, row in zip(contour.yaw_deg, contour.faces, strict=True)}
    assert (first[0.0], first[39.0], first[-1.0], first[-39.0]) == (0, 39, 40, 78)


def test_51_points_are_completed_by_the_frontal_jawline(tmp_path):
    (tmp_path / "flame_static_embedding.pkl").write_bytes(
        flame_files.pickled(
            {"lmk_face_idx": STATIC["static_lmk_faces_idx"], "lmk_b_coords": STATIC["static_lmk_bary_coords"]},
            python2=True,
        )
    )
    dynamic = {"lmk_face_idx": DYNAMIC["dynamic_lmk_faces_idx"], "lmk_b_coords": DYNAMIC["dynamic_lmk_bary_coords"]}
    paths = tmp_path / "flame_static_embedding.pkl", write_npy(tmp_path / "flame_dynamic_embedding.npy", dynamic)
    given = read_landmark_files(paths)
    assert given.ibug is not None
    np.testing.assert_array_equal(given.ibug.faces, [*range(17), *range(100, 151)])
    assert read_landmark_files(paths[:1]).ibug is None, "51 points alone are no full set"


def test_some_of_face_meshs_points_are_read(tmp_path):
    indices = np.arange(0, 210, 2)
    np.savez(
        tmp_path / "mediapipe_landmark_embedding.npz",
        lmk_face_idx=np.arange(105),
        lmk_b_coords=weights(105),
        landmark_indices=indices,
    )
    given = read_landmark_files((tmp_path / "mediapipe_landmark_embedding.npz",))
    assert given.facemesh is not None
    np.testing.assert_array_equal(given.facemesh_indices, indices)
    np.testing.assert_array_equal(given.facemesh.faces, np.arange(105))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"something": np.zeros(3)}, "not a landmark embedding that is known"),
        ({**FULL, "full_lmk_faces_idx": FULL["full_lmk_faces_idx"] + 9900}, "on no face of FLAME"),
        ({**FULL, "full_lmk_faces_idx": np.arange(7)}, "of shapes"),
        ({"full_lmk_faces_idx": FULL["full_lmk_faces_idx"]}, "not a landmark embedding"),
        ({"lmk_face_idx": np.arange(3)}, "not a landmark embedding"),
        ({"lmk_face_idx": np.array(["a"]), "lmk_b_coords": weights(1)}, "expected numbers"),
        ({"dynamic_lmk_faces_idx": np.arange(5), "dynamic_lmk_bary_coords": weights(5), **STATIC}, "79 × 17"),
        (
            {"lmk_face_idx": np.arange(2), "lmk_b_coords": weights(2), "landmark_indices": np.array([1, 478])},
            "landmark_indices",
        ),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, values, message):
    np.savez(tmp_path / "a.npz", **values)
    with pytest.raises(AssetError, match=message):
        read_landmark_files((tmp_path / "a.npz",))


@pytest.mark.parametrize("content", [b"", b"PK nonsense", b"\x93NUMPY"])
def test_damaged_embeddings_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(AssetError, match="not a landmark embedding"):
        read_landmark_files((tmp_path / "a.npy",))


def test_code_in_an_embedding_is_not_run(tmp_path):
    array = np.array([{"a": print}], dtype=object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(AssetError, match="it would load"):
        read_landmark_files((tmp_path / "a.npy",))
