"""A subject's identity: what is the same in all of one person's sequences, found once and held from then on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from raytrack.errors import ConfigError, InputError
from raytrack.fit.config import TrackConfig
from raytrack.fit.npz import read_npz, write_npz
from raytrack.fit.shared import SharedParameters, resampled_texture
from raytrack.fit.track import FORMAT_VERSION, TEXTURE_STEPS, Track
from raytrack.head.model import HeadModel


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Joint shape, static offset and albedo of a subject.

    A sequence that is tracked with a given identity keeps all three as they are, also where the albedo was never seen.
    """

    shape: Float[Tensor, " shapes"]
    static_offset: Float[Tensor, "1 vertices 3"] | None
    """Metres, added to the template; None where the identity has none."""
    texture: Float[Tensor, "size size 3"]
    """Albedo, 0 to 1, row 0 at v = 0."""
    head_name: str
    head_sha256: str
    """Of the head's file: the numbers mean nothing to another head."""

    @classmethod
    def of_track(cls, track: Track) -> "Identity":
        """That of a tracked sequence."""
        return cls(
            shape=track.shape,
            static_offset=track.static_offset,
            texture=track.texture,
            head_name=track.head_name,
            head_sha256=track.head_sha256,
        )

    @classmethod
    def load(cls, path: Path | str) -> "Identity":
        """Read what `save` wrote, or the identity in a track's `tracked_params.npz`.

        Raises:
            InputError: The file is missing, damaged, or of another format version.
        """
        arrays = read_npz(path)
        needed = {"shape", "texture", "head_name", "head_sha256"}
        if int(arrays.get("format_version", -1)) != FORMAT_VERSION or not needed <= set(arrays):
            raise InputError(f"{path}: neither a raytrack track nor an identity of format {FORMAT_VERSION}")
        offset = arrays.get("static_offset")
        return cls(
            shape=torch.from_numpy(arrays["shape"].astype(np.float32)),
            static_offset=None if offset is None else torch.from_numpy(offset.astype(np.float32)),
            texture=torch.from_numpy(arrays["texture"].astype(np.float32) / np.float32(TEXTURE_STEPS)),
            head_name=str(arrays["head_name"]),
            head_sha256=str(arrays["head_sha256"]),
        )

    def save(self, path: Path | str) -> None:
        """Write an ``.npz`` under the names that a track's file has; equal identities give equal bytes."""
        arrays = {
            "shape": self.shape.numpy(),
            "texture": (self.texture.clamp(0, 1) * TEXTURE_STEPS).round().numpy().astype(np.uint16),
            "head_name": np.array(self.head_name),
            "head_sha256": np.array(self.head_sha256),
            "format_version": np.array(FORMAT_VERSION, np.int64),
        }
        if self.static_offset is not None:
            arrays["static_offset"] = self.static_offset.numpy()
        write_npz(path, arrays)

    def check_head(self, head: HeadModel) -> None:
        """Refuse another head than the one that the identity was found with.

        Raises:
            InputError: It is another.
        """
        if self.head_sha256 != head.asset_sha256:
            raise InputError(
                f"the identity is one of the head {self.head_name!r}, not of this version of {head.name!r}: "
                "take the head it was found with, or find the identity anew"
            )

    def resting_head(self, head: HeadModel) -> HeadModel:
        """The head with the offset in its template, for whoever knows nothing of offsets."""
        return head if self.static_offset is None else replace(head, template=head.template + self.static_offset[0])

    def placed_in(self, shared: SharedParameters, texture_size: int) -> SharedParameters:
        """Parameters with this identity, its albedo at the size at which rows are tracked."""
        offset = torch.zeros_like(shared.offset) if self.static_offset is None else self.static_offset[0]
        return shared.with_values(
            shape=self.shape, offset=offset, texture=resampled_texture(self.texture, texture_size)
        )


def known_identity(config: TrackConfig, identity: Identity | None, head: HeadModel) -> Identity | None:
    """The identity that a sequence is tracked with: the given one, or the one that the configuration names, or none.

    Raises:
        InputError: It is of another head, or its file cannot be read.
        ConfigError: The preset finds its own.
    """
    if identity is None and config.identity:
        identity = Identity.load(Path(config.identity))
    if identity is None:
        return None
    identity.check_head(head)
    if config.preset == "vhap":
        raise ConfigError("the preset `vhap` finds its own identity: take the default preset for a given one")
    return identity
