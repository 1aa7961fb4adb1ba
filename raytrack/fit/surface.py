"""The head as the second-order solvers see it: one frame at a time, with all that a Jacobian needs.

Works on the whole head or on a subset of it (`HeadModel.subset`), so a landmark fit touches only the vertices under the
landmarks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.kinematics import Chain, joint_shift_transforms, left_jacobian, pose_chain
from raytrack.fit.surface_jacobian import PosedSurface
from raytrack.geometry.rotation import matrix_from_axis_angle, skew
from raytrack.head.model import HeadModel
from raytrack.head.parameters import FrameParameters


@dataclass(frozen=True, kw_only=True)
class SurfaceModel:
    """Float32 arrays of a head, laid out for the Jacobian kernel."""

    head: HeadModel
    weights: Float[np.ndarray, "vertices 5"]
    expression_basis: Float[np.ndarray, "vertices 3 expressions"]
    flat_basis: Float[Tensor, "rows coordinates"]
    """Expression rows, then pose correctives."""

    @classmethod
    def create(cls, head: HeadModel) -> "SurfaceModel":
        """Prepare a head or a subset of one."""
        return cls(
            head=head,
            weights=np.ascontiguousarray(head.skin_weights.float().numpy()),
            expression_basis=np.ascontiguousarray(head.expression_basis.float().permute(1, 2, 0).numpy()),
            flat_basis=torch.cat([head.expression_basis, head.pose_basis]).float().flatten(1).contiguous(),
        )

    def pose(
        self, rows: Float[Tensor, "frames columns"], neutral: Float[Tensor, "vertices 3"], joints: Float[Tensor, "5 3"]
    ) -> tuple[list[PosedSurface], Chain]:
        """Pose every row.

        Args:
            rows: Packed parameters (`raytrack.head.parameters`).
            neutral: Template with identity and offset applied, metres.
            joints: Rest joints of that identity, metres.
        """
        head, parameters = self.head, FrameParameters.unpack(rows)
        chain = pose_chain(parameters.joint_rotations(), joints)
        features = (chain.rotations[:, 1:] - torch.eye(3)).flatten(1)[:, list(head.pose_features)]
        moved = torch.cat([parameters.expression, features], dim=1) @ self.flat_basis
        rest = neutral + moved.unflatten(1, (-1, 3))
        blended = (head.skin_weights @ chain.transforms.flatten(2)).unflatten(2, (3, 4))
        world = (blended[..., :3] * rest[..., None, :]).sum(-1) + blended[..., 3] + parameters.translation[:, None]
        poses = parameters.joint_rotations()
        surfaces = []
        for frame in range(len(rows)):
            columns, correctives = self._corrective_jacobian(poses[frame])
            surfaces.append(
                PosedSurface(
                    rest=rest[frame].contiguous().numpy(),
                    world=world[frame].contiguous().numpy(),
                    weights=self.weights,
                    expression_basis=self.expression_basis,
                    transforms=chain.transforms[frame].contiguous().numpy(),
                    axes=chain.axes[frame].contiguous().numpy(),
                    centres=chain.centres[frame].contiguous().numpy(),
                    translation=parameters.translation[frame].contiguous().numpy(),
                    corrective_columns=columns,
                    correctives=correctives,
                )
            )
        return surfaces, chain

    def _corrective_jacobian(self, pose: Float[Tensor, "5 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Change of the rest vertices per joint angle that a pose corrective listens to."""
        features = torch.tensor(self.head.pose_features, dtype=torch.long)
        columns, blocks = [], [torch.zeros(0, self.head.num_vertices, 3)]
        for joint in sorted({int(feature) // 9 + 1 for feature in features}):
            own = features // 9 + 1 == joint
            rates = rotation_rates(pose[joint]).reshape(3, 9)[:, features[own] % 9]
            blocks.append((rates @ self.head.pose_basis[own].flatten(1)).unflatten(1, (-1, 3)))
            columns.extend(range(3 + 3 * joint, 6 + 3 * joint))
        return np.array(columns, np.int64), torch.cat(blocks).float().contiguous().numpy()

    def shape_jacobian(self, chain: Chain, frame: int) -> Float[Tensor, "vertices 3 shapes"]:
        """Derivative of one frame's world vertices with respect to the identity, joints' motion included."""
        blend = torch.einsum("vj,jab->vab", self.head.skin_weights, chain.transforms[frame, ..., :3])
        moved = torch.einsum("tjab,kjb->tak", joint_shift_transforms(chain)[frame], self.head.joint_shape_basis)
        own = blend @ self.head.shape_basis.permute(1, 2, 0)
        return own + torch.einsum("vt,tak->vak", self.head.skin_weights, moved)


def rotation_rates(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3 3"]:
    """Derivative of a rotation matrix with respect to each component of its axis-angle vector (first index)."""
    return skew(left_jacobian(vector).mT) @ matrix_from_axis_angle(vector)
