"""Adam on the rows of a batch and on what frames share, for one stage of the `vhap` preset."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.fit.shared import Adam, RowAdam, SharedParameters
from raytrack.fit.vhap_objective import VhapObjective
from raytrack.fit.vhap_schedule import Unit, row_rates, shared_rates
from raytrack.head.parameters import NUM_POSE, block_slices


class StageSolver:
    """Runs the units of a stage; owns the optimisers' state, nothing else that changes."""

    def __init__(self, objective: VhapObjective, num_frames: int, longer_side_px: int) -> None:
        """Prepare.

        Args:
            objective: Of the stage.
            num_frames: Rows of the table.
            longer_side_px: Of the input pictures: focal lengths are optimised as ratios to it.
        """
        self.objective = objective
        self._num_frames = num_frames
        self._longer_side_px = longer_side_px
        optimise, head = objective.stage.optimise, objective.problem.head
        rates = row_rates(objective.problem.config.rates)
        columns = torch.zeros(NUM_POSE + head.num_expressions)
        blocks = block_slices(head.num_expressions)
        for name, block in blocks.items():
            columns[block] = rates[name] if name in optimise else 0.0
        columns[blocks["expression"]] *= head.expression_enabled.cpu()
        self._row_rates = columns.to(objective.problem.device)
        self._moves_rows = bool((columns > 0).any())
        self._shared_rates = {
            name: rate for name, rate in shared_rates(objective.problem.config.rates).items() if name in optimise
        }
        self.forget()

    def forget(self) -> None:
        """Start the optimisers anew."""
        self._row_adam = RowAdam(self._row_rates, self._num_frames)
        self._adams = {name: Adam(rate) for name, rate in self._shared_rates.items()}

    def run(
        self, rows: Float[Tensor, "frames columns"], shared: SharedParameters, unit: Unit, seed: tuple[int, ...]
    ) -> tuple[Float[Tensor, "frames columns"], SharedParameters, float]:
        """All steps of a unit.

        Args:
            rows: Parameters of every tracked frame; left as they are.
            shared: Starting values.
            unit: Batches, in order.
            seed: Decides the region perturbation.

        Returns:
            New rows, new shared values, the mean colour error.
        """
        if unit.new_optimiser:
            self.forget()
        rows = rows.clone()
        if unit.start_from is not None:
            rows[torch.from_numpy(unit.batches[0]).to(rows.device)] = rows[unit.start_from].clone()
        number = int(np.random.default_rng(seed).integers(2**62))
        generator = torch.Generator(rows.device).manual_seed(number)
        errors = []
        for batch in unit.batches:
            shared, error = self._step(rows, shared, batch, unit.rate_scale, generator)
            errors.append(error)
        return rows, shared, float(torch.stack(errors).mean())

    def _step(
        self, rows: Tensor, shared: SharedParameters, batch: np.ndarray, scale: float, generator: torch.Generator
    ) -> tuple[SharedParameters, Tensor]:
        """Move the batch's rows in place; return new shared values and the colour error."""
        index = torch.from_numpy(batch).to(rows.device)
        leaves = {name: self._leaf(name, shared).requires_grad_() for name in self._adams}
        own = rows[index].requires_grad_(self._moves_rows)
        values = {name: self._value(name, leaf) for name, leaf in leaves.items()}
        loss = self.objective(own, rows[(index - 1).clamp_min(0)], shared.with_values(**values), batch, generator)
        loss.total.backward()
        if self._moves_rows and own.grad is not None:
            self._row_adam.step(rows, index, own.grad, scale)
        moved = {}
        for name, leaf in leaves.items():
            if leaf.grad is not None:
                moved[name] = self._value(name, self._adams[name].step(leaf.detach(), leaf.grad, scale))
        return shared.with_values(**moved), loss.photo_error

    def _leaf(self, name: str, shared: SharedParameters) -> Tensor:
        """What Adam moves: the field itself, but for the focal length its ratio to the longer image side."""
        value = getattr(shared, name).detach()
        return value.exp() / self._longer_side_px if name == "log_focal" else value.clone()

    def _value(self, name: str, leaf: Tensor) -> Tensor:
        """The field of `SharedParameters` that belongs to a leaf."""
        return (leaf * self._longer_side_px).log() if name == "log_focal" else leaf

    def state(self) -> dict[str, dict[str, Tensor]]:
        """State of each Adam, by field of `SharedParameters`, and "rows"."""
        return {name: adam.state() for name, adam in {"rows": self._row_adam, **self._adams}.items()}

    def restore(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Continue where another solver of the same stage was; what is not there starts anew."""
        self.forget()
        for name, adam in {"rows": self._row_adam, **self._adams}.items():
            if state.get(name):
                adam.restore({key: value.to(self._row_rates.device) for key, value in state[name].items()})
