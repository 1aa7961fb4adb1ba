"""The albedo map that is fitted: painted texel by texel, or principal components of the head's and a painted residual.

`albedo = texture + Σ texture_coefficients · direction`, with the fields of `SharedParameters`. Without components
`texture` is the whole map; with them it is the head's own albedo and the residual.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.fit.shared import SharedParameters, resampled_texture
from raytrack.fit.track import resized_albedo
from raytrack.head.model import HeadModel

_SIDE = 256
"""Texels along a side at which components act during the fit; what is finer, the residual paints."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AlbedoBasis:
    """Principal components of a head's albedo as a fit uses them."""

    rows: Float[Tensor, "components texels"]
    side: int

    @classmethod
    def create(cls, head: HeadModel, config: TrackConfig) -> "AlbedoBasis | None":
        """The head's components; None where the configuration or the head wants none.

        Raises:
            ConfigError: The configuration asks for components that the head does not have.
        """
        check_texture_model(head, config)
        # VHAP paints unless told otherwise.
        wanted = config.texture_model == "pca" or (config.texture_model == "auto" and config.preset != "vhap")
        if head.texture_basis is None or not wanted or config.landmarks_only:
            return None
        directions = head.texture_basis.directions(_SIDE)
        return cls(rows=directions.flatten(1), side=directions.shape[1])

    @property
    def num_components(self) -> int:
        """Coefficients."""
        return len(self.rows)

    def added(self, coefficients: Float[Tensor, " components"], size: int) -> Float[Tensor, "size size 3"]:
        """What coefficients add to an albedo map of a size. Differentiable."""
        return resampled_texture((coefficients @ self.rows).unflatten(0, (self.side, self.side, 3)), size)

    def to(self, device: torch.device) -> "AlbedoBasis":
        """The same on another device."""
        return AlbedoBasis(rows=self.rows.to(device), side=self.side)


def check_texture_model(head: HeadModel, config: TrackConfig) -> None:
    """Refuse components that are not there.

    Raises:
        ConfigError: The configuration asks for components that the head does not have.
    """
    if config.texture_model == "pca" and head.texture_basis is None:
        raise ConfigError(
            f"track.texture_model: pca needs a head with a texture space, and {head.name!r} has none: import it with "
            "`raytrack assets import-flame … --template OBJ --texture FLAME_texture.npz`"
        )


def albedo_map(
    texture: Float[Tensor, "size size 3"], coefficients: Float[Tensor, " components"], basis: AlbedoBasis | None
) -> Float[Tensor, "size size 3"]:
    """The albedo that two fields of `SharedParameters` stand for. Differentiable in both."""
    return texture if basis is None else texture + basis.added(coefficients, len(texture))


def with_whole_texture(shared: SharedParameters, basis: AlbedoBasis | None) -> SharedParameters:
    """The same appearance with all of the albedo in `texture`, for what only looks at it."""
    if basis is None:
        return shared
    whole = albedo_map(shared.texture, shared.texture_coefficients, basis)
    return shared.with_values(texture=whole, texture_coefficients=torch.zeros_like(shared.texture_coefficients))


def base_albedo(
    head: HeadModel, coefficients: Float[Tensor, " components"] | None, size: int
) -> Float[Tensor, "size size 3"]:
    """The head's own albedo with what coefficients add to it: what `tex_extra` of a saved track is relative to.

    Raises:
        AssetError: The head's components cannot be read.
        ValueError: The head has fewer components.
    """
    own = resized_albedo(head.albedo, size)
    if coefficients is None:
        return own
    if head.texture_basis is None:
        raise ValueError(f"{head.name} has no texture components, got {len(coefficients)} coefficients")
    return own + resized_albedo(head.texture_basis.combined(coefficients), size)
