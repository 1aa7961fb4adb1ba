"""Head parameters and meshes of a dataset, one file per timestep.

Heads of FLAME's family get `flame_param/`, which existing readers take; other heads get the same names and shapes under
`head_param/`, and meshes and expression lists beside them, which need no head model to be read.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from raytrack.errors import OutputError
from raytrack.fit.npz import write_npz
from raytrack.fit.track import Track
from raytrack.head.model import FLAME_FAMILY, HeadModel
from raytrack.head.parameters import FrameParameters


def is_flame(head: HeadModel) -> bool:
    """Whether readers of FLAME parameters can make sense of this head's."""
    return head.family == FLAME_FAMILY


def parameter_kind(head: HeadModel) -> str:
    """`flame_param` or `head_param`: the folder, and the stem of the canonical file and of the frame's key."""
    return "flame_param" if is_flame(head) else "head_param"


def parameter_arrays(track: Track, head: HeadModel, parameters: FrameParameters) -> dict[str, np.ndarray]:
    """One frame's file: pose blocks (1, ·), expr (1, E), shape (K,) and static_offset (1, V, 3), zeros if unused."""
    offset = track.static_offset if track.static_offset is not None else torch.zeros(1, head.num_vertices, 3)
    tensors = {
        "translation": parameters.translation,
        "rotation": parameters.rotation,
        "neck_pose": parameters.neck_pose,
        "jaw_pose": parameters.jaw_pose,
        "eyes_pose": parameters.eyes_pose,
        "shape": track.shape,
        "expr": parameters.expression,
        "static_offset": offset,
    }
    return {name: tensor.numpy().astype(np.float32) for name, tensor in tensors.items()}


def canonical_parameters(head: HeadModel, jaw_rad: float) -> FrameParameters:
    """The resting head at the origin with its mouth open, one frame."""
    rest = FrameParameters.zeros(1, head.num_expressions)
    return replace(rest, jaw_pose=torch.tensor([[jaw_rad, 0.0, 0.0]]))


def write_parameters(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write one timestep's parameters.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        write_npz(path, arrays, durable=False)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); free space or choose another OUT") from error


def write_expression(path: Path, parameters: FrameParameters) -> None:
    """Write one timestep's expression coefficients as text, one a line."""
    coefficients = "".join(f"{value:.6f}\n" for value in parameters.expression[0].tolist())
    path.write_text(coefficients, encoding="ascii", newline="\n")


class ObjWriter:
    """Writes meshes of one topology as Wavefront OBJ; the text of the faces is made once."""

    def __init__(self, head: HeadModel) -> None:
        topology = head.topology()
        corners = np.stack([topology.faces + 1, topology.uv_faces + 1], axis=-1).reshape(-1, 6)
        # OBJ counts v upwards, the textures here downwards.
        texture_coordinates = topology.uv * np.array([1.0, -1.0]) + np.array([0.0, 1.0])
        self._with_uv = _lines("vt %.6f %.6f", texture_coordinates) + _lines("f %d/%d %d/%d %d/%d", corners)
        self._plain = _lines("f %d %d %d", topology.faces + 1)

    def write(self, path: Path, vertices: Float[np.ndarray, "vertices 3"], *, uv: bool) -> None:
        """Write vertices (metres, to the micrometre) and faces, with texture coordinates if `uv`."""
        text = _lines("v %.6f %.6f %.6f", vertices + 0.0) + (self._with_uv if uv else self._plain)
        path.write_text(text, encoding="ascii", newline="\n")


def _lines(template: str, rows: np.ndarray) -> str:
    return (template + "\n") * len(rows) % tuple(rows.reshape(-1).tolist())


def read_obj_vertices(path: Path) -> Float[np.ndarray, "vertices 3"]:
    """The vertices of a mesh that `ObjWriter` wrote, metres."""
    lines = path.read_text(encoding="ascii").splitlines()
    return np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=np.float64)
