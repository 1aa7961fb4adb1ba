"""Options of the export, free of heavy imports."""

from dataclasses import dataclass
from typing import Literal

BackgroundColor = Literal["white", "black", "transparent"]
DatasetFormatName = Literal["nerf", "gaussian-avatars", "insta", "imavatar"]
DatasetWorldName = Literal["head", "capture"]
UnionMode = Literal["random_group", "random_single", "last"]
UnionPlacement = Literal["refer", "copy", "link"]


def dataset_path(format_name: str, sequence: str) -> str:
    """Where a sequence's dataset lies, relative to the output folder."""
    return f"export/{sequence}" if format_name == "nerf" else f"export-{format_name}/{sequence}"


@dataclass(frozen=True, kw_only=True)
class UnionConfig:
    """How the datasets of one subject's sequences become one."""

    mode: UnionMode = "random_group"
    """Which whole sequences are held out for testing: one in every ten or so, a single one, or the last one named.
    What is random is decided by the subject's name."""
    placement: UnionPlacement = "refer"
    """`refer` names the sequences' files as ``../<sequence>/…``, so the union must lie beside them; `copy` and `link`
    put them into the union."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How a tracked sequence becomes a dataset and a preview."""

    formats: tuple[DatasetFormatName, ...] = ("nerf",)
    """Formats of the dataset, each in a folder of its own; see `raytrack.export.formats`."""
    background_color: BackgroundColor = "white"
    """What the exported images show where the person is not; `transparent` keeps the alpha in a fourth channel."""
    test_fraction: float = 0.3
    """Share of the timesteps, the last ones, held out for testing."""
    neck_fade: float = 0.03
    """Width of the fade to the background below the neck line, in image widths; 0 cuts sharply."""
    world: DatasetWorldName = "head"
    """The dataset's world: its origin where the head is on average (`head`), or that of the capture, with the origin
    and axes of the rig's calibration (`capture`)."""
    head_centric: bool | None = None
    """Keep the head still and let the cameras move around it. By default only for `gaussian-avatars` datasets of a
    single camera, whose reader takes the scene's extent from the cameras' places."""
    mask_path: bool = False
    """Also name the masks as nerfstudio does, which then never looks at the background. Without, it learns the
    background's colour, or with a transparent one that nothing is there."""
    canonical_jaw_rad: float = 0.3
    """Jaw opening of the canonical pose."""
    png_compression: int = 1
    """zlib level of every picture, 0 to 9: 1 is four times faster than 6 and a few per cent larger."""
    preview_width_px: int = 1600
    """Greatest width of the preview video; panels shrink to fit and are never enlarged above the input's size."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise ValueError(f"export.formats must name one or more different formats, got {list(self.formats)}")
        if self.head_centric and self.world == "capture":
            raise ValueError("export.head_centric and export.world `capture` exclude each other")
        if not 0 <= self.test_fraction < 1:
            raise ValueError(f"export.test_fraction must lie in [0, 1), got {self.test_fraction}")
        if not 0 <= self.neck_fade <= 1:
            raise ValueError(f"export.neck_fade must lie in [0, 1] image widths, got {self.neck_fade}")
        if not -1 <= self.canonical_jaw_rad <= 1:
            raise ValueError(f"export.canonical_jaw_rad must lie in [-1, 1], got {self.canonical_jaw_rad}")
        if not 0 <= self.png_compression <= 9:
            raise ValueError(f"export.png_compression must lie in 0 … 9, got {self.png_compression}")
        if not 320 <= self.preview_width_px <= 8192:
            raise ValueError(f"export.preview_width_px must lie in 320 … 8192, got {self.preview_width_px}")
