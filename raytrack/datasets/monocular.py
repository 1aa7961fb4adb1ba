"""Monocular footage, as in INSTA or from a phone: one video or one folder of images is one sequence."""

from collections.abc import Iterable
from pathlib import Path

from raytrack.datasets.selection import select_frames
from raytrack.datasets.sequence import CameraSource, Sequence
from raytrack.media.config import ExtractConfig
from raytrack.media.source import probe
from raytrack.tables.keys import SequenceKey, footage_name

CAMERA_NAME = "0"


def distinct_names(sources: Iterable[str]) -> tuple[str, ...]:
    """Default names of several pieces of footage; a name that is taken gets `-2`, `-3`, … in the order given."""
    names: list[str] = []
    for source in sources:
        base = footage_name(source)
        name, number = base, 2
        while name.lower() in {taken.lower() for taken in names}:
            name, number = f"{base[:120]}-{number}", number + 1
        names.append(name)
    return tuple(names)


def monocular_sequence(
    path: Path,
    *,
    name: str = "",
    subject: str = "",
    dataset: str = "monocular",
    extract: ExtractConfig | None = None,
    threads: int = 1,
) -> Sequence:
    """Look at monocular footage and decide what is taken of it.

    Args:
        path: A video file, a folder of images, or one image.
        name: The sequence's name; by default the footage's.
        subject: Who is seen; by default the sequence's name.
        dataset: What it belongs to.
        extract: Which frames to take; by default all.
        threads: Threads that a decoder may use.

    Raises:
        ConfigError: A name cannot name a folder.
        InputError: The footage is missing or cannot be used.
    """
    extract = extract or ExtractConfig()
    name = name or footage_name(str(path))
    key = SequenceKey(dataset=dataset, subject=subject or name, sequence=name)
    source = probe(path, image_fps=extract.image_fps, threads=threads)
    index = select_frames(
        source.timestamps_s, target_fps=extract.target_fps, every=extract.every, max_frames=extract.max_frames
    )
    times, ids = source.timestamps_s[index], source.frame_ids
    return Sequence(
        key=key,
        cameras=(CameraSource(name=CAMERA_NAME, source=source),),
        source_index=index,
        frame_ids=tuple(ids[place] for place in index),
        timestamps_s=times - times[0],
        size_hw=source.size_hw,
    )
