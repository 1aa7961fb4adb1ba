"""The head: parameters in, vertices out.

`vertices = skin(template + shape + expression + offset + pose correctives) + translation` (Li et al., 2017, equations 1
to 4): the form of FLAME, whatever data fills it.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.head.landmarks import ContourEmbedding, LandmarkEmbedding, contour_points, embedded_points
from raytrack.head.parameters import FrameParameters
from raytrack.head.skinning import joint_transforms, skin
from raytrack.head.subset import keep_contour, keep_embedding, keep_points, kept_faces
from raytrack.head.texture_basis import TextureBasis

FLAME_FAMILY = "flame"


@dataclass(frozen=True, kw_only=True)
class HeadTopology:
    """The constant part of the mesh, as renderers and exports take it."""

    faces: Int[np.ndarray, "faces 3"]
    """Counter-clockwise from outside."""
    uv: Float[np.ndarray, "corners 2"]
    """In [0, 1]; v grows with the texture's rows, (0, 0) is its top-left corner."""
    uv_faces: Int[np.ndarray, "faces 3"]
    num_vertices: int


@dataclass(frozen=True, kw_only=True)
class HeadModel:
    """A head in metres, y up, facing +z, x to the subject's left."""

    name: str
    template: Float[Tensor, "vertices 3"]
    shape_basis: Float[Tensor, "shapes vertices 3"]
    """Displacement per unit coefficient; coefficients are about N(0, 1) over people."""
    expression_basis: Float[Tensor, "expressions vertices 3"]
    """Displacement per unit coefficient; 1 is the full named expression where there are names."""
    expression_names: tuple[str, ...]
    expression_enabled: Bool[Tensor, " expressions"]
    """Expressions that a fit uses unless told otherwise: fits misuse the others to explain what they do not model."""
    pose_basis: Float[Tensor, "features vertices 3"]
    """Corrective displacements, one per pose feature that has any."""
    pose_features: tuple[int, ...]
    """Which entries of the flattened R − I of joints 1 to 4 (nine each, row-major) drive `pose_basis`."""
    joints: Float[Tensor, "5 3"]
    joint_shape_basis: Float[Tensor, "shapes 5 3"]
    joint_parents: tuple[int, ...]
    skin_weights: Float[Tensor, "vertices 5"]
    faces: Int[Tensor, "faces 3"]
    uv: Float[Tensor, "corners 2"]
    """In [0, 1]; v grows with the rows of `albedo`, (0, 0) is its top-left corner."""
    uv_faces: Int[Tensor, "faces 3"]
    regions: dict[str, Bool[Tensor, " vertices"]]
    points: dict[str, int]
    """Named vertices: ``bust_front_lowest``, ``neck_left`` and ``neck_right`` carry the neck line of exports."""
    landmarks: dict[str, LandmarkEmbedding]
    """By name: ``facemesh`` (478 points of Face Mesh v2) and ``ibug`` (68 points)."""
    contour: ContourEmbedding | None
    """The 17 jawline points by yaw, for views off the front."""
    albedo: Float[Tensor, "size size 3"]
    """sRGB in [0, 1], row 0 at the top."""
    jaw_open_full_rad: float
    """Jaw rotation about x at which the mouth is fully open (score 1 of jawOpen)."""
    jaw_side_full_rad: float
    """Jaw rotation about y at score 1 of jawLeft."""
    asset_sha256: str
    """Of the file the head came from; empty for a subset."""
    ibug_of_facemesh: Int[Tensor, " points"] | None = None
    """For each of the 68 iBUG points the Face Mesh point that stands for it; None where the file does not say."""
    texture_basis: TextureBasis | None = None
    """Principal components of the albedo about `albedo`; None where the head has none."""
    expression_least: Float[Tensor, " expressions"] | None = None
    """Usual smallest coefficients of named expressions; None: 0 for all of them. The largest is 1."""
    family: str = ""
    """Whose parameters and vertices these are, whatever the head is called: ``flame``, or empty for its own."""

    def __post_init__(self) -> None:
        if len(self.pose_features) != len(self.pose_basis):
            raise ValueError(f"{len(self.pose_features)} pose features, but {len(self.pose_basis)} rows of pose_basis")
        if len(self.expression_names) != len(self.expression_basis):
            raise ValueError(f"{len(self.expression_names)} expression names for {len(self.expression_basis)} rows")

    @property
    def num_vertices(self) -> int:
        """Vertices of the mesh."""
        return len(self.template)

    @property
    def num_shapes(self) -> int:
        """Identity coefficients."""
        return len(self.shape_basis)

    @property
    def num_expressions(self) -> int:
        """Expression coefficients per frame."""
        return len(self.expression_basis)

    @property
    def has_named_expressions(self) -> bool:
        """Whether coefficients are amounts of named expressions; numbered ones are principal components."""
        numbered = (name.rstrip("0123456789") in {"", "expression_"} for name in self.expression_names)
        return bool(self.expression_enabled.any()) and not any(numbered)

    @cached_property
    def _frame_basis(self) -> Float[Tensor, "rows coordinates"]:
        """Expression and pose rows, flattened: one matrix product per batch."""
        return torch.cat([self.expression_basis, self.pose_basis]).flatten(1)

    @cached_property
    def _shape_rows(self) -> Float[Tensor, "shapes coordinates"]:
        """Identity rows of vertices and joints side by side."""
        return torch.cat([self.shape_basis.flatten(1), self.joint_shape_basis.flatten(1)], dim=1)

    @cached_property
    def _rest_row(self) -> Float[Tensor, " coordinates"]:
        """Template and joints side by side."""
        return torch.cat([self.template.flatten(), self.joints.flatten()])

    def identity(
        self, shape: Float[Tensor, "*identities coefficients"]
    ) -> tuple[Float[Tensor, "*identities vertices 3"], Float[Tensor, "*identities 5 3"]]:
        """Resting vertices and joints of an identity, metres. Differentiable in the shape.

        Args:
            shape: The first coefficients of the identity; missing ones are 0.
        """
        if shape.shape[-1] > self.num_shapes:
            raise ValueError(f"{self.name} has {self.num_shapes} shape coefficients, got {shape.shape[-1]}")
        row = self._rest_row + shape @ self._shape_rows[: shape.shape[-1]]
        vertices, joints = row.split((3 * self.num_vertices, 15), dim=-1)
        return vertices.unflatten(-1, (-1, 3)), joints.unflatten(-1, (5, 3))

    def vertices(
        self,
        parameters: FrameParameters,
        shape: Float[Tensor, "*identities coefficients"],
        static_offset: Float[Tensor, "*offsets vertices 3"] | None = None,
    ) -> Float[Tensor, "frames vertices 3"]:
        """World vertices in metres. Differentiable in every argument.

        Args:
            parameters: Pose and expression of each frame.
            shape: Identity coefficients: one row for all frames, or one per frame. May be shorter than the basis.
            static_offset: Added to the resting vertices before skinning, metres: one for all frames, or one per frame.

        Raises:
            ValueError: The number of coefficients does not fit this head.
        """
        neutral, joints = self.identity(shape)
        return self.pose(neutral if static_offset is None else neutral + static_offset, joints, parameters)

    def pose(
        self,
        neutral: Float[Tensor, "*surfaces vertices 3"],
        joints: Float[Tensor, "*identities 5 3"],
        parameters: FrameParameters,
    ) -> Float[Tensor, "frames vertices 3"]:
        """World vertices from resting vertices and joints of `identity`. Differentiable in every argument."""
        if parameters.expression.shape[-1] != self.num_expressions:
            given = parameters.expression.shape[-1]
            raise ValueError(f"{self.name} has {self.num_expressions} expression coefficients, got {given}")
        rotations = matrix_from_axis_angle(parameters.joint_rotations())
        features = (rotations[:, 1:] - torch.eye(3).to(rotations)).flatten(1)[:, list(self.pose_features)]
        moved = torch.cat([parameters.expression, features], dim=1) @ self._frame_basis
        rest = neutral + moved.unflatten(-1, (-1, 3))
        world_rotations, translations = joint_transforms(rotations, joints.reshape(-1, 5, 3), self.joint_parents)
        return skin(rest, self.skin_weights, world_rotations, translations + parameters.translation[:, None])

    def joints_world(
        self, parameters: FrameParameters, shape: Float[Tensor, "*identities coefficients"]
    ) -> Float[Tensor, "frames 5 3"]:
        """World positions of the joints: root, neck, jaw, left eye, right eye. Differentiable in every argument."""
        joints = self.identity(shape)[1].reshape(-1, 5, 3)
        rotations = matrix_from_axis_angle(parameters.joint_rotations())
        world_rotations, translations = joint_transforms(rotations, joints, self.joint_parents)
        moved = (world_rotations @ joints[..., None])[..., 0] + translations
        return moved + parameters.translation[:, None]

    def landmarks_world(
        self, vertices: Float[Tensor, "*batch vertices 3"], name: str = "facemesh"
    ) -> Float[Tensor, "*batch points 3"]:
        """Positions of a set of landmarks on given vertices. Differentiable in the vertices.

        Raises:
            ValueError: The head has no landmarks of that name.
        """
        if name not in self.landmarks:
            raise ValueError(f"{self.name} has no landmarks {name!r}; it has {', '.join(sorted(self.landmarks))}")
        return embedded_points(vertices, self.faces, self.landmarks[name])

    def contour_world(
        self, vertices: Float[Tensor, "frames vertices 3"], yaw_deg: Float[Tensor, " frames"]
    ) -> Float[Tensor, "frames 17 3"]:
        """The 17 jawline points that a camera sees at the head's yaw relative to it. Differentiable in the vertices.

        Raises:
            ValueError: The head has no contour table.
        """
        if self.contour is None:
            raise ValueError(f"{self.name} has no jawline by yaw")
        return contour_points(vertices, self.faces, self.contour, yaw_deg)

    def face_region(self, name: str) -> Bool[Tensor, " faces"]:
        """Faces all of whose three vertices lie in the region."""
        return self.region(name)[self.faces].all(dim=1)

    def region(self, name: str) -> Bool[Tensor, " vertices"]:
        """Vertices of a region.

        Raises:
            ValueError: The head has no such region.
        """
        if name not in self.regions:
            raise ValueError(f"{self.name} has no region {name!r}; it has {', '.join(sorted(self.regions))}")
        return self.regions[name]

    def topology(self) -> HeadTopology:
        """Faces and texture coordinates as arrays."""
        return HeadTopology(
            faces=self.faces.cpu().numpy(),
            uv=self.uv.cpu().numpy(),
            uv_faces=self.uv_faces.cpu().numpy(),
            num_vertices=self.num_vertices,
        )

    def subset(self, vertex_indices: Int[Tensor, " kept"]) -> "HeadModel":
        """A head of only some vertices, with the same parameters and the same positions for them.

        Faces with all corners among the kept vertices stay, and so do the landmark sets that lie on such faces.

        Args:
            vertex_indices: Distinct vertices, in the order they get.
        """
        faces, face_index = kept_faces(self.faces, vertex_indices, self.num_vertices)
        embeddings = {name: keep_embedding(points, face_index) for name, points in self.landmarks.items()}
        return replace(
            self,
            template=self.template[vertex_indices],
            shape_basis=self.shape_basis[:, vertex_indices],
            expression_basis=self.expression_basis[:, vertex_indices],
            pose_basis=self.pose_basis[:, vertex_indices],
            skin_weights=self.skin_weights[vertex_indices],
            faces=faces,
            uv_faces=self.uv_faces[face_index >= 0],
            regions={name: mask[vertex_indices] for name, mask in self.regions.items()},
            points=keep_points(self.points, vertex_indices),
            landmarks={name: points for name, points in embeddings.items() if points is not None},
            contour=None if self.contour is None else keep_contour(self.contour, face_index),
            asset_sha256="",
        )

    def landmark_subset(self, *names: str) -> "HeadModel":
        """The smallest `subset` that carries some landmark sets ("contour" for the jawline by yaw).

        Raises:
            ValueError: The head lacks one of them.
        """
        used = []
        for name in names:
            embedding = self.contour if name == "contour" else self.landmarks.get(name)
            if embedding is None:
                raise ValueError(f"{self.name} has no landmarks {name!r}; it has {', '.join(sorted(self.landmarks))}")
            used.append(self.faces[embedding.faces.flatten()].flatten())
        return self.subset(torch.cat(used).unique())

    def to(self, target: torch.device | torch.dtype | str) -> "HeadModel":
        """The same head on another device, or with another floating-point type."""
        return replace(self, **{field.name: _moved(getattr(self, field.name), target) for field in fields(self)})


def _moved(value: object, target: torch.device | torch.dtype | str) -> object:
    """Tensors inside a field, moved; a type change leaves masks and indices alone."""
    if isinstance(value, Tensor):
        return value if isinstance(target, torch.dtype) and not value.is_floating_point() else value.to(target)
    if isinstance(value, dict):
        return {key: _moved(item, target) for key, item in value.items()}
    if isinstance(value, LandmarkEmbedding | ContourEmbedding):
        return replace(value, **{field.name: _moved(getattr(value, field.name), target) for field in fields(value)})
    return value
