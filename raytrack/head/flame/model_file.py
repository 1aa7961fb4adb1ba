"""The two files that every FLAME user has: the model and its vertex masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from raytrack.errors import AssetError
from raytrack.head.flame.unpickling import array_of, read_pickle

NUM_VERTICES, NUM_FACES = 5023, 9976
NUM_SHAPES, NUM_EXPRESSIONS, NUM_POSE_FEATURES = 300, 100, 36
JOINT_PARENTS = (-1, 0, 1, 1, 1)
"""Of root, neck, jaw, left eye and right eye."""
_PARENTS_WITHOUT_JAW = (-1, 0, 1, 1)
_JAW = 2
MASK_NAMES = (
    "face", "neck", "scalp", "boundary", "left_eyeball", "right_eyeball", "left_ear", "right_ear", "forehead",
    "eye_region", "nose", "lips", "left_eye_region", "right_eye_region",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FlameModel:
    """A FLAME model as arrays, in metres. Teeth may have been added."""

    template: Float[np.ndarray, "vertices 3"]
    shape_basis: Float[np.ndarray, "300 vertices 3"]
    expression_basis: Float[np.ndarray, "100 vertices 3"]
    pose_basis: Float[np.ndarray, "36 vertices 3"]
    joint_regressor: Float[np.ndarray, "5 vertices"]
    skin_weights: Float[np.ndarray, "vertices 5"]
    faces: Int[np.ndarray, "faces 3"]


def read_model(path: Path) -> FlameModel:
    """Read `flame2023.pkl`, `flame2023_no_jaw.pkl`, `generic_model.pkl` (FLAME 2020) or `flame2023_Open.pkl`.

    Raises:
        AssetError: The file cannot be read, or is not a FLAME model.
    """
    values = read_pickle(path)
    try:
        model = _model_of(values)
    except KeyError as error:
        raise AssetError(f"{path}: not a FLAME model: it has no {error.args[0]!r}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise AssetError(f"{path}: not a FLAME model ({error})") from error
    return model


def _model_of(values: dict[str, Any]) -> FlameModel:
    def numbers(key: str, *shape: int) -> np.ndarray:
        array = np.asarray(array_of(values[key]), np.float64)
        if array.shape != shape:
            raise ValueError(f"{key} has shape {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{key} holds numbers that are not finite")
        return array

    faces = array_of(values["f"]).astype(np.int64)
    if faces.shape != (NUM_FACES, 3) or faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise ValueError(f"f has shape {faces.shape}, expected ({NUM_FACES}, 3) with indices below {NUM_VERTICES}")
    parents = joint_parents(array_of(values["kintree_table"]))
    num_joints, num_features = len(parents), 9 * (len(parents) - 1)
    directions = numbers("shapedirs", NUM_VERTICES, 3, NUM_SHAPES + NUM_EXPRESSIONS).transpose(2, 0, 1)
    model = FlameModel(
        template=numbers("v_template", NUM_VERTICES, 3),
        shape_basis=directions[:NUM_SHAPES],
        expression_basis=directions[NUM_SHAPES:],
        pose_basis=_with_jaw(numbers("posedirs", NUM_VERTICES, 3, num_features).transpose(2, 0, 1), parents, width=9),
        joint_regressor=_with_jaw(numbers("J_regressor", num_joints, NUM_VERTICES), parents, copy_neck=True),
        skin_weights=_with_jaw(numbers("weights", NUM_VERTICES, num_joints).T, parents).T,
        faces=faces,
    )
    sums = model.skin_weights.sum(axis=1)
    if np.abs(sums - 1).max() > 1e-3:
        raise ValueError(f"weights do not sum to 1 (up to {sums.max():.3g}, down to {sums.min():.3g})")
    return model


def joint_parents(kintree: Int[np.ndarray, "2 joints"]) -> tuple[int, ...]:
    """Parents from FLAME's `kintree_table`, where the root's is 2³² − 1 or −1.

    Raises:
        ValueError: The joints are not FLAME's.
    """
    parents = tuple(-1 if index == 0 else int(parent) for index, parent in enumerate(kintree[0]))
    if parents not in {JOINT_PARENTS, _PARENTS_WITHOUT_JAW}:
        raise ValueError(f"kintree_table gives joints with the parents {parents}, expected {JOINT_PARENTS}")
    return parents


def _with_jaw(rows: np.ndarray, parents: tuple[int, ...], *, width: int = 1, copy_neck: bool = False) -> np.ndarray:
    """Rows per joint with those of a jaw that moves nothing put in where the model has none.

    Args:
        rows: Of all joints (width 1), or 9 pose features of each joint but the root.
        parents: The joints there are.
        width: Rows of one joint.
        copy_neck: Put the jaw where the neck is; else its rows are 0.
    """
    if parents == JOINT_PARENTS:
        return rows
    at = _JAW if width == 1 else (_JAW - 1) * width
    jaw = rows[at - width : at] if copy_neck else np.zeros_like(rows[:width])
    return np.concatenate([rows[:at], jaw, rows[at:]])


def read_masks(path: Path) -> dict[str, Bool[np.ndarray, " vertices"]]:
    """Read `FLAME_masks.pkl`: the 14 vertex masks over FLAME's own vertices.

    Raises:
        AssetError: The file cannot be read, or masks are missing or do not fit FLAME.
    """
    values = read_pickle(path)
    if missing := [name for name in MASK_NAMES if name not in values]:
        raise AssetError(f"{path}: not FLAME's masks: no {', '.join(missing)}")
    masks = {}
    for name in MASK_NAMES:
        try:
            indices = array_of(values[name]).astype(np.int64).ravel()
        except (ValueError, TypeError) as error:
            raise AssetError(f"{path}: mask {name!r} is not a list of vertices ({error})") from error
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= NUM_VERTICES:
            raise AssetError(f"{path}: mask {name!r} is empty or names vertices that FLAME does not have")
        masks[name] = np.isin(np.arange(NUM_VERTICES), indices)
    return masks
