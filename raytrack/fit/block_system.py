"""Normal equations of many small problems that share some unknowns: the blocks are eliminated (Schur complement)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BlockSystem:
    """Normal equations of many frames' rows and what they share."""

    blocks: Float[Tensor, "frames columns columns"]
    coupling: Float[Tensor, "frames columns shared"]
    gradients: Float[Tensor, "frames columns"]
    shared_block: Float[Tensor, "shared shared"]
    shared_gradient: Float[Tensor, " shared"]

    def holding(self, start: int, stop: int) -> "BlockSystem":
        """The system in which the shared unknowns from `start` up to `stop` stay as they are."""
        number = torch.arange(self.coupling.shape[-1])
        free = (number < start) | (number >= stop)
        return BlockSystem(
            blocks=self.blocks,
            coupling=self.coupling * free,
            gradients=self.gradients,
            shared_block=self.shared_block * free * free[:, None] + torch.diag((~free).to(self.shared_block)),
            shared_gradient=self.shared_gradient * free,
        )

    def solve(
        self, damping: float | Float[Tensor, " frames"]
    ) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, " shared"]]:
        """The damped step: each diagonal entry grows by the factor 1 + damping (Marquardt), per frame if wanted."""
        own = self.blocks.double()
        per_frame = damping[:, None] if isinstance(damping, Tensor) else damping
        own = own + torch.diag_embed(per_frame * own.diagonal(dim1=1, dim2=2) + 1e-9)
        factor = torch.linalg.cholesky(own)
        gradients = self.gradients.double()[..., None]
        if self.coupling.shape[-1] == 0:
            return -torch.cholesky_solve(gradients, factor)[..., 0].float(), torch.zeros(0)
        coupling = self.coupling.double()
        reduced = torch.cholesky_solve(coupling, factor)
        shared = self.shared_block.double()
        shared = shared + torch.diag(damping * shared.diagonal() + 1e-9)
        schur = shared - torch.einsum("fcs,fct->st", coupling, reduced)
        right = self.shared_gradient.double() - torch.einsum("fcs,fco->s", reduced, gradients)
        step_shared = -torch.linalg.solve(schur, right)
        step_rows = -torch.cholesky_solve(gradients + (coupling @ step_shared)[..., None], factor)[..., 0]
        return step_rows.float(), step_shared.float()
