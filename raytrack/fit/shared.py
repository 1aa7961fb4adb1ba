"""What the frames of a sequence share, and the optimisers' small state."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.geometry.harmonics import white_light
from raytrack.head.model import HeadModel


@dataclass(frozen=True, kw_only=True)
class SharedParameters:
    """Identity, offsets and appearance of a sequence; light and focal length of each group of its frames."""

    shape: Float[Tensor, " shapes"]
    offset: Float[Tensor, "vertices 3"]
    """Metres, added to the template."""
    texture: Float[Tensor, "size size 3"]
    """Albedo, row 0 at v = 0, less what `texture_coefficients` add to it; may leave [0, 1] a little while fitting."""
    light: Float[Tensor, "lights 9 3"]
    """Of each group of frames (`raytrack.fit.groups`)."""
    log_focal: Float[Tensor, " focals"]
    """Log of the focal length in pixels of the input size, of each group of frames."""
    texture_coefficients: Float[Tensor, " components"] = field(default_factory=lambda: torch.zeros(0))
    """Of the head's principal components of albedo, where the fit uses them (`raytrack.fit.albedo`); else none."""
    cameras: Float[Tensor, "cameras 3 7"] = field(default_factory=lambda: torch.zeros(0, 3, 7))
    """Of an uncalibrated rig, as `raytrack.fit.rig.packed` has them; else none."""
    gains: Float[Tensor, "cameras 3"] = field(default_factory=lambda: torch.zeros(0, 3))
    """Factor on the light for each of those cameras and channel: exposure and white balance. None for others."""

    @classmethod
    def start(
        cls,
        head: HeadModel,
        shape: Float[Tensor, " shapes"],
        focal_px: float | Sequence[float],
        texture_size: int,
        num_lights: int = 1,
    ) -> "SharedParameters":
        """No offset, white light, the head's own albedo.

        Args:
            head: The head model.
            shape: Identity.
            focal_px: Of the one group of frames, or of each.
            texture_size: Texels along a side.
            num_lights: Groups of frames with a light of their own.
        """
        return cls(
            shape=shape,
            offset=torch.zeros(head.num_vertices, 3),
            texture=resampled_texture(head.albedo, texture_size),
            light=white_light().repeat(num_lights, 1, 1),
            log_focal=torch.tensor(focal_px, dtype=torch.float32).reshape(-1).log(),
        )

    def light_in(self, group: int, place: int) -> Float[Tensor, "9 3"]:
        """A group's light as a camera records it.

        Args:
            group: Of frames.
            place: The camera's in its rig.
        """
        return self.light[group] * self.gains[place] if len(self.gains) else self.light[group]

    def to(self, device: torch.device) -> "SharedParameters":
        """The same values on another device."""
        return SharedParameters(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def with_values(self, **values: Tensor) -> "SharedParameters":
        """A copy with some fields replaced."""
        return replace(self, **values)


def resampled_texture(texture: Float[Tensor, "size size 3"], size: int) -> Float[Tensor, "new new 3"]:
    """Texture at another size: averaged down, interpolated up."""
    if texture.shape[0] == size:
        return texture.clone()
    planes = texture.permute(2, 0, 1)[None]
    mode = "area" if size < texture.shape[0] else "bilinear"
    options = {} if mode == "area" else {"align_corners": False}
    return (
        torch.nn.functional.interpolate(planes, size=(size, size), mode=mode, **options)[0]
        .permute(1, 2, 0)
        .contiguous()
    )


class Adam:
    """Adam for one tensor (Kingma and Ba, 2015). `step` returns the new value; the state is exact to save and load."""

    def __init__(
        self, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999), common_scale: float = 0.0
    ) -> None:
        """Set the rates.

        Args:
            learning_rate: Step size.
            betas: Decay of the first and the second moment.
            common_scale: Adds this share of the root mean square of all second moments to each element's own. At 0,
                every element moves by about the learning rate, however small its gradient; above 0, an element whose
                gradient is small against the others' moves little.
        """
        self.learning_rate = learning_rate
        self.betas = betas
        self.common_scale = common_scale
        self.steps = 0
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def step(self, value: Tensor, gradient: Tensor, scale: float = 1.0) -> Tensor:
        """Value after one step at `scale` times the learning rate."""
        first, second = self.betas
        if self._mean is None or self._square is None:
            self._mean, self._square = torch.zeros_like(value), torch.zeros_like(value)
        self.steps += 1
        self._mean.mul_(first).add_(gradient, alpha=1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        unbiased = self._square / (1 - second**self.steps)
        common = self.common_scale * unbiased.mean().sqrt() if self.common_scale else 0.0
        denominator = unbiased.sqrt_().add_(1e-8 + common)
        rate = -self.learning_rate * scale / (1 - first**self.steps)
        return torch.addcdiv(value, self._mean, denominator, value=rate)

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to continue exactly; empty before the first step."""
        if self._mean is None or self._square is None:
            return {}
        return {"mean": self._mean, "square": self._square, "steps": torch.tensor(self.steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where another Adam of the same settings was."""
        if not state:
            self._mean, self._square, self.steps = None, None, 0
            return
        self._mean, self._square, self.steps = state["mean"].clone(), state["square"].clone(), int(state["steps"])


class GroupAdam:
    """Adam for a tensor with one entry per group of frames: groups outside a batch neither move nor age."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._rows: RowAdam | None = None

    def step(self, value: Tensor, groups: Tensor, gradient: Tensor, scale: float = 1.0) -> Tensor:
        """Value after one step of the given groups at `scale` times the learning rate.

        Args:
            value: (groups, ...).
            groups: Numbers of those in the batch, each once.
            gradient: Of all groups.
            scale: Factor on the learning rate.
        """
        rows = value.detach().reshape(len(value), -1).clone()
        if self._rows is None:
            self._rows = RowAdam(rows.new_full((rows.shape[1],), self.learning_rate), len(rows))
        self._rows.step(rows, groups, gradient.reshape(rows.shape)[groups], scale)
        return rows.reshape(value.shape)

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to continue exactly; empty before the first step."""
        return {} if self._rows is None else self._rows.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where another one of the same settings was."""
        if not state:
            self._rows = None
            return
        rates = state["mean"].new_full((state["mean"].shape[1],), self.learning_rate)
        self._rows = RowAdam(rates, len(state["mean"]))
        self._rows.restore(state)


class RowAdam:
    """Adam whose every row has its own step count: rows outside a batch neither move nor age."""

    def __init__(self, learning_rates: Float[Tensor, " columns"], num_rows: int) -> None:
        self.learning_rates = learning_rates
        columns, device = len(learning_rates), learning_rates.device
        self._mean = torch.zeros(num_rows, columns, device=device)
        self._square = torch.zeros(num_rows, columns, device=device)
        self._steps = torch.zeros(num_rows, 1, device=device)

    def step(
        self,
        values: Float[Tensor, "rows columns"],
        rows: Tensor,
        gradient: Float[Tensor, "batch columns"],
        scale: float,
    ) -> None:
        """Move the given rows of `values` in place."""
        mean = self._mean[rows] * 0.9 + gradient * 0.1
        square = self._square[rows] * 0.999 + gradient.square() * 0.001
        steps = self._steps[rows] + 1
        self._mean[rows], self._square[rows], self._steps[rows] = mean, square, steps
        unbiased = (square / (1 - 0.999**steps)).sqrt() + 1e-8
        values[rows] -= scale * self.learning_rates * (mean / (1 - 0.9**steps)) / unbiased

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to continue exactly."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where another one of the same settings was."""
        self._mean, self._square, self._steps = (state[name].clone() for name in ("mean", "square", "steps"))
