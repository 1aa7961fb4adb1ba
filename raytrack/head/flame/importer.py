"""Make a head of raytrack's out of a user's FLAME files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from raytrack.errors import AssetError
from raytrack.head.flame.atlas import baked_albedo, counterpart_uv, shared_corners, texel_faces
from raytrack.head.flame.counterpart import Counterpart, LandmarkFinder, find_counterpart
from raytrack.head.flame.landmark_files import GivenLandmarks, read_landmark_files
from raytrack.head.flame.model_file import JOINT_PARENTS, NUM_FACES, NUM_VERTICES, FlameModel, read_masks, read_model
from raytrack.head.flame.teeth import NUM_TEETH_VERTICES, ROWS, add_teeth, row_vertices
from raytrack.head.flame.template_file import read_template_uv, teeth_uv
from raytrack.head.flame.texture_file import GivenTexture, read_texture
from raytrack.head.landmarks import LandmarkEmbedding
from raytrack.head.model import FLAME_FAMILY, HeadModel
from raytrack.head.regions import HeadGeometry, complete_regions
from raytrack.head.texture_basis import TextureBasis

POINTS = {"bust_front_lowest": 3285, "neck_left": 3193, "neck_right": 3296}
"""FLAME's vertices that carry the neck line. The sides are put right by their x."""

_SOCKET_DEPTH = 0.97
"""Share of the eyeball's radius below which skin counts as the inside of the socket."""


@dataclass(frozen=True, kw_only=True)
class FlameFiles:
    """What a user has."""

    model: Path
    masks: Path
    template: Path | None = None
    """OBJ with FLAME's texture coordinates."""
    landmarks: tuple[Path, ...] = ()
    texture: Path | None = None
    """Needs `template`, whose layout it has."""


def import_flame(
    files: FlameFiles, *, name: str, shipped: HeadModel, find_landmarks: LandmarkFinder | None
) -> HeadModel:
    """Read FLAME, add teeth, and take over from the shipped head what the files do not give.

    Args:
        files: The user's.
        name: Of the new head.
        shipped: The shipped head: texture coordinates, landmarks and albedo come from it.
        find_landmarks: Looks for landmarks on pictures of both heads, by which they are laid over each other.

    Raises:
        AssetError: A file cannot be read or is not what it should be.
    """
    if files.texture is not None and files.template is None:
        raise AssetError(
            f"{files.texture}: a texture of FLAME's needs the template OBJ whose layout it has: add --template"
        )
    source, masks = read_model(files.model), read_masks(files.masks)
    given = read_landmark_files(files.landmarks)
    own_uv = None if files.template is None else read_template_uv(files.template, source.faces)
    texture = None if files.texture is None else read_texture(files.texture)
    head = _bare_head(add_teeth(source), masks, name, shipped)
    # A first look at the grey head, then a second one at the head in the colours that it got by the first.
    counterpart = find_counterpart(head, shipped, find_landmarks, plain=True)
    if find_landmarks is not None:
        coloured = _textured(head, counterpart, None, None)
        counterpart = replace(find_counterpart(coloured, shipped, find_landmarks, plain=False), head=head)
    return _with_landmarks(_textured(head, counterpart, own_uv, texture), counterpart, given)


def _bare_head(model: FlameModel, masks: dict[str, np.ndarray], name: str, shipped: HeadModel) -> HeadModel:
    """The model with its regions, and neither texture coordinates nor landmarks yet."""
    joints = model.joint_regressor @ model.template
    listed = {key: np.concatenate([mask, np.zeros(NUM_TEETH_VERTICES, bool)]) for key, mask in masks.items()}
    for jaw in ("upper", "lower"):
        rows = [row_vertices(row) for row in ROWS if row.startswith(jaw)]
        listed[f"teeth_{jaw}"] = np.isin(np.arange(len(model.template)), np.concatenate(rows))
    for side in ("left", "right"):
        listed[f"{side}_socket"] = inside_eyeball(model.template, listed[f"{side}_eyeball"])
    geometry = HeadGeometry(
        vertices=model.template.astype(np.float32),
        faces=model.faces,
        eye_centres=joints[3:5].astype(np.float32),
        root_share=model.skin_weights[:, 0].astype(np.float32),
    )
    try:
        regions = complete_regions(listed, geometry)
    except ValueError as error:
        raise AssetError(f"not FLAME's mesh: {error}") from error
    sides = sorted((POINTS["neck_left"], POINTS["neck_right"]), key=lambda vertex: -model.template[vertex, 0])
    return HeadModel(
        name=name,
        template=_floats(model.template),
        shape_basis=_floats(model.shape_basis),
        expression_basis=_floats(model.expression_basis),
        expression_names=tuple(f"expression_{index:03d}" for index in range(len(model.expression_basis))),
        expression_enabled=torch.ones(len(model.expression_basis), dtype=torch.bool),
        pose_basis=_floats(model.pose_basis),
        pose_features=tuple(range(len(model.pose_basis))),
        joints=_floats(joints),
        joint_shape_basis=_floats(np.einsum("jv,kvc->kjc", model.joint_regressor, model.shape_basis, optimize=True)),
        joint_parents=JOINT_PARENTS,
        skin_weights=_floats(model.skin_weights),
        faces=torch.from_numpy(model.faces),
        uv=torch.zeros(1, 2),
        uv_faces=torch.zeros(len(model.faces), 3, dtype=torch.int64),
        regions={key: torch.from_numpy(mask) for key, mask in regions.items()},
        points={
            "bust_front_lowest": POINTS["bust_front_lowest"],
            "neck_left": sides[0],
            "neck_right": sides[1],
        },
        landmarks={},
        contour=None,
        albedo=shipped.albedo,
        jaw_open_full_rad=shipped.jaw_open_full_rad,
        jaw_side_full_rad=shipped.jaw_side_full_rad,
        asset_sha256="",
        ibug_of_facemesh=shipped.ibug_of_facemesh,
        family=FLAME_FAMILY,
    )


def inside_eyeball(
    vertices: Float[np.ndarray, "vertices 3"], eyeball: Bool[np.ndarray, " vertices"]
) -> Bool[np.ndarray, " vertices"]:
    """Vertices beneath the surface of an eyeball: FLAME's lids go on inwards, where nobody sees them."""
    ball = vertices[eyeball]
    centre = (ball.min(axis=0) + ball.max(axis=0)) / 2
    distance = np.linalg.norm(vertices - centre, axis=1)
    return ~eyeball & (distance < _SOCKET_DEPTH * np.median(distance[eyeball]))


def _floats(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _textured(
    head: HeadModel,
    counterpart: Counterpart,
    own_uv: Float[np.ndarray, "faces 3 2"] | None,
    texture: GivenTexture | None,
) -> HeadModel:
    """The head with texture coordinates, albedo and its components: the user's own, else the shipped head's."""
    faces, shipped_uv = head.faces.numpy(), counterpart_uv(counterpart)
    if own_uv is None:
        uv, uv_faces = shared_corners(faces, shipped_uv)
        return replace(head, uv=_floats(uv), uv_faces=torch.from_numpy(uv_faces), albedo=counterpart.shipped.albedo)
    strip = teeth_uv(head.template.numpy()[:NUM_VERTICES], faces[NUM_FACES:])
    corners = np.concatenate([own_uv, strip])
    source = counterpart.shipped.albedo.double().numpy()
    albedo, face = baked_albedo(corners, shipped_uv, source, len(source) if texture is None else len(texture.albedo))
    if texture is not None:
        # A texture of FLAME's knows nothing of the teeth.
        albedo = np.where((face >= NUM_FACES)[..., None], albedo, texture.albedo)
    uv, uv_faces = shared_corners(faces, corners)
    basis = None if texture is None else _texture_basis(texture, corners)
    return replace(
        head, uv=_floats(uv), uv_faces=torch.from_numpy(uv_faces), albedo=_floats(albedo), texture_basis=basis
    )


def _texture_basis(texture: GivenTexture, corners: Float[np.ndarray, "faces 3 2"]) -> TextureBasis | None:
    """The texture's components, which leave the teeth alone."""
    if texture.directions is None:
        return None
    face, _ = texel_faces(corners, texture.directions.shape[1])
    return TextureBasis.compact(texture.directions * (face < NUM_FACES)[..., None])


def _with_landmarks(head: HeadModel, counterpart: Counterpart, given: GivenLandmarks) -> HeadModel:
    """The head with landmarks: the shipped head's, and in their place what the files give."""
    shipped = counterpart.shipped
    landmarks = {name: counterpart.landmarks(embedding) for name, embedding in shipped.landmarks.items()}
    contour = None if shipped.contour is None else counterpart.contour(shipped.contour)
    if given.ibug is not None:
        landmarks["ibug"] = given.ibug
    if given.facemesh is not None:
        faces, weights = landmarks["facemesh"].faces.clone(), landmarks["facemesh"].barycentric.clone()
        faces[given.facemesh_indices], weights[given.facemesh_indices] = (
            given.facemesh.faces,
            given.facemesh.barycentric,
        )
        landmarks["facemesh"] = LandmarkEmbedding(faces=faces, barycentric=weights)
    return replace(head, landmarks=landmarks, contour=given.contour or contour)
