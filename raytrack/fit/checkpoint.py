"""The state between two units of work of a fit, and the file that keeps it."""

import contextlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import InputError
from raytrack.fit.npz import npz_bytes, read_npz, write_npz
from raytrack.fit.occlusion import ErrorLevels, HiddenSpots
from raytrack.fit.shared import SharedParameters

_SHARED = ("shape", "offset", "texture", "light", "log_focal", "texture_coefficients", "cameras", "gains")
_OPTIONAL = ("first_rows", "first_shape", "new_rows")
_NUMBERS = ("stages_done", "photo_error", "rows_error", "converged", "units_done", "mattes_refused")


@dataclass(frozen=True, kw_only=True)
class FitState:
    """Everything that the rest of a fit needs; random generators are seeded anew in each unit of work."""

    rows: Float[Tensor, "frames columns"]
    shared: SharedParameters
    stages_done: int
    photo_error: float
    """Mean colour error of the last stage."""
    rows_error: float
    """Mean colour error of the last Gauss–Newton pass; rounds end when it hardly changes any more."""
    converged: bool
    units_done: int = 0
    """Units of work finished in the stage that is under way."""
    unit_errors: tuple[float, ...] = ()
    """Their colour errors."""
    adam: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Adam's state in the stage that is under way."""
    mattes_refused: bool = False
    """Whether most mattes missed the face, so that none is used."""
    first_rows: Float[Tensor, "first first_columns"] = field(default_factory=lambda: torch.zeros(0, 0))
    """Rows after the landmark stage, which decide how a rig's pictures are cropped; empty for a single camera."""
    first_shape: Float[Tensor, " first_shapes"] = field(default_factory=lambda: torch.zeros(0))
    """The identity of those rows."""
    new_rows: Float[Tensor, "new new_columns"] = field(default_factory=lambda: torch.zeros(0, 0))
    """Rows of the steady stage that is under way, whose windows look at rows as they were before; otherwise empty."""
    hidden: HiddenSpots = field(default_factory=HiddenSpots.none)
    """What the last look found to stand before the head."""
    levels: ErrorLevels | None = None
    """How large errors usually are, as that look learnt; None before the first one."""

    def to(self, device: torch.device) -> "FitState":
        """The same state with what changes during a fit on another device."""
        adam = {name: {key: value.to(device) for key, value in values.items()} for name, values in self.adam.items()}
        return replace(self, rows=self.rows.to(device), shared=self.shared.to(device), adam=adam)

    def is_finite(self) -> bool:
        """Whether every parameter is a number."""
        values = [self.rows, self.new_rows, *(getattr(self.shared, name) for name in _SHARED)]
        return all(bool(torch.isfinite(value).all()) for value in values)


class Checkpoint:
    """One file in a folder, replaced as a whole: a crash leaves the old state or the new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.npz"

    def save(self, state: FitState) -> None:
        """Keep a state; every number comes back exactly."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_npz(self.path, _arrays(state), compression_level=0)

    def load(self) -> FitState | None:
        """The kept state; None if there is none or it cannot be read (the fit then starts over)."""
        if not self.path.is_file():
            return None
        try:
            return _state(read_npz(self.path))
        except (InputError, KeyError, ValueError):
            with contextlib.suppress(OSError):
                self.path.unlink()
            return None


def state_bytes(state: FitState) -> bytes:
    """A state to hand on to another process; equal states give equal bytes."""
    return npz_bytes(_arrays(state))


def state_from_bytes(data: bytes) -> FitState:
    """What `state_bytes` was given, every number the same.

    Raises:
        InputError: It is something else.
    """
    return _state(read_npz(io.BytesIO(data)))


def _arrays(state: FitState) -> dict[str, np.ndarray]:
    arrays = {name: getattr(state.shared, name).numpy() for name in _SHARED}
    arrays["rows"] = state.rows.numpy()
    arrays |= {name: getattr(state, name).numpy() for name in _OPTIONAL if len(getattr(state, name))}
    for name in _NUMBERS:
        arrays[name] = np.array(getattr(state, name))
    arrays |= {"hidden_pictures": state.hidden.pictures, "hidden_spots": state.hidden.spots}
    if state.levels is not None:
        levels = state.levels
        arrays |= {"levels": levels.levels, "levels_whole": np.array(levels.whole), "levels_mobile": levels.mobile}
    arrays["unit_errors"] = np.array(state.unit_errors, np.float64)
    for parameter, values in state.adam.items():
        arrays |= {f"adam/{parameter}/{name}": value.numpy() for name, value in values.items()}
    return arrays


def _state(arrays: dict[str, np.ndarray]) -> FitState:
    adam: dict[str, dict[str, Tensor]] = {}
    for key, value in arrays.items():
        if key.startswith("adam/"):
            _, parameter, name = key.split("/")
            adam.setdefault(parameter, {})[name] = torch.from_numpy(value.copy())
    return FitState(
        rows=torch.from_numpy(arrays["rows"].copy()),
        shared=SharedParameters(**{name: torch.from_numpy(arrays[name].copy()) for name in _SHARED}),
        unit_errors=tuple(float(error) for error in arrays["unit_errors"]),
        adam=adam,
        hidden=HiddenSpots(pictures=arrays["hidden_pictures"].copy(), spots=arrays["hidden_spots"].copy()),
        levels=_levels(arrays) if "levels" in arrays else None,
        **{name: torch.from_numpy(arrays[name].copy()) for name in _OPTIONAL if name in arrays},
        **{name: arrays[name].item() for name in _NUMBERS},
    )


def _levels(arrays: dict[str, np.ndarray]) -> ErrorLevels:
    return ErrorLevels(
        levels=arrays["levels"].copy(), whole=arrays["levels_whole"].item(), mobile=arrays["levels_mobile"].copy()
    )
