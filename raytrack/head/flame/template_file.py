"""The texture coordinates of a FLAME template in Wavefront OBJ."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from raytrack.errors import AssetError
from raytrack.head.flame.teeth import POINTS, UPPER_RING, row_vertices

_STRIP_U = (0.38, 0.62)
_STRIP_TOP, _STRIP_BOTTOM = 0.002, 0.054
"""From the top of the map; FLAME's own coordinates leave this free."""
_STRIP_ROWS = (
    "upper_root_back", "upper_edge_back", "upper_edge", "upper_root",
    "lower_root", "lower_edge", "lower_edge_back", "lower_root_back",
)  # fmt: skip


def read_template_uv(path: Path, faces: Int[np.ndarray, "faces 3"]) -> Float[np.ndarray, "faces 3 2"]:
    """Texture coordinates of the corners of FLAME's faces, v growing with the rows.

    Args:
        path: An OBJ with FLAME's topology, such as `head_template_mesh.obj`.
        faces: FLAME's own, without teeth.

    Raises:
        AssetError: The file cannot be read, has no texture coordinates, or is not FLAME's mesh.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        uv = np.array([line[1:3] for line in lines if line[:1] == ["vt"]], np.float64)
        corners = [[corner.split("/") for corner in line[1:]] for line in lines if line[:1] == ["f"]]
        table = np.array([[[int(corner[0]), int(corner[1])] for corner in face] for face in corners]) - 1
    except OSError as error:
        raise AssetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, IndexError) as error:
        raise AssetError(f"{path}: not an OBJ of triangles with texture coordinates ({error})") from error
    if table.shape != (*faces.shape, 2):
        raise AssetError(f"{path}: not FLAME's mesh: expected {len(faces)} triangles with texture coordinates")
    vertices, uv_faces = table[..., 0], table[..., 1]
    own, other = (np.lexsort(np.sort(mesh, axis=1).T) for mesh in (faces, vertices))
    row = np.empty(len(faces), np.int64)
    row[own] = other
    if not (np.sort(faces, axis=1) == np.sort(vertices[row], axis=1)).all():
        raise AssetError(f"{path}: not FLAME's mesh: its triangles join other vertices")
    if uv_faces.min() < 0 or uv_faces.max() >= len(uv):
        raise AssetError(f"{path}: its faces name texture coordinates that it does not have")
    # The same triangle may begin at another corner.
    corner = (faces[:, :, None] == vertices[row][:, None, :]).argmax(axis=2)
    return (uv[np.take_along_axis(uv_faces[row], corner, axis=1)]) * [1, -1] + [0, 1]


def teeth_uv(
    template: Float[np.ndarray, "vertices 3"], teeth: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "faces 3 2"]:
    """Texture coordinates of the teeth in the strip that FLAME's template leaves free, v growing with the rows.

    Args:
        template: FLAME's resting vertices.
        teeth: The faces of the teeth.
    """
    u = np.linspace(*_STRIP_U, POINTS)
    if template[UPPER_RING[0], 0] > template[UPPER_RING[-1], 0]:
        u = u[::-1]
    place: dict[int, tuple[float, float]] = {}
    for name, v in zip(_STRIP_ROWS, np.linspace(_STRIP_TOP, _STRIP_BOTTOM, len(_STRIP_ROWS)), strict=True):
        place |= {int(vertex): (float(at), float(v)) for vertex, at in zip(row_vertices(name), u, strict=True)}
    return np.array([[place[int(vertex)] for vertex in face] for face in teeth])
