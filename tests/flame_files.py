"""Files in FLAME's formats, of a made-up head with as many vertices and faces as FLAME has. Good for no face."""

import functools
import io
import pickle
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import scipy.sparse as sp

from raytrack.head.flame.importer import FlameFiles, import_flame
from raytrack.head.flame.teeth import LOWER_RING, UPPER_RING
from raytrack.head.library import load_head
from raytrack.head.model import HeadModel

NUM_VERTICES, NUM_SKIN, NUM_EYE = 5023, 3931, 546
COLUMNS, RINGS, NUM_SPLIT = 60, 65, 30
EYES = np.array([[0.03, 0.02, 0.075], [-0.03, 0.02, 0.075]])
EYE_RADIUS = 0.013
RADII = np.array([0.075, 0.13, 0.095])


def ring(index: int) -> np.ndarray:
    """Vertices of a ring, before they are renumbered; 0 is the crown."""
    return 1 + index * COLUMNS + np.arange(COLUMNS)


def grid_skin() -> tuple[np.ndarray, np.ndarray]:
    """An egg, open below: 3931 vertices, 7800 faces."""
    polar = np.linspace(0.03, 2.6, RINGS)[:, None]
    azimuth = (2 * np.pi / COLUMNS * np.arange(COLUMNS))[None]
    directions = [np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.cos(azimuth)]
    vertices = np.concatenate([[[0, 1, 0]], np.stack(directions, axis=-1).reshape(-1, 3)]) * RADII
    faces = [(0, a, b) for a, b in zip(ring(0), np.roll(ring(0), -1), strict=True)]
    for index in range(RINGS - 1):
        top, bottom = ring(index), ring(index + 1)
        for a, b, c, d in zip(top, np.roll(top, -1), bottom, np.roll(bottom, -1), strict=True):
            faces += [(a, c, d), (a, d, b)]
    # One vertex more in the middle of some faces, for FLAME's numbers.
    for _ in range(NUM_SPLIT):
        a, b, c = faces.pop(1500)
        vertices = np.concatenate([vertices, vertices[[a, b, c]].mean(axis=0, keepdims=True)])
        new = len(vertices) - 1
        faces += [(a, b, new), (b, c, new), (c, a, new)]
    return vertices, np.array(faces)


def ball(centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A sphere: 546 vertices, 1088 faces."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, 19)[1:-1], 2 * np.pi / 32 * np.arange(32), indexing="ij")
    rows = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1)
    vertices = np.concatenate([rows.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    grid = np.arange(544).reshape(17, 32)
    after = np.roll(grid, -1, axis=1)
    quads = [(grid[:-1], grid[1:], after[1:]), (grid[:-1], after[1:], after[:-1])]
    caps = [(np.full(32, 544), grid[0], after[0]), (grid[-1], np.full(32, 545), after[-1])]
    faces = np.concatenate([np.stack([part.ravel() for part in parts], axis=1) for parts in (*quads, *caps)])
    return centre + EYE_RADIUS * vertices, faces


def renumbering() -> np.ndarray:
    """New number of each skin vertex, so that FLAME's lip rings lie on the lips and its neck points on the neck."""
    front = np.arange(7, -8, -1) % COLUMNS
    wanted = dict(zip(ring(39)[front], UPPER_RING, strict=True)) | dict(zip(ring(42)[front], LOWER_RING, strict=True))
    wanted |= {ring(RINGS - 1)[0]: 3285, ring(RINGS - 8)[15]: 3193, ring(RINGS - 8)[45]: 3296}
    rest = np.setdiff1d(np.arange(NUM_SKIN), list(wanted.values()))
    numbers = np.empty(NUM_SKIN, np.int64)
    numbers[[vertex for vertex in range(NUM_SKIN) if vertex not in wanted]] = rest
    numbers[list(wanted)] = list(wanted.values())
    return numbers


@functools.cache
def mesh() -> tuple[np.ndarray, np.ndarray]:
    """Vertices in metres and faces."""
    skin, faces = grid_skin()
    numbers = renumbering()
    placed = np.empty_like(skin)
    placed[numbers] = skin
    balls = [ball(centre) for centre in EYES]
    all_faces = [numbers[faces], *(part + NUM_SKIN + NUM_EYE * side for side, (_, part) in enumerate(balls))]
    return np.concatenate([placed, *(vertices for vertices, _ in balls)]), np.concatenate(all_faces)


def masks() -> dict[str, np.ndarray]:
    """The 14 masks as vertex lists."""
    vertices, _ = mesh()
    x, y, z = vertices.T
    index = np.arange(NUM_VERTICES)
    skin = index < NUM_SKIN
    near = [np.linalg.norm(vertices - centre, axis=1) < 0.025 for centre in EYES]
    found = {
        "face": skin & (z > 0.02) & (abs(y) < 0.08),
        "neck": skin & (y < -0.08) & (y > -0.105),
        "scalp": skin & (y > 0.06) & (z < 0.03),
        "boundary": skin & (y <= -0.105),
        "left_eyeball": (index >= NUM_SKIN) & (index < NUM_SKIN + NUM_EYE),
        "right_eyeball": index >= NUM_SKIN + NUM_EYE,
        "left_ear": skin & (x > 0.06) & (abs(y) < 0.03) & (z < 0.02),
        "right_ear": skin & (x < -0.06) & (abs(y) < 0.03) & (z < 0.02),
        "forehead": skin & (y > 0.05) & (z > 0.03),
        "eye_region": skin & (near[0] | near[1]),
        "nose": skin & (abs(x) < 0.015) & (abs(y) < 0.015) & (z > 0.05),
        "lips": skin & (y < -0.02) & (y > -0.065) & (abs(x) < 0.05) & (z > 0.03),
        "left_eye_region": skin & near[0],
        "right_eye_region": skin & near[1],
    }
    return {name: np.flatnonzero(mask) for name, mask in found.items()}


@functools.cache
def model(num_joints: int = 5) -> dict[str, Any]:
    """The model's arrays under FLAME's keys; with 4 joints the jaw is missing."""
    vertices, faces = mesh()
    random = np.random.default_rng(0)
    lists = masks()
    smooth = np.stack([np.cos(k * 7 * vertices) for k in range(400)], axis=-1)
    anchors = [lists["boundary"], lists["neck"], lists["left_ear"], lists["left_eyeball"], lists["right_eyeball"]]
    parents = [4294967295, 0, 1, 1, 1]
    if num_joints == 4:
        anchors.pop(2)
        parents.pop(2)
    regressor = np.zeros((num_joints, NUM_VERTICES))
    for joint, chosen in enumerate(anchors):
        regressor[joint, chosen] = 1 / len(chosen)
    weights = np.zeros((NUM_VERTICES, num_joints))
    weights[:, 1] = np.clip((vertices[:, 1] + 0.12) / 0.1, 0, 1)
    weights[:, 0] = 1 - weights[:, 1]
    for side, name in enumerate(("left_eyeball", "right_eyeball")):
        weights[lists[name]] = np.eye(num_joints)[num_joints - 2 + side]
    return {
        "v_template": vertices,
        # Half precision keeps the files small; FLAME's are float64.
        "shapedirs": (smooth * 1e-3 * random.normal(size=(1, 3, 400))).astype(np.float16),
        "posedirs": (random.normal(size=(NUM_VERTICES, 3, 9 * (num_joints - 1))) * 1e-4).astype(np.float16),
        "J_regressor": sp.csc_matrix(regressor),
        "kintree_table": np.array([parents, range(num_joints)], dtype=np.int64),
        "weights": weights,
        "f": faces.astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes and text as Python 2 wrote its strings."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: bytes | str) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + len(raw).to_bytes(4, "little") + raw)  # pyright: ignore[reportAttributeAccessIssue]

    dispatch[bytes] = dispatch[str] = save_string


class Stub(types.ModuleType):
    """A module that is not installed."""


def stand_in(module: str, name: str, state: dict[str, Any], monkeypatch) -> object:
    """An object that is pickled as one of a class of a module that is not installed."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if not isinstance(sys.modules.get(path), Stub) and (path not in sys.modules or end == len(parts)):
            monkeypatch.setitem(sys.modules, path, Stub(path))
    if not hasattr(sys.modules[module], name):
        setattr(sys.modules[module], name, type(name, (), {"__module__": module}))
    made = getattr(sys.modules[module], name)()
    made.__dict__.update(state)
    return made


def chumpy_array(array: np.ndarray, monkeypatch) -> object:
    """What chumpy pickles for an array of its own."""
    extra = {"_dirty_vars": {"x"}, "_itr": None, "_depends_on_deps": None}
    return stand_in("chumpy.ch", "Ch", {"x": array, **extra}, monkeypatch)


def old_sparse(matrix: sp.csc_matrix, monkeypatch) -> object:
    """A matrix as scipy pickled it when its classes lived in modules of their own."""
    state = {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}
    state |= {"_shape": matrix.shape, "format": "csc", "maxprint": 50}
    return stand_in("scipy.sparse.csc", "csc_matrix", state, monkeypatch)


def pickled(value: object, *, python2: bool = False, protocol: int = 2) -> bytes:
    """Bytes of a pickle."""
    buffer = io.BytesIO()
    (Python2Pickler if python2 else pickle.Pickler)(buffer, protocol).dump(value)
    return buffer.getvalue()


def write_files(folder: Path, values: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """Write `flame2023.pkl` and `FLAME_masks.pkl`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "flame2023.pkl", folder / "FLAME_masks.pkl"
    paths[0].write_bytes(pickled(model() if values is None else values))
    paths[1].write_bytes(pickled(masks(), python2=True))
    return paths


@functools.cache
def imported_head() -> HeadModel:
    """The head that is made of these files, with its 120 vertices of teeth."""
    with tempfile.TemporaryDirectory() as folder:
        model_path, masks_path = write_files(Path(folder))
        files = FlameFiles(model=model_path, masks=masks_path)
        return import_flame(files, name="mine", shipped=load_head(), find_landmarks=None)


def posed(values: dict[str, np.ndarray]) -> np.ndarray:
    """Vertices of one timestep, posed as FLAME's own code does, from the files' arrays.

    Joints are regressed from the vertices with identity, expression and offset.

    Args:
        values: A parameter file of a dataset.
    """
    head = imported_head()
    regressor = model()["J_regressor"].toarray()
    shaped = head.template.double().numpy() + values["static_offset"][0]
    shaped += np.tensordot(values["shape"], head.shape_basis.double().numpy(), axes=1)
    shaped += np.tensordot(values["expr"][0], head.expression_basis.double().numpy(), axes=1)
    joints = regressor @ shaped[:NUM_VERTICES]
    axes = np.concatenate([values[name][0] for name in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")])
    turns = [cv2.Rodrigues(axis.astype(np.float64))[0] for axis in axes.reshape(5, 3)]
    features = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    shaped += np.tensordot(features, head.pose_basis.double().numpy(), axes=1)
    world: list[np.ndarray] = []
    for joint, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turns[joint], joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    vertices = np.zeros_like(shaped)
    for joint, weights in enumerate(head.skin_weights.double().numpy().T):
        moved = (shaped - joints[joint]) @ world[joint][:3, :3].T + world[joint][:3, 3]
        vertices += weights[:, None] * moved
    return vertices + values["translation"][0]
