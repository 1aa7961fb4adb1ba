"""The state inside a stage of the `vhap` preset, and the file that keeps it: stages take minutes."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import InputError
from raytrack.fit.npz import read_npz, write_npz
from raytrack.fit.shared import SharedParameters

SHARED_NAMES = ("shape", "offset", "texture", "light", "log_focal")
_SHARED, _OPTIMISER = "shared.", "optimiser."


@dataclass(frozen=True, kw_only=True)
class StageState:
    """Between two units of a stage."""

    stage_index: int
    units_done: int
    rows: Float[Tensor, "tracked columns"]
    """Of the frames with a face."""
    shared: SharedParameters
    errors: tuple[float, ...]
    """Mean colour error of each unit."""
    optimiser: dict[str, Tensor] = field(default_factory=dict)
    """State of the Adams by flat names."""


class StageCheckpoint:
    """One file beside the one of `raytrack.fit.checkpoint`, replaced as a whole.

    It counts while the stage that it is of is the next one to finish; a stage's end makes it void.
    """

    def __init__(self, folder: Path, interval_s: float) -> None:
        """Prepare.

        Args:
            folder: Of the checkpoint.
            interval_s: `is_due` once so much time has passed since the last file.
        """
        self.path = folder / "vhap_stage.npz"
        self._interval_s = interval_s
        self._last_s = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to save. Only how much is lost in a crash depends on it, never a result."""
        return time.monotonic() - self._last_s >= self._interval_s

    def save(self, state: StageState) -> None:
        """Keep a state; float32 values come back exactly."""
        arrays = {
            "stage_index": np.array(state.stage_index),
            "units_done": np.array(state.units_done),
            "rows": state.rows.cpu().numpy(),
            "errors": np.array(state.errors, np.float64),
        }
        arrays |= {_SHARED + name: getattr(state.shared, name).cpu().numpy() for name in SHARED_NAMES}
        arrays |= {_OPTIMISER + name: value.cpu().numpy() for name, value in state.optimiser.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(self.path, arrays, compression_level=0)
        self._last_s = time.monotonic()

    def load(self, stage_index: int) -> StageState | None:
        """The state kept inside a stage; None if there is none of this stage or it cannot be read."""
        if not self.path.is_file():
            return None
        try:
            arrays = read_npz(self.path)
            if int(arrays["stage_index"]) != stage_index:
                return None
            tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
            return StageState(
                stage_index=stage_index,
                units_done=int(arrays["units_done"]),
                rows=tensors["rows"],
                shared=SharedParameters(**{name: tensors[_SHARED + name] for name in SHARED_NAMES}),
                errors=tuple(float(error) for error in arrays["errors"]),
                optimiser={
                    name.removeprefix(_OPTIMISER): value
                    for name, value in tensors.items()
                    if name.startswith(_OPTIMISER)
                },
            )
        except (InputError, KeyError, ValueError):
            self.discard()
            return None

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self.path.unlink()
