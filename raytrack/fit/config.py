"""What the tracker can be told. Torch-free, so that the command line starts at once."""

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from raytrack.fit.vhap_config import VhapConfig


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of the objective's terms. The terms are scale-free: a weight means the same at every resolution."""

    photo: float = 30.0
    """Mean absolute colour error over the covered pixels."""
    landmark: float = 7.5
    """Mean landmark distance (per coordinate) in faces: the larger side of the landmarks' box."""
    gap: float = 7.5
    """Mean error of the openings between lips and between eyelids, same unit."""
    matte: float = 30.0
    """Mean absolute difference of rendered coverage and matte, above the chin;
    below it, of coverage where the matte shows background. Used when there is a matte."""
    shape: float = 0.3
    """Mean squared identity coefficient."""
    expression: float = 0.3
    """Mean squared expression coefficient."""
    expression_range: float = 3.0
    """Mean squared amount by which expression coefficients leave their range: [0, 1], of a few [-1, 1]."""
    expression_score: float = 2.0
    """Mean squared difference of the mouth's expression coefficients to the detector's scores, where there are any."""
    neck: float = 0.3
    jaw: float = 0.3
    eyes: float = 0.03
    """Mean squared joint angles (radians)."""
    eyes_apart: float = 1.0
    """Mean squared difference of the two eyes' angles."""
    smooth_rotation: float = 30.0
    smooth_translation: float = 300.0
    smooth_neck: float = 30.0
    smooth_jaw: float = 0.1
    smooth_expression: float = 0.1
    smooth_eyes: float = 0.1
    """Half the mean squared difference to each neighbouring frame (metres and radians)."""
    offset_laplacian: float = 1e6
    """Mean squared uniform Laplacian of the static offset (metres) at first; later rounds relax it."""
    offset_size: float = 30.0
    """Mean absolute static offset (metres)."""
    texture_variation: float = 100.0
    """Mean squared difference of neighbouring texels while tracking; the final texture is smoothed less."""
    texture_pca: float = 1e-4
    """Mean squared coefficient of the head's principal components of albedo, where they are used."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A weight is negative or not finite.
        """
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"track.weights.{item.name} must be 0 or more, got {value}")


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """How one sequence is tracked."""

    preset: Literal["default", "vhap"] = "default"
    """`default`: Gauss–Newton for what belongs to a frame, Adam for what frames share. `vhap`: VHAP's Adam schedule."""
    static_offset: bool = True
    """Per-vertex offsets of the subject's neutral head. Without them hair counts as occluded."""
    perturbation: bool = True
    """Align outlines by the looks of whole regions (VHAP's region perturbation) where there is no matte. Off, colours
    alone place them, and heads shrink. The `vhap` preset always perturbs."""
    landmarks_only: bool = False
    """Fit pose, identity and expression to the landmarks alone: no texture, no light, no offsets."""
    occluded: tuple[str, ...] = ()
    """Head regions that nothing may be aligned to, such as `hair` under a scarf or `neck_lower` behind a collar."""
    tracking_size_px: int = 256
    """Longer side, after cropping to the head, at which pose, expression, identity and offsets are fitted."""
    last_rounds_scale: float = 1.5
    """Factor on `tracking_size_px` in the last three rounds and for the last rows; pictures are never enlarged."""
    texture_image_size_px: int = 768
    """Longer side, after cropping to the head, at which the final texture is fitted; never enlarged."""
    texture_size: int = 512
    """Texels along a side while tracking; a power of two."""
    final_texture_size: int = 1024
    """Texels along a side of the final texture; a power of two."""
    texture_model: Literal["painted", "pca", "auto"] = "auto"
    """How the albedo map is made: `painted` texel by texel, `pca` of the head's principal components and a painted
    residual; `auto` takes the components where the head has some, but for the `vhap` preset, which paints as VHAP does
    by default."""
    num_key_frames: int = 12
    """Best-scoring frames, spread over head poses, from which identity and focal length are initialised."""
    rounds: int = 6
    """Most rounds of (Gauss–Newton rows, Adam epochs of shared parameters); fewer when converged."""
    held_out_every: int = 0
    """Keep the last of every so many frames (2: the odd ones, counted from 0) from what frames share: identity,
    offsets, texture, light and focal length never see them, and their rows are fitted with all that held. The scores
    then tell how good it is where it was not fitted. 0: none."""
    held_out_cameras: tuple[str, ...] = ()
    """Ids of cameras of a calibrated rig that nothing is fitted to; they are drawn and scored all the same."""
    shared_frames: int = 300
    """Frames from which everything that all frames share is fitted: of a longer sequence of one camera so many are
    chosen, spread over time and over the head's poses."""
    segment_frames: int = 500
    """A longer sequence of one camera is tracked in segments of at most so many frames, on as many machines as there
    are; 0: never. Changes no result."""
    identity: str = ""
    """A subject's identity that is known: the `tracked_params.npz` of another of the subject's sequences, or an
    identity's file. Shape, offset and albedo are then held, which takes less than half as long."""
    focal_ratio: float = 1.5
    """First guess of focal length over the longer image side."""
    focal_px: float | None = None
    """The focal length in pixels of the input pictures, where it is known, throughout a clip of one camera: it is held.
    Of the default preset; a rig's cameras have their own."""
    seed: int = 0
    """Decides every random choice."""
    num_threads: int = 2
    """Frames that are fitted side by side on a CPU. Results do not depend on it."""
    renderer: Literal["auto", "numba", "torch", "nvdiffrast"] = "auto"
    """What draws the head: `auto` is numba, on every machine. `nvdiffrast` needs a CUDA device and is installed by the
    user (non-commercial licence); then what frames share is fitted on the GPU."""
    weights: Weights = field(default_factory=Weights)
    vhap: VhapConfig = field(default_factory=VhapConfig)
    """Numbers of the `vhap` preset, which reads neither the sizes nor the weights above."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        least = {
            "tracking_size_px": 32,
            "texture_image_size_px": 32,
            "num_key_frames": 1,
            "rounds": 1,
            "num_threads": 1,
            "shared_frames": 2,
            "segment_frames": 0,
            "seed": 0,
        }
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(f"track.{name} must be at least {smallest}, got {getattr(self, name)}")
        for name in ("texture_size", "final_texture_size"):
            size = getattr(self, name)
            if size < 16 or size & (size - 1):
                raise ValueError(f"track.{name} must be a power of two, 16 or more, got {size}")
        if self.rounds > 6:
            raise ValueError(f"track.rounds must be at most 6, got {self.rounds}")
        if not 1 <= self.last_rounds_scale <= 4:
            raise ValueError(f"track.last_rounds_scale must be between 1 and 4, got {self.last_rounds_scale}")
        self._check_focal()
        if self.identity and self.preset == "vhap":
            raise ValueError("track.identity needs the default preset: `vhap` finds its own")
        if self.held_out_every < 0 or self.held_out_every == 1:
            raise ValueError(f"track.held_out_every must be 0, or 2 or more, got {self.held_out_every}")
        if self.held_out_every and (self.preset == "vhap" or self.landmarks_only):
            raise ValueError("track.held_out_every goes with the default preset and with photometry only")

    def _check_focal(self) -> None:
        if not 0.3 <= self.focal_ratio <= 20:
            raise ValueError(f"track.focal_ratio must be between 0.3 and 20, got {self.focal_ratio}")
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise ValueError(f"track.focal_px must be positive, got {self.focal_px}")
        if self.focal_px is not None and self.preset == "vhap":
            raise ValueError("track.focal_px needs the default preset: `vhap` finds its own")
