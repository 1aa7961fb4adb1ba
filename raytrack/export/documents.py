"""The text of `transforms.json` and its splits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raytrack.errors import InputError

Frames = Sequence[Mapping[str, Any]]
"""Entries of `frames`."""
INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y")
"""What a frame says about its camera."""


def transforms_text(frames: Frames, extra: Mapping[str, Any] | None = None) -> str:
    """Frames as JSON, one a line.

    What stands at the top level overrides the frames' own in some readers (nerfstudio), so intrinsics stand there only
    where they are those of all frames.

    Args:
        frames: Each with all of `INTRINSICS`.
        extra: Further entries of the top level.

    Raises:
        InputError: A frame holds numbers that are not finite.
    """
    shared = {key: frames[0][key] for key in INTRINSICS} if frames else {}
    if any(frame[key] != value for key, value in shared.items() for frame in frames):
        shared = {}
    head = {
        **shared,
        **(extra or {}),
        "timestep_indices": sorted({frame["timestep_index"] for frame in frames}),
        "camera_indices": sorted({frame["camera_index"] for frame in frames}),
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)},\n" for key, value in head.items()]
    # With an indent the encoder is fifty times slower, and a frame reads well on one line.
    encoder = json.JSONEncoder(allow_nan=False, check_circular=False)
    try:
        rows = ",\n".join(f"    {encoder.encode(frame)}" for frame in frames)
    except ValueError as error:
        raise InputError("a frame of the datasets holds numbers that are not finite; export it again") from error
    return "{\n" + "".join(lines) + '  "frames": [' + (f"\n{rows}\n  " if frames else "") + "]\n}\n"


def write_transforms(path: Path, frames: Frames, extra: Mapping[str, Any] | None = None) -> None:
    """Write `transforms_text`.

    Raises:
        InputError: A frame holds numbers that are not finite.
    """
    path.write_text(transforms_text(frames, extra), encoding="utf-8", newline="\n")


def write_all_transforms(
    folder: Path, frames: Frames, splits: Mapping[str, Frames], extra: Mapping[str, Any] | None = None
) -> None:
    """Write `transforms.json` of all frames, and `transforms_<split>.json` of each split's.

    Raises:
        InputError: A frame holds numbers that are not finite.
    """
    write_transforms(folder / "transforms.json", frames, extra)
    for name, chosen in splits.items():
        write_transforms(folder / f"transforms_{name}.json", chosen, extra)
