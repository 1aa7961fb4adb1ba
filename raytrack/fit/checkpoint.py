"""The state between two stages of a fit, and the file that keeps it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import InputError
from raytrack.fit.npz import read_npz, write_npz
from raytrack.fit.shared import SharedParameters

_SHARED = ("shape", "offset", "texture", "light", "log_focal")


@dataclass(frozen=True, kw_only=True)
class FitState:
    """Everything that the next stage needs; optimisers and random generators start anew with each stage."""

    rows: Float[Tensor, "frames columns"]
    shared: SharedParameters
    stages_done: int
    photo_error: float
    """Mean colour error of the last stage."""
    rows_error: float
    """Mean colour error of the last Gauss–Newton pass; rounds end when it no longer falls."""
    converged: bool


class Checkpoint:
    """One file in a folder, replaced as a whole: a crash leaves the old state or the new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.npz"

    def save(self, state: FitState) -> None:
        """Keep a state; float32 values come back exactly."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(state.shared, name).numpy() for name in _SHARED}
        arrays["rows"] = state.rows.numpy()
        arrays["stages_done"] = np.array(state.stages_done)
        arrays["photo_error"] = np.array(state.photo_error)
        arrays["rows_error"] = np.array(state.rows_error)
        arrays["converged"] = np.array(state.converged)
        write_npz(self.path, arrays)

    def load(self) -> FitState | None:
        """The kept state; None if there is none or it cannot be read (the fit then starts over)."""
        if not self.path.is_file():
            return None
        try:
            arrays = read_npz(self.path)
            shared = SharedParameters(**{name: torch.from_numpy(arrays[name]) for name in _SHARED})
            return FitState(
                rows=torch.from_numpy(arrays["rows"]),
                shared=shared,
                stages_done=int(arrays["stages_done"]),
                photo_error=float(arrays["photo_error"]),
                rows_error=float(arrays["rows_error"]),
                converged=bool(arrays["converged"]),
            )
        except (InputError, KeyError, ValueError):
            with contextlib.suppress(OSError):
                self.path.unlink()
            return None
