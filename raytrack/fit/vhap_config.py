"""Numbers of the `vhap` preset, with VHAP's defaults (Qian, 2024). Torch-free."""

from dataclasses import dataclass, field, replace

REFERENCE_TEXTURE_SIZE = 2048
"""Texels along a side of VHAP's texture, which its weights are for."""


@dataclass(frozen=True, kw_only=True)
class VhapWeights:
    """Weights of the terms in `raytrack.fit.vhap_terms`, which state what each one multiplies."""

    landmark: float = 10.0
    photo: float = 30.0
    shape: float = 0.3
    expression: float = 0.03
    neck: float = 0.3
    jaw: float = 0.3
    eyes: float = 0.03
    texture_variation: float = 1e4
    """For 2048 texels along a side, as VHAP has them; smaller textures get the same smoothness. Times the square of the
    tracking size over the input size."""
    texture_residual: float = 10.0
    texture_pca: float = 1e-4
    """Where the head's principal components of albedo are used."""
    diffuse: float = 100.0
    offset_laplacian: float = 1e6
    offset_laplacian_loose: float = 0.1
    """Factor on it at hair and ears."""
    offset_size: float = 300.0
    offset_rigidity: float = 300.0
    smooth_translation: float = 300.0
    smooth_rotation: float = 30.0
    smooth_neck: float = 30.0
    smooth_jaw: float = 0.1
    smooth_eyes: float = 0.0
    smooth_expression: float = 1.0


@dataclass(frozen=True, kw_only=True)
class VhapRates:
    """Adam's learning rates."""

    base: float = 5e-3
    """Shape, texture, rotation, neck, jaw and eyes."""
    translation: float = 1e-3
    expression: float = 5e-2
    offset: float = 5e-4
    focal: float = 5e-3
    """Of the focal length over the longer image side."""
    light: float = 5e-3
    global_scale: float = 0.1
    """Factor on all of them in the first global epoch."""
    global_decay: float = 0.9
    """Factor per global epoch."""


@dataclass(frozen=True, kw_only=True)
class VhapRigConfig:
    """What takes the place of the numbers of one camera where a calibrated rig is tracked."""

    landmark: float = 3.0
    expression: float = 0.01
    smooth_expression: float = 0.0
    texture_variation: float = 1e5
    perturb_background: float = 0.6

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        for name in ("landmark", "expression", "smooth_expression", "texture_variation"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"vhap.rig.{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.perturb_background <= 1:
            raise ValueError(f"vhap.rig.perturb_background must lie in [0, 1], got {self.perturb_background}")


@dataclass(frozen=True, kw_only=True)
class VhapConfig:
    """How long the `vhap` preset works, and at which sizes."""

    image_size_px: int | None = None
    """Longer side of the pictures that are fitted; none: as they come."""
    texture_size: int = REFERENCE_TEXTURE_SIZE
    """Texels along a side; a power of two."""
    batch_size: int = 16
    """Frames per step. Of a rig it is always all cameras of one timestep."""
    init_steps: int = 500
    """Steps of each stage on the first batch."""
    sequential_steps: int = 50
    """Steps on each batch in turn."""
    global_epochs: int = 30
    perturb_foreground: float = 0.5
    """Probability that a covered pixel takes the colour of another one of its region."""
    perturb_background: float = 0.5
    """Probability that an uncovered pixel takes the colour of another uncovered one."""
    image_memory_gib: float = 4.0
    """Decoded pictures are kept up to this size; more of them are read again when they are needed."""
    checkpoint_interval_s: float = 60.0
    """A checkpoint is written inside a stage after this time."""
    weights: VhapWeights = field(default_factory=VhapWeights)
    rates: VhapRates = field(default_factory=VhapRates)
    rig: VhapRigConfig = field(default_factory=VhapRigConfig)

    def for_rig(self) -> "VhapConfig":
        """The numbers of a calibrated rig, in their places: all cameras of one timestep in a step."""
        weights = replace(
            self.weights,
            landmark=self.rig.landmark,
            expression=self.rig.expression,
            smooth_expression=self.rig.smooth_expression,
            texture_variation=self.rig.texture_variation,
        )
        return replace(self, batch_size=1, perturb_background=self.rig.perturb_background, weights=weights)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        counts = ("texture_size", "batch_size", "init_steps", "sequential_steps", "global_epochs")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"vhap.{name} must be at least 1, got {getattr(self, name)}")
        if self.texture_size & (self.texture_size - 1):
            raise ValueError(f"vhap.texture_size must be a power of two, got {self.texture_size}")
        if self.image_size_px is not None and self.image_size_px < 16:
            raise ValueError(f"vhap.image_size_px must be at least 16, got {self.image_size_px}")
        for name in ("perturb_foreground", "perturb_background"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"vhap.{name} must lie in [0, 1], got {getattr(self, name)}")
