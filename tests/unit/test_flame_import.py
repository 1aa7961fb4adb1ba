"""FLAME's import on a made-up head with FLAME's numbers; the real ones may not be shipped."""

from dataclasses import replace
from pathlib import Path

import cv2
import flame_files
import numpy as np
import pytest
import torch

from raytrack.errors import AssetError
from raytrack.head.asset_format import read_head
from raytrack.head.asset_writer import write_head
from raytrack.head.flame.atlas import shared_corners, texel_faces
from raytrack.head.flame.importer import FlameFiles, import_flame
from raytrack.head.flame.model_file import read_masks, read_model
from raytrack.head.flame.teeth import LOWER_RING, ROWS, STRIPS, UPPER_RING, add_teeth, row_vertices, teeth_vertices
from raytrack.head.flame.template_file import read_template_uv, teeth_uv
from raytrack.head.flame.texture_file import read_texture
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("flame")
    flame_files.write_files(path)
    return path


def files_in(folder: Path, **others) -> FlameFiles:
    return FlameFiles(model=folder / "flame2023.pkl", masks=folder / "FLAME_masks.pkl", **others)


@pytest.fixture(scope="module")
def head(folder) -> HeadModel:
    return import_flame(files_in(folder), name="flame2023", shipped=load_head(), find_landmarks=None)


def changed(folder: Path, tmp_path: Path, **values) -> FlameFiles:
    """Files whose model has other values."""
    paths = flame_files.write_files(tmp_path, {**flame_files.model(), **values})
    return FlameFiles(model=paths[0], masks=folder / "FLAME_masks.pkl")


def test_sizes_are_those_that_flames_readers_expect(head):
    assert (head.num_vertices, len(head.faces)) == (5143, 10144)
    assert (head.num_shapes, head.num_expressions) == (300, 100)
    assert head.pose_features == tuple(range(36))
    assert head.expression_names[:2] == ("expression_000", "expression_001")
    assert len(head.landmarks["facemesh"].faces) == 478
    assert len(head.landmarks["ibug"].faces) == 68
    assert head.contour is not None
    assert head.family == "flame"


def test_numbers_of_the_file_are_kept(head):
    model = flame_files.model()
    np.testing.assert_allclose(head.template[:5023], model["v_template"], atol=1e-7)
    np.testing.assert_allclose(head.shape_basis[7, :5023], model["shapedirs"][..., 7], atol=1e-9)
    np.testing.assert_allclose(head.expression_basis[3, :5023], model["shapedirs"][..., 303], atol=1e-9)
    np.testing.assert_allclose(head.pose_basis[20, :5023], model["posedirs"][..., 20], atol=1e-9)
    np.testing.assert_array_equal(head.faces[:9976], model["f"])
    joints = model["J_regressor"] @ (model["v_template"] + 2 * model["shapedirs"][..., 5])
    np.testing.assert_allclose(head.joints + 2 * head.joint_shape_basis[5], joints, atol=1e-7)


def test_vertices_are_those_of_flames_own_formula(head):
    """Against the skinning of the FLAME paper, written anew with 4 × 4 matrices."""
    model, random = flame_files.model(), np.random.default_rng(3)
    parameters = FrameParameters.unpack(torch.from_numpy(random.normal(size=(1, 118)).astype(np.float32) * 0.2))
    shape = random.normal(size=300).astype(np.float32)
    rest = model["v_template"] + model["shapedirs"][..., :300] @ shape
    joints = model["J_regressor"] @ rest
    rotations = [cv2.Rodrigues(vector.numpy().astype(np.float64))[0] for vector in parameters.joint_rotations()[0]]
    features = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    rest = rest + model["shapedirs"][..., 300:] @ parameters.expression[0].numpy() + model["posedirs"] @ features
    chain = []
    for joint, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        chain.append(local if parent < 0 else chain[parent] @ local)
    for joint, matrix in enumerate(chain):
        matrix[:3, 3] -= matrix[:3, :3] @ joints[joint]
    blended = np.einsum("vj,jab->vab", model["weights"], np.stack(chain))
    expected = np.einsum("vab,vb->va", blended[:, :3, :3], rest) + blended[:, :3, 3]
    found = head.vertices(parameters, torch.from_numpy(shape))[0, :5023]
    np.testing.assert_allclose(found, expected + parameters.translation[0].numpy(), atol=2e-6)


def test_teeth_lie_where_readers_expect_them(folder):
    model = read_model(folder / "flame2023.pkl")
    upper, lower = model.template[list(UPPER_RING)], model.template[list(LOWER_RING)]
    gap = np.linalg.norm(upper - lower, axis=1).mean()
    rows = dict(zip(ROWS, teeth_vertices(model.template).reshape(8, 15, 3), strict=True))
    middle = (upper + lower) / 2
    for name, row in rows.items():
        sign = 1 if name.startswith("upper") else -1
        np.testing.assert_allclose(row[:, 0], middle[:, 0])
        height = sign * gap * (2.1 if "root" in name else 0.1)
        np.testing.assert_allclose(row[:, 1], middle[:, 1].mean() + height)
        behind = 1.5 + ("back" in name) + 0.4 * (sign < 0)
        np.testing.assert_allclose(row[:, 2], middle[:, 2] - behind * gap)


def test_teeth_follow_identity_neck_and_jaw_only(folder):
    model = add_teeth(read_model(folder / "flame2023.pkl"))
    both = (model.shape_basis[:, list(UPPER_RING)] + model.shape_basis[:, list(LOWER_RING)]) / 2
    for name in ROWS:
        rows = row_vertices(name)
        np.testing.assert_array_equal(model.shape_basis[:, rows], both)
        np.testing.assert_array_equal(
            model.skin_weights[rows], np.tile(np.eye(5)[1 if "upper" in name else 2], (15, 1))
        )
        assert not model.expression_basis[:, rows].any()
        assert not model.pose_basis[:, rows].any()
        assert not model.joint_regressor[:, rows].any()


def test_teeth_face_outwards(head):
    corners = head.template[head.faces[9976:]]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    strips = normals.reshape(len(STRIPS), 28, 3).mean(dim=1)
    for (above, below), normal in zip(STRIPS, strips, strict=True):
        if "back" not in above + below:
            assert normal[2] > 0, "front"
        elif above.endswith("back") and below.endswith("back"):
            assert normal[2] < 0, "back"
        else:
            assert normal[1] * (-1 if "upper" in above else 1) > 0, "biting edge"


def test_regions_include_teeth_and_stay_apart(head):
    assert int(head.region("teeth_upper").sum()) == int(head.region("teeth_lower").sum()) == 60
    assert not bool((head.region("teeth") & head.region("skin")).any())
    assert int(head.face_region("teeth").sum()) == 168
    assert float(head.template[head.points["neck_left"], 0]) > 0 > float(head.template[head.points["neck_right"], 0])


def test_taken_over_landmarks_lie_on_skin_and_eyes(head):
    embedding = head.landmarks["facemesh"]
    on_eyes = head.face_region("eyeballs")[embedding.faces]
    assert bool(on_eyes[468:].all())
    assert not bool(head.face_region("teeth")[embedding.faces].any())
    torch.testing.assert_close(embedding.barycentric.sum(dim=1), torch.ones(478))
    eyes = head.landmarks_world(head.template)[[468, 473]]
    assert float(eyes[0, 0]) < 0 < float(eyes[1, 0]), "the subject's right iris comes first"


def test_written_and_read_it_is_the_same(tmp_path, head):
    write_head(tmp_path / "mine.npz", head)
    again = read_head(tmp_path / "mine.npz")
    assert again.family == "flame"
    assert again.points == head.points
    for name in ("template", "expression_basis", "pose_basis", "joint_shape_basis", "faces", "uv_faces"):
        assert torch.equal(getattr(again, name), getattr(head, name)), name
    for name, mask in head.regions.items():
        assert torch.equal(again.regions[name], mask), name


@pytest.mark.parametrize("dialect", ["python 2 and chumpy", "numpy of today"])
def test_dialects_give_the_same_model(tmp_path, folder, monkeypatch, dialect):
    values, expected = dict(flame_files.model()), read_model(folder / "flame2023.pkl")
    path = tmp_path / "generic_model.pkl"
    if dialect == "numpy of today":
        path.write_bytes(flame_files.pickled(values, protocol=5))
    else:
        values["J_regressor"] = flame_files.old_sparse(values["J_regressor"], monkeypatch)
        for key in ("v_template", "shapedirs", "posedirs", "weights"):
            values[key] = flame_files.chumpy_array(values[key], monkeypatch)
        path.write_bytes(flame_files.pickled(values, python2=True))
        monkeypatch.undo()
    model = read_model(path)
    for name in ("template", "shape_basis", "pose_basis", "joint_regressor", "skin_weights", "faces"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))


def test_a_model_without_jaw_gets_one_that_moves_nothing(tmp_path):
    values = flame_files.model(num_joints=4)
    path = flame_files.write_files(tmp_path, values)[0]
    model = read_model(path)
    assert model.pose_basis.shape[0] == 36
    assert not model.skin_weights[:, 2].any()
    np.testing.assert_array_equal(model.skin_weights[:, [0, 1, 3, 4]], values["weights"])
    assert not model.pose_basis[9:18].any()
    np.testing.assert_array_equal(model.pose_basis[18:], values["posedirs"].transpose(2, 0, 1)[9:])
    np.testing.assert_array_equal(model.joint_regressor[2], model.joint_regressor[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"v_template": np.zeros((100, 3))}, "v_template has shape"),
        ({"shapedirs": np.zeros((5023, 3, 150))}, "shapedirs has shape"),
        ({"v_template": np.full((5023, 3), np.nan)}, "not finite"),
        ({"weights": np.zeros((5023, 5))}, "do not sum to 1"),
        ({"f": np.full((9976, 3), 5023)}, "indices below 5023"),
        ({"kintree_table": np.array([[0, 0, 1, 2, 3], range(5)])}, "kintree_table"),
        ({"posedirs": "none"}, "expected numbers"),
    ],
)
def test_models_that_are_not_flames_are_refused(tmp_path, folder, values, message):
    with pytest.raises(AssetError, match=message):
        read_model(changed(folder, tmp_path, **values).model)


def test_a_missing_key_and_a_missing_mask_are_named(tmp_path):
    (tmp_path / "m.pkl").write_bytes(flame_files.pickled({"v_template": np.zeros((5023, 3))}))
    with pytest.raises(AssetError, match="it has no 'f'"):
        read_model(tmp_path / "m.pkl")
    lists = flame_files.masks()
    del lists["lips"]
    (tmp_path / "masks.pkl").write_bytes(flame_files.pickled(lists))
    with pytest.raises(AssetError, match="no lips"):
        read_masks(tmp_path / "masks.pkl")
    (tmp_path / "masks.pkl").write_bytes(flame_files.pickled({**flame_files.masks(), "lips": [5023]}))
    with pytest.raises(AssetError, match="'lips' is empty or names"):
        read_masks(tmp_path / "masks.pkl")


def write_template(path: Path, faces: np.ndarray) -> np.ndarray:
    """An OBJ with faces in another order that begin at other corners; the texture coordinates per vertex."""
    random = np.random.default_rng(0)
    uv = np.round(0.1 + 0.8 * random.random((5023, 2)), 6)
    lines = [f"v {x} {x} {x}" for x in range(5023)] + [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    for face in random.permutation(len(faces)):
        corners = np.roll(faces[face], random.integers(3)) + 1
        lines.append("f " + " ".join(f"{corner}/{corner}" for corner in corners))
    path.write_text("\n".join(lines) + "\n")
    return uv


def test_template_coordinates_reach_their_corners(tmp_path):
    faces = flame_files.mesh()[1]
    uv = write_template(tmp_path / "t.obj", faces)
    found = read_template_uv(tmp_path / "t.obj", faces)
    np.testing.assert_allclose(found[..., 0], uv[faces][..., 0], atol=1e-9)
    np.testing.assert_allclose(found[..., 1], 1 - uv[faces][..., 1], atol=1e-9)


def test_other_meshes_are_no_template(tmp_path):
    faces = flame_files.mesh()[1]
    write_template(tmp_path / "t.obj", np.roll(faces, 1, axis=0) % 5000)
    with pytest.raises(AssetError, match="join other vertices"):
        read_template_uv(tmp_path / "t.obj", faces)
    (tmp_path / "quads.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 1/1 1/1 1/1\n")
    with pytest.raises(AssetError, match="expected 9976 triangles"):
        read_template_uv(tmp_path / "quads.obj", faces)
    (tmp_path / "plain.obj").write_text("v 0 0 0\nf 1 1 1\n")
    with pytest.raises(AssetError, match="not an OBJ of triangles with texture coordinates"):
        read_template_uv(tmp_path / "plain.obj", faces)


def test_teeth_coordinates_lie_in_the_free_strip(head):
    corners = teeth_uv(head.template.numpy(), head.faces.numpy()[9976:])
    assert corners.shape == (168, 3, 2)
    assert 0.38 - 1e-9 <= corners[..., 0].min() < corners[..., 0].max() <= 0.62 + 1e-9
    assert 0 < corners[..., 1].min() < corners[..., 1].max() < 0.058
    index, _ = texel_faces(corners, 1024)
    assert len(np.unique(index)) == 169, "each has texels of its own"


def test_a_painted_texture_is_kept_but_for_the_teeth(tmp_path, folder):
    faces = flame_files.mesh()[1]
    write_template(tmp_path / "t.obj", faces)
    painted = np.full((300, 300, 3), (30, 60, 240), np.uint8)
    cv2.imwrite(str(tmp_path / "skin.png"), painted)
    files = files_in(folder, template=tmp_path / "t.obj", texture=tmp_path / "skin.png")
    head = import_flame(files, name="flame", shipped=load_head(), find_landmarks=None)
    assert head.albedo.shape == (256, 256, 3)
    torch.testing.assert_close(head.albedo[200, 100], torch.tensor([240, 60, 30]) / 255, atol=1e-6, rtol=0)
    tooth = head.albedo[1:8, 110:146].mean(dim=(0, 1))
    assert float(tooth.min()) > 0.4, "teeth are pale"
    with pytest.raises(AssetError, match="add --template"):
        import_flame(replace(files, template=None), name="flame", shipped=load_head(), find_landmarks=None)


@pytest.mark.parametrize(("key", "scale", "shape"), [("mean", 255.0, (64, 64, 3)), ("MU", 1.0, (1, 64 * 64 * 3))])
def test_the_mean_of_a_texture_space_is_read(tmp_path, key, scale, shape):
    blue_first = np.broadcast_to(np.array([0.2, 0.4, 0.8]), (64, 64, 3)) * scale
    np.savez(tmp_path / "space.npz", **{key: blue_first.reshape(shape)})
    texture = read_texture(tmp_path / "space.npz")
    assert texture.albedo.shape == (64, 64, 3)
    np.testing.assert_allclose(texture.albedo[3, 5], [0.8, 0.4, 0.2], atol=1e-6)


def test_things_that_are_no_texture_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    np.savez(tmp_path / "a.npz", mean=np.zeros(5))
    np.savez(tmp_path / "b.npz", other=np.zeros(5))
    for name, message in (("a.png", "neither"), ("a.npz", "no square"), ("b.npz", "mean"), ("none.png", "no such")):
        with pytest.raises(AssetError, match=message):
            read_texture(tmp_path / name)


def test_corners_are_shared_where_they_agree():
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    place = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    uv, uv_faces = shared_corners(faces, place[faces])
    assert len(uv) == 4
    np.testing.assert_array_equal(uv[uv_faces], place[faces])
    torn = place[faces]
    torn[1, 0] += 0.5
    assert len(shared_corners(faces, torn)[0]) == 5
